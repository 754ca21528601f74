#!/usr/bin/env bash
# Runs the demonstration and the marketplace as their readers would: built for release, killed and started again, on real
# orders if LONGHAUL_ORDERS names a file of them. What the other examples print is checked by the tests.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Times are read from the shell, with a point.
export LC_ALL=C

# Real orders on virtual time in memory take at most so many seconds.
readonly limit=10

fail() {
    printf 'examples: %s\n' "$*" >&2
    exit 1
}

cargo build --quiet --release ${CI:+--locked} --package longhaul --example order_fulfilment --example marketplace
examples=${CARGO_TARGET_DIR:-target}/release/examples
work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT

figure() { # FILE KEY
    sed -n "s/^ *\"$2\": \([0-9]*\),*$/\1/p" "$1"
}

demonstration() {
    local data=$work/demonstration killed=0 moment
    # The shell's own word on a killed child goes the same way as its output.
    for moment in 0.3 0.6 1.2 2; do
        timeout --signal=KILL "$moment" "$examples/order_fulfilment" --data "$data" || killed=$((killed + 1))
    done >/dev/null 2>&1
    "$examples/order_fulfilment" --data "$data" --json "$work/demonstration.json" 2>/dev/null
    local placed completed cancelled
    placed=$(figure "$work/demonstration.json" placed)
    completed=$(figure "$work/demonstration.json" completed)
    cancelled=$(figure "$work/demonstration.json" cancelled)
    [[ $placed == 500 && $placed == $((completed + cancelled)) ]] ||
        fail "of $placed orders $completed are completed and $cancelled cancelled"
    printf 'the demonstration was killed %s times and adds up\n\n' "$killed"
}

marketplace() { # FILE
    local began=$EPOCHREALTIME
    "$examples/marketplace" --orders "$1" --json "$work/sagas.json"
    local took=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000000))
    "$examples/marketplace" --orders "$1" --json "$work/truth.json" --truth >/dev/null
    cmp "$work/sagas.json" "$work/truth.json" || fail "the sagas did not come to the truth on $1"
    ((took < limit)) || fail "the marketplace took $took s on $1: $limit s are too many"
}

demonstration
marketplace examples/marketplace/sample.jsonl
if [[ -n ${LONGHAUL_ORDERS:-} ]]; then
    marketplace "$LONGHAUL_ORDERS"
else
    printf '\nLONGHAUL_ORDERS is not set: no real orders were played\n'
fi
