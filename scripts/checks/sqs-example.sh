#!/usr/bin/env bash
# Runs the three programs of examples/sqs on an emulator; one of them is killed meanwhile. The sums must be right.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly orders=200
readonly expected="placed    $orders
confirmed 180
rejected  20"

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-example.XXXXXX")
pids=()

clean_up() {
    local result=$? pid
    trap - EXIT
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    LONGHAUL_EMULATORS=$work/emulators scripts/sqs.sh stop-all || true
    if ((result != 0)); then
        tail -n 20 "$work"/*.log >&2 || true
    fi
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# An emulator of its own: on one that is shared, programs of the same names may be running.
export LONGHAUL_EMULATORS=$work/emulators
scripts/sqs.sh start example >/dev/null
eval "$(scripts/sqs.sh env example)"

examples=()
for name in orders warehouse shop; do examples+=(--example "sqs_$name"); done
cargo build --quiet ${CI:+--locked} --features sqs "${examples[@]}"
programs=$(cd "${CARGO_TARGET_DIR:-target}/debug/examples" && pwd)

# A program that was started a moment ago may not listen for SIGTERM (signal 15) yet.
until_it_listens() { # PID
    local caught
    for _ in {1..600}; do
        caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) || return 0
        ((0x${caught:-0} >> 14 & 1)) && return 0
        sleep 0.05
    done
}

start() { # NAME ARGUMENT...
    local name=$1
    shift
    "$programs/sqs_$name" "$@" 2>>"$work/$name.log" &
    pids+=($!)
}

start warehouse
start warehouse
start orders --data "$work/orders"
victim=${pids[-1]}

"$programs/sqs_shop" --orders "$orders" >"$work/out" 2>"$work/shop.log" &
shop=$!
pids+=("$shop")
# Once all orders are placed, the one that keeps them dies, and is started again.
for _ in {1..1200}; do
    [[ ! -s $work/out ]] || break
    sleep 0.05
done
kill -KILL "$victim"
wait "$victim" 2>/dev/null || true
start orders --data "$work/orders"

result=0
wait "$shop" || result=$?
cat "$work/out"
if ((result != 0)) || [[ $(cat "$work/out") != "$expected" ]]; then
    printf 'the shop ended with %s; expected was\n%s\n' "$result" "$expected" >&2
    exit 1
fi

# Asked to stop, all of them end in good order. (The shop is gone, and so is the one that was killed.)
for pid in "${pids[@]}"; do
    [[ $pid != "$shop" && $pid != "$victim" ]] || continue
    until_it_listens "$pid"
    kill -TERM "$pid"
done
for pid in "${pids[@]}"; do
    [[ $pid != "$shop" && $pid != "$victim" ]] || continue
    wait "$pid" || { echo "a program ended with $? when asked to stop" >&2; exit 1; }
done
pids=()
