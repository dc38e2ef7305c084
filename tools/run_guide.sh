#!/bin/bash
# Run the commands of a page of docs/guide: every block marked `sh`, in order, in one shell that stops at the first failure.
# usage: run_guide.sh PAGE     PGARK names the binary; PostgreSQL's programs must be on the PATH or Debian's 15 installed
set -euo pipefail
page=${1:?usage: run_guide.sh PAGE}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$(awk '/^```sh$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$page")
[[ -n $script ]] || { echo "run_guide: $page has no block marked sh" >&2; exit 1; }
bin=$(mktemp -d)
ln -s "$(readlink -f "${PGARK:-$here/../build/pgark}")" "$bin/pgark"
export PATH=$bin:/usr/lib/postgresql/15/bin:$PATH
cleanup() {
  # A page that failed half-way leaves its servers running: $W is where pages keep theirs.
  if [[ -n ${W:-} && -d $W ]]; then
    for data in "$W/data" "$W/restored"; do
      [[ ! -f $data/postmaster.pid ]] || pg_ctl -D "$data" -m immediate -w stop >/dev/null 2>&1 || true
    done
    echo "run_guide: stopped before the end of $page; its directory is $W" >&2
  fi
  rm -rf "$bin"
}
trap cleanup EXIT
eval "$script"
echo "run_guide: $page works"
