"""What a backup does to a busy server, whether the throttle holds what it says, and what is in the page cache afterwards.

pgbench (its TPC-B, with a commit that is synced) runs at half the rate this machine can do; transactions come when they are
due whether or not the one before is done, and latency counts from when one was due. Backups follow each other all the while,
as many full ones as go into the time. Only transactions that ended while one ran are looked at. pgark is measured twice:
held by pg1-bandwidth-max to what pgBackRest reads in a second, so that both put the same work on the machine, and unheld.

The throttle is watched from outside, by what the kernel counts of the process: in all, and in the worst second.

For the page cache every second file of the data directory is read into memory and the others are put out of it. What a
backup brought in or pushed out of it, the kernel says (fincore).
"""
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import time

from common import Bench, chill, data_bytes, say
from peers import Cluster, Pgark, Pgbackrest, Settings

SUMMARY = "latency of pgbench while backups run, the throttle, the page cache"
PART = "load"
PORT = 5478
MIB = 1 << 20
LATENCY = "pgbench while full backups run"
NOTHING, PEER, HELD, FREE = "no backup", "pgBackRest tuned", "pgark", "pgark, not held"
CACHE = "page cache, full backup"
THROTTLES = {"pg1-bandwidth-max": ("rchar", (20, 50, 200)), "repo1-bandwidth-max": ("wchar", (20, 50))}
MIB_OF_SCALE = 15  # What a unit of pgbench's scale takes.


def add_options(group):
    group.add_argument("--load-mib", type=int, default=2048, metavar="N",
                       help="size of the cluster, half of it pgbench's; its server has a quarter of it in memory (2048)")
    group.add_argument("--load-seconds", type=int, default=20, metavar="N", help="how long each is measured a round (20)")
    group.add_argument("--load-rate", type=int, metavar="N", help="transactions a second (half of what goes)")
    group.add_argument("--load-only", default="latency,throttle,cache", metavar="WORD,...",
                       help="of latency, throttle and cache (all)")


class Pgbench:
    """Its transactions of a stretch of time."""

    CLIENTS = 8

    def __init__(self, cluster):
        self.cluster, self.bench = cluster, cluster.bench
        self.words = ["pgbench", "-n", "-p", str(cluster.port), "-c", str(self.CLIENTS), "-j", "2", "-M", "prepared"]
        self.prefix = self.bench.work / "transactions"

    def rate_max(self, seconds=10):
        """Transactions a second without any pause between them."""
        return float(re.search(r"tps = ([0-9.]+)", self.bench.run(*self.words, "-T", str(seconds)))[1])

    def start(self, rate):
        for log in self.bench.work.glob(self.prefix.name + ".*"):
            log.unlink()
        # Ended by us; an hour is more than any backup takes.
        self.process = subprocess.Popen([*self.words, "-T", "3600", "-R", str(rate), "-l", f"--log-prefix={self.prefix}"],
                                        env=self.bench.env, cwd=self.bench.work, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def stop(self, begin, end):
        """Latencies in ms of what ended between these times, ascending."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        latencies = []
        for log in self.bench.work.glob(self.prefix.name + ".*"):
            for line in log.read_text(encoding="ascii").splitlines():
                words = line.split()
                # Client, number, latency in us, script, seconds, us, lag. The last line may be cut off.
                if len(words) >= 7 and begin <= int(words[4]) + int(words[5]) / 1e6 <= end:
                    latencies.append(int(words[2]) / 1000)
        return sorted(latencies)


def quantile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


class Load:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.cluster = None

    def run(self):
        self.bench.go(self.measure, self.clean_up, self.options.keep)

    def clean_up(self):
        if self.cluster is not None:
            self.bench.stop(self.cluster.data)

    def measure(self):
        wanted = self.options.load_only.split(",")
        self.make_cluster()
        self.tools = [Pgark(self.cluster, self.settings())]
        if not self.options.without_peers:
            self.tools.append(Pgbackrest(self.cluster, self.settings()))
        for tool in self.tools:
            tool.setup()
            self.results.versions[tool.program] = tool.version()
        if "cache" in wanted:
            self.page_cache()
        if "throttle" in wanted:
            self.throttle()
            self.tools[0].setup()  # Without what the backups that were ended have left.
        if "latency" in wanted:
            self.latency()

    def settings(self):
        return Settings(processes=self.options.processes, archive=False, more="repo1-retention-full=1\narchive-mode-check=n\n")

    def make_cluster(self):
        half = self.options.load_mib // 2
        data = self.bench.make_cluster("busy", PORT, half)
        self.cluster = Cluster(self.bench, "busy", data, PORT)
        self.bench.run("pgbench", "-i", "-q", "-p", str(PORT), "-s", str(max(1, half // MIB_OF_SCALE)))
        # A commit is on the disk when it is said to be.
        for name, value in {"fsync": "on", "shared_buffers": f"{max(32, self.options.load_mib // 4)}MB"}.items():
            self.cluster.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.bench.run("pg_ctl", "-D", data, "-l", self.bench.work / "busy.log", "-w", "-m", "fast", "restart")
        os.sync()

    # ---- latency ----------------------------------------------------------------------------------------------------

    def latency(self):
        pgbench = Pgbench(self.cluster)
        rate = self.options.load_rate or int(pgbench.rate_max() / 2)
        size = data_bytes(self.cluster.data)
        self.held_at = None
        if len(self.tools) > 1:
            # One in the dry, for the rate that pgark is held to; every round sets it anew.
            self.held_at = int(size / self.backups(pgbench, rate, self.tools[1], [], 1)["seconds"])
        lines = [NOTHING, FREE] + ([PEER, HELD] if self.held_at else [])
        for number in range(1, self.options.rounds + 1):
            for name in lines[number % len(lines):] + lines[:number % len(lines)]:
                figures = self.one_latency(name, pgbench, rate)
                self.results.note(PART, LATENCY, name, number, **figures)
                say(f"  p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, p99.9 {figures['p999_ms']:.1f} ms, "
                    f"{figures['transactions']} transactions, {figures['backups']} backups")
                if name == PEER:
                    self.held_at = int(size / figures["seconds"])
        self.results.describe(PART, f"{size // MIB} MiB, shared_buffers a quarter of it, {rate} transactions a second by "
                                    f"{Pgbench.CLIENTS} clients, backups for {self.options.load_seconds} s a round, "
                                    f"process-max {self.options.processes}, zst 1")
        if self.held_at:
            self.results.compare(PART, LATENCY, HELD, PEER, "p99_ms", at_most=1.0, note="held to pgBackRest's bytes a second")
            self.results.compare(PART, LATENCY, PEER, NOTHING, "p99_ms")
            self.results.compare(PART, LATENCY, HELD, NOTHING, "p99_ms")
        self.results.compare(PART, LATENCY, FREE, NOTHING, "p99_ms", note="as fast as it goes")

    def one_latency(self, name, pgbench, rate):
        if name == NOTHING:
            return self.backups(pgbench, rate, None, [], 0)
        if name == PEER:
            return self.backups(pgbench, rate, self.tools[1], [], 0)
        held = [f"--pg1-bandwidth-max={self.held_at}"] if name == HELD else []
        return self.backups(pgbench, rate, self.tools[0], held, 0)

    def backups(self, pgbench, rate, tool, words, count):
        """Full backups one after the other, `count` of them or for as long as told, and what pgbench saw meanwhile."""
        self.cluster.sql("CHECKPOINT")
        os.sync()
        pgbench.start(rate)
        time.sleep(3)  # Until it is at its rate.
        begin, used, done = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
        while time.time() - begin < self.options.load_seconds if count == 0 else done < count:
            if tool is None:
                time.sleep(0.5)
                continue
            self.bench.run(*tool.backup_words("full"), *words)
            done += 1
        end, after = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        time.sleep(1)  # What pgbench has not written to its log when it is ended is lost: let that be later than `end`.
        latencies = pgbench.stop(begin, end)
        if not latencies:
            raise SystemExit("bench: pgbench did not end a single transaction")
        figures = {"backups": done, "transactions": len(latencies), "p50_ms": quantile(latencies, 0.5),
                   "p99_ms": quantile(latencies, 0.99), "p999_ms": quantile(latencies, 0.999), "max_ms": latencies[-1]}
        if done:
            figures["seconds"] = (end - begin) / done
            figures["cpu_seconds"] = (after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime) / done
        return figures

    # ---- throttle ---------------------------------------------------------------------------------------------------

    def throttle(self):
        for option, (counter, rates) in THROTTLES.items():
            for asked in rates:
                work = f"{option}={asked}MiB"
                for number in range(1, min(self.options.rounds, 2) + 1):
                    figures = self.one_throttle(option, counter, asked)
                    self.results.note(PART, work, "pgark", number, **figures)
                    self.results.note(PART, work, "asked", number, mib_per_second=asked)
                    say(f"  {figures['mib_per_second']:.1f} MiB/s, in the worst second {figures['worst_second_mib']:.1f} MiB")
                self.results.compare(PART, work, "pgark", "asked", "mib_per_second", at_most=1.05)

    def one_throttle(self, option, counter, asked):
        """The rate of one backup, as the kernel counts what the process reads or writes; ended when it was seen enough."""
        # Without compression, as what is written would be less than what is read, and with nothing of the one before, which
        # was ended, too.
        process = subprocess.Popen([str(word) for word in self.tools[0].backup_words("full")] +
                                   [f"--{option}={asked}MiB", "--compress-type=none", "--no-resume"], env=self.bench.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        counts = []  # Time and bytes, ten times a second.
        try:
            while process.poll() is None and (not counts or counts[-1][0] - counts[0][0] < 12):
                bytes_done = count_of(process.pid, counter)
                if bytes_done is not None and bytes_done >= 4 * MIB:
                    counts.append((time.monotonic(), bytes_done))
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait()
        # The last may have waited for the end of the backup.
        counts = [count for count in counts if count[1] < counts[-1][1]]
        if len(counts) < 20:
            raise SystemExit(f"bench: a backup with {option}={asked}MiB ended too soon to be watched: make --load-mib larger")
        rates = []
        for at, first in counts:
            beyond = [(when - at, done - first) for when, done in counts if when - at >= 1]
            if beyond:
                rates.append(beyond[0][1] / beyond[0][0] / MIB)
        (begin, first), (end, last) = counts[0], counts[-1]
        return {"mib_per_second": (last - first) / (end - begin) / MIB, "worst_second_mib": max(rates)}

    # ---- page cache -------------------------------------------------------------------------------------------------

    def page_cache(self):
        if shutil.which("fincore") is None:
            say("no fincore: the page cache is not looked at")
            return
        for number in range(1, min(self.options.rounds, 3) + 1):
            for tool in self.tools:
                name = "pgark" if isinstance(tool, Pgark) else PEER
                files = self.warm_every_second()
                before = in_memory(files)
                begin = time.monotonic()
                self.bench.run(*tool.backup_words("full"))
                seconds = time.monotonic() - begin
                after = in_memory(files)
                changes = [after[file] - before[file] for file in files if file in after and file in before]
                stored = sum(in_memory(path for path in tool.repository().rglob("*") if path.is_file()).values())
                figures = {"brought_in_kib": sum(change for change in changes if change > 0) // 1024,
                           "pushed_out_kib": -sum(change for change in changes if change < 0) // 1024,
                           "repository_kib": stored // 1024}
                self.results.note(PART, CACHE, name, number, seconds=seconds, **figures)
                say("  in MiB: data brought in {brought_in_kib}, data pushed out {pushed_out_kib}, of the repository "
                    "{repository_kib}".format(**{key: value // 1024 for key, value in figures.items()}))
        # What the server itself reads meanwhile is in it: catalogs, and what it checkpoints.
        for field in ("brought_in_kib", "pushed_out_kib"):
            self.results.bound(PART, CACHE, "pgark", field, at_most=8)

    def warm_every_second(self):
        """Of the files of 1 MiB and more, put all out of memory, and read every second one; all of them."""
        self.cluster.sql("CHECKPOINT")
        chill(self.cluster.data / "base")
        files = sorted(path for path in (self.cluster.data / "base").rglob("*") if path.is_file() and path.stat().st_size >= MIB)
        for path in files[::2]:
            path.read_bytes()
        return files


def count_of(pid, name):
    """A line of /proc/PID/io; None if the process is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def in_memory(files):
    """File: its bytes that are in memory."""
    files = [str(file) for file in files]
    if not files:
        return {}
    listed = subprocess.run(["fincore", "--bytes", "--noheadings", "--raw", "--output=RES,FILE", *files],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    pairs = (line.split(" ", 1) for line in listed.splitlines())
    return {pathlib.Path(file): int(resident) for resident, file in pairs}


def run(options, results):
    Load(options, results).run()
