#!/usr/bin/env bash
# Kills endpoint processes, and a broker, while orders are placed: nothing may be lost, nothing done twice. The short
# form of `cargo xtask kill`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --quiet ${CI:+--locked} -p xtask
readonly xtask=${CARGO_TARGET_DIR:-target}/debug/xtask

# The seed is drawn and shown: with --seed a run can be repeated.
"$xtask" kill --orders 1500 --kills 8
"$xtask" kill --broker rabbitmq --orders 1500 --kills 8 --restarts 1
# Over a network that loses the answers to one request in a hundred and sends one batch in twenty twice.
"$xtask" kill --broker sqs --orders 600 --kill-every 2
