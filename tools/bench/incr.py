#!/usr/bin/python3 -B
"""Incremental backups, pgark against pgBackRest (bundles, blocks, zstd 1) on one machine in one run: a cluster of realistic
rows, of which 0.1 %, 1 % and 10 % are updated at random and 1 % in one place, each followed by an incremental of both;
then more incrementals of 1 %, ten in all, and the restore of the tenth against the restore of a full of the same state.
At last the same rows are updated in a cluster of a tenth of the size and in the large one: time must follow the change.

For each: seconds, processor seconds, bytes read from the data directory as the tool itself reports them, bytes added to the
repository without WAL, and what the changed pages (counted by comparing all pages before and after) take at the
compression of the full. Both tools back up the same state of the same cluster, in turns first and second. WAL is archived by
pgark alone, so that neither is slowed down by the other's archiving. Restored clusters are started and compared.
Prints Markdown tables and writes every measurement to bench/results/incr-<time>.json.
Run it as `./dev bench incr [--mib=N] [--rounds=N] [--processes=N] [--without-pgbackrest] [--only=changes,tenth,size] [--keep]`.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

from bench_common import FINGERPRINT, LOAD, PGARK, Bench, remove_tree, say

PAGE = 8192
INCREMENTALS = 10

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--mib", type=int, default=3072, help="size of the cluster")
options.add_argument("--rounds", type=int, default=1, help="how often each change is made and backed up")
options.add_argument("--restores", type=int, default=3, help="measured restores of each backup")
options.add_argument("--repeats", type=int, default=5, help="incrementals of each size of cluster")
options.add_argument("--processes", type=int, default=2)
options.add_argument("--without-pgbackrest", action="store_true")
options.add_argument("--only", default="changes,tenth,size", help="parts to run")
options.add_argument("--keep", action="store_true", help="keep the scratch directory")
args = options.parse_args()

bench = Bench("incr")
run, WORK = bench.run, bench.work
TOOLS = ["pgark"] if args.without_pgbackrest else ["pgark", "pgbackrest"]
NAMES = {"pgark": "pgark", "pgbackrest": "pgBackRest"}
TABLES = {"orders": "total = total + 0.01, status = 'shipped'", "customers": "balance = balance + 1",
          "events": "detail = jsonb_set(detail, '{took_ms}', to_jsonb((detail->>'took_ms')::int + 1))"}
results = []  # {"what", "tool", "round", "seconds", "cpu_seconds", ...}
turn = 0      # Which tool goes first alternates.


def tree_bytes(path, without):
    """Sum of the files below, except below `without`."""
    return sum(entry.stat().st_size for entry in pathlib.Path(path).rglob("*")
               if entry.is_file() and not entry.is_symlink() and without not in entry.parents)


class Pgark:
    def __init__(self, cluster):
        self.cluster, self.repo = cluster, WORK / f"{cluster.name}-repo-pgark"
        config = write_config(cluster, "pgark", self.repo, "")
        self.command = ["pgark", f"--config={config}", f"--stanza={cluster.name}"]
        self.wal = self.repo / cluster.name / "wal"

    def backup(self, kind):
        output, cost = bench.timed(*self.command, "backup", f"--type={kind}", "--output=json")
        report = json.loads(output)
        if report["type"] != kind:
            raise SystemExit(f"bench: pgark made a {report['type']} backup instead of an {kind}:\n{output}")
        return {**cost, "label": report["label"], "read_bytes": report["read_bytes"],
                "logical_bytes": report["logical_bytes"], "extents_per_gib": report["extents_per_gib"]}


class Pgbackrest:
    def __init__(self, cluster):
        self.cluster, self.repo = cluster, WORK / f"{cluster.name}-repo-pgbackrest"
        # WAL is with pgark; a backup without it is less work, if anything.
        config = write_config(cluster, "pgbackrest", self.repo, "repo1-bundle=y\nrepo1-block=y\narchive-check=n\n")
        self.command = ["pgbackrest", f"--config={config}", f"--stanza={cluster.name}"]
        version = tuple(int(word) for word in run("pgbackrest", "version").split()[1].split("dev")[0].split(".")[:2])
        if version < (2, 46):  # Blocks are a beta feature before.
            self.command.append("--beta")
        self.wal = self.repo / "archive"

    def backup(self, kind):
        _, cost = bench.timed(*self.command, "backup", f"--type={kind}")
        last = json.loads(run(*self.command, "info", "--output=json"))[0]["backup"][-1]
        if last["type"] != kind:
            raise SystemExit(f"bench: pgBackRest made a {last['type']} backup instead of an {kind}")
        return {**cost, "label": last["label"], "read_bytes": last["info"]["delta"],
                "logical_bytes": last["info"]["size"]}


def write_config(cluster, tool, repo, more):
    repo.mkdir(exist_ok=True)
    return bench.write_config(f"{cluster.name}-{tool}", cluster.name, cluster.data, cluster.port, args.processes,
                              f"repo1-path={repo}\n{more}")


class Cluster:
    """A server with rows, archiving to pgark, and a stanza of it with each tool."""

    def __init__(self, name, port, mib):
        self.name, self.port, self.mib = name, port, mib
        self.data = bench.make_cluster(name, port, mib)
        self.tools = {"pgark": Pgark(self)}
        if "pgbackrest" in TOOLS:
            self.tools["pgbackrest"] = Pgbackrest(self)
        for tool in self.tools.values():
            run(*tool.command, "stanza-create")
        bench.archive_with(port, f"{' '.join(self.tools['pgark'].command)} archive-push %p")
        self.settle()
        self.pages = {}
        self.count_changed_pages()

    def sql(self, text):
        return bench.sql(text, self.port)

    def settle(self):
        bench.settle(self.port)

    def for_each_table(self, statements):
        """Run statements for all tables at once."""
        workers = [subprocess.Popen(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-p", str(self.port), "-o", "/dev/null",
                                     *(word for statement in statements(table) for word in ("-c", statement))], env=bench.env)
                   for table in TABLES]
        if [worker.wait() for worker in workers] != [0] * len(workers):
            raise SystemExit("bench: a statement failed")

    def update(self, where):
        """Update rows of every table where `where(table)` holds, and vacuum, as autovacuum would: hint bits and dead rows
        belong to this change, not to the next."""
        seed = len(results) * 31 % 1000 / 1000
        self.for_each_table(lambda table: [f"SELECT setseed({seed})", f"UPDATE {table} SET {TABLES[table]} WHERE {where(table)}"])
        self.for_each_table(lambda table: [f"VACUUM {table}"])
        self.settle()

    def count_changed_pages(self):
        """How many pages of relations differ from those of the last call. Reads, and so caches, every one."""
        changed = 0
        before, self.pages = self.pages, {}
        zero = hash(bytes(PAGE))
        for path in sorted(self.data.glob("base/*/*")) + sorted(self.data.glob("global/*")):
            if not path.name[0].isdigit():
                continue
            old = before.get(path, [])
            new = []
            with open(path, "rb") as file:
                while chunk := file.read(PAGE * 512):
                    new.extend(hash(chunk[at:at + PAGE]) for at in range(0, len(chunk), PAGE))
            self.pages[path] = new
            changed += sum(1 for at, page in enumerate(new) if page != zero and (at >= len(old) or page != old[at]))
        return changed

    def back_up(self, what, kind, number, changed_pages=None, tools=None):
        """Let each tool back the cluster up, in turns first and second; the labels."""
        global turn
        turn += 1
        labels = {}
        for tool in (TOOLS if turn % 2 else TOOLS[::-1]):
            if tools and tool not in tools:
                continue
            program = self.tools[tool]
            before = tree_bytes(program.repo, program.wal)
            entry = program.backup(kind)
            added = tree_bytes(program.repo, program.wal) - before
            labels[tool] = entry["label"]
            note(what, tool, number, cluster=self.name, kind=kind, added_bytes=added, changed_pages=changed_pages, **entry)
        return labels

    def restore(self, what, tool, label, number, fingerprint):
        program = self.tools[tool]
        place = WORK / "restored"
        remove_tree(place)
        place.mkdir(mode=0o700)
        _, cost = bench.timed(*program.command, "restore", f"--set={label}", f"--pg1-path={place}", "--archive-mode=off")
        if number > 0:
            note(what, tool, number, cluster=self.name, label=label, **cost)
        else:
            self.check_restored(place, fingerprint)
        remove_tree(place)

    def check_restored(self, place, fingerprint):
        """Recover to the end of WAL, whoever restored it, and compare."""
        fetch = " ".join(self.tools["pgark"].command) + f' --pg1-path={place} archive-get %f "%p"'
        bench.check_restored(place, self.port + 10, fingerprint, f"-c archive_mode=off -c restore_command='{fetch}'")


def note(what, tool, number, **more):
    results.append({"what": what, "tool": tool, "round": number, **more})
    text = f"{what:24} {tool:10} {more['seconds']:7.2f} s, {more['cpu_seconds']:6.2f} s of processor"
    if "read_bytes" in more:
        text += f", read {more['read_bytes'] / 2**20:7.1f} MiB, added {more['added_bytes'] / 2**20:7.1f} MiB"
    say(text)


def at_random(share):
    return lambda table: f"random() < {share}"


def in_one_place(cluster):
    """One percent of each table's rows, next to each other."""
    def where(table):
        low, rows = (int(word) for word in
                     cluster.sql(f"SELECT min(id) || ' ' || count(*) FROM {table} WHERE id < 1000000000").split())
        first = low + rows // 3
        return f"id >= {first} AND id < {first + rows * 2 // 100}"  # Both parts have as many; this is in one of them.
    return where


# In one place first: what is updated at random leaves free space everywhere, which later updates fill.
CHANGES = {"1 % in one place": None, "0.1 % at random": 0.001, "1 % at random": 0.01, "10 % at random": 0.1}


def measure_changes(cluster):
    """Full backups, then each kind of change and incrementals of it."""
    cluster.back_up("full", "full", 1)
    made = 0
    for number in range(1, args.rounds + 1):
        for what, share in CHANGES.items():
            cluster.update(at_random(share) if share else in_one_place(cluster))
            cluster.back_up(what, "incr", number, cluster.count_changed_pages())
            made += 1
    return made


def measure_tenth(cluster, made):
    """Incrementals of 1 % until there are ten; restore the last, and a full of the same state."""
    if made == 0:
        cluster.back_up("full", "full", 1)
    tenth = {}
    for number in range(made + 1, max(INCREMENTALS, made + 1) + 1):
        cluster.update(at_random(0.01))
        tenth = cluster.back_up("1 % at random, again", "incr", number)
    full = cluster.back_up("full at the end", "full", 1)
    cluster.settle()
    fingerprint = cluster.sql(FINGERPRINT)
    for tool in TOOLS:
        pairs = [("restore of the tenth", tenth[tool]), ("restore of a full", full[tool])]
        # Restored once unmeasured, what the measured ones read is in the page cache; pgark drops from it what it wrote.
        for number in range(args.restores + 1):
            for what, label in (pairs if number % 2 else pairs[::-1]):
                cluster.restore(what, tool, label, number, fingerprint)


def measure_size(large, small):
    """The same rows updated in both clusters; the incremental of each."""
    small.back_up("full, small", "full", 1)
    last = {table: int(small.sql(f"SELECT max(id) FROM {table} WHERE id < 1000000000")) for table in TABLES}
    for number in range(1, args.repeats + 1):
        for cluster in (small, large) if number % 2 else (large, small):
            cluster.update(lambda table: f"id <= {last[table]} AND id % 100 = {number}")
            cluster.back_up("same rows", "incr", number, cluster.count_changed_pages())


def chosen(what, tool, cluster="large"):
    return [entry for entry in results
            if (entry["what"], entry["tool"], entry["cluster"]) == (what, tool, cluster)]


def median(what, tool, field="seconds", cluster="large"):
    values = [entry[field] for entry in chosen(what, tool, cluster) if entry.get(field) is not None]
    return statistics.median(values) if values else None


def mib(value):
    return "" if value is None else f"{value / 2**20:.1f}" if value < 100 * 2**20 else f"{value / 2**20:.0f}"


def ratio(value, base):
    return f"{value / base:.2f}" if value is not None and base else ""


def report():
    versions = {"pgark": bench.version(PGARK), "postgres": bench.version("postgres")}
    if "pgbackrest" in TOOLS:
        versions["pgbackrest"] = bench.version("pgbackrest", "version")
    machine, out = bench.keep_results(versions, mib=args.mib, processes=args.processes, runs=results)
    print(f"{args.mib} MiB of rows, {args.processes} processes, zstd level 1, page cache warm; {machine['cpu']}, "
          f"{machine['cores']} cores, {machine['memory_gib']:.0f} GiB, load before {LOAD:.1f}; {'; '.join(versions.values())}.\n")
    if "changes" in args.only:
        report_changes()
    if "tenth" in args.only:
        report_tenth()
    if "size" in args.only:
        report_size()
    print(f"\nEvery measurement: {out}")


def compression(tool):
    """Bytes stored for each byte of the cluster in a full."""
    full = chosen("full", tool)[0]
    return full["added_bytes"] / full["logical_bytes"]


def report_changes():
    print("| rows updated | changed pages, MiB | tool | seconds | processor seconds | read, MiB | added, MiB "
          "| to the pages at the full's compression |")
    print("|---|---|---|---|---|---|---|---|")
    for what in ["full", *CHANGES]:
        for tool in TOOLS:
            pages = median(what, tool, "changed_pages")
            added = median(what, tool, "added_bytes")
            limit = pages * PAGE * compression(tool) if pages else None
            print(f"| {what if what != 'full' else '(full)'} | {mib(pages * PAGE) if pages else ''} | {NAMES[tool]} "
                  f"| {median(what, tool):.2f} | {median(what, tool, 'cpu_seconds'):.2f} | {mib(median(what, tool, 'read_bytes'))} "
                  f"| {mib(added)} | {ratio(added, limit)} |")


def report_tenth():
    print("\n| restore of | tool | seconds (least to most) | to the full |")
    print("|---|---|---|---|")
    for tool in TOOLS:
        base = median("restore of a full", tool)
        for what in ("restore of a full", "restore of the tenth"):
            seconds = [entry["seconds"] for entry in chosen(what, tool)]
            label = "a full" if what == "restore of a full" else "the last of ten incrementals"
            print(f"| {label} | {NAMES[tool]} | {median(what, tool):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) "
                  f"| {ratio(median(what, tool), base)} |")


def report_size():
    print("\n| incremental of the same rows | tool | changed pages, MiB | seconds | processor seconds | read, MiB | to the small cluster |")
    print("|---|---|---|---|---|---|---|")
    for tool in TOOLS:
        base = median("same rows", tool, cluster="small")
        for cluster, size in (("small", args.mib // 10), ("large", args.mib)):
            seconds = median("same rows", tool, cluster=cluster)
            print(f"| cluster of {size} MiB | {NAMES[tool]} | {mib(median('same rows', tool, 'changed_pages', cluster) * PAGE)} "
                  f"| {seconds:.2f} | {median('same rows', tool, 'cpu_seconds', cluster):.2f} "
                  f"| {mib(median('same rows', tool, 'read_bytes', cluster))} | {ratio(seconds, base)} |")


def main():
    large = Cluster("large", 5475, args.mib)
    made = 0
    if "changes" in args.only:
        made = measure_changes(large)
    if "tenth" in args.only:
        measure_tenth(large, made)
    elif not made:
        large.back_up("full", "full", 1)
    if "size" in args.only:
        measure_size(large, Cluster("small", 5476, args.mib // 10))
    report()


def clean_up():
    for directory in ("large", "small", "restored"):
        bench.stop(WORK / directory)


bench.go(main, clean_up, args.keep)
