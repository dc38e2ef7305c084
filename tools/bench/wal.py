"""WAL in and out, on a repository that answers at once and on one where every call takes 30 ms: archive-push and archive-get,
synchronous and asynchronous, by pgark and pgBackRest, held against copying and syncing the same segments; and how long a
server takes to recover through restore_command, against the same WAL lying in pg_wal already.

The 30 ms come from bench/slow_store.c, preloaded into the programs: every call that names a file of the repository waits.
Push and get are driven as PostgreSQL drives them: one process after the other, in the order of the segments.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

from common import HERE, LIMIT, Bench, empty_directory, machine_cpu, remove_tree, say
from peers import PGBACKREST

SUMMARY = "archive-push, archive-get and recovery, with and without latency"
PART = "wal"
PORT = 5473
NAMES = {"pgark": "pgark", "pgbackrest": "pgBackRest tuned"}
MODES = ("async", "sync")
RECOVERY = "recovery"
FINGERPRINT = "SELECT count(*) || ' ' || sum(delta) FROM pgbench_history"


def add_options(group):
    group.add_argument("--wal-segments", type=int, default=20, metavar="N",
                       help="segments to push and get (20; a fourth of them one by one on the slow repository)")
    group.add_argument("--wal-recovery", type=int, default=40, metavar="N", help="segments to recover; 0: none (40)")
    group.add_argument("--wal-ms", type=int, default=30, metavar="N", help="what each call takes on the slow repository (30)")


class Wal:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.bench.env["PGPORT"] = str(PORT)
        self.work = self.bench.work
        self.tools = ["pgark"] if options.without_peers else ["pgark", "pgbackrest"]
        self.latencies = sorted({0, options.wal_ms})
        self.fingerprint = ""  # Of the cluster at the end of its WAL.
        self.before = 0        # Segments that are older than the copy of the cluster.

    # ---- what is measured with ----

    def start(self, data, log):
        self.bench.run("pg_ctl", "-D", data, "-l", self.work / log, "-w", "-t", "3600", "start")

    def make_wal(self):
        """A cluster, a copy of it before the load, and the segments of the load in work/wal."""
        wanted = max(self.options.wal_segments, self.options.wal_recovery)
        say(f"writing {wanted} segments of WAL with pgbench")
        data = self.work / "data"
        self.bench.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums",
                       "-N")
        (self.work / "wal").mkdir()
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.work}'\nport = {PORT}\nmax_wal_size = 16GB\n"
                       "checkpoint_timeout = 1h\nshared_buffers = 512MB\nautovacuum = off\nfsync = off\narchive_mode = on\n"
                       f"archive_command = 'cp %p {self.work}/wal/%f'\n")
        self.start(data, "server.log")
        self.bench.run("pgbench", "-i", "-s", 20, "-q")
        self.bench.settle(PORT)
        self.before = len(self.segments())
        self.bench.run("pg_basebackup", "-D", self.work / "base", "-X", "none", "-c", "fast", "--no-sync")
        while len(self.segments()) < self.before + wanted:
            self.bench.run("pgbench", "-n", "-c", 4, "-j", 2, "-t", 5000)
        self.bench.settle(PORT)
        self.fingerprint = self.bench.sql(FINGERPRINT, PORT)
        for tool in self.tools:
            self.bench.run(*self.configure(tool, data, "sync"), "stanza-create")
            (self.work / f"{tool}-repo").rename(self.work / f"{tool}-new")  # To begin with each time.
        self.bench.run("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")

    def segments(self):
        return sorted(path.name for path in (self.work / "wal").iterdir() if len(path.name) == 24)

    def configure(self, tool, data, mode):
        config = self.bench.write_config(tool, "main", data, PORT, self.options.processes,
                                         f"repo1-path={self.work}/{tool}-repo\narchive-async={'y' if mode == 'async' else 'n'}\n"
                                         "archive-get-queue-max=256MiB\n")
        return ["pgark" if tool == "pgark" else PGBACKREST, f"--config={config}", "--stanza=main"]

    def new_repository(self, tool):
        self.end_helpers()
        remove_tree(self.work / f"{tool}-repo")
        shutil.copytree(self.work / f"{tool}-new", self.work / f"{tool}-repo")
        self.new_spool(tool)

    def new_spool(self, tool):
        for what in ("spool", "lock"):
            empty_directory(self.work / f"{tool}-{what}")

    def data_directory(self, name):
        """As much of one as the programs look at."""
        place = empty_directory(self.work / name)
        shutil.copytree(self.work / "data" / "global", place / "global")
        shutil.copy(self.work / "data" / "PG_VERSION", place)
        (place / "pg_wal" / "archive_status").mkdir(parents=True)
        return place

    def slowed(self, repository, latency):
        if latency == 0:
            return {}
        return {"LD_PRELOAD": str(self.work / "slow_store.so"), "PGARK_SLOW_PATH": str(repository), "PGARK_SLOW_MS": str(latency)}

    def helpers(self):
        """Processes that asynchronous commands of this run left running."""
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if any(word.startswith(f"--config={self.work}/".encode()) for word in words):
                        yield entry

    def end_helpers(self):
        for entry in self.helpers():
            with contextlib.suppress(OSError):
                os.kill(int(entry.name), signal.SIGKILL)

    def one_by_one(self, commands, cwd, env):
        """Run commands one after the other, each with what follows it: what it took. The peak is that of the last command, or
        of a helper that outlives it."""
        self.bench.settle_machine()
        environment = {**self.bench.env, **env}
        machine, begin = machine_cpu(), time.monotonic()
        for at, (command, then) in enumerate(commands, 1):
            words = self.bench.with_peak(command) if at == len(commands) else [str(word) for word in command]
            done = subprocess.run(words, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise SystemExit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}")
            then()
        seconds, machine = time.monotonic() - begin, machine_cpu() - machine
        peak = self.bench.peak_kib()
        for entry in self.helpers():
            with contextlib.suppress(OSError, StopIteration):
                lines = (entry / "status").read_text(encoding="utf-8").splitlines()
                peak = max(peak, int(next(line for line in lines if line.startswith("VmHWM")).split()[1]))
        return {"seconds": seconds, "machine_cpu_seconds": machine, "peak_kib": peak}

    # ---- push and get ----

    def load(self, mode, latency):
        """The segments that are pushed and fetched: the last ones, fewer where each takes long."""
        count = self.options.wal_segments
        return self.segments()[-(max(1, count // 4) if mode == "sync" and latency else count):]

    def note(self, what, mode, latency, tool, number, count, cost):
        self.results.note(PART, f"archive-{what} {mode}, {latency} ms", tool, number, segments=count,
                          segments_per_second=count / cost["seconds"], **cost)

    def push(self, tool, mode, latency, number):
        self.new_repository(tool)
        place = self.data_directory("pushing")
        status = place / "pg_wal" / "archive_status"
        names = self.load(mode, latency)
        for name in names:
            os.link(self.work / "wal" / name, place / "pg_wal" / name)
            (status / (name + ".ready")).touch()
        command = self.configure(tool, place, mode)
        cost = self.one_by_one([([*command, "archive-push", f"pg_wal/{name}"],
                                 lambda name=name: (status / (name + ".ready")).rename(status / (name + ".done")))
                                for name in names], place, self.slowed(self.work / f"{tool}-repo", latency))
        self.note("push", mode, latency, NAMES[tool], number, len(names), cost)
        self.end_helpers()

    def get(self, tool, mode, latency, number):
        """Fetch what push left in the repository, as a recovering server does."""
        place = self.data_directory("getting")
        (place / "recovery.signal").touch()  # pgark fetches ahead only for a server in recovery.
        self.new_spool(tool)
        command = self.configure(tool, place, mode)
        names = self.load(mode, latency)
        cost = self.one_by_one([([*command, "archive-get", name, "pg_wal/RECOVERYXLOG"],
                                 lambda: (place / "pg_wal" / "RECOVERYXLOG").unlink()) for name in names],
                               place, self.slowed(self.work / f"{tool}-repo", latency))
        self.note("get", mode, latency, NAMES[tool], number, len(names), cost)
        self.end_helpers()

    def copy(self, mode, latency, number):
        """The limit of both."""
        place, out = empty_directory(self.work / "copying"), empty_directory(self.work / "copied")
        names = self.load(mode, latency)
        for name in names:
            os.link(self.work / "wal" / name, place / name)
        cost = self.bench.timed(LIMIT, "copy", f"--data={place}", f"--out={out}", env=self.slowed(out, latency))[1]
        for what in ("push", "get"):
            self.note(what, mode, latency, "limit", number, len(names), cost)
        remove_tree(out)

    def measure_segments(self, number):
        for latency in self.latencies:
            for mode in MODES:
                self.copy(mode, latency, number)
                for tool in self.tools if number % 2 else self.tools[::-1]:
                    self.push(tool, mode, latency, number)
                    self.get(tool, mode, latency, number)

    # ---- recovery ----

    def push_everything(self, tool):
        """All segments since the copy of the cluster."""
        self.new_repository(tool)
        command = self.configure(tool, self.work / "data", "sync")
        for name in self.segments()[self.before:]:
            self.bench.run(*command, "archive-push", self.work / "wal" / name, cwd=self.work)

    def recover(self, tool, mode, name, number):
        """From the start of the server to its promotion."""
        place = self.work / "recovering"
        remove_tree(place)
        self.bench.run("cp", "-a", self.work / "base", place)
        (place / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)
        (place / "recovery.signal").touch()
        fetch = "false"
        if tool is None:
            for segment in self.segments()[self.before:]:
                shutil.copy(self.work / "wal" / segment, place / "pg_wal" / segment)
        else:
            self.new_spool(tool)
            fetch = " ".join(self.configure(tool, place, mode)) + ' archive-get %f "%p"'
        with open(place / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {PORT + 1}\narchive_mode = off\nfsync = on\nhot_standby = on\nrestore_command = '{fetch}'\n")
        self.bench.settle_machine()
        machine, begin = machine_cpu(), time.monotonic()
        self.start(place, "recovering.log")
        while self.bench.sql("SELECT pg_is_in_recovery()", PORT + 1) != "f":
            time.sleep(0.02)
        cost = {"seconds": time.monotonic() - begin, "machine_cpu_seconds": machine_cpu() - machine}
        if self.bench.sql(FINGERPRINT, PORT + 1) != self.fingerprint:
            raise SystemExit(f"bench: recovery with {name} ended early")
        self.bench.stop(place)
        self.results.note(PART, RECOVERY, name, number, **cost)
        self.end_helpers()

    def measure_recovery(self):
        for tool in self.tools:
            self.push_everything(tool)
        ways = [(None, "", "pg_wal"), ("pgark", "async", "pgark"), ("pgark", "sync", "pgark, sync")]
        if "pgbackrest" in self.tools:
            ways.append(("pgbackrest", "async", NAMES["pgbackrest"]))
        for number in range(1, self.options.rounds + 1):
            for way in ways if number % 2 else ways[::-1]:
                self.recover(*way, number)

    # ---- the part ----

    def compare(self):
        results, peer = self.results, NAMES["pgbackrest"]
        for what in ("push", "get"):
            for mode in MODES:
                for latency in self.latencies:
                    work = f"archive-{what} {mode}, {latency} ms"
                    results.compare(PART, work, "pgark", peer, at_least=2 if (what, mode) == ("push", "async") else None)
                    results.compare(PART, work, "pgark", "limit", field="seconds")
        if self.options.wal_recovery:
            results.compare(PART, RECOVERY, "pgark", "pg_wal", at_most=1.05)
            results.compare(PART, RECOVERY, "pgark, sync", "pg_wal", at_most=1.05)
            results.compare(PART, RECOVERY, "pgark", peer)
        results.bound(PART, "archive-", "pgark", "peak_kib", 256)

    def main(self):
        self.bench.run("cc", "-O2", "-shared", "-fPIC", "-o", self.work / "slow_store.so",
                       HERE.parent.parent / "bench" / "slow_store.c", "-ldl")
        self.make_wal()
        for number in range(1, self.options.rounds + 1):
            self.measure_segments(number)
        if self.options.wal_recovery:
            self.measure_recovery()

    def clean_up(self):
        self.end_helpers()
        for directory in ("data", "recovering"):
            self.bench.stop(self.work / directory)


def run(options, results):
    part = Wal(options, results)
    results.describe(PART, f"{options.wal_segments} segments of 16 MiB written by pgbench, {options.processes} processes, zstd level 1; "
                     f"recovery of {options.wal_recovery} of them; a call to the slow repository takes {options.wal_ms} ms.")
    part.compare()
    part.bench.go(part.main, part.clean_up, options.keep)
