"""What the benchmarks written in Python share: a scratch directory, clusters of realistic rows, commands that are timed,
restored clusters that are compared, and where the measurements go."""
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PGARK = pathlib.Path(os.environ.get("PGARK", HERE.parent.parent / "build/pgark")).resolve()
LIMIT = PGARK.parent / "limit"  # bench/limit.cc: the bare codec and system calls.
LOAD = os.getloadavg()[1]  # Of five minutes, before anything was started here.
FINGERPRINT = ("SELECT (SELECT count(*) || ' ' || sum(total) FROM orders) || ' ' || "
               "(SELECT count(*) || ' ' || sum((detail->>'took_ms')::int) FROM events) || ' ' || "
               "(SELECT count(*) || ' ' || sum(balance) FROM customers)")


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def remove_tree(path):
    if path.exists():
        subprocess.run(["chmod", "-R", "u+w", str(path)], check=False)
        shutil.rmtree(path, ignore_errors=True)


class Bench:
    """A scratch directory, and the environment of what runs in it: the server's sockets are there, `pgark` is the one
    under test."""

    def __init__(self, name):
        if os.getuid() == 0:
            raise SystemExit(f"bench: PostgreSQL refuses to run as root; run ./dev bench {name}")
        self.name = name
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"pgark-bench-{name}-"))
        self.env = {**os.environ, "PATH": f"{self.work}/bin:{BIN}:{os.environ['PATH']}", "PGHOST": str(self.work),
                    "PGUSER": "postgres", "PGDATABASE": "postgres", "TZ": "UTC", "LC_ALL": "C",
                    "PGOPTIONS": "-c client_min_messages=warning"}
        (self.work / "bin").mkdir()
        (self.work / "bin" / "pgark").symlink_to(PGARK)

    def run(self, *command, **more):
        """Run a command that must succeed; what it printed."""
        done = subprocess.run([str(word) for word in command], env={**self.env, **more.pop("env", {})},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
        if done.returncode != 0:
            raise SystemExit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def timed(self, *command):
        """Run a command: its output, and what it took."""
        os.sync()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            begin = time.monotonic()
            process = subprocess.Popen([str(word) for word in command], env=self.env, stdout=out, stderr=err, text=True)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode != 0:
                raise SystemExit(f"bench: {' '.join(map(str, command))} failed:\n{out.read()}{err.read()}")
            return out.read(), {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
                                "system_seconds": usage.ru_stime, "peak_kib": usage.ru_maxrss}

    def sql(self, text, port):
        return self.run("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-p", port, "-c", text).strip()

    def make_cluster(self, name, port, mib):
        """A running server with rows in the directory `name`, which archives to nowhere."""
        say(f"making a cluster with {mib} MiB")
        data = self.work / name
        self.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums",
                 "-N")
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.work}'\nport = {port}\n"
                       "max_wal_size = 32GB\ncheckpoint_timeout = 1h\nshared_buffers = 512MB\nautovacuum = off\n"
                       "fsync = off\nwal_compression = lz4\narchive_mode = on\narchive_command = 'true'\n")
        self.run("pg_ctl", "-D", data, "-l", self.work / f"{name}.log", "-w", "-t", "3600", "start")
        self.run(HERE / "make_data.sh", mib, 1, env={"PGPORT": str(port)})
        self.sql("VACUUM (FREEZE, ANALYZE)", port)
        return data

    def write_config(self, name, stanza, data, port, processes, repository):
        """A configuration that pgark and pgBackRest both read; `repository` is what they do not share of [global]."""
        for what in ("log", "lock", "spool"):
            (self.work / f"{name}-{what}").mkdir(exist_ok=True)
        config = self.work / f"{name}.conf"
        config.write_text(f"""[global]
{repository}log-path={self.work}/{name}-log
lock-path={self.work}/{name}-lock
spool-path={self.work}/{name}-spool
process-max={processes}
start-fast=y
compress-type=zst
compress-level=1
[{stanza}]
pg1-path={data}
pg1-socket-path={self.work}
pg1-port={port}
pg1-user=postgres
""", encoding="utf-8")
        return config

    def archive_with(self, port, command):
        """Let the server archive with this command."""
        self.sql(f"ALTER SYSTEM SET archive_command = '{command}'", port)
        self.sql("SELECT pg_reload_conf()", port)
        time.sleep(1)  # Until the archiver has read it.

    def settle(self, port):
        """Have everything written to the files, and all WAL archived."""
        self.sql("CHECKPOINT", port)
        wanted = self.sql("SELECT pg_walfile_name(pg_switch_wal())", port)
        deadline = time.monotonic() + 600
        while self.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver", port) < wanted:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: {wanted} was not archived:\n{self.sql('TABLE pg_stat_archiver', port)}")
            time.sleep(0.05)

    def check_restored(self, place, port, fingerprint, options=""):
        """Recover to the end of WAL, and compare."""
        self.run("pg_ctl", "-D", place, "-l", self.work / "restored.log", "-w", "-t", "3600", "-o",
                 f"-p {port} {options}", "start")
        try:
            while self.sql("SELECT pg_is_in_recovery()", port) != "f":
                time.sleep(0.1)
            found = self.sql(FINGERPRINT, port)
        finally:
            self.stop(place)
        if found != fingerprint:
            raise SystemExit(f"bench: the restored cluster differs: '{found}', not '{fingerprint}'")

    def stop(self, data):
        if (data / "postmaster.pid").exists():
            subprocess.run(["pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"], env=self.env,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    def version(self, program, *words):
        return self.run(program, *(words or ("--version",))).strip().splitlines()[0]

    def keep_results(self, versions, **more):
        """Write all that was measured; the machine, and the file."""
        machine = {"cpu": "unknown", "cores": os.cpu_count(), "kernel": platform.release(), "load_before": LOAD,
                   "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)}
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                machine["cpu"] = line.split(":")[1].strip()
                break
        now = datetime.datetime.now(datetime.timezone.utc)
        out = HERE.parent / "bench" / "results" / f"{self.name}-{now:%Y%m%d-%H%M%S}.json"
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps({"machine": machine, "versions": versions, **more}, indent=1) + "\n", encoding="utf-8")
        return machine, out.relative_to(HERE.parent)

    def go(self, main, clean_up, keep):
        """Run `main`; show the logs if it fails, and leave nothing behind."""
        def interrupted(*_):
            raise SystemExit("bench: interrupted")

        signal.signal(signal.SIGTERM, interrupted)
        try:
            main()
        except BaseException:
            for log in sorted(self.work.glob("*.log")):
                say(f"end of {log.name}:\n" + "".join(log.read_text(errors="replace").splitlines(True)[-10:]))
            raise
        finally:
            clean_up()
            if keep:
                say(f"kept {self.work}")
            else:
                remove_tree(self.work)
