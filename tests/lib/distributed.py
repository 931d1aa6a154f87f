"""Runs a command with the parts of a distributed installation: a PostgreSQL, and an S3 service for blobs.

    python3 tests/lib/distributed.py COMMAND...

The servers that tests of the command start (cairn_server.py) then keep their objects in databases of that PostgreSQL
and their blobs in that service, instead of in data directories. What is not installed is missed loudly: without
PostgreSQL the program ends with 77, without Swift blobs stay on the disk; with CI=true either is a failure.
"""
import contextlib
import os
import signal
import subprocess
import sys

import postgres
import swift


def main(words):
    env, strict = dict(os.environ), os.environ.get("CI") == "true"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the ends of what was started
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.Postgres())
        except postgres.Missing as missing:
            print(f"distributed: *** NOT TESTED: {missing}", file=sys.stderr)
            return 1 if strict else 77
        env.update(CAIRN_TEST_POSTGRES=server.url(), CAIRN_TEST_DATABASE=server.url())
        absent = swift.missing()
        if absent:
            print(f"distributed: *** NOT TESTED on S3: missing {', '.join(absent)}", file=sys.stderr)
            if strict:
                return 1
        else:
            s3 = stack.enter_context(swift.Swift())
            env.update(CAIRN_TEST_S3=s3.endpoint)
        return subprocess.run(words, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
