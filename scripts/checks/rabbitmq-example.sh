#!/usr/bin/env bash
# Runs the four programs of examples/rabbitmq on a real broker; one of them is killed meanwhile. The sums must be right.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly orders=200
# Of 200 orders, 20 cards are refused and 20 items are out of stock.
readonly expected="placed     $orders
completed  160
cancelled  40
charges    180
refunds    20
earned     176100 cents
the gateway's books agree"

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-example.XXXXXX")
pids=()
own_broker=

clean_up() {
    local result=$? pid
    trap - EXIT
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $own_broker ]] || LONGHAUL_BROKERS=$work/brokers scripts/rabbitmq.sh stop-all || true
    if ((result != 0)); then
        tail -n 20 "$work"/*.log >&2 || true
    fi
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A broker of its own: on one that is shared, programs of the same names may be running.
own_broker=yes
LONGHAUL_AMQP_URL=$(LONGHAUL_BROKERS=$work/brokers scripts/rabbitmq.sh start example)
export LONGHAUL_AMQP_URL

examples=()
for name in sales billing shipping client; do examples+=(--example "rabbitmq_$name"); done
cargo build --quiet ${CI:+--locked} --features rabbitmq "${examples[@]}"
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
    "$programs/rabbitmq_$name" "$@" 2>>"$work/$name.log" &
    pids+=($!)
}

start sales --data "$work/sales"
start shipping --data "$work/shipping"
start billing --gateway "$work/gateway"
start billing --gateway "$work/gateway"
victim=${pids[-1]}

"$programs/rabbitmq_client" --orders "$orders" --gateway "$work/gateway" >"$work/out" 2>"$work/client.log" &
client=$!
pids+=("$client")
# As soon as money moves, one of the two that move it dies, and is started again.
for _ in {1..600}; do
    [[ -z $(find "$work/gateway" -name '*.json' -print -quit 2>/dev/null) ]] || break
    sleep 0.05
done
kill -KILL "$victim"
wait "$victim" 2>/dev/null || true
start billing --gateway "$work/gateway"

result=0
wait "$client" || result=$?
cat "$work/out"
if ((result != 0)) || [[ $(cat "$work/out") != "$expected" ]]; then
    printf 'the client ended with %s; expected was\n%s\n' "$result" "$expected" >&2
    exit 1
fi

# Asked to stop, all of them end in good order. (The client is gone, and so is the one that was killed.)
for pid in "${pids[@]}"; do
    [[ $pid != "$client" && $pid != "$victim" ]] || continue
    until_it_listens "$pid"
    kill -TERM "$pid"
    wait "$pid" || { echo "a program ended with $? when asked to stop" >&2; exit 1; }
done
pids=()
