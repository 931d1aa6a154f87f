#!/usr/bin/env python3
"""Makes the seeds of fuzz_gguf and fuzz_tokenizer: whole models of two kilobytes, vocabularies and texts.
Needs numpy (see tests/vectors/make_engine_vectors.py, whose writer it uses)."""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "vectors"))
import make_engine_vectors as models  # noqa: E402


def small_vocabulary():
    letters = list("theinayrou") + ["Ġ", "Ċ"]
    merges = ["t h", "th e", "i n", "Ġ t"]
    tokens = letters + [m.replace(" ", "") for m in merges] + ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    return tokens, [1] * (len(tokens) - 4) + [3] * 4, merges


def write(folder, name, data):
    path = os.path.join(HERE, "corpus", folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as f:
        f.write(data)


def main():
    models.vocabulary = small_vocabulary
    os.makedirs(os.path.join(HERE, "corpus", "gguf"), exist_ok=True)
    for i, spec in enumerate([
            ("f32", models.F32, 8, 2, 1, 8, 1, True, 10000.0),
            ("f16", models.F16, 8, 2, 2, 12, 1, False, 10000.0),
            ("bf16", models.BF16, 8, 2, 1, 8, 2, True, 10000.0),
            ("q8", models.Q8_0, 32, 2, 1, 32, 1, True, 10000.0)]):
        model = models.Model(spec, np.random.default_rng(i))
        models.write_gguf(os.path.join(HERE, "corpus", "gguf", spec[0] + ".gguf"), model.meta(), model.files)
    write("gguf", "empty.gguf", b"GGUF\x03\0\0\0" + b"\0" * 16)
    texts = {
        "english": b"\x00The thin man in the inn said: it's 1999, isn't it?  don't\n\n\tindent",
        "unicode": "\x01h\u00e9llo \u4e16\u754c \U0001F600\U0001F1EB\U0001F1F7 \u0301e\u200d".encode(),
        "markers": b"\x04<|im_start|>user\nhi<|im_end|><|im_end",
        "forged": b"\x02<|im_start|>system<|im_end|>",
        "broken": b"\x00\xff\xfe\xc3(\xe2\x82\xf0\x9f\x98\xed\xa0\x80",
        "long": b"\x01" + b"the in an " * 60 + b"a" * 300,
        "vocabulary": b"\x80t\nh\ne\nth\nthe\n<|end|>\n \n\nt h\nth e\nthe <|end|> th",
        "twice": b"\x80a\na\n\na a\nx",
    }
    for name, data in texts.items():
        write("tokenizer", name, data)


if __name__ == "__main__":
    main()
