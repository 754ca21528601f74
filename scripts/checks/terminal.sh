#!/usr/bin/env bash
# Watches the `longhaul` command and an example on a terminal of 80, 40 and 20 columns: bars, colours, Ctrl-C.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# A terminal as a library, in an environment of its own: nothing is installed on the machine.
readonly pyte=0.8.2 wcwidth=0.2.13

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-terminal.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

tools=${LONGHAUL_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}
mkdir -p "$tools"
place=$(cd "$tools" && pwd)/pyte-$pyte
(
    flock 9
    [[ ! -e $place/installed ]] || exit 0
    rm -rf "$place"
    python3 -m venv "$place"
    "$place/bin/pip" install --quiet --disable-pip-version-check "pyte==$pyte" "wcwidth==$wcwidth"
    touch "$place/installed"
) 9>"$tools/pyte.lock"

cargo build --quiet ${CI:+--locked} --package longhaul-cli
cargo build --quiet ${CI:+--locked} --example order_fulfilment
target=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)

unset "${!LONGHAUL_@}" NO_COLOR
"$place/bin/python" scripts/checks/terminal.py "$target/longhaul" "$target/examples/order_fulfilment" "$work"
