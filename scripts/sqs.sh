#!/usr/bin/env bash
# A private emulator of SQS and SNS for tests: on loopback, on a port of its own, with every file in one folder.
#
# It is MiniStack, a Python program, in an environment of its own: nothing is installed on the machine. What it keeps is
# gone when it ends. A second opinion is fauxqs, a program for Node, which can keep its messages even when it is killed.

set -euo pipefail

usage() {
    cat <<'USAGE'
usage: LONGHAUL_EMULATORS=FOLDER scripts/sqs.sh COMMAND [NAME]

  start NAME  start the emulator NAME and wait until it answers; print its address
  url NAME    print its address
  env NAME    print what the tests need in their environment, as shell commands: its address, a region, and credentials
              that are none
  pid NAME    print its process id
  stop NAME   end it and wait until it is gone
  restart NAME
              kill it, and start it again at the same address, on what it has kept
  stop-all    stop every emulator of the folder

NAME is letters, digits and '-'. LONGHAUL_EMULATORS is the folder that holds all state of all emulators in it.

Environment:
  LONGHAUL_EMULATOR
                  for `start`: ministack (if unset), or fauxqs, which needs npm
  LONGHAUL_EMULATOR_KEEPS
                  for `start`: if set, it writes down what it is given, and has it again after `restart`; fauxqs only
  LONGHAUL_TOOLS  where the emulator is installed; `tools` in CARGO_TARGET_DIR, or in `target`, if unset
  LONGHAUL_EMULATOR_CLOCK=SPEC
                  for `start`: run on a fake clock (Debian packages faketime and libfaketime), '+0x60' for sixty times the
                  speed
USAGE
}

# One version, so that everybody's tests see the same answers.
readonly version=1.5.33
readonly fauxqs_version=2.4.1 node_version=22.23.3
# Below 32768, where the kernel starts to hand out ports to clients.
readonly first_port=20000 last_port=32000
readonly boot_seconds=30 stop_seconds=10
kind=${LONGHAUL_EMULATOR:-ministack} keeps=false health=/_localstack/health

fail() {
    printf 'sqs.sh: %s\n' "$*" >&2
    exit 1
}

# --- processes: a pid counts only together with the start time of its process, since pids are used again --------

started_at() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field is the program's name in brackets and may hold spaces.
    read -ra stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] && printf '%s\n' "${stat[19]}"
}

record_process() { # FILE PID
    local began
    began=$(started_at "$2") || return 1
    printf '%s %s\n' "$2" "$began" >"$1"
}

live_pid() { # FILE
    local pid began
    [[ -s $1 ]] && read -r pid began <"$1" && [[ $(started_at "$pid") == "$began" ]] && printf '%s\n' "$pid"
}

# --- ports ------------------------------------------------------------------------------------------------------

port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A free port may be taken by somebody else before we listen on it: the caller tries again with another one.
pick_port() {
    local port
    for _ in {1..200}; do
        port=$((first_port + (RANDOM * 32768 + RANDOM) % (last_port - first_port)))
        if port_is_free "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    fail "no free port between $first_port and $last_port"
}

answers() { # PORT
    local line
    {
        exec 3<>"/dev/tcp/127.0.0.1/$1" &&
            printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$health" >&3 &&
            read -r -t 5 line <&3
    } 2>/dev/null || return 1
    exec 3>&-
    [[ $line == *' 200 '* ]]
}

# --- the program ------------------------------------------------------------------------------------------------

# Installed beside and moved into place, so that one that was interrupted is never used.
ensure_installed() {
    local tools=${LONGHAUL_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}
    mkdir -p "$tools"
    tools=$(cd "$tools" && pwd)
    place=$tools/ministack-$version
    (
        flock 9
        [[ ! -e $place/installed ]] || exit 0
        command -v python3 >/dev/null || fail "python3 is not to be found: install it, with its venv"
        rm -rf "$place"
        python3 -m venv "$place" >&2 || fail "python3 can't make an environment: install its venv (Debian: python3-venv)"
        "$place/bin/pip" install --quiet --disable-pip-version-check "ministack==$version" >&2 ||
            fail "MiniStack $version can't be installed from PyPI"
        touch "$place/installed"
    ) 9>"$tools/ministack.lock"
}

# With a Node of its own, since Debian's is too old for it.
ensure_fauxqs() {
    local tools=${LONGHAUL_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}
    mkdir -p "$tools"
    tools=$(cd "$tools" && pwd)
    place=$tools/fauxqs-$fauxqs_version
    (
        flock 9
        [[ ! -e $place/installed ]] || exit 0
        command -v npm >/dev/null || fail "npm is not to be found: install it (Debian: npm)"
        rm -rf "$place"
        mkdir -p "$place"
        (cd "$place" && npm install --silent --no-audit --no-fund "node@$node_version" "fauxqs@$fauxqs_version") >&2 ||
            fail "fauxqs $fauxqs_version can't be installed from npm"
        # It would listen on all interfaces.
        cat >"$place/loopback.mjs" <<'LOOPBACK'
import net from 'node:net';
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...rest) {
  const isPort = options && typeof options === 'object' && 'port' in options;
  return listen.call(this, isPort ? { ...options, host: '127.0.0.1' } : options, ...rest);
};
LOOPBACK
        touch "$place/installed"
    ) 9>"$tools/fauxqs.lock"
}

# What runs, with its environment; it listens on the port.
command_line() { # PORT
    case $kind in
    ministack)
        line=(GATEWAY_PORT="$1" BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 SERVICES=sqs,sns,s3 LOG_LEVEL=WARNING
            STATE_DIR="$home/state" S3_DATA_DIR="$home/s3" setsid "$place/bin/ministack")
        ;;
    fauxqs)
        line=(FAUXQS_PORT="$1" FAUXQS_HOST=localhost FAUXQS_LOGGER=false FAUXQS_PERSISTENCE="$keeps" FAUXQS_DATA_DIR="$home/kept"
            setsid "$place/node_modules/.bin/node" --import "$place/loopback.mjs" "$place/node_modules/fauxqs/dist/server.js")
        ;;
    esac
}

fake_clock() {
    local library
    clock=()
    [[ -n ${LONGHAUL_EMULATOR_CLOCK:-} ]] || return 0
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1; do
        [[ -e $library ]] || fail "LONGHAUL_EMULATOR_CLOCK needs the Debian packages faketime and libfaketime"
        clock=(LD_PRELOAD="$library" FAKETIME="$LONGHAUL_EMULATOR_CLOCK")
    done
}

# Installs the program where it is missing.
provide() {
    case $kind in
    ministack)
        [[ $keeps == false ]] || fail "ministack keeps nothing: use LONGHAUL_EMULATOR=fauxqs"
        ensure_installed
        ;;
    fauxqs)
        ensure_fauxqs
        health=/health
        ;;
    *) fail "unknown emulator: $kind (see --help)" ;;
    esac
}

# Starts it at a port and waits until it answers. It fails where it ends before, since somebody else has the port.
start_at() { # PORT
    local deadline line
    command_line "$1"
    env -i PATH="$PATH" HOME="$home" LANG=C.UTF-8 TMPDIR="$home/tmp" "${clock[@]}" "${line[@]}" \
        >"$home/log" 2>&1 </dev/null &
    record_process "$home/emulator.pid" $! || return 1
    deadline=$((SECONDS + boot_seconds))
    while live_pid "$home/emulator.pid" >/dev/null && ((SECONDS < deadline)); do
        if answers "$1" && live_pid "$home/emulator.pid" >/dev/null; then
            printf '%s\n' "$1" >"$home/port"
            printf '%s %s\n' "$kind" "$keeps" >"$home/kind"
            return
        fi
        sleep 0.1
    done
    stop
    return 1
}

start() {
    if live_pid "$home/emulator.pid" >/dev/null; then
        url
        return
    fi
    [[ -z ${LONGHAUL_EMULATOR_KEEPS:-} ]] || keeps=true
    provide
    mkdir -p "$home/state" "$home/s3" "$home/tmp" "$home/kept"
    local clock
    fake_clock
    for _ in {1..5}; do
        if start_at "$(pick_port)"; then
            url
            return
        fi
    done
    fail "the emulator does not start: see $home/log"
}

restart() {
    local pid port clock
    port=$(cat "$home/port" 2>/dev/null) || fail "there is no emulator $name in $root"
    read -r kind keeps <"$home/kind"
    provide
    fake_clock
    if pid=$(live_pid "$home/emulator.pid"); then
        kill -KILL "$pid"
        while live_pid "$home/emulator.pid" >/dev/null; do sleep 0.1; done
    fi
    start_at "$port" || fail "the emulator does not start again: see $home/log"
}

url() {
    [[ -s $home/port ]] || fail "there is no emulator $name in $root"
    printf 'http://127.0.0.1:%s\n' "$(cat "$home/port")"
}

environment() {
    printf 'export LONGHAUL_SQS_ENDPOINT=%s\n' "$(url)"
    printf 'export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true\n'
}

stop() {
    local pid deadline=$((SECONDS + stop_seconds))
    pid=$(live_pid "$home/emulator.pid") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while live_pid "$home/emulator.pid" >/dev/null; do
        # It keeps nothing, so nothing is lost.
        ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$home/emulator.pid" "$home/port"
}

stop_all() {
    for home in "$root"/*/; do
        home=${home%/}
        [[ ! -e $home/emulator.pid ]] || stop
    done
}

command=${1:-}
case $command in
-h | --help | '')
    usage
    exit
    ;;
esac
[[ -n ${LONGHAUL_EMULATORS:-} ]] || fail "LONGHAUL_EMULATORS is not set: name the folder for all state (see --help)"
mkdir -p "$LONGHAUL_EMULATORS"
root=$(cd "$LONGHAUL_EMULATORS" && pwd)
if [[ $command == stop-all ]]; then
    stop_all
    exit
fi
name=${2:-}
[[ $name =~ ^[A-Za-z0-9-]+$ ]] || fail "name the emulator with letters, digits and '-'"
home=$root/$name
case $command in
start) start ;;
url) url ;;
env) environment ;;
pid) live_pid "$home/emulator.pid" || fail "the emulator $name is not up" ;;
stop) stop ;;
restart) restart ;;
*) fail "unknown command: $command (see --help)" ;;
esac
