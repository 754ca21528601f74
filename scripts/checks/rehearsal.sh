#!/usr/bin/env bash
# Tries failed messages on a mended program before they are replayed: only those that would pass are sent again.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-rehearsal.XXXXXX")
pid=

clean_up() {
    local result=$?
    trap - EXIT
    if [[ -n $pid ]]; then
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    if ((result != 0)); then tail -n 20 "$work"/*.log >&2 || true; fi
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

cargo build --quiet ${CI:+--locked} --package longhaul-cli
cargo build --quiet ${CI:+--locked} --features host --example rehearsal_before --example rehearsal_after
target=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
before=$target/examples/rehearsal_before
after=$target/examples/rehearsal_after
longhaul() { "$target/longhaul" --data "$work/data" "$@"; }

start() { # PROGRAM PAY_IN
    printf '[app]\ndata = "%s/data"\npay_in = %s\n' "$work" "$2" >"$work/savings.toml"
    export LONGHAUL_CONFIG=$work/savings.toml
    "$1" >>"$work/out" 2>>"$work/savings.log" &
    pid=$!
}

until_line() { # COUNT TEXT FILE
    local deadline=$((SECONDS + 60))
    until (($(grep -c "$2" "$3" || true) >= $1)); do
        ((SECONDS < deadline)) || fail "$1 times \"$2\" did not come within a minute"
        sleep 0.05
    done
}

stop() {
    kill -TERM "$pid"
    wait "$pid" || fail "it ended with $?"
    pid=
}

# Coins pass; notes meet the bug, and a debt is wrong in any version.
start "$before" '[50, 500, 700, -1]'
until_line 3 'moves to the error queue' "$work/savings.log"
until_line 1 'has 50 cents' "$work/out"
stop

# The settings of the endpoint, which LONGHAUL_CONFIG goes on naming, are not those of the command.
result=0
said=$(longhaul errors replay --all --program "$before" --dry-run) || result=$?
printf 'with the bug:\n%s\n' "$said"
[[ $result == 1 && $said == *'would pass: 0 of 3 messages'* ]] || fail "the program with the bug: $result"

result=0
said=$(longhaul errors replay --all --program "$after" --dry-run) || result=$?
printf 'mended:\n%s\n' "$said"
[[ $result == 1 && $said == *'would pass: 2 of 3 messages'* ]] || fail "the mended program: $result"
# The second of them finds what the first would have left.
[[ $said == *'+ active {"cents":1250}'* ]] || fail 'the difference of the state is not shown'
[[ $said == *'fails'*'an amount is more than nothing'* ]] || fail 'the reason is not shown'
(($(longhaul errors list --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["messages"]))') == 3)) ||
    fail 'a rehearsal has changed the error queue'

said=$(longhaul errors replay --all --program "$after" --only-passing --yes 2>"$work/left.log")
printf '%s\n%s\n' "$said" "$(cat "$work/left.log")"
[[ $said == 'replayed 2 of 2 messages' ]] || fail 'it did not replay two'
grep -q 'left out: 1 that would not pass' "$work/left.log" || fail 'what was left out is not told'

start "$after" '[]'
until_line 1 'has 1250 cents' "$work/out"
stop
[[ $(longhaul errors list --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["messages"]))') == 1 ]] ||
    fail 'the one that fails is not where it was'

# An edit is tried on the program too.
id=$(longhaul errors list --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["messages"][0]["id"])')
account=$(longhaul errors show "$id" --body | python3 -c 'import json, sys; print(json.load(sys.stdin)["account"])')
edit() { # BODY ARGUMENT...
    printf '%s' "$1" >"$work/body.json"
    shift
    longhaul errors edit "$id" --body "$work/body.json" --program "$after" "$@" 2>&1
}
for body in '{"account":"seven","cents":5}' "{\"account\":$account,\"cents\":-5}"; do
    result=0
    said=$(edit "$body") || result=$?
    printf '%s\n' "$said"
    [[ $result == 2 && $said == *'the program would fail the new one'* ]] || fail "a wrong body: $result $said"
done
[[ $(edit "{\"account\":$account,\"cents\":5}" --dry-run) == 'would send'* ]] || fail 'a right body is refused'
[[ $(longhaul errors list --json | grep -c '"id"') == 1 ]] || fail 'an edit that was tried has changed the error queue'
said=$(edit "{\"account\":$account,\"cents\":5}")
printf '%s\n' "$said"
[[ $said == 'sent'* && $(longhaul errors list) == *'is empty'* ]] || fail 'the edited message was not sent'

# A program that is not there, or knows nothing of rehearsals.
result=0
said=$(longhaul errors replay --all --program "$work/nothing" --only-passing --yes 2>&1) || result=$?
[[ $result == 1 && $said == *'rehearse with'* ]] || fail "a missing program: $result $said"
result=0
longhaul errors replay --all --only-passing --yes >/dev/null 2>&1 || result=$?
[[ $result == 2 ]] || fail "--only-passing without a program: $result"
printf 'rehearsed, replayed what passes, left the rest\n'
