"""Every request field of every served operation, made wrong one at a time.

The cases are derived from the contract by build/<preset>/contract_cases and the valid examples of
tests/contract_negative: one JSON object a line, {operation, method, path, query, body, what, expect: {status,
param, code}}. All go over one keep-alive connection, so a case that left it unusable shows in the next one.
"""
import json
import os
import subprocess
from pathlib import Path

import pytest

from cairn_server import ROOT, binary
from support import check_error


def generated_cases():
    program = Path(os.environ.get("CAIRN_CASES", Path(binary()).parent / "contract_cases"))
    if not program.exists():
        return None
    examples = ROOT / "tests" / "contract_negative" / "examples.json"
    out = subprocess.run([str(program), str(examples)], capture_output=True, check=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.strip()]


CASES = generated_cases()


def test_there_are_cases():
    assert CASES is not None, "contract_cases was not built beside the binary"
    assert len(CASES) > 300
    assert len({case["operation"] for case in CASES}) >= 5


def test_every_served_operation_has_an_example():
    """A new row is tested at once: nothing with a JSON body or a page of its own goes without."""
    examples = {one["operation"] for one in json.loads(
        (ROOT / "tests" / "contract_negative" / "examples.json").read_text())}
    listed = json.loads(subprocess.run([binary(), "coverage", "--json"], capture_output=True, check=True).stdout)
    forms = {"createFile", "addUploadPart"}
    bare = {"cancelBatch", "cancelResponse", "cancelUpload"}  # without a body
    missing = {op["id"] for op in listed if op["served"] and op["method"] == "POST"} - examples - forms - bare
    missing |= {op["id"] for op in listed if op["served"] and op["id"].startswith("list")} - examples \
        - {"listModels", "listWebhookEventTypes"}
    assert not missing, missing


@pytest.mark.parametrize("operation", sorted({case["operation"] for case in CASES or []}))
def test_wrong_fields(wire, operation):
    failures, served = [], True
    for case in CASES:
        if case["operation"] != operation:
            continue
        path = case["path"]
        query = f"?{case['query']}" if case.get("query") else ""
        reply = wire.request(case["method"], path + query, json=case["body"])
        if reply.status_code == 501:
            served = False
            break
        expect = case["expect"]
        try:
            check_error(reply, expect["status"], param=expect["param"] or None, code=expect["code"])
        except AssertionError as error:
            failures.append(f"{case['what']}: {case['method']} {path}{query} {json.dumps(case['body'])[:300]}\n"
                            f"  expected {expect}\n  got {reply.status_code} {reply.text[:300]}\n  {error}"[:1200])
    if not served:
        pytest.skip(f"{operation} is not served yet")
    assert not failures, f"{len(failures)} cases:\n" + "\n".join(failures[:10])
