"""What the parts share: a scratch directory, clusters of realistic rows, commands that are timed, the limit of the machine,
and restored clusters that are compared."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from memory import HELD

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PGARK = pathlib.Path(os.environ.get("PGARK", HERE.parent.parent / "build/pgark")).resolve()
LIMIT = PGARK.parent / "limit"  # bench/limit.cc: the bare codec and system calls.
INTERRUPTED = "bench: interrupted"
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


def empty_directory(path):
    """A new directory, as PostgreSQL wants it, in the place of what was there."""
    remove_tree(path)
    path.mkdir(mode=0o700, parents=True)
    return path


def shorten_files(path):
    """Give back the space of the files below, but not their inodes. ext4 keeps the inodes of deleted files back for some
    minutes, and looks at each of them whenever it wants a free one: to make a thousand files where a few thousand were just
    deleted takes seconds, whoever makes them. So nothing that was restored is deleted before a part ends."""
    for directory, _, names in os.walk(path):
        for name in names:
            file = os.path.join(directory, name)
            if not os.path.islink(file) and os.path.getsize(file) > 0:
                os.truncate(file, 0)


def tree_bytes(path, *without):
    """Sum of the files below, except below `without`."""
    total = 0
    for directory, names, files in os.walk(path):
        names[:] = [name for name in names if pathlib.Path(directory, name) not in without]
        total += sum(os.lstat(os.path.join(directory, name)).st_size for name in files)
    return total


def data_bytes(data):
    """What `limit backup` reads of a data directory, and a base backup copies: see list_files in bench/limit.cc."""
    left_out = ("pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans")
    return tree_bytes(data, *(data / name for name in left_out))


def warm(*places):
    """Read everything once. Tools drop what they read or wrote from the page cache or do not: the next one must not pay."""
    for place in places:
        subprocess.run(["find", str(place), "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)  # Of a running server, files vanish.


def chill(*places):
    """Have everything below read from the disk the next time."""
    os.sync()
    for place in places:
        for directory, _, files in os.walk(place):
            for name in files:
                fd = os.open(os.path.join(directory, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


def machine_cpu():
    """Seconds that all processors together were busy with anything since the start of the machine."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq = (int(word) for word in stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


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

    def settle_machine(self):
        """Before the clock starts: nothing is left to be written, and what memory is free is the machine's own."""
        os.sync()
        HELD.refresh()

    def timed(self, *command, env=None, cwd=None):
        """Run a command: its output, and what it took. `cpu_seconds` are those of the command and of the processes it waited
        for, `machine_cpu_seconds` of everything on the machine, servers and the kernel included; `peak_kib` is the peak of the
        largest process."""
        self.settle_machine()
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            machine = machine_cpu()
            begin = time.monotonic()
            process = subprocess.Popen(self.with_peak(command), env={**self.env, **(env or {})}, cwd=cwd, stdout=out,
                                       stderr=err, text=True)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
            machine = machine_cpu() - machine
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            if process.returncode != 0:
                raise SystemExit(f"bench: {' '.join(map(str, command))} failed:\n{out.read()}{err.read()}")
            return out.read(), {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
                                "system_seconds": usage.ru_stime, "machine_cpu_seconds": machine,
                                "peak_kib": self.peak_kib()}

    def with_peak(self, command):
        """The words that run a command so that peak_kib() knows its peak: the system counts to a new process what its parent
        held, which is much with Python, but little with `time`."""
        return ["/usr/bin/time", "-q", "-f", "%M", "-o", str(self.work / "peak"), *map(str, command)]

    def peak_kib(self):
        return int((self.work / "peak").read_text(encoding="utf-8"))

    def limit(self, command, data, out=None, codec="zst", processes=2, pages=None):
        """The same work by the bare codec and system calls: what it took. `out` is made anew."""
        words = [LIMIT, command, f"--data={data}", f"--threads={processes}", f"--codec={codec}"]
        if out is not None:
            words.append(f"--out={empty_directory(out)}")
        if pages is not None:
            words.append(f"--pages={pages}")
        return self.timed(*words)[1]

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
        self.run(HERE.parent / "make_data.sh", mib, 1, env={"PGPORT": str(port)})
        self.sql("VACUUM (FREEZE, ANALYZE)", port)
        return data

    def write_config(self, name, stanza, data, port, processes, repository, codec="zst"):
        """A configuration that pgark and pgBackRest both read; `repository` is what they do not share of [global]. Without a
        number of processes, they and the compression are left as they come."""
        for what in ("log", "lock", "spool"):
            (self.work / f"{name}-{what}").mkdir(exist_ok=True)
        settings = ""
        if processes is not None:
            settings = f"process-max={processes}\ncompress-type={codec}\n" + ("" if codec == "none" else "compress-level=1\n")
        config = self.work / f"{name}.conf"
        config.write_text(f"""[global]
{repository}log-path={self.work}/{name}-log
lock-path={self.work}/{name}-lock
spool-path={self.work}/{name}-spool
start-fast=y
{settings}[{stanza}]
pg1-path={data}
pg1-socket-path={self.work}
pg1-port={port}
pg1-user=postgres
""", encoding="utf-8")
        return config

    def archive_with(self, port, command):
        """Let the server archive with this command; settle() before relying on it."""
        self.sql(f"ALTER SYSTEM SET archive_command = '{command}'", port)
        self.sql("SELECT pg_reload_conf()", port)

    def settle(self, port):
        """Have everything written to the files, and all WAL archived."""
        self.sql("CHECKPOINT", port)
        wanted = self.sql("SELECT pg_walfile_name(pg_switch_wal())", port)
        begin = time.monotonic()
        while self.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver", port) < wanted:
            if time.monotonic() > begin + 600:
                raise SystemExit(f"bench: {wanted} was not archived:\n{self.sql('TABLE pg_stat_archiver', port)}")
            time.sleep(0.05)
        if time.monotonic() > begin + 10:
            say(f"waited {time.monotonic() - begin:.0f} s for the archiver: {self.sql('TABLE pg_stat_archiver', port)}")

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

    def go(self, main, clean_up, keep):
        """Run `main`; show the logs if it fails, and leave nothing behind."""
        def interrupted(*_):
            raise SystemExit(INTERRUPTED)

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
