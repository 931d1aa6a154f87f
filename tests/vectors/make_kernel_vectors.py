"""Captures what PyPI's gguf makes of random blocks of every quantised weight type: tests/vectors/blocks.txt, which
kernels_test.c reads. A line is a type's name, its blocks and their values as little-endian floats, both in hex.

    pip install gguf==0.19.0 numpy
    python3 tests/vectors/make_kernel_vectors.py
"""
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

BLOCKS = 3
# Where f16 numbers lie in a block: random bits there could be infinite or no number.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}


def main():
    rng = np.random.default_rng(1)
    lines = []
    for name, halves in HALVES.items():
        kind = T[name]
        values, size = GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
        for at in halves:
            raw[:, at:at + 2] = rng.normal(0, 1, (BLOCKS, 1)).astype("<f2").view(np.uint8)
        if name == "MXFP4":  # exponents: the two subnormal ones and an ordinary one
            raw[:, 0] = [0, 1, 125]
        out = dequantize(raw.reshape(1, -1), kind).astype("<f4")
        assert out.size == BLOCKS * values
        lines.append(f"{name} {raw.tobytes().hex()} {out.tobytes().hex()}\n")
    Path(__file__).with_name("blocks.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
