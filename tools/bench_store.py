#!/usr/bin/python3
"""What latency costs: full backups into S3 (Ceph's gateway, as in the tests) and restores from it, through a proxy that
delays every call by 0 ms or by --ms, in turns, with a repository on the local disk for comparison. The cluster archives
into the same repository, so what a backup waits for is part of it.

For each: seconds, processor seconds of pgark, requests and new connections that the proxy saw. Every restored cluster of
the first round is started and compared. Prints a Markdown table of medians and the ratio of the slow network to the fast
one, and writes every measurement to bench/results/store-<time>.json.
Run it as `./dev bench store [--mib=N] [--rounds=N] [--ms=N] [--processes=N] [--without-posix] [--keep]`.
"""
import argparse
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
PORT = 5481

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--mib", type=int, default=1024, help="size of the cluster")
options.add_argument("--rounds", type=int, default=1, help="how often each is measured")
options.add_argument("--ms", type=int, default=30, help="what each call takes more on the slow network")
options.add_argument("--processes", type=int, default=2)
options.add_argument("--without-posix", action="store_true")
options.add_argument("--keep", action="store_true", help="keep the scratch directory")
args = options.parse_args()

PGARK = pathlib.Path(os.environ.get("PGARK", HERE.parent / "build/pgark")).resolve()
PROGRAMS = pathlib.Path(os.environ.get("PGARK_PROGRAMS", PGARK.parent)).resolve()
WORK = pathlib.Path(tempfile.mkdtemp(prefix="pgark-bench-store-"))
ENV = {**os.environ, "PATH": f"{WORK}/bin:{BIN}:{os.environ['PATH']}", "PGHOST": str(WORK), "PGUSER": "postgres",
       "PGPORT": str(PORT), "PGDATABASE": "postgres", "TZ": "UTC", "LC_ALL": "C",
       "PGOPTIONS": "-c client_min_messages=warning"}
FINGERPRINT = ("SELECT (SELECT count(*) || ' ' || sum(total) FROM orders) || ' ' || "
               "(SELECT count(*) || ' ' || sum((detail->>'took_ms')::int) FROM events) || ' ' || "
               "(SELECT count(*) || ' ' || sum(balance) FROM customers)")
LOAD = os.getloadavg()[1]  # Of five minutes, before anything was started here.
PLACES = [] if args.without_posix else ["posix"]
PLACES += ["s3, 0 ms", f"s3, {args.ms} ms"]
results = []
proxies = []  # Processes to end.


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], env={**ENV, **more.pop("env", {})}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def timed(*command):
    """Run a command: its output, and what it took."""
    os.sync()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], env=ENV, stdout=out, stderr=err, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"bench: {' '.join(map(str, command))} failed:\n{out.read()}{err.read()}")
        return out.read(), {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
                            "peak_kib": usage.ru_maxrss}


class S3:
    """The gateway that the tests use, a bucket in it, and the proxy before it."""

    def __init__(self):
        directory = WORK / "servers"
        say("starting the gateway")
        # Ends with this process, whatever becomes of it.
        run(PROGRAMS / "object_servers", "start", "s3", directory)
        if (directory / "s3.missing").exists():
            raise SystemExit("bench: " + (directory / "s3.missing").read_text(encoding="utf-8"))
        self.at = json.loads((directory / "s3.json").read_text(encoding="utf-8"))
        self.bucket = "bench"
        self.make_bucket()
        self.proxy = subprocess.Popen([str(PROGRAMS / "fault_proxy"), "--http", f"{self.at['host']}:{self.at['port']}"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        proxies.append(self.proxy)
        self.port = int(self.proxy.stdout.readline().rsplit(":", 1)[1])

    def make_bucket(self):
        """The one request that is not pgark's."""
        now = datetime.datetime.now(datetime.timezone.utc)
        day, stamp = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        empty = hashlib.sha256(b"").hexdigest()
        headers = {"host": f"{self.at['host']}:{self.at['port']}", "x-amz-content-sha256": empty, "x-amz-date": stamp}
        signed = ";".join(headers)
        canonical = "\n".join(["PUT", f"/{self.bucket}", "", *(f"{name}:{headers[name]}" for name in headers), "", signed, empty])
        scope = f"{day}/{self.at['region']}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.at["secret"]).encode()
        for word in scope.split("/"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.at['access_key']}/{scope}, "
                                    f"SignedHeaders={signed}, Signature={signature}")
        request = urllib.request.Request(f"http://{headers['host']}/{self.bucket}", method="PUT", headers=headers)
        with urllib.request.urlopen(request, timeout=60):
            pass

    def set_latency(self, milliseconds):
        self.proxy.stdin.write(f"rtt-ms {milliseconds}\n")
        self.proxy.stdin.flush()

    def counts(self):
        self.proxy.stdin.write("counts\n")
        self.proxy.stdin.flush()
        words = self.proxy.stdout.readline().split()
        return {name: int(value) for name, value in zip(words[::2], words[1::2])}

    def settings(self):
        return f"""repo1-type=s3
repo1-path=/cluster
repo1-s3-bucket={self.bucket}
repo1-s3-endpoint=http://127.0.0.1:{self.port}
repo1-s3-region={self.at['region']}
repo1-s3-uri-style=path
repo1-s3-key={self.at['access_key']}
repo1-s3-key-secret={self.at['secret']}
"""


def write_config(name, repository):
    for what in ("log", "lock", "spool"):
        (WORK / f"{name}-{what}").mkdir()
    config = WORK / f"{name}.conf"
    config.write_text(f"""[global]
{repository}log-path={WORK}/{name}-log
lock-path={WORK}/{name}-lock
spool-path={WORK}/{name}-spool
process-max={args.processes}
start-fast=y
compress-type=zst
compress-level=1
[main]
pg1-path={WORK}/data
pg1-socket-path={WORK}
pg1-port={PORT}
pg1-user=postgres
""", encoding="utf-8")
    return ["pgark", f"--config={config}", "--stanza=main"]


def sql(text, port=PORT):
    return run("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-p", port, "-c", text).strip()


def make_cluster():
    say(f"making a cluster with {args.mib} MiB")
    data = WORK / "data"
    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums", "-N")
    with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write(f"listen_addresses = ''\nunix_socket_directories = '{WORK}'\nport = {PORT}\nmax_wal_size = 32GB\n"
                   "checkpoint_timeout = 1h\nshared_buffers = 512MB\nautovacuum = off\nfsync = off\n"
                   "wal_compression = lz4\narchive_mode = on\narchive_command = 'true'\n")
    run("pg_ctl", "-D", data, "-l", WORK / "server.log", "-w", "-t", "3600", "start")
    run(HERE / "make_data.sh", args.mib, 1)
    sql("VACUUM (FREEZE, ANALYZE)")
    return sql(FINGERPRINT)


def archive_with(command):
    """Let the server archive with `command`, and all WAL there is be archived."""
    sql(f"ALTER SYSTEM SET archive_command = '{command}'")
    sql("SELECT pg_reload_conf()")
    time.sleep(1)  # Until the archiver has read it.
    sql("CHECKPOINT")
    wanted = sql("SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 600
    while sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") < wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {wanted} was not archived:\n{sql('TABLE pg_stat_archiver')}")
        time.sleep(0.05)


def note(what, place, number, s3, before, cost):
    counted = {name: value - before[name] for name, value in s3.counts().items()} if place != "posix" else {}
    results.append({"what": what, "place": place, "round": number, **cost, **counted})
    say(f"{what:8} {place:10} {cost['seconds']:7.2f} s, {cost['cpu_seconds']:6.2f} s of processor, "
        f"{counted.get('requests', 0)} requests on {counted.get('connections', 0)} connections, load {os.getloadavg()[0]:.1f}")


def measure(tool, place, number, s3, fingerprint):
    before = s3.counts()
    output, cost = timed(*tool, "backup", "--type=full", "--output=json")
    note("backup", place, number, s3, before, cost)
    label = json.loads(output)["label"]
    restored = WORK / "restored"
    before = s3.counts()
    _, cost = timed(*tool, "restore", f"--set={label}", f"--pg1-path={restored}", "--archive-mode=off")
    note("restore", place, number, s3, before, cost)
    if number == 1:
        check_restored(restored, fingerprint)
    remove_tree(restored)


def check_restored(place, fingerprint):
    """Recover to the end of WAL and compare."""
    run("pg_ctl", "-D", place, "-l", WORK / "restored.log", "-w", "-t", "3600", "-o", f"-p {PORT + 1}", "start")
    try:
        while sql("SELECT pg_is_in_recovery()", PORT + 1) != "f":
            time.sleep(0.1)
        found = sql(FINGERPRINT, PORT + 1)
    finally:
        stop(place)
    if found != fingerprint:
        raise SystemExit(f"bench: the restored cluster differs: '{found}', not '{fingerprint}'")


def stop(data):
    if (data / "postmaster.pid").exists():
        subprocess.run(["pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"], env=ENV, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)


def remove_tree(path):
    if path.exists():
        subprocess.run(["chmod", "-R", "u+w", str(path)], check=False)
        shutil.rmtree(path, ignore_errors=True)


def median(what, place, field):
    values = [entry[field] for entry in results if (entry["what"], entry["place"]) == (what, place) and field in entry]
    return statistics.median(values) if values else None


def report():
    machine = {"cpu": "unknown", "cores": os.cpu_count(), "kernel": platform.release(), "load_before": LOAD,
               "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)}
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            machine["cpu"] = line.split(":")[1].strip()
            break
    versions = {"pgark": run(PGARK, "--version").strip().splitlines()[0],
                "postgres": run("postgres", "--version").strip(), "radosgw": run("radosgw", "--version").strip()}
    out = HERE.parent / "bench" / "results" / f"store-{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "versions": versions, "mib": args.mib, "processes": args.processes,
                               "latency_ms": args.ms, "runs": results}, indent=1) + "\n", encoding="utf-8")
    print(f"{args.mib} MiB of rows, {args.processes} processes, zstd level 1; {machine['cpu']}, {machine['cores']} cores "
          f"that the gateway and the proxy share, {machine['memory_gib']:.0f} GiB, load before {LOAD:.1f}; "
          f"{'; '.join(versions.values())}.\n")
    print("| | where | seconds | to 0 ms | processor seconds | requests | connections |")
    print("|---|---|---|---|---|---|---|")
    for what in ("backup", "restore"):
        base = median(what, "s3, 0 ms", "seconds")
        for place in PLACES:
            seconds = median(what, place, "seconds")
            ratio = "" if place == "posix" else f"{seconds / base:.3f}"
            print(f"| {what} | {place} | {seconds:.2f} | {ratio} | {median(what, place, 'cpu_seconds'):.2f} "
                  f"| {median(what, place, 'requests') or ''} | {median(what, place, 'connections') or ''} |")
    print(f"\nEvery measurement: {out.relative_to(HERE.parent)}")


def main():
    if os.getuid() == 0:
        raise SystemExit("bench: PostgreSQL refuses to run as root; run ./dev bench store")
    (WORK / "bin").mkdir()
    (WORK / "bin" / "pgark").symlink_to(PGARK)
    s3 = S3()
    fingerprint = make_cluster()
    tools = {"s3": write_config("s3", s3.settings())}
    if not args.without_posix:
        (WORK / "repo").mkdir()
        tools["posix"] = write_config("posix", f"repo1-path={WORK}/repo\n")
    for tool in tools.values():
        run(*tool, "stanza-create")
    for number in range(1, args.rounds + 1):
        for place in PLACES if number % 2 else PLACES[::-1]:
            kind = place.split(",")[0]
            s3.set_latency(args.ms if place == PLACES[-1] else 0)
            archive_with(" ".join(tools[kind]) + " archive-push %p")
            measure(tools[kind], place, number, s3, fingerprint)
    report()


def interrupted(*_):
    raise SystemExit("bench: interrupted")


signal.signal(signal.SIGTERM, interrupted)
try:
    main()
except BaseException:
    for log in sorted(WORK.glob("*.log")):
        say(f"end of {log.name}:\n" + "".join(log.read_text(errors="replace").splitlines(True)[-10:]))
    raise
finally:
    for directory in ("data", "restored"):
        stop(WORK / directory)
    for proxy in proxies:
        proxy.terminate()
    if (WORK / "servers").exists():
        subprocess.run([str(PROGRAMS / "object_servers"), "stop", "s3", str(WORK / "servers")], check=False)
    if args.keep:
        say(f"kept {WORK}")
    else:
        remove_tree(WORK)
