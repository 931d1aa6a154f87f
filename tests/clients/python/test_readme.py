"""The README's quick starts, taken out of it as they are written, answer. Node's is in readme.test.mjs."""
import json
import os
import re
import subprocess
import sys

from cairn_server import API_KEY, ROOT


def snippet(language, text):
    """The README's code block in this language that holds the text."""
    readme = (ROOT / "README.md").read_text()
    blocks = [block for block in re.findall(rf"^```{language}\n(.*?)^```", readme, re.S | re.M) if text in block]
    assert len(blocks) == 1, f"{len(blocks)} blocks of {language} with {text!r}"
    return blocks[0]


def run(command, server, **options):
    env = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": API_KEY}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_curl(server):
    reply = json.loads(run(["sh", "-c", snippet("sh", 'curl "$OPENAI_BASE_URL')], server))
    assert reply["object"] == "chat.completion" and reply["choices"][0]["message"]["content"]


def test_readme_python(server, tmp_path):
    (tmp_path / "quick.py").write_text(snippet("python", "stream=True"))
    lines = run([sys.executable, "quick.py"], server, cwd=tmp_path).splitlines()
    assert len(lines) >= 2 and all(line.strip() for line in lines[:1])


def test_readme_tools(server, tmp_path):
    (tmp_path / "tools.py").write_text(snippet("python", "get_weather"))
    assert run([sys.executable, "tools.py"], server, cwd=tmp_path).strip()


def test_readme_names_real_commands():
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b", readme)):
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"
    for path in set(re.findall(r"\]\(([\w./-]+\.md)\)", readme)):
        assert (ROOT / path).exists(), path
