"""A real S3-compatible service for tests: OpenStack Swift with its s3api, from Debian packages, on loopback.

As a program it prints the endpoint when it serves and ends when its standard input ends:

    python3 tests/lib/swift.py            (exit code 77 without the packages; 1 when CI=true)

As a module: `with Swift() as s3:` gives s3.endpoint, s3.bucket, s3.environment(). The bucket exists. Four
processes (proxy, account, container, object), one replica, data in a temporary directory that is removed.
Standard library only.
"""
import datetime
import hashlib
import hmac
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_port

PROGRAMS = ("swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server",
            "swift-ring-builder")
KEY, SECRET, REGION = "test:tester", "testing", "us-east-1"
BUCKET = "cairn-tests"
READY_TIMEOUT = 60
SKIPPED = 77

PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {root}
log_address = {root}/no-log
eventlet_debug = false

[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""

BACKEND = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {root}
devices = {root}/devices
mount_check = false
disable_fallocate = true
log_address = {root}/no-log

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""


def place(endpoint):
    """What a Cairn needs to keep its blobs there, in a place of its own below the bucket."""
    return {"CAIRN_BLOBS": f"s3://{BUCKET}/{os.urandom(4).hex()}", "CAIRN_S3_ENDPOINT": endpoint,
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


def missing():
    """The programs that are not installed, and what else is in the way."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if not absent and not Path("/etc/swift/swift.conf").exists():
        absent.append("/etc/swift/swift.conf")
    return absent


def sign(method, path, host, now):
    """Headers of an S3 request without a body and a query: AWS Signature Version 4."""
    def mac(key, text):
        return hmac.new(key, text.encode(), hashlib.sha256).digest()

    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    empty = hashlib.sha256(b"").hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    request = f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{stamp}\n\n{signed}\n{empty}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = mac(mac(mac(mac(b"AWS4" + SECRET.encode(), day), REGION), "s3"), "aws4_request")
    return {"x-amz-date": stamp, "x-amz-content-sha256": empty,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={signed}, "
                             f"Signature={hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"}


class Swift:
    bucket = BUCKET

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="cairn-swift-"))
        self.port = free_port()
        self.processes = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def environment(self):
        return place(self.endpoint)

    def start(self):
        (self.root / "devices" / "d1").mkdir(parents=True)
        ports = {kind: free_port() for kind in ("account", "container", "object")}
        for kind, port in ports.items():
            self._ring(kind, port)
            self._launch(kind, port, BACKEND)
        self._launch("proxy", self.port, PROXY)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _ring(self, kind, port):
        builder = str(self.root / f"{kind}.builder")
        for words in (["create", "4", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
            subprocess.run(["swift-ring-builder", builder, *words], check=True, stdout=subprocess.DEVNULL,
                           cwd=self.root)

    def _launch(self, kind, port, template):
        import getpass
        conf = self.root / f"{kind}.conf"
        conf.write_text(template.format(kind=kind, port=port, root=self.root, user=getpass.getuser()))
        log = open(self.root / f"{kind}.log", "ab")
        self.processes.append(subprocess.Popen([f"swift-{kind}-server", str(conf)], stdin=subprocess.DEVNULL,
                                               stdout=log, stderr=log, start_new_session=True))
        log.close()

    def _wait(self):
        """Until a bucket can be made: then all four work together."""
        deadline, last = time.monotonic() + READY_TIMEOUT, None
        while time.monotonic() < deadline:
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} ended with {process.returncode}: {self.logs()}")
            headers = sign("PUT", f"/{BUCKET}", f"127.0.0.1:{self.port}", datetime.datetime.utcnow())
            try:
                urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT",
                                                              headers=headers), timeout=10).read()
                return
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read()[:300]}"
            except OSError as error:
                last = error
            time.sleep(0.1)
        raise RuntimeError(f"no bucket after {READY_TIMEOUT} s: {last}\n{self.logs()}")

    def logs(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.root.glob("*.log"))

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes = []
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def main():
    absent = missing()
    if absent:
        print(f"swift: *** NOT TESTED: missing {', '.join(absent)}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else SKIPPED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Swift() as s3:
        print(s3.endpoint, flush=True)
        while sys.stdin.buffer.read(4096):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
