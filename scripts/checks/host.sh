#!/usr/bin/env bash
# Runs examples/hosted as a supervisor does, beside a real Prometheus that scrapes it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-host.XXXXXX")
pids=()

clean_up() {
    local result=$? pid
    trap - EXIT
    for pid in "${pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
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

until_true() { # WHAT COMMAND...
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "$what did not happen within a minute"
        sleep 0.1
    done
}

get() { # URL -> BODY; fails unless the status is 2xx
    python3 - "$1" "${2:-GET}" <<'PY'
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], method=sys.argv[2])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    print(opener.open(request, timeout=5).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
    sys.exit(1)
except OSError:
    sys.exit(1)
PY
}

command -v prometheus >/dev/null || fail "Prometheus is missing: apt-get install --no-install-recommends prometheus"
cargo build --quiet ${CI:+--locked} --features host,prometheus,otlp --example hosted
hosted=$(cd "${CARGO_TARGET_DIR:-target}/debug/examples" && pwd)/hosted

# Settings that are wrong: which, where, and exit code 2.
printf '[endpoint]\n\nconcurency = 3\n' >"$work/wrong.toml"
result=0
said=$(LONGHAUL_CONFIG=$work/wrong.toml "$hosted" 2>&1) || result=$?
[[ $result == 2 && $said == *"wrong.toml:3: unknown field \`concurency\`"* ]] || fail "a wrong file: $result $said"
result=0
said=$(LONGHAUL_HEALTH_LISTEN=nowhere "$hosted" 2>&1) || result=$?
[[ $result == 2 && $said == *LONGHAUL_HEALTH_LISTEN* ]] || fail "a wrong variable: $result $said"
result=0
said=$(LONGHAUL_CONFIG=$work/missing.toml "$hosted" 2>&1) || result=$?
[[ $result == 2 && $said == *missing.toml* ]] || fail "a missing file: $result $said"

# Paused, on a port that the system chooses.
cat >"$work/longhaul.toml" <<'TOML'
[endpoint]
start-paused = true

[health]
listen = "127.0.0.1:0"

[log]
format = "json"

[app]
greet = ["Ada", "Grace", "Barbara"]
TOML
(cd "$work" && exec "$hosted" >"$work/out" 2>"$work/hosted.log") &
pid=$!
pids+=("$pid")
until_true 'listening' grep -q 'health: http' "$work/hosted.log"
address=$(sed -n 's|^health: \(http://[0-9.:]*\)/.*|\1|p' "$work/hosted.log")
[[ $(get "$address/health/ready") == '{"ok":false,"status":"paused"}' ]] || fail 'it is not paused'
get "$address/health/live" >/dev/null || fail 'it is not live'
get "$address/control/resume" POST >/dev/null || fail 'it can not be resumed'
until_true 'readiness' get "$address/health/ready" >/dev/null
until_true 'the greetings' grep -q 'Hello, Barbara!' "$work/out"

# A real Prometheus reads its metrics.
cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: hosted, static_configs: [{targets: ['${address#http://}']}]}
YAML
answers_or_is_gone() { get "http://127.0.0.1:$port/-/ready" >/dev/null || ! kill -0 "${pids[-1]}" 2>/dev/null; }
start_prometheus() { # On a free port, which somebody else may take before it listens there.
    for _ in {1..5}; do
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" \
            --web.listen-address="127.0.0.1:$port" >"$work/prometheus.log" 2>&1 &
        pids+=($!)
        until_true 'an answer of Prometheus' answers_or_is_gone
        ! kill -0 "${pids[-1]}" 2>/dev/null || return 0
        unset 'pids[-1]'
        grep -q 'address already in use' "$work/prometheus.log" || break
    done
    fail 'Prometheus does not start'
}
start_prometheus
asked() { # QUERY VALUE
    get "http://127.0.0.1:$port/api/v1/query?query=$1" 2>/dev/null | grep -q "\"$2\"]"
}
until_true 'a scrape' asked up 1
until_true 'the count of greetings' asked longhaul_messages_handled_total 3
until_true 'the histogram' asked 'longhaul_handling_seconds_bucket%7Ble=%22%2BInf%22%7D' 3
until_true 'the gauge' asked longhaul_broker_connected 1
# One scrape of many may have taken too long; metrics that are wrong stay so.
finds_nothing_wrong() { get "http://127.0.0.1:$port/api/v1/targets" 2>/dev/null | grep -q '"lastError":""'; }
until_true 'a scrape in which Prometheus finds nothing wrong with the metrics' finds_nothing_wrong

# Asked to stop, it ends in good order.
kill -TERM "$pid"
result=0
wait "$pid" || result=$?
((result == 0)) || fail "it ended with $result"
python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]' "$work/hosted.log" ||
    fail 'its log is not JSON'
printf 'paused, resumed, scraped by Prometheus (3 greetings), stopped\n'
