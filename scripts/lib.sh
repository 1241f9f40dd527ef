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

# --- A scratch directory, and what runs in it. ---------------------------------------------------------------

work=''
children=()

# make_work NAME: a directory for this run, gone at its end, as are the servers that were started in it.
make_work() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/pgwicket-$1-XXXXXX")
  chmod 755 "$work"
  trap 'status=$?; trap - EXIT; clean_up; exit $status' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

clean_up() {
  local pid
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${children[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ -f "$work/postgresql/postmaster.pid" ]; then
    as_user postgres "$postgres_bin/pg_ctl" -D "$work/postgresql" -m immediate -s stop || true
  fi
  [ -z "$work" ] || rm -rf "$work"
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
