#!/bin/bash
# Make the golden samples of one PostgreSQL major version in src/pg/testdata/MAJOR from a live server.
# usage: tools/make_pg_samples.sh BINDIR        (BINDIR holds initdb, pg_ctl, postgres; psql of any version in PATH)
# Run as an ordinary user (servers refuse root) who may write to src/pg/testdata, or set OUT.
set -euo pipefail

bin=$1
major=$("$bin/postgres" --version | grep -oE '[0-9]+' | head -1)
out=${OUT:-$(cd "$(dirname "$0")/.." && pwd)/src/pg/testdata}/$major
work=$(mktemp -d "${TMPDIR:-/tmp}/pgark-samples.XXXXXX")
data=$work/data
socket=$work
mkdir -p "$out" "$work/archive"
trap '"$bin/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

sql() { psql -X -q -At -v ON_ERROR_STOP=1 -h "$socket" -U postgres -d postgres "$@"; }
start() { "$bin/pg_ctl" -D "$data" -w -l "$work/log" start >/dev/null || { tail -20 "$work/log" >&2; exit 1; }; }
stop() { "$bin/pg_ctl" -D "$data" -w -m fast stop >/dev/null; }
wait_until() {  # wait_until QUERY: poll until it returns t, at most a minute
  for _ in $(seq 600); do [ "$(sql -c "$1" 2>/dev/null || true)" = t ] && return; sleep 0.1; done
  echo "timed out: $1" >&2; tail -20 "$work/log" >&2; exit 1
}

# capture_control NAME STATE: pg_control and what SQL says of it, taken while it did not change.
capture_control() {
  local name=$1 state=$2
  for _ in 1 2 3 4 5; do
    cp "$data/global/pg_control" "$work/control"
    sql -x -F = -c "select pg_control_version, catalog_version_no, system_identifier::text,
          extract(epoch from pg_control_last_modified)::bigint as time_unix_s from pg_control_system()" \
      -c "select checkpoint_lsn, redo_lsn, timeline_id, prev_timeline_id, full_page_writes, next_xid, next_oid, oldest_xid,
          extract(epoch from checkpoint_time)::bigint as checkpoint_time_unix_s from pg_control_checkpoint()" \
      -c "select min_recovery_end_lsn, min_recovery_end_timeline, backup_start_lsn, backup_end_lsn, end_of_backup_record_required
          from pg_control_recovery()" \
      -c "select database_block_size, blocks_per_segment, wal_block_size, bytes_per_wal_segment, data_page_checksum_version
          from pg_control_init()" \
      -c "select current_setting('wal_level') as wal_level, current_setting('wal_log_hints') as wal_log_hints,
          current_setting('max_connections') as max_connections, current_setting('max_worker_processes') as max_worker_processes,
          current_setting('max_wal_senders') as max_wal_senders,
          current_setting('max_prepared_transactions') as max_prepared_xacts,
          current_setting('max_locks_per_transaction') as max_locks_per_xact,
          current_setting('track_commit_timestamp') as track_commit_timestamp,
          current_setting('server_version') as server_version" | grep . >"$work/expected"
    cmp -s "$work/control" "$data/global/pg_control" && break
  done
  { echo "state=$state"; cat "$work/expected"; } >"$out/$name.expected.txt"
  head -c 512 "$work/control" >"$out/$name"   # The file is 8192 bytes; the rest is zero.
  [ "$(tail -c +513 "$work/control" | tr -d '\0' | wc -c)" = 0 ]
}

# be_standby: make the stopped cluster follow the archive.
be_standby() {
  local settings="restore_command = 'cp $work/archive/%f %p'
recovery_target_timeline = 'latest'"
  if [ "$major" -ge 12 ]; then
    echo "$settings" >>"$data/postgresql.auto.conf"; touch "$data/standby.signal"
  else
    printf "standby_mode = 'on'\n%s\n" "$settings" >"$data/recovery.conf"
  fi
}

segsize=(); [ "$major" -ge 11 ] && segsize=(--wal-segsize=4)
"$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --data-checksums "${segsize[@]}" >"$work/initdb.log"
cat >>"$data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$socket'
wal_level = logical
wal_log_hints = on
track_commit_timestamp = on
max_connections = 57
max_worker_processes = 11
max_wal_senders = 7
max_prepared_transactions = 3
max_locks_per_transaction = 77
hot_standby = on
archive_mode = on
archive_command = 'cp %p $work/archive/%f'
fsync = off
CONF

start
space="$work/space \\ one"
mkdir "$space"
sql -c "create tablespace t1 location '$space'" -c "create table t (i int) tablespace t1" \
  -c "insert into t select generate_series(1, 5000)" -c "checkpoint"
if [ "$major" -ge 15 ]; then b_start="pg_backup_start('golden sample, é', true)"; b_stop="pg_backup_stop()";
else b_start="pg_start_backup('golden sample, é', true, false)"; b_stop="pg_stop_backup(false)"; fi
sql -c "select 1" >/dev/null
psql -X -q -At -v ON_ERROR_STOP=1 -h "$socket" -U postgres -d postgres >"$work/session" <<SQL
select $b_start;
\! cp -a "$data" "$work/copy"
select labelfile, spcmapfile from $b_stop \gset
\o $work/label
select :'labelfile';
\o $work/map
select :'spcmapfile';
SQL
# psql ends each row with a line feed of its own.
head -c -1 "$work/label" >"$out/backup_label"
head -c -1 "$work/map" >"$out/tablespace_map"
{ sql -c "select oid from pg_tablespace where spcname = 't1'"; echo "$space"; } >"$out/tablespace_map.expected.txt"
head -1 "$work/session" >"$out/backup_label.expected.txt"

# A whole page with its checksum, and its block number.
sql -c checkpoint
page=$data/$(sql -c "select pg_relation_filepath('pg_proc')")
dd if="$page" of="$out/page_block_3" bs=8192 skip=3 count=1 status=none
sql -c "insert into t select generate_series(1, 5000)" -c "select pg_switch_wal()" >/dev/null
stop
histories=("$work"/archive/*.backup)
history=$(basename "${histories[0]}")
rm -f "$out"/*.backup "$out"/*.history "$out"/wal_*
cp "$work/archive/$history" "$out/$history"

# The copy becomes a standby, then timeline 2, then in the same way 3.
rm -rf "$data" && mv "$work/copy" "$data" && rm -f "$data/postmaster.pid" && rm -rf "$data"/pg_wal/0*
cp "$out/backup_label" "$data/backup_label"
be_standby
start
wait_until "select count(*) = 10000 from t"
sql -c checkpoint
capture_control pg_control.standby "in archive recovery"
"$bin/pg_ctl" -D "$data" promote >/dev/null
wait_until "select not pg_is_in_recovery()"
sql -c "insert into t values (0)" -c checkpoint -c "select pg_switch_wal()" >/dev/null
stop
be_standby
start
wait_until "select pg_is_in_recovery()"
"$bin/pg_ctl" -D "$data" promote >/dev/null
wait_until "select not pg_is_in_recovery()"
sql -c "insert into t values (0)" -c checkpoint
capture_control pg_control "in production"

# First page of the segment timeline 3 began in, and of the next.
segment=$(sql -c "select pg_walfile_name(pg_current_wal_insert_lsn())")
head -c 8192 "$data/pg_wal/$segment" >"$out/wal_$segment"
sql -c "select pg_switch_wal()" -c "insert into t select generate_series(1, 3000)" >/dev/null
segment=$(sql -c "select pg_walfile_name(pg_current_wal_insert_lsn())")
head -c 512 "$data/pg_wal/$segment" >"$out/wal_$segment"
cp "$data/pg_wal/00000003.history" "$out/00000003.history"
# Shut down cleanly: nothing in the file is in motion.
stop
head -c 512 "$data/global/pg_control" >"$out/pg_control.stopped"
if [ -x "$bin/pg_controldata" ]; then "$bin/pg_controldata" -D "$data" >"$out/pg_control.stopped.pg_controldata.txt"; fi
"$bin/postgres" --version >"$out/VERSION.txt"
cp "$data/PG_VERSION" "$out/PG_VERSION"
ls -l "$out"
