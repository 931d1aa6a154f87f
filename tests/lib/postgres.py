"""A real PostgreSQL for tests: in a temporary directory, on a free port of loopback, gone with the test.

    with Postgres() as server:
        url = server.database()        # a new, empty database

As a program it runs a command with CAIRN_TEST_POSTGRES and CAIRN_TEST_DATABASE set to a server made for it:

    python3 tests/lib/postgres.py COMMAND...

PostgreSQL refuses to run as root, so that then the packages' user `postgres` runs it. Without the package,
Missing is raised; the program ends with 77, or with 1 when CI=true.
"""
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from ports import free_port

START_TIMEOUT = 60
PASSWORD = "tests"

# Durability is what the tests are about, speed is what they need: the log is flushed as in production, but what
# a crash of the machine alone would need is off.
SETTINGS = {
    "listen_addresses": "127.0.0.1", "max_connections": "300", "shared_buffers": "64MB", "fsync": "on",
    "synchronous_commit": "on", "full_page_writes": "off", "logging_collector": "off", "autovacuum_naptime": "5s",
}


class Missing(Exception):
    """PostgreSQL is not installed."""


def folder():
    """Where the server's programs are: of the newest version that is installed."""
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if known:
        return known[-1].parent
    found = shutil.which("initdb")
    if not found:
        raise Missing("PostgreSQL is not installed: scripts/setup.sh test")
    return Path(found).parent


def sql(url, command):
    """Runs a command; its output, one line a row, columns parted by |."""
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", command, url], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.rstrip("\n")


def new_database(url):
    """Makes a database on the server of this address and gives its own."""
    name = f"cairn_{os.getpid()}_{secrets.token_hex(4)}"
    sql(url, f"CREATE DATABASE {name}")
    return urlsplit(url)._replace(path="/" + name).geturl()


class Postgres:
    def __init__(self):
        self.bin = folder()
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.dir = Path(tempfile.mkdtemp(prefix="cairn-pg-"))
        self.port = free_port()
        self.process = None

    @contextlib.contextmanager
    def frozen(self):
        """Meanwhile the server says nothing, and its connections stand: as when its machine hangs."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        pids = [self.process.pid, *map(int, children.split())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass  # it ended while the others were stopped

    def _as_user(self):
        """What makes a child run as the user of the server."""
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} \
            if os.geteuid() == 0 else {}

    def _make(self):
        secret = self.dir / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(self.user)
            for path in (self.dir, secret):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        subprocess.run([self.bin / "initdb", "-D", self.dir / "data", "-U", "cairn", "-A", "scram-sha-256", "-E", "UTF8",
                        "--locale=C.UTF-8", "--pwfile", secret, "--no-sync"], check=True, cwd=self.dir,
                       stdout=subprocess.DEVNULL, **self._as_user())

    def start(self):
        """Starts it, also after stop() or kill() with what it had."""
        if not (self.dir / "data").exists():
            self._make()
        words = [self.bin / "postgres", "-D", self.dir / "data", "-p", str(self.port), "-k", self.dir]
        for name, value in SETTINGS.items():
            words += ["-c", f"{name}={value}"]
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(words, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            **self._as_user())
        deadline = time.monotonic() + START_TIMEOUT
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                             check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("PostgreSQL did not start:\n" + (self.dir / "log").read_text()[-4000:])
            time.sleep(0.05)
        return self

    def url(self, database="postgres"):
        return f"postgres://cairn:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def sql(self, command, database="postgres"):
        return sql(self.url(database), command)

    def database(self):
        """The address of a new database."""
        return new_database(self.url())

    def _signal(self, name):
        """As the server's own user's programs do: pg_ctl knows the process by its file."""
        subprocess.run([self.bin / "pg_ctl", "-D", self.dir / "data", "-m", name, "-w", "stop"], check=False,
                       cwd=self.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as_user())

    def stop(self):
        """Ends it in order; connections are cut."""
        self._signal("fast")
        self.process.wait(START_TIMEOUT)

    def kill(self):
        """Ends it as a crash does."""
        self._signal("immediate")
        self.process.wait(START_TIMEOUT)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            shutil.rmtree(self.dir, ignore_errors=True)
            raise

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def main(words):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the end of the server
    try:
        server = Postgres()
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 77
    with server:
        env = dict(os.environ, CAIRN_TEST_POSTGRES=server.url(), CAIRN_TEST_DATABASE=server.url())
        return subprocess.run(words, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
