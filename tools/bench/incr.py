"""Incremental backups of a cluster in which one row in each of 0.1, 1 and 10 % of its pages was updated, chosen at random:
pgark, pgBackRest (bundles and blocks), and the limit, which is these pages alone read, compressed, written and synced. An
incremental of nothing changed says what of it is the price of any online backup. At last the newest incremental is restored
in turns with a full of the same state: a chain must cost nothing.

The tables have room for a row in every page (a fill factor of 95), so an update changes the page it is in and no other;
which pages really differ is found by looking at all of them before and after. WAL is archived by pgark alone, so that
neither is slowed down by the other's archiving. pgBackRest gets a new full each round, which keeps its chains short and the
disk from filling; pgark goes on with the one it made first.
"""
import mmap
import subprocess

from common import FINGERPRINT, Bench, empty_directory, remove_tree, say, tree_bytes
from peers import Cluster, Pgark, Pgbackrest, Settings

SUMMARY = "incremental backups of 0.1, 1 and 10 % of the pages, and the restore of the last"
PART = "incr"
PAGE = 8192
PORT = 5475
BASE_MIB = 1024  # What is made row by row; a larger cluster has copies of it, which are made faster.
SHARES = {"0.1 %": 0.001, "1 %": 0.01, "10 %": 0.1}
NOTHING = "incremental, nothing changed"
RESTORE = "restore of the last incremental"
TABLES = {"orders": "total = total + 0.01", "customers": "balance = balance + 1",
          "events": "detail = jsonb_set(detail, '{took_ms}', to_jsonb((detail->>'took_ms')::int + 1))"}


def add_options(group):
    group.add_argument("--incr-mib", type=int, default=10240, metavar="N", help="size of the cluster (10240)")
    group.add_argument("--incr-restores", type=int, default=3, metavar="N",
                       help="how often the last incremental and a full are restored (3)")


def work_of(share):
    return f"incremental, {share} of pages"


class Incr:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.data = self.bench.work / "main"
        cluster = Cluster(self.bench, "main", self.data, PORT)
        self.pgark = Pgark(cluster, Settings(processes=options.processes))
        self.tools = [self.pgark]
        if not options.without_peers:
            self.tools.append(Pgbackrest(cluster, Settings(processes=options.processes, archive=False,
                                                           more="repo1-retention-full=1\n")))
        self.changes = {}  # Table: how a row of it is updated.
        self.heap_share = 1.0
        self.pages = {}
        self.turn = 0  # Of the updates: another row of a page each time, another tool first.

    def sql(self, text):
        return self.bench.sql(text, PORT)

    # ---- the cluster ----

    def make_cluster(self):
        base = min(self.options.incr_mib, BASE_MIB)
        copies = max(0, round(self.options.incr_mib / base) - 1)
        self.bench.make_cluster("main", PORT, base)
        say(f"leaving room in its pages; {copies} copies of its tables")
        # Without WAL, which no backup needs yet.
        self.restart("-c wal_level=minimal -c max_wal_senders=0 -c archive_mode=off -c full_page_writes=off "
                     "-c maintenance_work_mem=256MB")
        self.in_sessions([f"ALTER TABLE {table} SET (fillfactor = 95)", f"VACUUM (FULL, FREEZE) {table}",
                          *(statement for copy in range(copies) for statement in self.copying(table, f"{table}_{copy}"))]
                         for table in TABLES)
        # When nothing else runs: else rows stay that a later vacuum marks, which would be taken for a change.
        self.bench.run("vacuumdb", "-q", "-p", PORT, "-d", "postgres", "--freeze", "-j", 2)
        self.restart("")
        self.changes = {f"{table}{copy}": change for table, change in TABLES.items()
                        for copy in ["", *(f"_{number}" for number in range(copies))]}
        heap, total = (int(word) for word in self.sql(
            "SELECT sum(pg_relation_size(oid)) || ' ' || pg_database_size('postgres') FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace").split())
        self.heap_share = heap / total

    @staticmethod
    def copying(table, copy):
        return [f"CREATE TABLE {copy} WITH (fillfactor = 95) AS TABLE {table}", f"ALTER TABLE {copy} ADD PRIMARY KEY (id)"]

    def restart(self, settings):
        self.bench.run("pg_ctl", "-D", self.data, "-l", self.bench.work / "main.log", "-w", "-t", "3600", "-m", "fast", "-o",
                       settings, "restart")

    def in_sessions(self, scripts):
        """Run each of some lists of statements in a session of its own."""
        sessions = [subprocess.Popen(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", str(PORT), "-o", "/dev/null",
                                      *(word for statement in script for word in ("-c", statement))], env=self.bench.env)
                    for script in scripts]
        if any([session.wait() for session in sessions]):
            raise SystemExit("bench: a statement failed")

    def update(self, share):
        """Update a row in each of so many pages, and vacuum, as autovacuum would: hint bits and dead rows belong to this
        change, not to the next."""
        self.turn += 1
        chance = share / self.heap_share
        row = 1 + self.turn % 15  # Not where an earlier update has left a pointer to the newer row, if it can be helped.

        def statements(table, change):
            return [f"UPDATE {table} SET {change} WHERE ctid = ANY (ARRAY(SELECT format('(%s,{row})', page)::tid "
                    f"FROM generate_series(0, pg_relation_size('{table}') / {PAGE} - 1) page WHERE random() < {chance}))",
                    f"VACUUM {table}"]
        # Sessions of their own seeds; the copies of a table are spread over both.
        scripts = [[f"SELECT setseed({self.turn / 1000 + number / 10})"] for number in range(2)]
        for at, (table, change) in enumerate(self.changes.items()):
            scripts[at % 2] += statements(table, change)
        self.in_sessions(scripts)
        self.bench.settle(PORT)

    def changed_pages(self):
        """Pages of relations that differ from those of the last call: (path below the data directory, block).

        Of each page its first 16 bytes are kept: the LSN, and the checksum over all of it.
        """
        before, self.pages, changed = self.pages, {}, []
        for path in sorted([*self.data.glob("base/*/*"), *self.data.glob("global/*")]):
            if not path.name[0].isdigit() or path.stat().st_size < PAGE:
                continue
            name = str(path.relative_to(self.data))
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                with memoryview(content) as raw, raw[:len(raw) // PAGE * PAGE].cast("Q") as words:
                    marks = list(zip(words[0::PAGE // 8].tolist(), words[1::PAGE // 8].tolist()))
            old = before.get(name, [])
            changed += [(name, block) for block, mark in enumerate(marks)
                        if mark != (0, 0) and (block >= len(old) or mark != old[block])]
            self.pages[name] = marks
        return changed

    # ---- the measurements ----

    def start(self):
        for tool in self.tools:
            tool.setup()
            self.results.versions[tool.name] = tool.version()
            say(f"full backup with {tool.name}")
            tool.backup("full")

    def back_up(self, work, number, changed):
        """Let each tool back the change up, another one first each time; pgark's label."""
        label = None
        turns = [*self.tools, None]
        first = (self.turn + self.turn // len(SHARES)) % len(turns)
        for tool in turns[first:] + turns[:first]:
            if tool is None:
                self.note_limit(work, number, changed)
                continue
            cost = tool.backup("incr")
            label = cost["label"] if tool is self.pgark else label
            self.results.note(PART, work, tool.name, number, changed_pages=len(changed), **cost)
        return label

    def note_limit(self, work, number, changed):
        if not changed:
            return
        pages, out = self.bench.work / "pages", self.bench.work / "limit"
        pages.write_text("".join(f"{path} {block}\n" for path, block in changed), encoding="utf-8")
        cost = self.bench.limit("backup", self.data, out, processes=self.options.processes, pages=pages)
        self.results.note(PART, work, "limit", number, changed_pages=len(changed), read_bytes=len(changed) * PAGE,
                          stored_bytes=tree_bytes(out), **cost)

    def measure_changes(self):
        label = None
        for number in range(1, self.options.rounds + 1):
            if number > 1 and not self.options.without_peers:
                say(f"another full with {self.tools[-1].name}")
                self.tools[-1].backup("full")
            self.bench.settle(PORT)
            self.changed_pages()  # Whatever the server did by itself is part of no change.
            self.back_up(NOTHING, number, [])
            for name, share in SHARES.items():
                self.update(share)
                label = self.back_up(work_of(name), number, self.changed_pages())
        return label

    def measure_restores(self, last):
        for tool in self.tools[1:]:
            remove_tree(tool.home)  # Room for what is restored.
        full = self.pgark.backup("full")["label"]
        self.bench.settle(PORT)
        place = self.bench.work / "restored"
        # Restored once unmeasured, what the measured ones read is in the page cache; pgark drops from it what it wrote.
        for number in range(self.options.incr_restores + 1):
            pair = [("pgark", last), ("pgark, a full", full)]
            for name, label in pair if number % 2 else pair[::-1]:
                cost = self.pgark.restore(empty_directory(place), label)
                if number > 0:
                    self.results.note(PART, RESTORE, name, number, **cost)
                else:
                    self.bench.check_restored(place, PORT + 10, self.sql(FINGERPRINT), self.pgark.recovery_options())
        remove_tree(place)

    def compare(self):
        results = self.results
        for name in SHARES:
            work = work_of(name)
            results.compare(PART, work, "pgark", "limit", at_most=1.5)
            results.compare(PART, work, "pgark", "limit", field="cpu_seconds")
            results.compare(PART, work, "pgark", "limit", field="stored_bytes")
            results.compare(PART, work, "pgark", "pgBackRest tuned", at_least=5 if name == "0.1 %" else None,
                            note="the goal is for 10 GiB" if name == "0.1 %" else "")
            results.compare(PART, work, "pgark", "pgBackRest tuned", field="stored_bytes")
        results.compare(PART, NOTHING, "pgark", "pgBackRest tuned")
        results.compare(PART, RESTORE, "pgark", "pgark, a full")
        results.bound(PART, "", "pgark", "peak_kib", 256)

    def main(self):
        self.make_cluster()
        self.start()
        label = self.measure_changes()
        if self.options.incr_restores > 0:
            self.measure_restores(label)

    def clean_up(self):
        for directory in ("main", "restored"):
            self.bench.stop(self.bench.work / directory)


def run(options, results):
    part = Incr(options, results)
    results.describe(PART, f"{options.incr_mib} MiB of rows, {options.processes} processes, zstd level 1, page cache warm; "
                     "one row updated in each of so many pages, chosen at random.")
    part.compare()
    part.bench.go(part.main, part.clean_up, options.keep)
