# Shared by the scripts of this folder: say what happens, servers of our own, clean up. What is missing is installed by needs.sh.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
postgres_bin=/usr/lib/postgresql/15/bin
target=${CARGO_TARGET_DIR:-$root/target}

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' dim='' green='' red='' plain=''; fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%serror: %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# shellcheck source=scripts/needs.sh
source "$root/scripts/needs.sh"

# A TCP port of this host that nobody listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# --- How long each stage took. -------------------------------------------------------------------------------

# A file that the outermost script makes and prints; the scripts that it starts add to it.
stages=${PGWICKET_STAGES:-}
stages_printed_here=''
stage_name=''

# begin_stages: from here on, a table of the stages stands at the end, however it ends.
begin_stages() {
  at_end
  [ -z "$stages" ] || return 0
  stages=$(mktemp)
  stages_printed_here=yes
  export PGWICKET_STAGES=$stages
}

# stage NAME COMMAND…: COMMAND is a stage of that name.
stage() {
  stage_name=$1 stage_began=$EPOCHSECONDS
  shift
  say "$stage_name"
  local status=0
  # Where nobody looks at the outcome, a failure ends the script here, and at_end names the stage.
  "$@"
  status=$?
  end_stage $status
  return $status
}

end_stage() {
  [ -n "$stages" ] || return 0
  printf '%s\t%s\t%s\n' "$((EPOCHSECONDS - stage_began))" "$([ "$1" = 0 ] && echo ok || echo FAILED)" "$stage_name" >>"$stages"
  [ "$1" = 0 ] || printf '%serror: the stage "%s" failed with status %s%s\n' "$red" "$stage_name" "$1" "$plain" >&2
  stage_name=''
}

end_stages() {
  [ -z "$stage_name" ] || end_stage "$1"
  [ -n "$stages_printed_here" ] || return 0
  printf '\n%sHow long each stage took%s\n' "$bold" "$plain"
  awk -F '\t' '{ printf "%4d min %02d s  %-6s  %s\n", $1 / 60, $1 % 60, $2, $3 }' "$stages"
  printf '%4d min %02d s  %-6s  all of it, %s cores\n' $((SECONDS / 60)) $((SECONDS % 60)) "$([ "$1" = 0 ] && echo ok || echo FAILED)" "$(nproc)"
  rm -f "$stages"
}

# --- A scratch directory, and what runs in it. ---------------------------------------------------------------

work=''
children=()

# make_work NAME: a directory for this run, gone at its end, as are the servers that were started in it.
make_work() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/pgwicket-$1-XXXXXX")
  chmod 755 "$work"
  at_end
}

# at_end: however this script ends, what it started is ended, what it made is removed, and its stages are told.
at_end() {
  trap 'status=$?; trap - EXIT; clean_up; end_stages $status; exit $status' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

clean_up() {
  local pid
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${children[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -n "$work" ] || return 0
  if [ -f "$work/postgresql/postmaster.pid" ]; then
    as_user postgres "$postgres_bin/pg_ctl" -D "$work/postgresql" -m immediate -s stop || true
  fi
  rm -rf "$work"
}

# as_user NAME COMMAND…: servers do not run as root; when we are not root, they run as us. Replaces a shell started for it
# (no process in between), so that `as_user … &` leaves the server's own pid in $!.
as_user() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then set -- setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- "$@"; fi
  if [ "$BASH_SUBSHELL" -gt 0 ]; then cd / && exec "$@"; else (cd / && exec "$@"); fi
}

# own NAME PATH: gives a path to the user that will serve from it.
own() { if [ "$(id -u)" = 0 ]; then chown -R "$1" "$2"; fi; }

# start_postgresql [SETTING=VALUE…]: a cluster in $work on $postgres_port; superuser postgres, trusted on its socket in $work.
start_postgresql() {
  local settings='' setting
  for setting in "$@"; do settings+=" -c $setting"; done
  postgres_port=$(free_port)
  mkdir "$work/postgresql" "$work/socket"
  own postgres "$work/postgresql"
  own postgres "$work/socket"
  as_user postgres "$postgres_bin/initdb" -D "$work/postgresql" -U postgres -E UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  as_user postgres "$postgres_bin/pg_ctl" -D "$work/postgresql" -l "$work/socket/postgresql.log" -w -s \
    -o "-p $postgres_port -k $work/socket -c listen_addresses=127.0.0.1$settings" start >/dev/null 2>&1 ||
    die "PostgreSQL did not start: $(cat "$work/socket/postgresql.log")"
}

# superuser PSQL-ARGUMENT…: psql as the database's superuser, over the socket.
superuser() { psql -X -q -v ON_ERROR_STOP=1 -h "$work/socket" -p "$postgres_port" -U postgres "$@"; }

# wait_for PORT PID LOG: until the server accepts connections.
wait_for() {
  local attempt
  for attempt in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    kill -0 "$2" 2>/dev/null || die "the server ended: $(cat "$3")"
    sleep 0.1
  done
  die "the server is not ready after 30 s: $(tail -5 "$3")"
}
