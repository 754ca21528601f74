#!/usr/bin/env bash
# Runs a benchmark as it counts: optimized, on a private broker, which is gone afterwards. For a machine that has nothing else to do.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'USAGE'
usage: scripts/bench.sh [--build] rabbitmq|sqs|embedded [ARGUMENT...]

Builds the benchmarks for release, starts a private RabbitMQ or emulator of SQS on loopback, measures, and prints the ratio at the
end. Further arguments go to the benchmark: --orders N, --runs N.

  --build  only build, so that measuring later takes no time for it
USAGE
}

case ${1:-} in
rabbitmq | sqs | embedded) ;;
--build)
    exec cargo build --release --locked -p longhaul-benches
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

cargo build --quiet --release --locked -p longhaul-benches
bench=${CARGO_TARGET_DIR:-target}/release/longhaul-benches
work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-bench.XXXXXX")
export LONGHAUL_BROKERS=$work/brokers LONGHAUL_EMULATORS=$work/emulators

clean_up() {
    local result=$?
    trap - EXIT
    scripts/rabbitmq.sh stop-all || true
    scripts/sqs.sh stop-all || true
    rm -rf "$work"
    exit "$result"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

case $1 in
rabbitmq)
    LONGHAUL_AMQP_URL=$(scripts/rabbitmq.sh start bench)
    export LONGHAUL_AMQP_URL
    ;;
sqs)
    scripts/sqs.sh start bench >/dev/null
    eval "$(scripts/sqs.sh env bench)"
    ;;
esac
"$bench" "$@"
