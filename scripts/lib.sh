# Shared by the scripts of this folder: say what happens, install what is missing, servers of our own, clean up.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
postgres_bin=/usr/lib/postgresql/15/bin
target=${CARGO_TARGET_DIR:-$root/target}

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'; else bold='' dim='' green='' red='' plain=''; fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%serror: %s%s\n' "$red" "$*" "$plain" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install_packages PACKAGE…: Debian packages, those that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing Debian packages: ${missing[*]}"
  if [ -z "${package_lists_fresh:-}" ]; then as_root apt-get update -qq; package_lists_fresh=yes; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# What `cargo build` needs: a C compiler and libclang for the SQL parser's bindings.
need_build_tools() {
  command -v cargo >/dev/null || die "cargo is not there: install Rust from https://rustup.rs, then run this again"
  command -v gcc >/dev/null || install_packages gcc libc6-dev
  if ! ldconfig -p 2>/dev/null | grep -q libclang && ! ls /usr/lib/llvm-*/lib/libclang*.so* >/dev/null 2>&1; then
    install_packages libclang1-14 libclang-common-14-dev
  fi
  # Without clang's own headers, gcc's do.
  if ! ls -d /usr/lib/llvm-*/lib/clang/*/include /usr/lib/clang/*/include >/dev/null 2>&1; then
    export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:-} -I$(gcc -print-file-name=include)"
  fi
}

need_postgresql() {
  [ -x "$postgres_bin/postgres" ] && command -v psql >/dev/null && return
  # Installed for its programs: no cluster is made and no server is left running.
  install_packages postgresql-common
  as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  install_packages postgresql-15 postgresql-client-15
}

# A generator of queries, which one test drives.
need_sqlsmith() { command -v sqlsmith >/dev/null || install_packages sqlsmith; }

# A virtual environment in .venv with what tests/drivers/requirements.txt pins.
need_python_drivers() {
  local stamp="$root/.venv/installed" wanted
  wanted=$(cat "$root/tests/drivers/requirements.txt")
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
  say "installing Python drivers into .venv"
  [ -x "$root/.venv/bin/python" ] || python3 -m venv "$root/.venv"
  "$root/.venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/tests/drivers/requirements.txt"
  printf '%s\n' "$wanted" >"$stamp"
}

need_node_drivers() {
  local stamp="$root/tests/drivers/node/node_modules/.package-lock.json"
  [ "$stamp" -nt "$root/tests/drivers/node/package-lock.json" ] && return
  command -v node >/dev/null || install_packages nodejs
  command -v npm >/dev/null || install_packages npm
  say "installing node-postgres into tests/drivers/node"
  (cd "$root/tests/drivers/node" && npm ci --silent --no-audit --no-fund && touch "$stamp")
}

# PostgreSQL servers of other versions than Debian's, in tests/servers/node_modules.
need_postgresql_versions() {
  local stamp="$root/tests/servers/node_modules/.package-lock.json" package
  [ "$stamp" -nt "$root/tests/servers/package-lock.json" ] && return
  command -v node >/dev/null || install_packages nodejs
  command -v npm >/dev/null || install_packages npm
  say "installing PostgreSQL 16, 17 and 18 into tests/servers"
  (cd "$root/tests/servers" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  # The packages cannot hold symbolic links: each has a script that makes its own.
  for package in "$root"/tests/servers/node_modules/postgresql-*; do (cd "$package" && node scripts/hydrate-symlinks.js); done
  touch "$stamp"
}

# Debian's pgjdbc, and a JDK that runs a source file.
need_jdbc() {
  { [ -f /usr/share/java/postgresql.jar ] && command -v javac >/dev/null; } || install_packages default-jdk-headless libpostgresql-jdbc-java
}

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
