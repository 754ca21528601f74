#!/usr/bin/env bash
# Uses the `longhaul` command as a newcomer would, on a broker of its own; then a short run of `cargo xtask replay`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-operate.XXXXXX")
sales=

clean_up() {
    local result=$?
    trap - EXIT
    if [[ -n $sales ]]; then
        kill -KILL "$sales" 2>/dev/null || true
        wait "$sales" 2>/dev/null || true
    fi
    LONGHAUL_BROKERS=$work/brokers scripts/rabbitmq.sh stop-all || true
    ((result == 0)) || tail -n 20 "$work"/*.log >&2 || true
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    printf 'operate: %s\n' "$*" >&2
    exit 1
}

expect() { # CODE TEXT ARGUMENT...: the command ends with the code and says the text
    local code=$1 text=$2 said result=0
    shift 2
    said=$("$longhaul" "$@" 2>&1 </dev/null) || result=$?
    [[ $result == "$code" ]] || fail "longhaul $*: ended with $result, not $code: $said"
    [[ $said == *"$text"* ]] || fail "longhaul $*: did not say \"$text\": $said"
    printf '$ longhaul %s\n%s\n' "$*" "$said"
}

cargo build --quiet ${CI:+--locked} --package longhaul-cli
cargo build --quiet ${CI:+--locked} --features rabbitmq --example rabbitmq_sales
target=${CARGO_TARGET_DIR:-target}/debug
longhaul=$target/longhaul

unset "${!LONGHAUL_AMQP@}" "${!LONGHAUL_SQS@}"
expect 2 'LONGHAUL_AMQP_URL' errors list
expect 2 'the address holds a password' errors list --url amqp://guest:guest@localhost
LONGHAUL_AMQP_URL=$(LONGHAUL_BROKERS=$work/brokers scripts/rabbitmq.sh start operate)
export LONGHAUL_AMQP_URL
expect 1 'there is none of that name' errors list

# An endpoint makes its queues when it starts.
make_queues() { # DIRECTORY
    "$target/examples/rabbitmq_sales" --data "$1" >"$work/sales.log" 2>&1 &
    sales=$!
    for _ in {1..200}; do
        ! "$longhaul" queues list error sales >/dev/null 2>&1 || break
        sleep 0.1
    done
    kill -TERM "$sales"
    # Asked so early, it may not listen yet.
    wait "$sales" || [[ $? == 143 ]] || fail "the endpoint ended badly"
    sales=
}

make_queues "$work/sales"
expect 0 'the queue error is empty' errors list

for number in 1 2 3; do
    printf '{"longhaul_export":1,"id":"m-%s","headers":[["longhaul.type","sales.test.v1"],["longhaul.error.endpoint","sales"],["longhaul.error.source-queue","sales"],["longhaul.error.reason","handler-failed"],["longhaul.error.text","charge %s EUR: timed out"]],"body":"{}"}\n' "$number" "$number"
done >"$work/failed.jsonl"
expect 0 'imported 3 of 3 messages' errors import "$work/failed.jsonl"
expect 0 'm-3' errors list
expect 0 'charge # EUR: timed out' errors group
expect 0 'timed out' errors show m-1
expect 0 '3 to sales' errors replay --all --dry-run
expect 2 '3 messages match, and nothing was done' errors replay --all
expect 0 'replayed 3 of 3 messages' errors replay --all --yes --rate 100
expect 0 'the queue error is empty' errors list
expect 0 'sales  3' queues list sales
expect 0 'good     error queue error: empty' doctor

# What waits moves to another broker, and stays due when it was.
due=$(date -u -d '+1 day' +%Y-%m-%dT%H:%M:%SZ)
for number in {1..50}; do
    printf '{"longhaul_export":1,"id":"d-%s","headers":[["longhaul.type","sales.test.v1"]],"body":"{}","to":"sales","due":"%s"}\n' "$number" "$due"
done >"$work/delayed.jsonl"
expect 0 'the delay levels are there' delays create
expect 0 'imported 50 of 50 messages' delays import "$work/delayed.jsonl"
first=$LONGHAUL_AMQP_URL
second=$(LONGHAUL_BROKERS=$work/brokers scripts/rabbitmq.sh start second)
printf '[rabbitmq]\nurl = "%s"\n' "$second" >"$work/second.toml"
chmod 600 "$work/second.toml"
expect 1 "failed to use the target's delay levels" delays transfer --to-config "$work/second.toml" --yes
LONGHAUL_AMQP_URL=$second expect 0 'the delay levels are there' delays create
expect 0 'would move 50 messages' delays transfer --to-config "$work/second.toml" --dry-run
expect 1 'moved 0 messages, 50 are left' delays transfer --to-config "$work/second.toml" --yes
expect 2 'the target is the source' delays transfer --to-url "amqp://guest@${first#*@}" --yes
export LONGHAUL_AMQP_URL=$second
make_queues "$work/second"
export LONGHAUL_AMQP_URL=$first
LONGHAUL_TO_AMQP_PASSWORD=guest expect 0 'moved 50 messages, 0 are left' delays transfer --to-url "amqp://guest@${second#*@}" --yes
export LONGHAUL_AMQP_URL=$second
expect 0 'drained 50 messages, 0 are left' delays drain --out "$work/drained.jsonl" --yes
(($(grep -c "\"to\":\"sales\",\"due\":\"$due\"" "$work/drained.jsonl") == 50)) || fail 'what was moved is due at another time'
export LONGHAUL_AMQP_URL=$first

# Somebody waits for it who has just met the command: ten seconds at most, even unoptimized.
before=$(date +%s%N)
expect 0 'That was all' demo
took=$((($(date +%s%N) - before) / 1000000))
((took < 10000)) || fail "the demonstration took $took ms"

cargo run --quiet ${CI:+--locked} --package xtask -- replay --debug --messages 3000 --kills 5
