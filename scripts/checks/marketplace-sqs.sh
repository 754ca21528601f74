#!/usr/bin/env bash
# Plays orders through the marketplace's sagas on an emulator of SQS: the real ones of LONGHAUL_ORDERS, or else the sample that is
# part of the example. The figures must be those that are computed without sagas.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The 2,958 orders of September 2016 to October 2018 take some two minutes, at a million times the speed.
readonly limit=900

orders=${LONGHAUL_ORDERS:-}
if [[ -z $orders ]]; then
    orders=examples/marketplace/sample.jsonl
    printf 'LONGHAUL_ORDERS is not set: the sample is played, %s; set it to a file of real orders to play those\n' "$orders"
elif [[ ! -r $orders ]]; then
    printf 'marketplace-sqs: LONGHAUL_ORDERS names %s, which can not be read\n' "$orders" >&2
    exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-marketplace.XXXXXX")
clean_up() {
    local result=$?
    trap - EXIT
    LONGHAUL_EMULATORS=$work/emulators scripts/sqs.sh stop-all || true
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# An emulator of its own: on one that is shared, programs of the same names may be running.
export LONGHAUL_EMULATORS=$work/emulators
scripts/sqs.sh start marketplace >/dev/null
eval "$(scripts/sqs.sh env marketplace)"

cargo build --quiet ${CI:+--locked} --features sqs --example marketplace
marketplace=${CARGO_TARGET_DIR:-target}/debug/examples/marketplace

"$marketplace" --orders "$orders" --truth --json "$work/truth.json" >/dev/null
# It compares by itself, and ends with 0 only if all is right; this looks at what it has written, too.
timeout "$limit" "$marketplace" --broker sqs --orders "$orders" --json "$work/sagas.json"
if ! cmp "$work/sagas.json" "$work/truth.json"; then
    printf 'marketplace-sqs: the sagas did not come to the truth:\n' >&2
    diff "$work/truth.json" "$work/sagas.json" >&2 || true
    exit 1
fi
