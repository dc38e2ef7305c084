#!/bin/bash
# Fill a running cluster with realistic rows (tools/realistic_data.sql): usage: make_data.sh MIB [SEED] [psql options...]
# Several sessions work at once, each on a part; the rows depend on MIB, SEED and the number of sessions, which is 2.
set -euo pipefail
[[ $# -ge 1 && $1 =~ ^[0-9]+$ ]] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
mib=$1 seed=${2:-1}
shift $(($# > 1 ? 2 : 1))
here=$(dirname "${BASH_SOURCE[0]}")
psql=(psql -X -q -v ON_ERROR_STOP=1 "$@")

PGOPTIONS='-c client_min_messages=warning' "${psql[@]}" -f "$here/realistic_data.sql"
workers=()
for part in 0 1; do
  "${psql[@]}" -At -c "SELECT pgark_make_data($(((mib + 1) / 2)), $seed, $part)" >/dev/null &
  workers+=($!)
done
for worker in "${workers[@]}"; do wait "$worker"; done
"${psql[@]}" -c 'CHECKPOINT'
