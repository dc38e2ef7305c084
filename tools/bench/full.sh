#!/bin/bash
# Full backup and restore of a cluster with realistic rows: pgark, pgBackRest, and the limit that the codec alone sets
# (the same bytes through `zstd -1` in two processes, then synced), taking turns. Prints a Markdown table of medians and
# writes every single measurement to bench/results/<time>.json. Run it as `./dev bench`.
# usage: tools/bench.sh [--mib=N] [--rounds=N] [--processes=N] [--without-pgbackrest] [--keep]
set -euo pipefail

MIB=2400 ROUNDS=3 PROCESSES=2 PGBACKREST=yes KEEP=no
for argument in "$@"; do
  case $argument in
    --mib=*) MIB=${argument#*=} ;;
    --rounds=*) ROUNDS=${argument#*=} ;;
    --processes=*) PROCESSES=${argument#*=} ;;
    --without-pgbackrest) PGBACKREST=no ;;
    --keep) KEEP=yes ;;
    *) sed -n '2,6s/^# //p' "$0"; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PGARK=$(readlink -f "${PGARK:-$here/../build/pgark}")
RESULTS=$here/../bench/results
[[ $(id -u) != 0 ]] || { echo "bench: PostgreSQL refuses to run as root; run ./dev bench" >&2; exit 1; }
[[ -x $PGARK ]] || { echo "bench: no binary at $PGARK; run ./dev build" >&2; exit 1; }
W=$(mktemp -d "${TMPDIR:-/tmp}/pgark-bench-XXXX")
mkdir "$W/bin"
ln -s "$PGARK" "$W/bin/pgark"
export PATH=$W/bin:/usr/lib/postgresql/15/bin:$PATH
export PGHOST=$W PGPORT=5471 PGUSER=postgres PGDATABASE=postgres TZ=UTC LC_ALL=C
MEASUREMENTS=$W/measurements  # what, round, seconds, peak KiB, bytes in the repository

finish() {
  local status=$? data
  for data in "$W/data" "$W/restored"; do
    [[ ! -f $data/postmaster.pid ]] || pg_ctl -D "$data" -m immediate -w stop >/dev/null 2>&1 || true
  done
  [[ $status == 0 ]] || { KEEP=yes; echo "bench: failed" >&2; tail -n 20 "$W"/*.log >&2 || true; }
  if [[ $KEEP == yes ]]; then echo "kept $W" >&2; else chmod -R u+w "$W"; rm -rf "$W"; fi
}
trap finish EXIT

say() { printf 'bench: %s\n' "$*" >&2; }
sql() { psql -X -At -v ON_ERROR_STOP=1 -c "$1"; }

# Run a command and note seconds and the peak memory of its largest process.
measure() {  # WHAT ROUND SIZE_OF COMMAND...
  local what=$1 round=$2 sized=$3 bytes=0
  shift 3
  sync
  /usr/bin/time -o "$W/time" -f '%e %M' "$@" >"$W/command.log" 2>&1 ||
    { cat "$W/command.log" >&2; say "$what failed"; return 1; }
  [[ $sized == - ]] || bytes=$(du -sb "$sized" | cut -f1)
  printf '%s %s %s %s\n' "$what" "$round" "$(tail -1 "$W/time")" "$bytes" >>"$MEASUREMENTS"
  say "$(printf '%-20s round %s: %6.2f s, peak %s MiB' "$what" "$round" "$(cut -d' ' -f1 "$W/time")" "$(($(cut -d' ' -f2 "$W/time") / 1024))")"
}

make_cluster() {
  say "making a cluster with $MIB MiB"
  initdb -D "$W/data" -U postgres -A trust -E UTF8 --locale=C --data-checksums -N >/dev/null
  cat >>"$W/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$W'
port = $PGPORT
archive_mode = on
archive_command = 'true'
max_wal_size = 8GB
shared_buffers = 256MB
autovacuum = off
CONF
  pg_ctl -D "$W/data" -l "$W/server.log" -w start >/dev/null
  "$here/make_data.sh" "$MIB" 1
  sql "VACUUM (FREEZE, ANALYZE)" >/dev/null
  sql "CHECKPOINT" >/dev/null
  fingerprint=$(sql "SELECT count(*) || ' ' || sum(total) FROM orders")
  # What a backup has to copy: the data directory without WAL, and in two lists of about the same size.
  (cd "$W/data" && find base global pg_xact pg_multixact pg_commit_ts pg_subtrans -type f -size +0 -printf '%s %p\n' | sort -rn) |
    awk -v data="$W/data/" -v a="$W/half0" -v b="$W/half1" '{ if (x <= y) { x += $1; print data $2 > a } else { y += $1; print data $2 > b } total += $1 } END { printf "%.0f\n", total }' >"$W/bytes"
  DATA_BYTES=$(cat "$W/bytes")
}

archive_with() {
  sql "ALTER SYSTEM SET archive_command = '$1'" >/dev/null
  sql "SELECT pg_reload_conf()" >/dev/null
  # The archiver follows within a moment; the first segment proves it.
  sql "SELECT pg_switch_wal()" >/dev/null
}

check_restored() {
  local found
  rm -f "$W/restored.log"
  pg_ctl -D "$W/restored" -l "$W/restored.log" -o "-p 5472 -c archive_mode=off" -w start >/dev/null
  for _ in $(seq 600); do
    [[ $(PGPORT=5472 sql 'SELECT pg_is_in_recovery()' 2>/dev/null) == f ]] && break
    sleep 0.1
  done
  found=$(PGPORT=5472 sql "SELECT count(*) || ' ' || sum(total) FROM orders")
  pg_ctl -D "$W/restored" -m immediate -w stop >/dev/null
  [[ $found == "$fingerprint" ]] || { say "the restored cluster differs: '$found', not '$fingerprint'"; return 1; }
}

# Every tool restores from the page cache: pgark drops what it wrote from it, which would have it alone read the disk.
warm() { find "$1" -type f -exec cat {} + >/dev/null; }

clean_restored() { chmod -R u+w "$W/restored" 2>/dev/null || true; rm -rf "$W/restored"; mkdir -m 700 "$W/restored"; }

pgark_round() {
  cat >"$W/pgark.conf" <<CONF
[global]
repo1-path=$W/repo-pgark
log-path=$W/pgark-log
lock-path=$W/pgark-lock
spool-path=$W/pgark-spool
process-max=$PROCESSES
start-fast=y
compress-type=zst
compress-level=1
[main]
pg1-path=$W/data
pg1-socket-path=$W
pg1-port=5471
pg1-user=postgres
CONF
  local tool=(pgark "--config=$W/pgark.conf" --stanza=main)
  "${tool[@]}" stanza-create >"$W/command.log" 2>&1 || { cat "$W/command.log" >&2; return 1; }
  archive_with "${tool[*]} archive-push %p"
  measure pgark-backup "$1" "$W/repo-pgark" "${tool[@]}" backup --type=full
  warm "$W/repo-pgark"
  clean_restored
  measure pgark-restore "$1" - "${tool[@]}" restore --pg1-path="$W/restored" --archive-mode=off
  check_restored
  archive_with true
  rm -rf "$W/repo-pgark" "$W"/pgark-*
}

pgbackrest_round() {
  mkdir -p "$W/pgbackrest-log" "$W/pgbackrest-lock" "$W/pgbackrest-spool"
  cat >"$W/pgbackrest.conf" <<CONF
[global]
repo1-path=$W/repo-pgbackrest
log-path=$W/pgbackrest-log
lock-path=$W/pgbackrest-lock
spool-path=$W/pgbackrest-spool
process-max=$PROCESSES
start-fast=y
compress-type=zst
compress-level=1
repo1-bundle=y
repo1-block=y
[main]
pg1-path=$W/data
pg1-socket-path=$W
pg1-port=5471
pg1-user=postgres
CONF
  local tool=(pgbackrest "--config=$W/pgbackrest.conf" --stanza=main)
  # Before 2.46, Debian's 2.45 included, blocks are a beta feature that must be asked for.
  if [[ $(pgbackrest version) =~ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] < 2046)); then
    tool+=(--beta)
  fi
  "${tool[@]}" stanza-create >"$W/command.log" 2>&1 || { cat "$W/command.log" >&2; return 1; }
  archive_with "${tool[*]} archive-push %p"
  measure pgbackrest-backup "$1" "$W/repo-pgbackrest" "${tool[@]}" backup --type=full
  warm "$W/repo-pgbackrest"
  clean_restored
  measure pgbackrest-restore "$1" - "${tool[@]}" restore --pg1-path="$W/restored" --archive-mode=off
  check_restored
  archive_with true
  rm -rf "$W/repo-pgbackrest" "$W"/pgbackrest-*
}

# The same bytes through the bare codec in two processes, then made durable: what nothing that compresses can beat.
limit_round() {
  mkdir -p "$W/limit" "$W/limit-out"
  # shellcheck disable=SC2016  # expanded by the inner shell
  measure limit-backup "$1" "$W/limit" bash -c '
    for i in 0 1; do xargs -a "$1/half$i" cat | zstd -q -1 -T1 -c >"$1/limit/$i.zst" & done
    wait; sync "$1"/limit/*' _ "$W"
  # shellcheck disable=SC2016
  measure limit-restore "$1" - bash -c '
    for i in 0 1; do zstd -q -d -c "$1/limit/$i.zst" >"$1/limit-out/$i" & done
    wait; sync "$1"/limit-out/*' _ "$W"
  rm -rf "$W/limit" "$W/limit-out"
}

report() {
  mkdir -p "$RESULTS"
  local file
  file=$RESULTS/$(date -u +%Y%m%d-%H%M%S).json
  python3 - "$MEASUREMENTS" "$file" "$DATA_BYTES" "$PROCESSES" "$("$PGARK" --version 2>&1 | head -1)" \
    "$(pgbackrest version 2>/dev/null || true)" "$(postgres --version)" "$(stat -f -c %T "$W")" <<'PYTHON'
import json, os, platform, statistics, sys
measured, out, data_bytes, processes, pgark, pgbackrest, postgres, filesystem = sys.argv[1:]
data_bytes = int(data_bytes)
runs = {}
for line in open(measured):
    what, number, seconds, peak_kib, size = line.split()
    runs.setdefault(what, []).append({"round": int(number), "seconds": float(seconds), "peak_kib": int(peak_kib), "repository_bytes": int(size)})
def median(what, field="seconds"):
    return statistics.median(run[field] for run in runs[what])
cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
json.dump({"data_bytes": data_bytes, "processes": int(processes), "runs": runs,
           "machine": {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory_gib, 1), "kernel": platform.release(), "filesystem": filesystem},
           "versions": {"pgark": pgark, "pgbackrest": pgbackrest, "postgres": postgres}}, open(out, "w"), indent=1)
rounds = max(len(list) for list in runs.values())
print(f"{data_bytes / 2**30:.2f} GiB of data files, {processes} processes, zstd level 1, median (least to most) of {rounds} rounds;")
print(f"{cpu}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {filesystem}, page cache warm; {pgark}; {pgbackrest}; {postgres}.\n")
print("| | seconds | MiB/s | of the codec's limit | against pgBackRest | peak MiB, largest process | stored |")
print("|---|---|---|---|---|---|---|")
names = {"pgark": "pgark", "pgbackrest": "pgBackRest", "limit": "zstd -1, 2 processes, sync"}
for phase in ("backup", "restore"):
    for tool, name in names.items():
        what = f"{tool}-{phase}"
        if what not in runs:
            continue
        seconds = [run["seconds"] for run in runs[what]]
        middle = median(what)
        against = f"{median('pgbackrest-' + phase) / middle:.2f}x" if f"pgbackrest-{phase}" in runs and tool == "pgark" else ""
        size = median(what, "repository_bytes")
        stored = f"{size / 2**20:.0f} MiB, {data_bytes / size:.2f}:1" if size else ""
        label = f"{phase}: {name}" if tool != "limit" or phase == "backup" else f"{phase}: zstd -d, 2 processes, sync"
        print(f"| {label} | {middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {data_bytes / 2**20 / middle:.0f} "
              f"| {median('limit-' + phase) / middle:.2f} | {against} | {median(what, 'peak_kib') / 1024:.0f} | {stored} |")
print(f"\nEvery measurement: {os.path.relpath(out)}")
PYTHON
}

make_cluster
for round in $(seq "$ROUNDS"); do
  pgark_round "$round"
  [[ $PGBACKREST == no ]] || pgbackrest_round "$round"
  limit_round "$round"
done
report
