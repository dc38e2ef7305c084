"""pgark and what it is held against, each behind one interface, so that a part can let them take turns at the same work.

A tool belongs to one cluster. setup() makes its repository ready and, unless told not to, has the server archive with it;
backup() and restore() do the work and say what it took; remove() leaves the cluster as if the tool had never been there.
"""
import dataclasses
import getpass
import json
import os
import pathlib
import shutil

from common import BIN, PGARK, Bench, empty_directory, remove_tree, tree_bytes

PGBACKREST = os.environ.get("PGBACKREST", "pgbackrest")


@dataclasses.dataclass
class Cluster:
    """A running server of a Bench."""
    bench: Bench
    name: str  # Also the stanza's.
    data: pathlib.Path
    port: int

    def sql(self, text):
        return self.bench.sql(text, self.port)

    def settle(self):
        self.bench.settle(self.port)


@dataclasses.dataclass
class Settings:
    codec: str = "zst"           # zst, lz4 or none; level 1.
    processes: int | None = 2    # None: this and the codec are left as they come.
    archive: bool = True         # Whether the server archives with this tool. Else its backups do not wait for WAL.
    repositories: int = 1
    more: str = ""               # Lines for [global].


class Tool:
    """What they share."""

    name = ""     # In the report.
    short = ""    # Of files and directories.

    def __init__(self, cluster, settings=None):
        self.cluster, self.bench = cluster, cluster.bench
        self.settings = settings or Settings()
        self.home = self.bench.work / f"{cluster.name}-{self.short}"
        self.command = []  # Words that every call of the program begins with.

    def repository(self, number=1):
        return self.home / f"repo{number}"

    def setup(self):
        empty_directory(self.home)
        for number in range(1, self.settings.repositories + 1):
            empty_directory(self.repository(number))
        self.configure()
        if self.settings.archive:
            self.bench.archive_with(self.cluster.port, self.archive_command())
        self.cluster.settle()

    def remove(self):
        if self.settings.archive:
            self.bench.archive_with(self.cluster.port, "true")
            self.cluster.settle()
        remove_tree(self.home)

    def stored_bytes(self):
        """What the first repository holds, without WAL."""
        return tree_bytes(self.repository())

    def backup(self, kind="full"):
        """What it took, with `stored_bytes`: what it added to the first repository; and `label`."""
        before = self.stored_bytes()
        cost = self.do_backup(kind)
        return {**cost, "stored_bytes": self.stored_bytes() - before}

    # What each does its own way.
    def configure(self):
        raise NotImplementedError

    def archive_command(self):
        return "true"

    def do_backup(self, kind):
        raise NotImplementedError

    def restore(self, into, label=None, delta=False):
        """Into an empty directory, or over what is there with delta: what it took."""
        raise NotImplementedError

    def recovery_options(self):
        """For the start of a restored cluster."""
        return "-c archive_mode=off"

    def version(self):
        raise NotImplementedError


class Configured(Tool):
    """pgark and pgBackRest: one kind of configuration and command line."""

    program = ""

    def configure(self):
        lines = "".join(f"repo{number}-path={self.repository(number)}\n{self.for_repository(number)}"
                        for number in range(1, self.settings.repositories + 1))
        config = self.bench.write_config(self.home.name + "/tool", self.cluster.name, self.cluster.data, self.cluster.port,
                                         self.settings.processes, lines + self.settings.more + self.extra(),
                                         self.settings.codec)
        self.command = [self.program, f"--config={config}", f"--stanza={self.cluster.name}", *self.words()]
        self.bench.run(*self.command, "stanza-create")

    def for_repository(self, _number):
        return ""

    def extra(self):
        return ""

    def words(self):
        return []

    def archive_command(self):
        return " ".join(map(str, self.command)) + " archive-push %p"

    def backup_words(self, kind):
        return [*self.command, "backup", f"--type={kind}"]

    def restore(self, into, label=None, delta=False):
        return self.bench.timed(*self.command, "restore", *([f"--set={label}"] if label else []), f"--pg1-path={into}",
                                "--archive-mode=off", *(["--delta"] if delta else []))[1]


class Pgark(Configured):
    name, short, program = "pgark", "pgark", "pgark"

    def __init__(self, cluster, settings=None, name="pgark"):
        super().__init__(cluster, settings)
        self.name = name

    def extra(self):
        return "" if self.settings.archive else "archive-check=n\n"

    def stored_bytes(self):
        return tree_bytes(self.repository(), self.repository() / self.cluster.name / "wal")

    def do_backup(self, kind):
        output, cost = self.bench.timed(*self.backup_words(kind), "--output=json")
        report = json.loads(output)
        if report["type"] != kind:
            raise SystemExit(f"bench: pgark made a {report['type']} backup instead of a {kind}:\n{output}")
        return {**cost, **{key: report[key] for key in ("label", "read_bytes", "logical_bytes", "extents_per_gib")}}

    def version(self):
        return self.bench.version(PGARK)


class Pgbackrest(Configured):
    """With what its manual offers for speed, or as it comes: gzip, one process, no bundles, no blocks. WAL is pushed without
    archive-async: for the few segments of a backup, it costs a second, and now and then a minute."""

    program = PGBACKREST

    def __init__(self, cluster, settings=None, tuned=True):
        self.name = "pgBackRest tuned" if tuned else "pgBackRest as it comes"
        self.short = "pgbackrest" if tuned else "pgbackrest-plain"
        self.tuned = tuned
        super().__init__(cluster, settings)
        if not tuned:
            self.settings = dataclasses.replace(self.settings, processes=None)

    def for_repository(self, number):
        return f"repo{number}-bundle=y\nrepo{number}-block=y\n" if self.tuned else ""

    def extra(self):
        return "" if self.settings.archive else "archive-check=n\n"

    def words(self):
        # Before 2.46, Debian's 2.45 included, blocks are a beta feature that must be asked for.
        version = self.version().split()[1].split("dev")[0].split(".")
        return ["--beta"] if self.tuned and tuple(int(word) for word in version[:2]) < (2, 46) else []

    def stored_bytes(self):
        return tree_bytes(self.repository(), self.repository() / "archive")

    def do_backup(self, kind):
        cost = self.bench.timed(*self.backup_words(kind), *self.choose(1))[1]
        for number in range(2, self.settings.repositories + 1):  # It can only do one after the other.
            more = self.bench.timed(*self.backup_words(kind), *self.choose(number))[1]
            cost = {key: max(cost[key], more[key]) if key == "peak_kib" else cost[key] + more[key] for key in cost}
        last = json.loads(self.bench.run(*self.command, "info", "--output=json"))[0]["backup"][-1]
        if last["type"] != kind:
            raise SystemExit(f"bench: pgBackRest made a {last['type']} backup instead of a {kind}")
        return {**cost, "label": last["label"], "read_bytes": last["info"]["delta"], "logical_bytes": last["info"]["size"]}

    def choose(self, number):
        return [f"--repo={number}"] if self.settings.repositories > 1 else []

    def version(self):
        return self.bench.version(PGBACKREST, "version")


class PgBasebackup(Tool):
    """Tar to disk; compressed by itself where it can, unpacked with tar. WAL comes with it."""

    name, short = "pg_basebackup", "basebackup"
    # From PostgreSQL 15 on.
    COMPRESS = {"zst": "client-zstd:level=1,workers={}", "lz4": "client-lz4:level=1"}
    TAR = {"zst": ("base.tar.zst", "zstd -dc"), "lz4": ("base.tar.lz4", "lz4 -dc"), "none": ("base.tar", "cat")}

    @staticmethod
    def can(codec):
        return codec == "none" or shutil.which(PgBasebackup.TAR[codec][1].split()[0]) is not None

    def configure(self):
        pass

    def do_backup(self, kind):
        if kind != "full":
            raise SystemExit("bench: pg_basebackup makes full backups only")
        words = ["pg_basebackup", "-p", self.cluster.port, "-D", empty_directory(self.repository()), "-Ft", "-Xfetch",
                 "-c", "fast"]
        if self.settings.codec in self.COMPRESS:
            words.append("--compress=" + self.COMPRESS[self.settings.codec].format(self.settings.processes or 1))
        return self.bench.timed(*words)[1]

    def restore(self, into, label=None, delta=False):
        tar, decode = self.TAR[self.settings.codec]
        return self.bench.timed("bash", "-c", 'set -o pipefail; $3 "$1" | tar -x -C "$2" && sync -f "$2"', "_",
                                self.repository() / tar, into, decode)[1]

    def version(self):
        return self.bench.version("pg_basebackup")


class Barman(Tool):
    """As it comes, on the same machine: pg_basebackup's plain files in a directory of its own, restored by rsync."""

    name, short = "Barman", "barman"

    @staticmethod
    def is_there():
        return shutil.which("barman") is not None

    def configure(self):
        at = f"host={self.bench.work} port={self.cluster.port} user=postgres"
        config = self.home / "barman.conf"
        config.write_text(f"""[barman]
barman_user = {getpass.getuser()}
barman_home = {self.repository()}
log_file = {self.home}/barman.log
configuration_files_directory = {self.home}/none
path_prefix = {BIN}
[{self.cluster.name}]
description = bench
conninfo = {at} dbname=postgres
streaming_conninfo = {at}
backup_method = postgres
archiver = on
immediate_checkpoint = true
""", encoding="utf-8")
        self.command = ["barman", "-c", config]
        self.incoming = self.repository() / self.cluster.name / "incoming"
        for name in ("incoming", "base", "wals", "streaming", "errors"):
            (self.repository() / self.cluster.name / name).mkdir(parents=True)

    def archive_command(self):
        return f"cp %p {self.incoming}/%f"

    def setup(self):
        super().setup()
        # It refuses to back up until it has seen WAL.
        self.bench.run(*self.command, "archive-wal", self.cluster.name)

    def stored_bytes(self):
        return tree_bytes(self.repository() / self.cluster.name / "base")

    def do_backup(self, kind):
        if kind != "full":
            raise SystemExit("bench: Barman makes full backups only in the way it is used here")
        return self.bench.timed(*self.command, "backup", self.cluster.name)[1]

    def restore(self, into, label=None, delta=False):
        self.cluster.settle()
        self.bench.run(*self.command, "archive-wal", self.cluster.name)
        return self.bench.timed("bash", "-c", 'into=$1; shift; "$@" "$into" && sync -f "$into"', "_", into, *self.command,
                                "recover", self.cluster.name, label or "latest")[1]

    def version(self):
        return "Barman " + self.bench.version("barman", "--version").split()[0]


class Limit(Tool):
    """The same bytes through the bare codec and the bare system calls: what a backup program cannot beat."""

    name, short = "limit", "limit"

    def __init__(self, cluster, settings=None):
        super().__init__(cluster, settings)
        self.settings = dataclasses.replace(self.settings, archive=False)

    def configure(self):
        pass

    def do_backup(self, kind):
        return self.bench.limit("backup", self.cluster.data, self.repository(), self.settings.codec, self.settings.processes)

    def restore(self, into, label=None, delta=False):
        return self.bench.limit("restore", self.repository(), into, self.settings.codec, self.settings.processes)

    def version(self):
        return ""
