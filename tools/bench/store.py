"""What latency costs: full backups into S3 (Ceph's gateway, as in the tests) and restores from it, through a proxy that
delays every call by 0 ms or by 30 ms, in turns, with a repository on the local disk for comparison. The cluster archives
into the same repository, so what a backup waits for is part of it.

Requests and new connections are those that the proxy saw. The gateway and the proxy share the processors with pgark.
"""
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import urllib.request

from common import FINGERPRINT, PGARK, Bench, empty_directory, remove_tree, say

SUMMARY = "backup to S3 and restore from it, with and without latency"
PART = "store"
PORT = 5481
PROGRAMS = pathlib.Path(os.environ.get("PGARK_PROGRAMS", PGARK.parent)).resolve()
BACKUP, RESTORE = "full backup to S3", "restore from S3"
LOCAL, NEAR = "local disk", "S3, 0 ms"


def add_options(group):
    group.add_argument("--store-mib", type=int, default=1024, metavar="N", help="size of the cluster (1024)")
    group.add_argument("--store-ms", type=int, default=30, metavar="N", help="what each call takes more on the slow network (30)")


class S3:
    """The gateway that the tests use, a bucket in it, and the proxy before it."""

    def __init__(self, bench):
        self.directory = bench.work / "servers"
        self.proxy = None
        self.bucket = "bench"
        say("starting the gateway")
        # Ends with this process, whatever becomes of it.
        bench.run(PROGRAMS / "object_servers", "start", "s3", self.directory)
        missing = self.directory / "s3.missing"
        self.missing = missing.read_text(encoding="utf-8").strip() if missing.exists() else None
        if self.missing is not None:
            return
        self.at = json.loads((self.directory / "s3.json").read_text(encoding="utf-8"))
        self.make_bucket()
        self.proxy = subprocess.Popen([str(PROGRAMS / "fault_proxy"), "--http", f"{self.at['host']}:{self.at['port']}"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.proxy.stdout.readline().rsplit(":", 1)[1])

    def stop(self):
        if self.proxy is not None:
            self.proxy.terminate()
            self.proxy.wait()
        subprocess.run([str(PROGRAMS / "object_servers"), "stop", "s3", str(self.directory)], check=False)

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


class Store:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.bench = Bench(PART)
        self.work = self.bench.work
        self.s3 = None
        self.commands = {}
        self.far = f"S3, {options.store_ms} ms"
        self.fingerprint = ""

    def configure(self, name, repository):
        config = self.bench.write_config(name, "main", self.work / "data", PORT, self.options.processes, repository)
        command = ["pgark", f"--config={config}", "--stanza=main"]
        self.bench.run(*command, "stanza-create")
        return command

    def measure(self, place, number):
        command = self.commands[place]
        if place != LOCAL:
            self.s3.set_latency(self.options.store_ms if place == self.far else 0)
        self.bench.archive_with(PORT, " ".join(command) + " archive-push %p")
        self.bench.settle(PORT)
        before = self.s3.counts()
        output, cost = self.bench.timed(*command, "backup", "--type=full", "--output=json")
        self.note(BACKUP, place, number, before, cost)
        restored = empty_directory(self.work / "restored")
        before = self.s3.counts()
        cost = self.bench.timed(*command, "restore", f"--set={json.loads(output)['label']}", f"--pg1-path={restored}",
                                "--archive-mode=off")[1]
        self.note(RESTORE, place, number, before, cost)
        if number == 1:
            self.bench.check_restored(restored, PORT + 1, self.fingerprint, "-c archive_mode=off")
        remove_tree(restored)

    def note(self, work, place, number, before, cost):
        if place != LOCAL:
            cost.update((name, value - before[name]) for name, value in self.s3.counts().items())
        self.results.note(PART, work, f"pgark, {place}", number, **cost)

    def main(self):
        self.s3 = S3(self.bench)
        if self.s3.missing is not None:
            say(f"left out: {self.s3.missing}")
            self.results.describe(PART, f"left out: {self.s3.missing}")
            return
        self.results.versions["radosgw"] = self.bench.version("radosgw")
        self.bench.make_cluster("data", PORT, self.options.store_mib)
        self.fingerprint = self.bench.sql(FINGERPRINT, PORT)
        s3 = self.configure("s3", self.s3.settings())
        (self.work / "repo").mkdir()
        self.commands = {LOCAL: self.configure("local", f"repo1-path={self.work}/repo\n"), NEAR: s3, self.far: s3}
        for number in range(1, self.options.rounds + 1):
            for place in list(self.commands)[::1 if number % 2 else -1]:
                self.measure(place, number)

    def clean_up(self):
        for directory in ("data", "restored"):
            self.bench.stop(self.work / directory)
        if self.s3 is not None:
            self.s3.stop()


def run(options, results):
    part = Store(options, results)
    results.describe(PART, f"{options.store_mib} MiB of rows, {options.processes} processes, zstd level 1; Ceph's gateway in memory, "
                     "which shares the processors.")
    for work in (BACKUP, RESTORE):
        results.compare(PART, work, f"pgark, {part.far}", f"pgark, {NEAR}", at_most=1.10)
        results.compare(PART, work, f"pgark, {NEAR}", f"pgark, {LOCAL}")
        results.bound(PART, work, "pgark", "peak_kib", 256)
    part.bench.go(part.main, part.clean_up, options.keep)
