"""Small models of random weights, one a format of tool calls: what they say makes no sense, so whatever has a form
has it by construction."""
import subprocess
from pathlib import Path

from cairn_server import ROOT, Server, binary

# What models write reasoning or not; the names are those of tests/lib/chat_templates.
FAMILIES = ["hermes", "thinks", "reasons", "llama3", "mistral", "mistral-args", "harmony", "deepseek", "phi4", "plain"]


def write_models(directory):
    """Writes the models with the program that the build has beside the server."""
    program = Path(binary()).parent / "make_chat_models"
    subprocess.run([str(program), str(ROOT / "tests/lib/chat_templates"), str(directory)], check=True)
    return {name: Path(directory) / f"chat-{name}.gguf" for name in FAMILIES}


def serve(directory, *families, args=()):
    """A server of these families, not started: the model of a family is `chat-` and its name."""
    files = write_models(directory)
    models = [arg for name in families for arg in ("--model", str(files[name]))]
    return Server([*models, *args])
