#!/bin/bash
# The demo: a live cluster is backed up under load, loses a table, and gets it back as it was the second before.
# Everything happens in a scratch directory with PostgreSQL 15 and is gone at the end. Run it as `./dev demo`.
# usage: tools/demo.sh [--mib=N] [--keep]      PGARK names the binary
set -euo pipefail

MIB=200 KEEP=no
for argument in "$@"; do
  case $argument in
    --mib=*) MIB=${argument#--mib=} ;;
    --keep) KEEP=yes ;;
    *) sed -n '2,4s/^# //p' "$0"; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PGARK=$(readlink -f "${PGARK:-$here/../build/pgark}")
[[ $(id -u) != 0 ]] || { echo "demo: PostgreSQL refuses to run as root; run ./dev demo" >&2; exit 1; }
[[ -x $PGARK ]] || { echo "demo: no binary at $PGARK; run ./dev build" >&2; exit 1; }
W=$(mktemp -d /tmp/pgark-demo-XXXX)
mkdir "$W/bin"
ln -s "$PGARK" "$W/bin/pgark"
export PATH=$W/bin:/usr/lib/postgresql/15/bin:$PATH
export PGHOST=$W PGPORT=5461 PGUSER=postgres PGDATABASE=postgres PGOPTIONS='' PGTZ=UTC TZ=UTC LC_ALL=C
load_pid=

finish() {
  local status=$?
  [[ -z $load_pid ]] || kill "$load_pid" 2>/dev/null || true
  for data in "$W/data" "$W/restored"; do
    [[ ! -f $data/postmaster.pid ]] || pg_ctl -D "$data" -m immediate -w stop >/dev/null 2>&1 || true
  done
  if [[ $status != 0 ]]; then
    KEEP=yes
    printf '\ndemo: failed\n'
    tail -n 15 "$W"/*.log 2>/dev/null || true
  fi
  if [[ $KEEP == yes ]]; then echo "kept $W"; else rm -rf "$W"; fi
}
trap finish EXIT

say() { printf '\n# %s\n' "$*"; }
# Show a command as a person would type it, run it, show what came back. The scratch directory is shown as ~.
run() {
  local word line=
  for word in "$@"; do
    case $word in *' '*) word="'$word'" ;; esac
    line+=" ${word//$W/\~}"
  done
  printf '$%s\n' "$line"
  "$@" 2>&1 | sed "s|$W|~|g"
}
sql() { psql -X -At -c "$1"; }
run_sql() {
  printf '$ psql -c "%s"\n' "$1"
  psql -X -c "$1" "${@:2}" | sed '/^$/d'
}

printf '# A scratch directory, %s, is shown as ~ and removed at the end.\n' "$W"

say "A cluster with page checksums that archives its WAL with pgark"
initdb -D "$W/data" -U postgres -A trust -E UTF8 --locale=C --data-checksums -N >/dev/null
cat >"$W/pgark.conf" <<CONF
[global]
repo1-path=$W/repo
log-path=$W/log
lock-path=$W/lock
spool-path=$W/spool
start-fast=y

[main]
pg1-path=$W/data
pg1-socket-path=$W
pg1-port=$PGPORT
pg1-user=postgres
CONF
cat >>"$W/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$W'
port = $PGPORT
archive_mode = on
archive_command = 'pgark --config=$W/pgark.conf --stanza=main archive-push %p'
CONF
export PGARK_CONFIG=$W/pgark.conf
printf '$ cat ~/pgark.conf\n'
sed "s|$W|~|g" "$W/pgark.conf"
printf '$ grep ^archive ~/data/postgresql.conf\n'
grep ^archive "$W/data/postgresql.conf" | sed "s|$W|~|g"
pg_ctl -D "$W/data" -l "$W/server.log" -w start >/dev/null

say "Make the repository ready and see that WAL arrives"
run pgark --stanza=main stanza-create
run pgark --stanza=main check

say "A shop with $MIB MiB of data, and customers who keep ordering"
"$here/make_data.sh" "$MIB" 1
run_sql "SELECT count(*) AS orders, pg_size_pretty(pg_database_size('postgres')) AS size FROM orders"
# One transaction after the other until told to stop.
(
  trap 'exit 0' TERM
  while :; do
    sql "INSERT INTO orders SELECT 9000000000 + coalesce(max(id), 0) % 1000000000 + 1, 1, now(), 'new', 1, md5(random()::text)::uuid, 'live'
         FROM orders WHERE id >= 9000000000" >/dev/null
  done
) &
load_pid=$!

say "A full backup while they do"
run pgark --stanza=main backup --type=full

say "An incremental: what has changed since, and no chain"
run pgark --stanza=main backup
run pgark --stanza=main info

say "The last good moment"
kill "$load_pid"
wait "$load_pid" 2>/dev/null || true
load_pid=
run_sql "SELECT count(*) AS orders, count(*) FILTER (WHERE note = 'live') AS during_the_backup FROM orders"
fingerprint="SELECT count(*) || ' ' || md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o"
before=$(sql "$fingerprint")
moment=$(sql "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")
sql "SELECT pg_sleep(1)" >/dev/null

say "The accident, a second later"
run_sql "DROP TABLE orders"
run_sql "SELECT count(*) FROM orders" 2>&1 || true
# Ends the segment and waits until it is in the repository.
pgark --stanza=main check >/dev/null

say "Restore the second before into a new directory, and start it"
started=$SECONDS
run pgark --stanza=main restore --pg1-path="$W/restored" --type=time "--target=$moment" --target-action=promote --archive-mode=off
export PGPORT=5462
run pg_ctl -D "$W/restored" -l "$W/restored.log" -o "-p $PGPORT" -w -s start
for _ in $(seq 600); do
  [[ $(sql 'SELECT pg_is_in_recovery()' 2>/dev/null) == f ]] && break
  sleep 0.1
done
grep -E 'recovery stopping|redo done|new timeline' "$W/restored.log" | sed 's/^/  /'
run_sql "SELECT count(*) AS orders, count(*) FILTER (WHERE note = 'live') AS during_the_backup FROM orders"
after=$(sql "$fingerprint")

say "Compare"
printf 'before the accident: %s\nafter the restore:   %s\n' "$before" "$after"
if [[ $before != "$after" ]]; then echo "NOT the same"; exit 1; fi
printf 'The same, row for row, %s s after the restore began.\n' "$((SECONDS - started))"
