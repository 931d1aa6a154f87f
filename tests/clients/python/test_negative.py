"""Every request field of every served operation, made wrong one at a time.

The cases are derived from the contract by build/<preset>/contract_cases, which prints one JSON object a
line: {operation, method, path, body, expect: {status, code, param}}. All go over one keep-alive
connection, so a case that left it unusable shows in the next one.
"""
import json
import os
import subprocess
from pathlib import Path

import pytest

from cairn_server import binary
from support import check_error

# A case may name a served operation on an object that must exist first; these make one.
MAKERS = {
    "{response_id}": ("/v1/responses", {"model": "cairn-tiny", "input": "Hello!"}),
    "{completion_id}": ("/v1/chat/completions", {"model": "cairn-tiny", "store": True,
                                                 "messages": [{"role": "user", "content": "Hello!"}]}),
}


def generated_cases():
    program = Path(os.environ.get("CAIRN_CASES", Path(binary()).parent / "contract_cases"))
    if not program.exists():
        return None
    out = subprocess.run([str(program)], capture_output=True, check=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.strip()]


CASES = generated_cases()


@pytest.fixture(scope="module")
def objects(wire):
    made = {}
    for name, (path, body) in MAKERS.items():
        reply = wire.post(path, json=body)
        assert reply.status_code == 200, reply.text
        made[name] = reply.json()["id"]
    return made


def test_there_are_cases():
    assert CASES is not None, "contract_cases was not built beside the binary"
    assert len(CASES) > 300
    assert len({case["operation"] for case in CASES}) >= 5


@pytest.mark.parametrize("operation", sorted({case["operation"] for case in CASES or []}))
def test_wrong_fields(wire, objects, operation):
    failures, served = [], True
    for case in CASES:
        if case["operation"] != operation:
            continue
        path = case["path"]
        for name, value in objects.items():
            path = path.replace(name, value)
        path = path if path.startswith("/v1") else "/v1" + path
        reply = wire.request(case["method"], path, json=case["body"])
        if reply.status_code == 501:
            served = False
            break
        expect = case["expect"]
        try:
            check_error(reply, expect["status"], param=expect.get("param"), code=expect.get("code"))
        except AssertionError as error:
            failures.append(f"{case['method']} {path} {json.dumps(case['body'])[:300]}\n"
                            f"  expected {expect}\n  got {reply.status_code} {reply.text[:300]}\n  {error}"[:1200])
    if not served:
        pytest.skip(f"{operation} is not served yet")
    assert not failures, f"{len(failures)} cases:\n" + "\n".join(failures[:10])
