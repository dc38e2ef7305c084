"""Many small relations: a full backup and a restore of a cluster of 200,000 tables that have a page or none, by pgark,
pgBackRest with bundles, and the limit, which opens, reads, creates and writes as many files with the plain system calls.

The tables are made in one database, of which others are copies: a server of many tenants looks like this. Every fourth
table is empty, and none has an index or a TOAST table, so a relation is a file.

Each restore has a directory of its own, which is not deleted before the end: see shorten_files().
"""
import subprocess

from common import FINGERPRINT, Bench, empty_directory, say, shorten_files, tree_bytes, warm
from peers import Cluster, Pgark, Pgbackrest, Settings

SUMMARY = "full backup and restore of many small relations"
PART = "small"
PORT = 5478
PER_DATABASE = 20_000
BACKUP, RESTORE = "full backup, small relations", "restore, small relations"

MAKE = """DO $$ BEGIN
  FOR i IN 1..{count} LOOP
    EXECUTE format('CREATE TABLE tenant_%s(id int, at timestamptz, amount float8)', i);
    IF i % 4 <> 0 THEN
      EXECUTE format('INSERT INTO tenant_%s SELECT n, now(), random() FROM generate_series(1, %s) n', i, 1 + i % 120);
    END IF;
    IF i % 500 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$"""


def add_options(group):
    group.add_argument("--small-relations", type=int, default=200_000, metavar="N", help="how many tables (200000)")


class Small:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.data = self.bench.work / "main"
        self.place = self.bench.work / "restored"  # Of the last restore.
        self.restores = 0
        self.fingerprint = ""
        self.files = 0
        cluster = Cluster(self.bench, "main", self.data, PORT)
        settings = Settings(processes=options.processes)
        self.tools = [Pgark(cluster, settings)]
        if not options.without_peers:
            self.tools.append(Pgbackrest(cluster, settings))

    def sql(self, text):
        return self.bench.sql(text, PORT)

    def make_cluster(self):
        self.bench.make_cluster("main", PORT, 1)
        databases = max(1, round(self.options.small_relations / PER_DATABASE))
        count = self.options.small_relations // databases
        say(f"making {databases} databases of {count} tables")
        self.sql("CREATE DATABASE tenants_0")
        self.bench.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", PORT, "-d", "tenants_0", "-c",
                       MAKE.format(count=count))
        for number in range(1, databases):
            self.sql(f"CREATE DATABASE tenants_{number} TEMPLATE tenants_0 STRATEGY file_copy")
        self.sql("CHECKPOINT")
        self.fingerprint = self.sql(FINGERPRINT)
        self.files = self.relation_files(self.data)

    @staticmethod
    def relation_files(data):
        return sum(1 for path in data.glob("base/*/*") if path.name[0].isdigit())

    def new_place(self):
        self.restores += 1
        self.place = self.bench.work / f"restored-{self.restores}"
        return self.place

    def measure_tool(self, tool, number):
        tool.setup()
        warm(self.data / "base")
        self.results.note(PART, BACKUP, tool.name, number, **tool.backup("full"))
        warm(tool.repository())
        self.results.note(PART, RESTORE, tool.name, number, **tool.restore(empty_directory(self.new_place())))
        if number == 1:
            found = self.relation_files(self.place)
            if found != self.files:
                raise SystemExit(f"bench: {tool.name} restored {found} files of relations, not {self.files}")
            self.bench.check_restored(self.place, PORT + 10, self.fingerprint, tool.recovery_options())
        shorten_files(self.place)
        tool.remove()

    def measure_limit(self, number):
        out = self.bench.work / "limit"
        warm(self.data / "base")
        cost = self.bench.limit("backup", self.data, out, processes=self.options.processes)
        self.results.note(PART, BACKUP, "limit", number, stored_bytes=tree_bytes(out), **cost)
        cost = self.bench.limit("restore", out, self.new_place(), processes=self.options.processes)
        self.results.note(PART, RESTORE, "limit", number, **cost)
        shorten_files(self.place)
        self.remove(out)

    @staticmethod
    def remove(path):
        subprocess.run(["rm", "-rf", str(path)], check=False)

    def main(self):
        self.make_cluster()
        for tool in self.tools:
            self.results.versions[tool.name] = tool.version()
        for number in range(1, self.options.rounds + 1):
            turns = [*self.tools, None]
            first = number % len(turns)
            for tool in turns[first:] + turns[:first]:
                if tool is None:
                    self.measure_limit(number)
                else:
                    self.measure_tool(tool, number)

    def clean_up(self):
        for data in (self.data, self.place):
            self.bench.stop(data)


def run(options, results):
    part = Small(options, results)
    results.describe(PART, f"{options.small_relations} tables of at most one page in databases of {PER_DATABASE}, a quarter of them "
                     f"empty; {options.processes} processes, zstd level 1, page cache warm.")
    for work in (BACKUP, RESTORE):
        results.compare(PART, work, "pgark", "limit", at_most=1.3)
        results.compare(PART, work, "pgark", "limit", field="cpu_seconds")
        results.compare(PART, work, "pgark", "pgBackRest tuned", at_least=2)
        results.bound(PART, work, "pgark", "peak_kib", 256)
    part.bench.go(part.main, part.clean_up, options.keep)
