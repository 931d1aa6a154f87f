#!/usr/bin/env python3
"""Makes the small random llama models (*.gguf) and what they must compute (engine.json).

    python3 -m venv v && v/bin/pip install numpy ctransformers==0.2.27
    v/bin/python tests/vectors/make_engine_vectors.py

Two implementations that share nothing with Cairn's engine produce the logits: a float64 forward pass in numpy
(below), and llama.cpp as shipped inside the ctransformers package. They must agree with each other before anything
is written. The test compares every kernel variant with both. Greedy continuations are only recorded where the best
token leads by a margin that no rounding can close.
"""
import json
import os
import struct
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
F32, F16, Q8_0, BF16 = 0, 1, 8, 30
N_GREEDY = 12
MARGIN = 0.02

MODELS = [  # name, type, n_embd, heads, kv heads, ff, layers, tied, rope base
    ("f32-gqa-tied", F32, 32, 4, 2, 64, 2, True, 10000.0),
    ("f16-mha", F16, 48, 4, 4, 72, 1, False, 10000.0),
    ("bf16-gqa", BF16, 40, 4, 1, 56, 2, False, 500000.0),
    ("q8-gqa-tied", Q8_0, 96, 6, 2, 160, 1, True, 10000.0),
    ("q8-mha", Q8_0, 64, 4, 4, 96, 2, False, 10000.0),
]


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    chars = {b: chr(b) for b in keep}
    chars.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return [chars[b] for b in range(256)]


def vocabulary():
    tokens, merges = byte_alphabet(), []
    for pair in ["t h", "th e", "i n", "a n", "e r", "o n", "Ġ t", "Ġ a", "r e", "l l", "o u", "Ġ the"]:
        left, right = pair.split()
        merges.append(pair)
        tokens.append(left + right)
    types = [1] * len(tokens)
    for special in ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]:
        tokens.append(special)
        types.append(3)
    return tokens, types, merges


def to_bf16(x):
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def encode(x, kind):
    """Bytes of the matrix in the file, and the values they stand for."""
    x = x.astype(np.float32)
    if kind == F32:
        return x.tobytes(), x.astype(np.float64)
    if kind == F16:
        h = x.astype(np.float16)
        return h.tobytes(), h.astype(np.float64)
    if kind == BF16:
        b = to_bf16(x)
        return b.tobytes(), (b.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    blocks = x.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype(np.float16)
    div = np.where(scale == 0, 1, scale).astype(np.float32)
    q = np.clip(np.rint(blocks / div[:, None]), -127, 127).astype(np.int8)
    raw = b"".join(s.tobytes() + row.tobytes() for s, row in zip(scale, q))
    return raw, (scale.astype(np.float64)[:, None] * q).reshape(x.shape)


def gguf_value(value):
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        raw = value.encode()
        return 8, struct.pack("<Q", len(raw)) + raw
    items = [gguf_value(v) for v in value]
    kind = 5 if items[0][0] == 4 else items[0][0]
    return 9, struct.pack("<IQ", kind, len(items)) + b"".join(raw for _, raw in items)


def write_gguf(path, meta, tensors, version=3):
    """tensors: name -> (type, shape with the row length last, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(meta))
    for key, value in meta.items():
        kind, raw = gguf_value(value)
        name = key.encode()
        head += struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + raw
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        dims = list(reversed(shape))
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
        head += b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, len(data))
        data += raw + b"\0" * (-len(raw) % 32)
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + data)


class Model:
    def __init__(self, spec, rng):
        self.name, self.kind, self.d, self.heads, self.kv, self.ff, self.layers, self.tied, self.base = spec
        self.tokens, self.types, self.merges = vocabulary()
        self.hd, self.eps = self.d // self.heads, 1e-5
        self.w, self.files, self.exact = {}, {}, {}
        self.matrix(rng, "token_embd.weight", len(self.tokens), self.d, 1.0)
        self.vector(rng, "output_norm.weight")
        if not self.tied:
            self.matrix(rng, "output.weight", len(self.tokens), self.d, 2.0)
        for i in range(self.layers):
            p = f"blk.{i}."
            self.vector(rng, p + "attn_norm.weight")
            self.matrix(rng, p + "attn_q.weight", self.d, self.d, 2.0)
            self.matrix(rng, p + "attn_k.weight", self.kv * self.hd, self.d, 2.0)
            self.matrix(rng, p + "attn_v.weight", self.kv * self.hd, self.d, 1.5)
            self.matrix(rng, p + "attn_output.weight", self.d, self.d, 1.5)
            self.vector(rng, p + "ffn_norm.weight")
            self.matrix(rng, p + "ffn_gate.weight", self.ff, self.d, 1.5)
            self.matrix(rng, p + "ffn_up.weight", self.ff, self.d, 1.5)
            self.matrix(rng, p + "ffn_down.weight", self.d, self.ff, 1.5)

    def matrix(self, rng, name, rows, cols, gain):
        x = rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)
        raw, self.w[name] = encode(x, self.kind)
        self.files[name] = (self.kind, [rows, cols], raw)
        # llama.cpp of 2023 has no BF16; F32 holds the same values.
        self.exact[name] = (F32, [rows, cols], self.w[name].astype(np.float32).tobytes()) \
            if self.kind == BF16 else self.files[name]

    def vector(self, rng, name):
        x = (1 + 0.2 * rng.standard_normal(self.d)).astype(np.float32)
        self.w[name] = x.astype(np.float64)
        self.files[name] = self.exact[name] = (F32, [self.d], x.tobytes())

    def meta(self):
        return {
            "general.architecture": "llama", "general.name": self.name,
            "llama.context_length": 128, "llama.embedding_length": self.d, "llama.block_count": self.layers,
            "llama.feed_forward_length": self.ff, "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.kv, "llama.attention.layer_norm_rms_epsilon": self.eps,
            "llama.rope.dimension_count": self.hd, "llama.rope.freq_base": self.base,
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": self.tokens,
            "tokenizer.ggml.token_type": self.types, "tokenizer.ggml.merges": self.merges,
            "tokenizer.ggml.bos_token_id": len(self.tokens) - 4, "tokenizer.ggml.eos_token_id": len(self.tokens) - 4,
        }

    def mul(self, x, name):
        """x times a weight; for Q8_0 with the 8-bit activations that both engines use."""
        if self.kind == Q8_0:
            blocks = x.reshape(-1, 32)
            scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
            x = (np.rint(blocks / np.where(scale == 0, 1, scale)) * scale).reshape(x.shape)
        return x @ self.w[name].T

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps) * self.w[name]

    def rope(self, x):
        """x: [tokens, heads, hd]; adjacent pairs."""
        t, half = x.shape[0], self.hd // 2
        angle = np.arange(t)[:, None] * self.base ** (-2.0 * np.arange(half) / self.hd)
        c, s = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * c - b * s, a * s + b * c], axis=-1).reshape(x.shape)

    def attention(self, x, p):
        t, group = x.shape[0], self.heads // self.kv
        q = self.rope(self.mul(x, p + "attn_q.weight").reshape(t, self.heads, self.hd))
        k = self.rope(self.mul(x, p + "attn_k.weight").reshape(t, self.kv, self.hd))
        v = self.mul(x, p + "attn_v.weight").reshape(t, self.kv, self.hd)
        k = k.astype(np.float16).astype(np.float64).repeat(group, axis=1)  # the cache holds f16
        v = v.astype(np.float16).astype(np.float64).repeat(group, axis=1)
        s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(self.hd)
        s = np.where(np.tril(np.ones((t, t), bool)), s, -np.inf)
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        o = np.einsum("hij,jhd->ihd", e / e.sum(axis=-1, keepdims=True), v)
        return self.mul(o.reshape(t, self.d), p + "attn_output.weight")

    def hidden(self, tokens):
        x = self.w["token_embd.weight"][tokens]
        for i in range(self.layers):
            p = f"blk.{i}."
            x = x + self.attention(self.norm(x, p + "attn_norm.weight"), p)
            h = self.norm(x, p + "ffn_norm.weight")
            g = self.mul(h, p + "ffn_gate.weight")
            x = x + self.mul(g / (1 + np.exp(-g)) * self.mul(h, p + "ffn_up.weight"), p + "ffn_down.weight")
        return self.norm(x, "output_norm.weight")

    def logits(self, tokens):
        return self.mul(self.hidden(tokens), "token_embd.weight" if self.tied else "output.weight")

    def greedy(self, tokens):
        """The continuation while the choice is beyond doubt."""
        out = []
        while len(out) < N_GREEDY:
            row = self.logits(tokens + out)[-1]
            best = int(np.argmax(row))
            if np.sort(row)[-1] - np.sort(row)[-2] < MARGIN * np.abs(row).max() or self.types[best] != 1:
                break
            out.append(best)
        return out


def llama_cpp_logits(model, prompt):
    from ctransformers import AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "m.gguf")
        # Its tokenizers are older than ours. Only ids matter here, so it gets a vocabulary that it can read.
        names = ["<0x0A>"] + [f"t{i}" for i in range(1, len(model.tokens))]
        meta = {**model.meta(), "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": names,
                "tokenizer.ggml.scores": [0.0] * len(names), "tokenizer.ggml.token_type": [6] + [1] * (len(names) - 1)}
        del meta["tokenizer.ggml.merges"], meta["tokenizer.ggml.pre"]
        tensors = {"output.weight": model.exact["token_embd.weight"], **model.exact}  # it knows no tied output
        write_gguf(path, meta, tensors, version=2)
        llm = AutoModelForCausalLM.from_pretrained(path, model_type="llama", context_length=128, lib="avx2")
        llm.eval(prompt)
        return np.array(llm.logits, dtype=np.float64)


def case_for(model, rng, n_prompt):
    """A prompt of n tokens whose greedy continuation is as long as can be found."""
    tries = [[int(t) for t in rng.integers(0, len(model.tokens) - 4, n_prompt)] for _ in range(12)]
    prompt, greedy = max(((p, model.greedy(p)) for p in tries), key=lambda x: len(x[1]))
    exact, other = model.logits(prompt)[-1], llama_cpp_logits(model, prompt)
    off = np.abs(exact - other).max() / np.abs(exact).max()
    print(f"{model.name:14} prompt {n_prompt:3}: llama.cpp is within {off:.1e} of float64, greedy {len(greedy)}")
    assert off < (0.05 if model.kind == Q8_0 else 0.003), "the two implementations disagree"
    pooled = model.hidden(prompt).mean(axis=0)
    return {
        "prompt": prompt, "greedy": greedy,
        "logits": [round(float(v), 6) for v in exact],
        "llama_cpp": [round(float(v), 6) for v in other],
        "embedding": [round(float(v), 6) for v in pooled / np.linalg.norm(pooled)],
    }


def main():
    out = []
    for number, spec in enumerate(MODELS):
        rng = np.random.default_rng(1000 + number)
        model = Model(spec, rng)
        write_gguf(os.path.join(HERE, model.name + ".gguf"), model.meta(), model.files)
        cases = [case_for(model, rng, n) for n in (1, 7, 40)]
        out.append({"model": model.name + ".gguf", "quantized": model.kind == Q8_0, "cases": cases})
    with open(os.path.join(HERE, "engine.json"), "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
