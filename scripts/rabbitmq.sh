#!/usr/bin/env bash
# Private RabbitMQ brokers for tests: on loopback, on ports of their own, with every file in one folder.
#
# It runs the server's own programs as whoever calls it, so it needs neither root nor the system's service, and
# never meets a broker that is already on the machine.

set -euo pipefail

usage() {
    cat <<'USAGE'
usage: LONGHAUL_BROKERS=FOLDER scripts/rabbitmq.sh COMMAND NAME [ARGUMENTS]

  start NAME       boot the broker NAME and wait until it takes connections; a broker that was stopped or killed
                   comes back with its ports and its data
  wait NAME        wait until a broker that is booting takes connections
  url NAME         print its AMQP URL
  pid NAME         print its process id
  stop NAME        end it in good order (SIGTERM), wait until it is gone
  kill NAME        end it as a power cut would (SIGKILL), wait until it is gone
  ctl NAME ARG...  run rabbitmqctl against it
  stop-all         stop every broker of the folder

NAME is letters, digits and '-'. LONGHAUL_BROKERS is the folder that holds all state of all brokers in it; brokers of
one folder share a cookie and a name server, so that they can form a cluster.

Settings for `start`, from the environment:
  LONGHAUL_BROKER_PEERS="a b c"   form a cluster of these names (start all of them at the same time)
  LONGHAUL_BROKER_CLOCK=SPEC      run on a fake clock (Debian packages faketime and libfaketime): '+0x60' for sixty times
                                  the speed, '@FILE' for an offset that is read from FILE again and again
USAGE
}

readonly bin=/usr/lib/rabbitmq/bin
# Below 32768, where the kernel starts to hand out ports to clients.
readonly first_port=20000 last_port=32000
readonly boot_seconds=90 stop_seconds=30

fail() {
    printf 'rabbitmq.sh: %s\n' "$*" >&2
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

wait_until_gone() { # FILE SECONDS
    local deadline=$((SECONDS + $2))
    while live_pid "$1" >/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# --- ports ------------------------------------------------------------------------------------------------------

port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A free port may be taken by somebody else before we listen on it: every caller tries again with another one.
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

# --- the name server of the folder (epmd) -----------------------------------------------------------------------

ensure_epmd() {
    live_pid "$root/epmd.pid" >/dev/null && return
    local port
    for _ in {1..10}; do
        # Brokers of this folder that are still up know the old port.
        port=$(cat "$root/epmd.port" 2>/dev/null) || port=$(pick_port)
        setsid epmd -port "$port" -address 127.0.0.1 >"$root/epmd.log" 2>&1 </dev/null 9>&- &
        record_process "$root/epmd.pid" $! || true
        for _ in {1..50}; do
            live_pid "$root/epmd.pid" >/dev/null || break
            if ! port_is_free "$port" && live_pid "$root/epmd.pid" >/dev/null; then
                printf '%s\n' "$port" >"$root/epmd.port"
                return
            fi
            sleep 0.1
        done
        rm -f "$root/epmd.port" "$root/epmd.pid"
    done
    fail "the name server (epmd) does not start: see $root/epmd.log"
}

stop_idle_epmd() {
    local broker pid
    for broker in "$root"/*/broker.pid; do
        live_pid "$broker" >/dev/null && return
    done
    if pid=$(live_pid "$root/epmd.pid"); then
        kill "$pid" 2>/dev/null || true
        wait_until_gone "$root/epmd.pid" 5 || true
    fi
    rm -f "$root/epmd.pid"
}

# Runs a function alone in this folder: brokers of a cluster are started side by side.
exclusively() {
    (
        flock 9
        "$@"
    ) 9>"$root/lock"
}

# --- one broker -------------------------------------------------------------------------------------------------

# The whole environment of the server and of rabbitmqctl: nothing of the caller's, nothing of /etc/rabbitmq.
load_environment() {
    local port dist
    read -r port dist <"$home/ports"
    environment=(
        env -i
        PATH="$PATH" LANG=C.UTF-8 HOME="$root/home"
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$(cat "$root/epmd.port")"
        RABBITMQ_NODENAME="$name@localhost"
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$dist"
        RABBITMQ_CONF_ENV_FILE="$home/env.conf"
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config"
        RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins"
        RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home" RABBITMQ_LOGS=-
        RABBITMQ_PID_FILE="$home/server.pid" ERL_CRASH_DUMP="$home/erl_crash.dump"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
        # Makes the start script become the server instead of staying its parent, so that our pid is the server's.
        RUNNING_UNDER_SYSTEMD=1
    )
}

write_configuration() {
    local port peer i=0
    read -r port _ <"$home/ports"
    : >"$home/env.conf"
    echo '[].' >"$home/enabled_plugins"
    # Years pass within one delivery on a fake clock.
    echo '[{rabbit,[{consumer_timeout,undefined}]}].' >"$home/advanced.config"
    {
        echo "listeners.tcp.1 = 127.0.0.1:$port"
        echo "disk_free_limit.absolute = 50MB"
        echo "vm_memory_high_watermark.absolute = 2GB"
        echo "log.console.level = info"
        if [[ -n ${LONGHAUL_BROKER_PEERS:-} ]]; then
            echo "cluster_formation.peer_discovery_backend = classic_config"
            echo "cluster_partition_handling = pause_minority"
            for peer in $LONGHAUL_BROKER_PEERS; do
                echo "cluster_formation.classic_config.nodes.$((i += 1)) = $peer@localhost"
            done
        fi
    } >"$home/rabbitmq.conf"
}

fake_clock() {
    local library
    clock=()
    [[ -n ${LONGHAUL_BROKER_CLOCK:-} ]] || return 0
    for library in /usr/lib/*/faketime/libfaketimeMT.so.1; do
        [[ -e $library ]] || fail "LONGHAUL_BROKER_CLOCK needs the Debian packages faketime and libfaketime"
        clock=(LD_PRELOAD="$library")
    done
    case $LONGHAUL_BROKER_CLOCK in
    @*) clock+=(FAKETIME_TIMESTAMP_FILE="${LONGHAUL_BROKER_CLOCK#@}" FAKETIME_CACHE_DURATION=1) ;;
    *) clock+=(FAKETIME="$LONGHAUL_BROKER_CLOCK") ;;
    esac
}

prepare_folder() {
    mkdir -p "$root/home" "$home/data"
    local cookie=$root/home/.erlang.cookie
    if [[ ! -s $cookie ]]; then
        head -c 24 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' >"$cookie"
        chmod 400 "$cookie"
    fi
    ensure_epmd
}

launch() {
    local clock
    fake_clock
    [[ ! -e $home/log ]] || mv "$home/log" "$home/log.before"
    load_environment
    setsid "${environment[@]}" "${clock[@]}" "$bin/rabbitmq-server" >"$home/log" 2>&1 </dev/null &
    record_process "$home/broker.pid" $! || true
}

wait_for_boot() {
    local deadline=$((SECONDS + boot_seconds))
    while ((SECONDS < deadline)); do
        live_pid "$home/broker.pid" >/dev/null || return 1
        ! grep -q 'Server startup complete' "$home/log" || return 0
        sleep 0.1
    done
    return 1
}

start() {
    local attempt
    [[ -x $bin/rabbitmq-server ]] || fail "RabbitMQ is not installed: run ./test, or install the Debian package rabbitmq-server"
    ! live_pid "$home/broker.pid" >/dev/null || fail "$name is already running"
    exclusively prepare_folder
    for attempt in {1..5}; do
        # The ports are kept when a broker comes back, since its clients come back to them.
        [[ -s $home/ports ]] || printf '%s %s\n' "$(pick_port)" "$(pick_port)" >"$home/ports"
        write_configuration
        launch
        if wait_for_boot; then
            : >"$home/booted"
            url
            return
        fi
        end KILL
        if [[ -e $home/booted ]] || ! grep -q -e eaddrinuse -e 'already in use' "$home/log"; then
            break
        fi
        printf 'rabbitmq.sh: a port of %s was taken meanwhile (attempt %s), trying others\n' "$name" "$attempt" >&2
        rm -f "$home/ports"
    done
    tail -n 30 "$home/log" >&2
    fail "$name did not start within $boot_seconds s; the end of its log is above, all of it in $home/log"
}

url() {
    local port
    read -r port _ <"$home/ports"
    printf 'amqp://guest:guest@127.0.0.1:%s/%%2f\n' "$port"
}

end() { # SIGNAL
    local pid
    if pid=$(live_pid "$home/broker.pid"); then
        kill -s "$1" "$pid" 2>/dev/null || true
        if ! wait_until_gone "$home/broker.pid" "$stop_seconds"; then
            kill -s KILL "$pid" 2>/dev/null || true
            wait_until_gone "$home/broker.pid" 5 || fail "$name (pid $pid) does not end"
        fi
    fi
    rm -f "$home/broker.pid"
}

stop_all() {
    local broker
    for broker in "$root"/*/broker.pid; do
        [[ -e $broker ]] || continue
        home=${broker%/*} name=$(basename "$home")
        end TERM
    done
    exclusively stop_idle_epmd
}

main() {
    case ${1:-} in
    -h | --help | '')
        usage
        exit
        ;;
    esac
    local command=$1
    name=${2:-}
    [[ -n ${LONGHAUL_BROKERS:-} ]] || fail "set LONGHAUL_BROKERS to a folder for the brokers' state (see --help)"
    mkdir -p "$LONGHAUL_BROKERS"
    root=$(cd "$LONGHAUL_BROKERS" && pwd)
    if [[ $command == stop-all ]]; then
        stop_all
        return
    fi
    [[ $name =~ ^[A-Za-z0-9-]+$ && $name != home ]] || fail "a broker's name is letters, digits and '-', not '$name' (see --help)"
    shift 2
    home=$root/$name
    [[ $command == start || -s $home/ports ]] || fail "there is no broker $name in $root: start it first"

    case $command in
    start) start ;;
    wait) wait_for_boot || fail "$name is not running or did not boot within $boot_seconds s: see $home/log" ;;
    url) url ;;
    pid) live_pid "$home/broker.pid" || fail "$name is not running" ;;
    stop)
        end TERM
        exclusively stop_idle_epmd
        ;;
    kill)
        end KILL
        ;;
    ctl)
        load_environment
        exec "${environment[@]}" "$bin/rabbitmqctl" "$@"
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
}

main "$@"
