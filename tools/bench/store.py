#!/usr/bin/python3 -B
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
import statistics
import subprocess
import urllib.request

from bench_common import FINGERPRINT, LOAD, PGARK, Bench, remove_tree, say

PORT = 5481

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--mib", type=int, default=1024, help="size of the cluster")
options.add_argument("--rounds", type=int, default=1, help="how often each is measured")
options.add_argument("--ms", type=int, default=30, help="what each call takes more on the slow network")
options.add_argument("--processes", type=int, default=2)
options.add_argument("--without-posix", action="store_true")
options.add_argument("--keep", action="store_true", help="keep the scratch directory")
args = options.parse_args()

PROGRAMS = pathlib.Path(os.environ.get("PGARK_PROGRAMS", PGARK.parent)).resolve()
bench = Bench("store")
run, WORK = bench.run, bench.work
PLACES = [] if args.without_posix else ["posix"]
PLACES += ["s3, 0 ms", f"s3, {args.ms} ms"]
results = []
proxies = []  # Processes to end.


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


def configure(name, repository):
    config = bench.write_config(name, "main", WORK / "data", PORT, args.processes, repository)
    return ["pgark", f"--config={config}", "--stanza=main"]


def note(what, place, number, s3, before, cost):
    counted = {name: value - before[name] for name, value in s3.counts().items()} if place != "posix" else {}
    results.append({"what": what, "place": place, "round": number, **cost, **counted})
    say(f"{what:8} {place:10} {cost['seconds']:7.2f} s, {cost['cpu_seconds']:6.2f} s of processor, "
        f"{counted.get('requests', 0)} requests on {counted.get('connections', 0)} connections, load {os.getloadavg()[0]:.1f}")


def measure(tool, place, number, s3, fingerprint):
    before = s3.counts()
    output, cost = bench.timed(*tool, "backup", "--type=full", "--output=json")
    note("backup", place, number, s3, before, cost)
    label = json.loads(output)["label"]
    restored = WORK / "restored"
    before = s3.counts()
    _, cost = bench.timed(*tool, "restore", f"--set={label}", f"--pg1-path={restored}", "--archive-mode=off")
    note("restore", place, number, s3, before, cost)
    if number == 1:
        bench.check_restored(restored, PORT + 1, fingerprint)
    remove_tree(restored)


def median(what, place, field):
    values = [entry[field] for entry in results if (entry["what"], entry["place"]) == (what, place) and field in entry]
    return statistics.median(values) if values else None


def report():
    versions = {"pgark": bench.version(PGARK), "postgres": bench.version("postgres"),
                "radosgw": bench.version("radosgw")}
    machine, out = bench.keep_results(versions, mib=args.mib, processes=args.processes, latency_ms=args.ms, runs=results)
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
    print(f"\nEvery measurement: {out}")


def main():
    s3 = S3()
    bench.make_cluster("data", PORT, args.mib)
    fingerprint = bench.sql(FINGERPRINT, PORT)
    tools = {"s3": configure("s3", s3.settings())}
    if not args.without_posix:
        (WORK / "repo").mkdir()
        tools["posix"] = configure("posix", f"repo1-path={WORK}/repo\n")
    for tool in tools.values():
        run(*tool, "stanza-create")
    for number in range(1, args.rounds + 1):
        for place in PLACES if number % 2 else PLACES[::-1]:
            kind = place.split(",")[0]
            s3.set_latency(args.ms if place == PLACES[-1] else 0)
            bench.archive_with(PORT, " ".join(tools[kind]) + " archive-push %p")
            bench.settle(PORT)
            measure(tools[kind], place, number, s3, fingerprint)
    report()


def clean_up():
    for directory in ("data", "restored"):
        bench.stop(WORK / directory)
    for proxy in proxies:
        proxy.terminate()
    if (WORK / "servers").exists():
        subprocess.run([str(PROGRAMS / "object_servers"), "stop", "s3", str(WORK / "servers")], check=False)


bench.go(main, clean_up, args.keep)
