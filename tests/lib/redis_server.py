"""A real Redis for tests: on a free port of loopback, keeping nothing, gone with the test."""
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager

import pytest

from ports import free_port

START_TIMEOUT = 20


@contextmanager
def redis():
    """Gives its address and its process. Without the package the test is skipped, or fails when CI=true."""
    if not shutil.which("redis-server"):
        assert os.environ.get("CI") != "true", "redis-server is not installed: scripts/setup.sh test"
        pytest.skip("redis-server is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
                                   cwd=folder, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True,
                                 check=False).stdout.strip() != b"PONG":
                assert process.poll() is None and time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/1", process
        finally:
            process.kill()
            process.wait()
