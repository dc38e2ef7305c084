#!/usr/bin/python3
"""OpenStack Swift with its S3 interface for one test: all of its servers in one process, on 127.0.0.1.

usage: swift_server.py DIRECTORY PORT ACCESS_KEY SECRET

Makes the rings in DIRECTORY, which has to be empty and on a file system with extended attributes, and serves S3 on PORT
until it is killed. Needs Debian's python3-swift; starts no service of the system and asks no memcached.
"""
import os
import socket
import sys
from time import time as time_now

# Nothing here has to survive a crash.
os.fsync = os.fdatasync = lambda descriptor: None

import eventlet
import eventlet.wsgi
from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.wsgi import loadapp

# No authtoken, no ratelimit, no cache: what S3 requests with a key pair of tempauth need, and no more.
PIPELINE = "catch_errors gatekeeper healthcheck listing_formats s3api tempauth slo dlo proxy-server"
FILTERS = "catch_errors gatekeeper healthcheck listing_formats slo dlo"


class Cache:
    """What Swift asks memcached for, in this process."""

    def __init__(self):
        self.values = {}

    def get(self, key, raise_on_error=False):
        value, until = self.values.get(key, (None, 0))
        return value if until == 0 or time_now() < until else None

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.values[key] = (value, time and time_now() + time)

    def incr(self, key, delta=1, time=0):
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def decr(self, key, delta=1, time=0):
        return self.incr(key, -int(delta), time)

    def delete(self, key, server_key=None):
        self.values.pop(key, None)


def with_cache(app):
    cache = Cache()

    def call(environ, start_response):
        environ["swift.cache"] = cache
        return app(environ, start_response)
    return call


def listen(port=0):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(256)
    return listener


def write_ring(directory, kind, port):
    builder = RingBuilder(4, 1, 0)
    builder.add_dev({"region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": port, "device": "disk",
                     "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance()
    builder.get_ring().save(os.path.join(directory, kind + ".ring.gz"))


def storage_conf(directory, kind):
    path = os.path.join(directory, kind + ".conf")
    with open(path, "w", encoding="ascii") as conf:
        conf.write(f"""[DEFAULT]
devices = {directory}/devices
mount_check = false
swift_dir = {directory}
disable_fallocate = true
log_statsd_host =
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
""")
    return path


def proxy_conf(directory, access_key, secret):
    path = os.path.join(directory, "proxy.conf")
    account, user = access_key.split(":")
    with open(path, "w", encoding="ascii") as conf:
        conf.write(f"""[DEFAULT]
swift_dir = {directory}
[pipeline:main]
pipeline = {PIPELINE}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
dns_compliant_bucket_names = true
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
""")
        for name in FILTERS.split():
            conf.write(f"[filter:{name}]\nuse = egg:swift#{name}\n")
    return path


def main():
    directory, port, access_key, secret = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    utils.eventlet_monkey_patch()
    os.makedirs(os.path.join(directory, "devices", "disk"))
    with open(os.path.join(directory, "swift.conf"), "w", encoding="ascii") as conf:
        conf.write("[swift-hash]\nswift_hash_path_prefix = test\nswift_hash_path_suffix = test\n"
                   "[storage-policy:0]\nname = one\ndefault = yes\n")
    utils.SWIFT_CONF_FILE = os.path.join(directory, "swift.conf")
    servers = []
    for kind in ("account", "container", "object"):
        listener = listen()
        write_ring(directory, kind, listener.getsockname()[1])
        servers.append((listener, storage_conf(directory, kind)))
    servers.append((listen(port), proxy_conf(directory, access_key, secret)))
    quiet = open(os.devnull, "w", encoding="ascii")
    threads = [eventlet.spawn(eventlet.wsgi.server, listener, with_cache(loadapp(conf)), log=quiet, keepalive=True)
               for listener, conf in servers]
    for thread in threads:
        thread.wait()


main()
