#!/usr/bin/python3 -B
"""WAL in and out: segments a second through archive-push and archive-get, pgark against pgBackRest, each synchronous and
asynchronous, on a repository that answers at once and on one where every call takes 30 ms; and how long a server takes
to recover 1 GiB of WAL through restore_command against the same WAL lying in pg_wal already.

The 30 ms come from bench/slow_store.c, preloaded into both programs: every call that names a file of the repository
waits. Push and get are driven as PostgreSQL drives them: one process after the other, in the order of the segments.
Prints Markdown tables of medians and writes every measurement to bench/results/wal-<time>.json.
Run it as `./dev bench wal [--segments=N] [--rounds=N] [--processes=N] [--latency=MS] [--without-pgbackrest] [--only=push,get,recovery] [--keep]`.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import time

from bench_common import HERE, PGARK, Bench, say

SEGMENT_MIB = 16

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--segments", type=int, default=64)
options.add_argument("--rounds", type=int, default=3)
options.add_argument("--processes", type=int, default=2)
options.add_argument("--latency", type=int, default=30)
options.add_argument("--without-pgbackrest", action="store_true")
options.add_argument("--only", default="push,get,recovery")
options.add_argument("--keep", action="store_true")
args = options.parse_args()

bench = Bench("wal")
bench.env["PGPORT"] = "5473"
run, WORK = bench.run, bench.work
TOOLS = ["pgark"] if args.without_pgbackrest else ["pgark", "pgbackrest"]
FINGERPRINT = "SELECT count(*) || ' ' || sum(delta) FROM pgbench_history"
fingerprint = ""  # Of the cluster at the end of its WAL.
recovered_mib = 0  # WAL from the base backup to there.
results = []  # {"what", "tool", "mode", "latency_ms", "round", "seconds", "segments"}


def sql(text, port=5473):
    return bench.sql(text, port)


def start(data, log, *more):
    run("pg_ctl", "-D", data, "-l", log, "-w", "-t", "3600", *more, "start")


def stop(data):
    if (data / "postmaster.pid").exists():
        subprocess.run(["pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop"], env=bench.env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)


def make_wal():
    """A cluster, a copy of it before the load, and the segments of the load in WORK/wal."""
    say(f"writing {args.segments} segments of WAL with pgbench")
    data = WORK / "data"
    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums", "-N")
    (WORK / "wal").mkdir()
    with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write(f"listen_addresses = ''\nunix_socket_directories = '{WORK}'\nport = 5473\nmax_wal_size = 16GB\n"
                   "checkpoint_timeout = 1h\nshared_buffers = 512MB\nautovacuum = off\narchive_mode = on\n"
                   f"archive_command = 'cp %p {WORK}/wal/%f'\n")
    start(data, WORK / "server.log")
    run("pgbench", "-i", "-s", 20, "-q")
    sql("CHECKPOINT")
    sql("SELECT pg_switch_wal()")
    run("pg_basebackup", "-D", WORK / "base", "-X", "none", "-c", "fast", "--no-sync")
    before = len(segments())
    while len(segments()) < before + args.segments:
        run("pgbench", "-n", "-c", 4, "-j", 2, "-t", 5000)
    global fingerprint, recovered_mib
    fingerprint = sql(FINGERPRINT)
    recovered_mib = (len(segments()) - before) * SEGMENT_MIB
    sql("SELECT pg_switch_wal()")
    run("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("archive_command = 'true'\n")


def segments():
    return sorted(path.name for path in (WORK / "wal").iterdir() if len(path.name) == 24)


def load():
    """The segments that are pushed and fetched: the last ones."""
    return segments()[-args.segments:]


def make_pushing_directory():
    """A data directory in which the segments wait to be archived."""
    place = WORK / "pushing"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(WORK / "data" / "global", place / "global")
    shutil.copy(WORK / "data" / "PG_VERSION", place)
    (place / "pg_wal" / "archive_status").mkdir(parents=True)
    for name in load():
        os.link(WORK / "wal" / name, place / "pg_wal" / name)
        (place / "pg_wal" / "archive_status" / (name + ".ready")).touch()
    return place


def clean(tool):
    kill_helpers()
    for name in ("repo", "spool", "lock", "log"):
        shutil.rmtree(WORK / f"{tool}-{name}", ignore_errors=True)
        (WORK / f"{tool}-{name}").mkdir()


def configure(tool, data, asynchronous):
    config = WORK / f"{tool}.conf"
    config.write_text(f"""[global]
repo1-path={WORK}/{tool}-repo
log-path={WORK}/{tool}-log
lock-path={WORK}/{tool}-lock
spool-path={WORK}/{tool}-spool
process-max={args.processes}
compress-type=zst
compress-level=1
archive-async={'y' if asynchronous else 'n'}
archive-get-queue-max=256MiB
[main]
pg1-path={data}
pg1-socket-path={WORK}
pg1-port=5473
pg1-user=postgres
""", encoding="utf-8")
    program = WORK / "bin" / "pgark" if tool == "pgark" else "pgbackrest"
    return [str(program), f"--config={config}", "--stanza=main"]


def create_stanza(tool):
    command = configure(tool, WORK / "data", False)
    start(WORK / "data", WORK / "server.log")
    run(*command, "stanza-create")
    stop(WORK / "data")


def slowed(tool, latency):
    if latency == 0:
        return {}
    return {"LD_PRELOAD": str(WORK / "slow_store.so"), "PGARK_SLOW_PATH": str(WORK / f"{tool}-repo"),
            "PGARK_SLOW_MS": str(latency)}


def kill_helpers():
    """End what asynchronous commands left running."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(f"--config={WORK}".encode()) for word in words):
                os.kill(int(entry.name), signal.SIGKILL)


def note(what, tool, mode, latency, number, seconds):
    results.append({"what": what, "tool": tool, "mode": mode, "latency_ms": latency, "round": number,
                    "seconds": seconds, "segments": args.segments})
    say(f"{what:8} {tool:10} {mode:5} {latency:2} ms round {number}: {seconds:7.2f} s")


def push(tool, mode, latency, number):
    clean(tool)
    create_stanza(tool)
    place = make_pushing_directory()
    command = configure(tool, place, mode == "async")
    status = place / "pg_wal" / "archive_status"
    env = slowed(tool, latency)
    os.sync()
    begin = time.monotonic()
    for name in load():
        run(*command, "archive-push", f"pg_wal/{name}", cwd=place, env=env)
        (status / (name + ".ready")).rename(status / (name + ".done"))
    note("push", tool, mode, latency, number, time.monotonic() - begin)
    kill_helpers()


def fetch(tool, mode, latency, number):
    """Fetch what push left in the repository, as a recovering server does."""
    place = WORK / "getting"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(WORK / "data" / "global", place / "global")
    shutil.copy(WORK / "data" / "PG_VERSION", place)
    (place / "pg_wal").mkdir()
    (place / "recovery.signal").touch()  # pgark fetches ahead only for a server in recovery.
    shutil.rmtree(WORK / f"{tool}-spool", ignore_errors=True)
    (WORK / f"{tool}-spool").mkdir()
    command = configure(tool, place, mode == "async")
    env = slowed(tool, latency)
    begin = time.monotonic()
    for name in load():
        run(*command, "archive-get", name, "pg_wal/RECOVERYXLOG", cwd=place, env=env)
        (place / "pg_wal" / "RECOVERYXLOG").unlink()
    note("get", tool, mode, latency, number, time.monotonic() - begin)
    kill_helpers()


def recover(tool, mode, number):
    """Seconds from the start of the server to its promotion, which the repository `push` filled makes possible."""
    place = WORK / "recovering"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(WORK / "base", place)
    (place / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)
    (place / "recovery.signal").touch()
    command = "false"
    if tool == "local":
        for name in segments():
            shutil.copy(WORK / "wal" / name, place / "pg_wal" / name)
    else:
        shutil.rmtree(WORK / f"{tool}-spool", ignore_errors=True)
        (WORK / f"{tool}-spool").mkdir()
        words = " ".join(configure(tool, place, mode == "async"))
        command = f'{words} archive-get %f "%p"'
    with open(place / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write(f"port = 5474\narchive_mode = off\nfsync = on\nhot_standby = on\nrestore_command = '{command}'\n")
    os.sync()
    begin = time.monotonic()
    start(place, WORK / "recovering.log")
    while sql("SELECT pg_is_in_recovery()", 5474) != "f":
        time.sleep(0.02)
    seconds = time.monotonic() - begin
    if sql(FINGERPRINT, 5474) != fingerprint:
        raise SystemExit(f"bench: recovery with {tool} {mode} ended early")
    run("pg_ctl", "-D", place, "-m", "immediate", "-w", "stop")
    note("recovery", tool, mode, 0, number, seconds)
    kill_helpers()


def push_everything(tool):
    """All segments since the base backup, for recovery."""
    clean(tool)
    create_stanza(tool)
    command = configure(tool, WORK / "data", False)
    for name in segments():
        run(*command, "archive-push", WORK / "wal" / name, cwd=WORK)


def median(what, tool, mode, latency=0):
    found = [entry["seconds"] for entry in results
             if (entry["what"], entry["tool"], entry["mode"], entry["latency_ms"]) == (what, tool, mode, latency)]
    return statistics.median(found) if found else None


def report():
    versions = {"pgark": bench.version(PGARK), "postgres": bench.version("postgres")}
    if not args.without_pgbackrest:
        versions["pgbackrest"] = bench.version("pgbackrest", "version")
    machine, out = bench.keep_results(versions, segment_mib=SEGMENT_MIB, processes=args.processes, runs=results)
    print(f"{args.segments} segments of {SEGMENT_MIB} MiB written by pgbench, {args.processes} processes, zstd level 1, "
          f"medians of {args.rounds} rounds; {machine['cpu']}, {machine['cores']} cores; {'; '.join(versions.values())}.\n")
    if median("push", "pgark", "sync"):
        report_segments()
    report_recovery()
    print(f"\nEvery measurement: {out}")


def report_segments():
    print("| segments a second | " + " | ".join(f"{tool} {mode}" for tool in TOOLS for mode in ("sync", "async")) + " |")
    print("|---|" + "---|" * (2 * len(TOOLS)))
    for what in ("push", "get"):
        for latency in (0, args.latency):
            cells = []
            for tool in TOOLS:
                for mode in ("sync", "async"):
                    seconds = median(what, tool, mode, latency)
                    cells.append(f"{args.segments / seconds:.1f}" if seconds else "")
            if any(cells):
                print(f"| {what}, {latency} ms a call | " + " | ".join(cells) + " |")


def report_recovery():
    base = median("recovery", "local", "-")
    if base:
        print(f"\n| recovery of {recovered_mib} MiB of WAL | seconds | to the same WAL in pg_wal |")
        print("|---|---|---|")
        print(f"| WAL in pg_wal already | {base:.2f} | 1.00 |")
        for tool in TOOLS:
            for mode in ("sync", "async"):
                seconds = median("recovery", tool, mode)
                print(f"| restore_command, {tool} {mode} | {seconds:.2f} | {seconds / base:.2f} |")


def main():
    run("cc", "-O2", "-shared", "-fPIC", "-o", WORK / "slow_store.so", HERE.parent / "bench" / "slow_store.c", "-ldl")
    wanted = args.only.split(",")
    make_wal()
    for number in range(1, args.rounds + 1):
        for latency in (0, args.latency):
            for mode in ("sync", "async"):
                for tool in TOOLS:
                    if "push" in wanted or "get" in wanted:
                        push(tool, mode, latency, number)
                    if "get" in wanted:
                        fetch(tool, mode, latency, number)
    if "recovery" in wanted:
        for tool in TOOLS:
            push_everything(tool)
        for number in range(1, args.rounds + 1):
            recover("local", "-", number)
            for mode in ("sync", "async"):
                for tool in TOOLS:
                    recover(tool, mode, number)
    report()


def clean_up():
    kill_helpers()
    for directory in ("data", "recovering"):
        stop(WORK / directory)


bench.go(main, clean_up, args.keep)
