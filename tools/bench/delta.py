"""Delta restore: a data directory that is there already, of which 1 % of the pages differ (or none), against reading that
directory once, with the page cache warm and cold."""
import random

from common import FINGERPRINT, Bench, chill, data_bytes, empty_directory, say, warm
from peers import Cluster, Pgark, Pgbackrest, Settings

SUMMARY = "delta restore where 1 % of the pages differ, against reading the data directory once"
PART = "delta"
PORT = 5472
PAGE = 8192
SHARES = {"1 % differs": 0.01, "nothing differs": 0.0}
WRITING = "limit, writing too"  # Reads the directory once, and writes and syncs the pages that differ.


def add_options(group):
    group.add_argument("--delta-mib", type=int, default=4096, metavar="N", help="size of the cluster (4096)")


def damage(place, share, seed):
    """Overwrite this share of the pages of all relations with noise: which, as `limit delta` wants it."""
    rng = random.Random(seed)
    pages = []
    for path in sorted(place.glob("base/*/*")):
        if not path.name[0].isdigit():
            continue
        with open(path, "r+b") as file:
            for page in range(path.stat().st_size // PAGE):
                if rng.random() < share:
                    file.seek(page * PAGE)
                    file.write(rng.randbytes(PAGE))
                    pages.append(f"{path.relative_to(place)} {page}\n")
    return "".join(pages)


class Delta:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.bytes = 0
        self.pages = self.bench.work / "pages"

    def main(self):
        data = self.bench.make_cluster("main", PORT, self.options.delta_mib)
        cluster = Cluster(self.bench, "main", data, PORT)
        settings = Settings(processes=self.options.processes)
        tools = [Pgark(cluster, settings)]
        if not self.options.without_peers:
            tools.append(Pgbackrest(cluster, settings))
        cluster.settle()
        self.bytes = data_bytes(data)
        fingerprint = cluster.sql(FINGERPRINT)
        places = {}
        for tool in tools:
            tool.setup()
            tool.backup("full")
            # The next one archives elsewhere; what this backup needs is there.
            places[tool.name] = empty_directory(self.bench.work / f"restored-{tool.short}")
            tool.restore(places[tool.name])
            self.results.versions[tool.name.split()[0]] = tool.version()
        for number in range(1, self.options.rounds + 1):
            for temperature in ("warm", "cold"):
                for what, share in SHARES.items():
                    work = f"delta restore, {what}, {temperature}"
                    for tool in tools if number % 2 else tools[::-1]:
                        self.measure(tool, places[tool.name], work, share, number)
                    self.measure_limits(places["pgark"], work, number)
        for tool in tools:
            self.bench.check_restored(places[tool.name], PORT + 10, fingerprint, tool.recovery_options())

    def prepare(self, place, work, repository=None):
        if work.endswith("cold"):
            chill(place)
        else:
            warm(place)
        if repository is not None:
            warm(repository)

    def measure(self, tool, place, work, share, number):
        self.pages.write_text(damage(place, share, number), encoding="utf-8")
        self.prepare(place, work, tool.repository())
        self.results.note(PART, work, tool.name, number, **tool.restore(place, delta=True))

    def measure_limits(self, place, work, number):
        processes = self.options.processes
        self.prepare(place, work)
        self.results.note(PART, work, "limit", number, **self.bench.limit("read", place, processes=processes))
        if self.pages.stat().st_size > 0:
            self.prepare(place, work)
            cost = self.bench.limit("delta", place, processes=processes, pages=self.pages)
            self.results.note(PART, work, WRITING, number, **cost)

    def clean_up(self):
        for name in ("main", "restored-pgark", "restored-pgbackrest"):
            self.bench.stop(self.bench.work / name)


def run(options, results):
    for temperature in ("warm", "cold"):
        for what in SHARES:
            work = f"delta restore, {what}, {temperature}"
            results.compare(PART, work, "pgark", "limit", at_most=1.1 if what.startswith("1 %") else None)
            results.compare(PART, work, "pgark", "limit", "cpu_seconds")
            if what.startswith("1 %"):
                results.compare(PART, work, "pgark", WRITING)
            results.compare(PART, work, "pgBackRest tuned", "limit")
            results.compare(PART, work, "pgark", "pgBackRest tuned")
    results.bound(PART, "", "pgark", "peak_kib", 256)
    part = Delta(options, results)
    part.bench.go(part.main, part.clean_up, options.keep)
    results.describe(PART, f"{part.bytes / 2**30:.2f} GiB of data files, restored before; in the first kind, 1 % of the pages of all "
                           "relations, chosen at random, are overwritten with noise. The limit reads every file once and does "
                           "nothing with it, from the page cache (warm) or the disk (cold); 'writing too' it also writes and syncs the pages "
                           "that differ, which it has at hand. The repository is in the page cache. "
                           f"{options.processes} processes, zstd level 1.")
    say(f"{part.bytes} bytes of data files")
