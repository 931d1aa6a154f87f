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


# What each architecture has beside the plain llama layer: tensors to add (name, row length, rows, matrices), to leave
# out, and metadata. D, F, H: width, feed-forward width, width of a head.
D, F, H, EXPERTS = 8, 12, 4, 3
HEAD_NORMS = [("attn_q_norm.weight", H), ("attn_k_norm.weight", H)]
QKV_BIAS = [("attn_q.bias", D), ("attn_k.bias", H), ("attn_v.bias", H)]
POST_NORMS = [("post_attention_norm.weight", D), ("post_ffw_norm.weight", D)]
FFN = ["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"]
QKV = ["attn_q.weight", "attn_k.weight", "attn_v.weight"]
MOE = [("ffn_gate_inp.weight", D, EXPERTS), ("ffn_gate_exps.weight", D, F, EXPERTS),
       ("ffn_up_exps.weight", D, F, EXPERTS), ("ffn_down_exps.weight", F, D, EXPERTS)]
MOE_KEYS = {"expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": F}
MOE_BIAS = [("ffn_gate_inp.bias", EXPERTS), ("ffn_gate_exps.bias", F, EXPERTS), ("ffn_up_exps.bias", F, EXPERTS),
            ("ffn_down_exps.bias", D, EXPERTS), ("attn_output.bias", D), ("attn_sinks.weight", 2)]
LAYER_NORMS = [("attn_output_norm.weight", D), ("attn_output_norm.bias", D), ("layer_output_norm.weight", D),
               ("layer_output_norm.bias", D)]
ENCODER = [("token_types.weight", D, 2), ("token_embd_norm.weight", D), ("token_embd_norm.bias", D)]
PRE_NORMS = ["attn_norm.weight", "ffn_norm.weight"]
ARCHS = {
    "mixtral": ("llama", MOE, FFN, [], MOE_KEYS | {"attention.sliding_window": 5}),
    "yarn": ("llama", QKV_BIAS, [], [("rope_freqs.weight", H // 2)],
             {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}),
    "qwen2": ("qwen2", QKV_BIAS, [], [], {}),
    "qwen3": ("qwen3", HEAD_NORMS, [], [], {"pooling_type": 3}),
    "qwen3moe": ("qwen3moe", HEAD_NORMS + MOE, FFN, [], MOE_KEYS),
    "gemma2": ("gemma2", POST_NORMS, [], [], {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0,
                                             "attention.sliding_window": 3}),
    "gemma3": ("gemma3", POST_NORMS + HEAD_NORMS, [], [], {"attention.sliding_window": 3, "rope.scaling.factor": 8.0}),
    "phi3": ("phi3", [("attn_qkv.weight", D, D + 2 * H), ("ffn_up.weight", D, 2 * F)],
             QKV + ["ffn_gate.weight", "ffn_up.weight"],
             [("rope_factors_long.weight", H // 2), ("rope_factors_short.weight", H // 2)],
             {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.1}),
    "olmo2": ("olmo2", POST_NORMS + [("attn_q_norm.weight", D), ("attn_k_norm.weight", H)], PRE_NORMS, [],
              {"attention.sliding_window": 2}),
    "gpt-oss": ("gpt-oss", MOE + QKV_BIAS + MOE_BIAS + POST_NORMS[:1], FFN + ["ffn_norm.weight"], [],
                MOE_KEYS | {"attention.sliding_window": 4}),
    "bert": ("bert", QKV_BIAS + LAYER_NORMS + [("attn_output.bias", D), ("ffn_up.bias", F), ("ffn_down.bias", D)],
             PRE_NORMS + ["ffn_gate.weight", "output_norm.weight"],
             ENCODER + [("position_embd.weight", D, 32), ("cls.weight", D, D), ("cls.bias", D),
                        ("cls.output.weight", D, 1)],
             {"pooling_type": 4, "attention.layer_norm_epsilon": 1e-6}),
    "nomic-bert": ("nomic-bert", LAYER_NORMS + [("attn_qkv.weight", D, D + 2 * H)], PRE_NORMS + QKV + ["output_norm.weight"],
                   ENCODER, {"pooling_type": 2, "attention.layer_norm_epsilon": 1e-6}),
}


def architecture(name):
    """The smallest model of an architecture, in F32."""
    arch, layer, without, more, keys = ARCHS[name]
    rng = np.random.default_rng(sum(name.encode()))
    tokens, types, merges = small_vocabulary()
    plain = [("attn_norm.weight", D), ("attn_q.weight", D, D), ("attn_k.weight", D, H), ("attn_v.weight", D, H),
             ("attn_output.weight", D, D), ("ffn_norm.weight", D), ("ffn_gate.weight", D, F), ("ffn_up.weight", D, F),
             ("ffn_down.weight", F, D)]
    tensors = [("token_embd.weight", D, len(tokens)), ("output_norm.weight", D)]
    tensors = [t for t in tensors if t[0] not in without] + more
    tensors += [(f"blk.0.{t[0]}", *t[1:]) for t in [p for p in plain if p[0] not in without] + layer]
    shape = {"context_length": 32, "embedding_length": D, "block_count": 1, "feed_forward_length": F,
             "attention.head_count": 2, "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-5}
    meta = {"general.architecture": arch, **{f"{arch}.{k}": v for k, v in (shape | keys).items()},
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.eos_token_id": len(tokens) - 4, "tokenizer.ggml.token_type_count": 2}
    files = {}
    for tensor, *dims in tensors:
        shape = list(reversed(dims))
        values = np.abs(rng.standard_normal(shape)) + 0.1 if "rope_f" in tensor else rng.standard_normal(shape)
        files[tensor] = (models.F32, shape, values.astype(np.float32).tobytes())
    return meta, files


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
    for name in ARCHS:
        models.write_gguf(os.path.join(HERE, "corpus", "gguf", name + ".gguf"), *architecture(name))
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
        "spm": b"\x81" + "<unk>\n\u2581\nt\nh\n\u2581th\nth\ne\n<0x0A>\nthe\n\n\nthe th\u00e9 <unk>".encode(),
        "unigram": b"\x82" + "<unk>\n\u2581\nt\nh\n\u2581th\nth\ne\nthe\n\n\nthe  the x".encode(),
        "wordpiece": b"\x83" + "<unk>\n\u2581un\nable\n\u2581!\n\u2581\u4f60\n\n\nUn\u00e4ble! \u4f60unable".encode(),
    }
    for name, data in texts.items():
        write("tokenizer", name, data)


if __name__ == "__main__":
    main()
