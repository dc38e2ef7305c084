"""One backup to two repositories against one to one repository. pgBackRest does one after the other."""
from common import FINGERPRINT, Bench, data_bytes, empty_directory, say, warm
from peers import Cluster, Pgark, Pgbackrest, Settings

SUMMARY = "a backup to two repositories, against one"
PART = "repos"
PORT = 5473
WORK = "full backup to two repositories"


def add_options(group):
    group.add_argument("--repos-mib", type=int, default=1024, metavar="N", help="size of the cluster (1024)")


class Repos:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.place = self.bench.work / "restored"
        self.bytes = 0

    def main(self):
        data = self.bench.make_cluster("main", PORT, self.options.repos_mib)
        cluster = Cluster(self.bench, "main", data, PORT)
        cluster.settle()
        self.bytes = data_bytes(data)
        fingerprint = cluster.sql(FINGERPRINT)
        tools = []
        for kind in [Pgark] if self.options.without_peers else [Pgark, Pgbackrest]:
            for repositories, suffix in ((2, ""), (1, ", one repository")):
                tool = kind(cluster, Settings(processes=self.options.processes, repositories=repositories))
                tool.name += suffix
                tools.append(tool)
        for number in range(1, self.options.rounds + 1):
            for tool in tools if number % 2 else tools[::-1]:
                tool.setup()
                warm(data / "base", data / "global")
                self.results.note(PART, WORK, tool.name, number, **tool.backup("full"))
                if number == 1 and tool.name == "pgark":
                    self.check_both(tool, fingerprint)
                tool.remove()
                self.results.versions[tool.name.split()[0].rstrip(",")] = tool.version()

    def check_both(self, tool, fingerprint):
        """Each repository restores by itself."""
        for repository in (1, 2):
            empty_directory(self.place)
            self.bench.run(*tool.command, "restore", f"--repo={repository}", f"--pg1-path={self.place}", "--archive-mode=off")
            self.bench.check_restored(self.place, PORT + 10, fingerprint, tool.recovery_options())

    def clean_up(self):
        for name in ("main", "restored"):
            self.bench.stop(self.bench.work / name)


def run(options, results):
    results.compare(PART, WORK, "pgark", "pgark, one repository", at_most=1.3)
    results.compare(PART, WORK, "pgark", "pgark, one repository", "cpu_seconds")
    results.compare(PART, WORK, "pgBackRest tuned", "pgBackRest tuned, one repository")
    results.compare(PART, WORK, "pgark", "pgBackRest tuned")
    results.bound(PART, "", "pgark", "peak_kib", 256)
    part = Repos(options, results)
    part.bench.go(part.main, part.clean_up, options.keep)
    results.describe(PART, f"{part.bytes / 2**30:.2f} GiB of data files, {options.processes} processes, zstd level 1, page cache warm; "
                           "all repositories are directories on the disk of the cluster. Peak memory is of the largest process.")
    say(f"{part.bytes} bytes of data files")
