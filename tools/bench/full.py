"""Full backup and restore of a cluster with realistic rows, with each codec: pgark, the limit of the machine, pgBackRest
tuned and pg_basebackup, then each program as it comes.

All copy the same cluster from the page cache into a directory on the same file system and make it durable; each restores
what it wrote, from the page cache again, into a new directory, which stays until the end: see shorten_files(). The server
archives with the tool that is at work, and that tool's backup waits for its WAL. What a tool restored is started and compared
once.
"""
from common import FINGERPRINT, Bench, data_bytes, empty_directory, say, shorten_files, tree_bytes, warm
from peers import Barman, Cluster, Limit, Pgark, Pgbackrest, PgBasebackup, Settings

SUMMARY = "full backup and restore with each codec, against the limit and the field"
PART = "full"
PORT = 5471
CODECS = {"zst": "zst 1", "lz4": "lz4", "none": "none"}
AS_IT_COMES = "as it comes"


def add_options(group):
    group.add_argument("--full-mib", type=int, default=4096, metavar="N", help="size of the cluster (4096)")
    group.add_argument("--full-codecs", default=",".join([*CODECS, "plain"]), metavar="LIST",
                       help="of zst, lz4, none, plain: the last is each program as it comes (all)")
    group.add_argument("--full-peer-rounds", type=int, default=1, metavar="N",
                       help="rounds of pg_basebackup and of programs as they come (1)")


class Full:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.place = self.bench.work / "restored"  # Of the last restore.
        self.restores = 0
        self.cluster = None
        self.bytes = 0
        self.fingerprint = ""
        self.checked = set()  # (work, tool) whose restored cluster was compared.

    def make_cluster(self):
        data = self.bench.make_cluster("main", PORT, self.options.full_mib)
        self.cluster = Cluster(self.bench, "main", data, PORT)
        self.cluster.settle()
        self.bytes = data_bytes(data)
        self.fingerprint = self.cluster.sql(FINGERPRINT)

    def tools(self, codec, number):
        """Who works with this codec in this round."""
        settings = Settings(codec=codec, processes=self.options.processes)
        peers = not self.options.without_peers
        also = peers and number <= self.options.full_peer_rounds
        if codec == "plain":
            plain = Settings(codec="none", processes=None)
            tools = [Pgark(self.cluster, plain), Pgbackrest(self.cluster, plain, tuned=False), PgBasebackup(self.cluster, plain)]
            if Barman.is_there():
                tools.append(Barman(self.cluster, plain))
            return tools if also else []
        tools = [Pgark(self.cluster, settings), Limit(self.cluster, settings)]
        if peers:
            tools.append(Pgbackrest(self.cluster, settings))
        if also and PgBasebackup.can(codec):
            tools.append(PgBasebackup(self.cluster, settings))
        return tools if number % 2 else tools[::-1]

    def check_bytes(self, tool, copied):
        """Ratios mean something only if the work is the same."""
        if not 0.99 < copied / self.bytes < 1.01:
            raise SystemExit(f"bench: {tool} copied {copied} bytes, not {self.bytes}")

    def measure(self, tool, label, number):
        tool.setup()
        warm(self.cluster.data / "base", self.cluster.data / "global")
        cost = tool.backup("full")
        if "logical_bytes" in cost:
            self.check_bytes(tool.name, cost["logical_bytes"])
        self.results.note(PART, f"full backup, {label}", tool.name, number, **cost)
        warm(tool.repository())
        work = f"restore, {label}"
        self.restores += 1
        self.place = self.bench.work / f"restored-{self.restores}"
        self.results.note(PART, work, tool.name, number, **tool.restore(empty_directory(self.place)))
        if (work, tool.name) not in self.checked:
            self.checked.add((work, tool.name))
            if tool.name == "limit":
                self.check_bytes(tool.name, tree_bytes(self.place))
            else:
                self.bench.check_restored(self.place, PORT + 10, self.fingerprint, tool.recovery_options())
        shorten_files(self.place)
        tool.remove()
        if tool.version():
            self.results.versions[tool.name.split()[0]] = tool.version()

    def main(self):
        self.make_cluster()
        codecs = self.options.full_codecs.split(",")
        for number in range(1, self.options.rounds + 1):
            for codec in codecs:
                for tool in self.tools(codec, number):
                    self.measure(tool, CODECS.get(codec, AS_IT_COMES), number)

    def clean_up(self):
        for data in (self.bench.work / "main", self.place):
            self.bench.stop(data)


def run(options, results):
    unknown = set(options.full_codecs.split(",")) - {*CODECS, "plain"}
    if unknown:
        raise SystemExit(f"bench: --full-codecs: unknown '{unknown.pop()}'")
    for codec in options.full_codecs.split(","):
        if codec == "plain":
            continue
        for work in (f"full backup, {CODECS[codec]}", f"restore, {CODECS[codec]}"):
            results.compare(PART, work, "pgark", "limit", at_most=1.05)
            results.compare(PART, work, "pgark", "limit", "cpu_seconds", at_most=1.05 if "backup" in work else None)
            results.compare(PART, work, "pgBackRest tuned", "limit")
            results.compare(PART, work, "pgBackRest tuned", "limit", "cpu_seconds")
            results.compare(PART, work, "pgark", "pgBackRest tuned")
    results.bound(PART, "", "pgark", "peak_kib", 256)
    part = Full(options, results)
    part.bench.go(part.main, part.clean_up, options.keep)
    results.describe(PART, f"{part.bytes / 2**30:.2f} GiB of data files in a running server, {options.processes} processes (threads "
                           "of the limit), zstd and lz4 at level 1, page cache warm, everything synced inside the time shown. A "
                           "backup checks page checksums and waits for its WAL where the tool does; the limit does neither. "
                           "pgBackRest tuned: process-max, bundles, blocks. Programs as they come: the defaults "
                           "of each, but start-fast=y; of pgBackRest gzip 6 in one process, of pg_basebackup and Barman no "
                           "compression. Processor seconds of the command and its children; the server's part of pg_basebackup "
                           "and Barman is in the machine's.")
    say(f"{part.bytes} bytes of data files")
