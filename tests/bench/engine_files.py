"""Writes the model files of the engine's benchmark: random weights in the shape of a 1.1-billion-parameter llama, in
the mixtures of types that llama.cpp's quantiser makes. Standard library only; same bytes every time.

What a weight is changes no time, but norms of 1 and scales that keep activations near 1 keep all numbers ordinary.
"""
import os
import random
import struct
from pathlib import Path

LAYERS, EMBD, HEADS, HEADS_KV, FF, VOCAB, CONTEXT = 22, 2048, 32, 4, 5632, 32000, 2304
KV = EMBD // HEADS * HEADS_KV
ALIGN = 32

# id, values and bytes of a block, where its scales lie (f16), and how large a weight of scale 1 is
TYPES = {
    "F32": (0, 1, 4, (), 1),
    "Q4_0": (2, 32, 18, (0,), 4.6),
    "Q8_0": (8, 32, 34, (0,), 73),
    "Q4_K": (12, 256, 144, (0, 2), 300),
    "Q6_K": (14, 256, 210, (208,), 1350),
}


def more_bits(layer):
    """The layers that a "_M" mixture gives more bits."""
    return layer < LAYERS // 8 or layer >= 7 * LAYERS // 8 or (layer - LAYERS // 8) % 3 == 2


def weight_type(mixture, name, layer):
    if mixture == "Q8_0":
        return "Q8_0"
    if name == "output":
        return "Q6_K"
    if mixture == "Q4_K_M":
        return "Q6_K" if name in ("attn_v", "ffn_down") and more_bits(layer) else "Q4_K"
    return mixture


def tensors(mixture):
    """(name, type, row length, rows); rows 0 is a vector."""
    yield "token_embd.weight", weight_type(mixture, "token_embd", 0), EMBD, VOCAB
    yield "output_norm.weight", "F32", EMBD, 0
    yield "output.weight", weight_type(mixture, "output", 0), EMBD, VOCAB
    shapes = [("attn_norm", EMBD, 0), ("attn_q", EMBD, EMBD), ("attn_k", EMBD, KV), ("attn_v", EMBD, KV),
              ("attn_output", EMBD, EMBD), ("ffn_norm", EMBD, 0), ("ffn_gate", EMBD, FF), ("ffn_up", EMBD, FF),
              ("ffn_down", FF, EMBD)]
    for layer in range(LAYERS):
        for name, n, rows in shapes:
            kind = weight_type(mixture, name, layer) if rows else "F32"
            yield f"blk.{layer}.{name}.weight", kind, n, rows


def random_blocks(rng, kind, n, rows):
    _, values, size, scales, spread = TYPES[kind]
    blocks = rows * n // values
    data = bytearray(rng.randbytes(blocks * size))
    scale = struct.pack("<e", 1 / (spread * n**0.5))
    for at in scales:
        data[at::size] = scale[:1] * blocks
        data[at + 1::size] = scale[1:] * blocks
    return data


def _string(text):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _value(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_string(v) for v in value)


def byte_chars():
    """The letter that byte-level BPE writes for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))
    return [chr(b if b in plain else next(moved)) for b in range(256)]


def metadata(mixture):
    words = byte_chars() + ["ab"] + [f"x{i}" for i in range(257, VOCAB)]
    return {
        "general.architecture": "llama", "general.name": f"bench-1b-{mixture}",
        "llama.context_length": CONTEXT, "llama.embedding_length": EMBD, "llama.block_count": LAYERS,
        "llama.feed_forward_length": FF, "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS_KV, "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": EMBD // HEADS, "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.merges": ["a b"],
    }


def write_model(path, mixture):
    """Makes the file unless it is there. Returns its path."""
    path = Path(path)
    if path.exists():
        return path
    rng = random.Random(1)
    rows = list(tensors(mixture))
    keys = metadata(mixture)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(rows), len(keys))
    head += b"".join(_string(k) + _value(v) for k, v in keys.items())
    at = 0
    for name, kind, n, height in rows:
        number, values, size = TYPES[kind][:3]
        dims = (n, height) if height else (n,)
        head += _string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, at)
        at += -(-(max(height, 1) * n // values * size) // ALIGN) * ALIGN
    partial = path.with_suffix(".part")
    with open(partial, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGN))
        for name, kind, n, height in rows:
            data = random_blocks(rng, kind, n, height) if height else struct.pack("<f", 1.0) * n
            out.write(data)
            out.write(bytes(-len(data) % ALIGN))
    os.replace(partial, path)
    return path


def figures(mixture):
    """Parameters that a token multiplies, and the bytes that it reads of them: all but the table of embeddings."""
    params = size = 0
    for name, kind, n, rows in tensors(mixture):
        if name != "token_embd.weight":
            _, values, block, _, _ = TYPES[kind]
            params += n * max(rows, 1)
            size += n * max(rows, 1) // values * block
    return params, size
