#!/usr/bin/env python3
"""Makes a small random model of every architecture (arch/*.gguf) and what it must compute (arch/arch.json).

    python3 -m venv v && v/bin/pip install numpy==2.4.6 gguf==0.19.0 torch==2.15.0 transformers==5.23.0
    v/bin/python tests/vectors/make_arch_vectors.py [--llama-cpp] [NAME...]

The reference is PyTorch in float64: the classes of `transformers`, with random weights that are rounded to the type
they have in the file, and keys and values rounded to half precision as the engine's cache does. Greedy continuations
end where the best token leads by so little that rounding could decide. With names, only those models are made anew.

--llama-cpp evaluates the same files with llama.cpp as well and records how far it is from the reference (it rounds
activations to the type of the weights, so it is further away than float32 alone explains) and whether the greedy
continuations are equal. Each runs in a process of its own, for llama.cpp aborts on what it does not support.
"""
import json
import os
import subprocess
import sys

import gguf
import numpy as np
import torch
import transformers as hf

sys.dont_write_bytecode = True
import make_engine_vectors as models  # noqa: E402
from make_engine_vectors import BF16, F16, F32  # noqa: E402

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "arch")
N_GREEDY = 36
MARGIN = {False: 1e-3, True: 0.01}  # of the largest logit; quantized: activations round to 8 bits, or to their neighbours
CONTEXT = 256
QTYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]


def base_config(**more):
    """Odd sizes, so that no two of them can be confused."""
    return {"vocab_size": len(models.vocabulary()[0]), "hidden_size": 40, "intermediate_size": 56,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
            "pad_token_id": None, "bos_token_id": None, "eos_token_id": None, **more}


def rope(kind, theta=10000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


def factors(n, top):
    return [round(float(v), 3) for v in np.linspace(1.0, top, n)]


# name: (GGUF architecture, transformers configuration, its arguments, type of the matrices, further metadata)
CASES = {
    "llama3-rope": ("llama", hf.LlamaConfig, {"num_key_value_heads": 1, **rope(
        "llama3", 10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=32)}, F32, {}),
    "llama-linear": ("llama", hf.LlamaConfig, rope("linear", factor=4.0), F16,
                     {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama-yarn": ("llama", hf.LlamaConfig, rope("yarn", factor=4.0, original_max_position_embeddings=64), F16,
                   {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                    "rope.scaling.original_context_length": 64}),
    "llama-longrope": ("llama", hf.LlamaConfig, rope(
        "longrope", factor=2.0, attention_factor=1.125, original_max_position_embeddings=8,
        long_factor=factors(5, 5), short_factor=factors(5, 2)), F16, {"rope.scaling.type": "longrope"}),
    "smollm-biased": ("llama", hf.LlamaConfig, {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True,
                                                "hidden_size": 48, "num_attention_heads": 3,
                                                "num_key_value_heads": 1}, BF16, {}),
    "mistral-window": ("llama", hf.MistralConfig, {"sliding_window": 20, "head_dim": 20}, F16, {}),
    "mixtral": ("llama", hf.MixtralConfig, {"num_local_experts": 5, "num_experts_per_tok": 2, "head_dim": 12}, F16, {}),
    "qwen2": ("qwen2", hf.Qwen2Config, {"tie_word_embeddings": True, **rope("default", 1000000.0)}, F16, {}),
    "qwen3": ("qwen3", hf.Qwen3Config, {"head_dim": 20, **rope("default", 1000000.0)}, F32, {}),
    "qwen3-embedding": ("qwen3", hf.Qwen3Config, {"head_dim": 16, "num_hidden_layers": 1}, F16, {"pooling_type": 3}),
    "qwen3moe": ("qwen3moe", hf.Qwen3MoeConfig, {"head_dim": 16, "num_experts": 9, "num_experts_per_tok": 3,
                                                 "moe_intermediate_size": 24, "norm_topk_prob": True}, F16, {}),
    "gemma2": ("gemma2", hf.Gemma2Config, {"head_dim": 20, "query_pre_attn_scalar": 20, "sliding_window": 24,
                                           "num_hidden_layers": 3, "attn_logit_softcapping": 4.0,
                                           "final_logit_softcapping": 5.0, "tie_word_embeddings": True}, F16, {}),
    "gemma3": ("gemma3", hf.Gemma3TextConfig, {
        "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 17, "num_hidden_layers": 7, "hidden_size": 32,
        "tie_word_embeddings": True, "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}}, F16,
        {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
    "phi-window": ("phi3", hf.Phi3Config, {"sliding_window": 33, "num_key_value_heads": 4}, F16, {}),
    "phi-longrope": ("phi3", hf.Phi3Config, {
        "hidden_size": 64, "tie_word_embeddings": True, "original_max_position_embeddings": 8,
        **rope("longrope", factor=4.0, attention_factor=1.25, partial_rotary_factor=0.75,
               original_max_position_embeddings=8, long_factor=factors(6, 7), short_factor=factors(6, 3))}, F16, {}),
    "phi-shortrope": ("phi3", hf.Phi3Config, {
        "hidden_size": 64, "original_max_position_embeddings": CONTEXT,
        **rope("longrope", factor=4.0, attention_factor=1.25, partial_rotary_factor=0.75,
               original_max_position_embeddings=CONTEXT, long_factor=factors(6, 7), short_factor=factors(6, 3))},
        F16, {}),
    "olmo2": ("olmo2", hf.Olmo2Config, {"num_key_value_heads": 4, **rope("default", 500000.0)}, F16, {}),
    "olmo3": ("olmo2", hf.Olmo3Config, {
        "num_hidden_layers": 4, "hidden_size": 32, "intermediate_size": 40, "sliding_window": 18,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            "full_attention": {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 8.0, "beta_fast": 32.0,
                               "beta_slow": 1.0, "original_max_position_embeddings": 32}}}, F16,
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 32}),
    "gpt-oss": ("gpt-oss", hf.GptOssConfig, {
        "head_dim": 16, "num_local_experts": 6, "num_experts_per_tok": 3, "sliding_window": 19, "swiglu_limit": 7.0,
        **rope("yarn", 150000.0, factor=16.0, original_max_position_embeddings=32, truncate=False)}, F16,
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 16.0, "rope.scaling.original_context_length": 32}),
    "gpt-oss-mxfp4": ("gpt-oss", hf.GptOssConfig, {
        "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 19, "hidden_size": 64,
        "intermediate_size": 96, "swiglu_limit": 7.0,
        **rope("yarn", 150000.0, factor=16.0, original_max_position_embeddings=32, truncate=False)}, "MXFP4",
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 16.0, "rope.scaling.original_context_length": 32}),
    "every-type": ("llama", hf.LlamaConfig, {"hidden_size": 256, "intermediate_size": 256, "num_key_value_heads": 1},
                   "ALL", {}),
    "bert-mean": ("bert", hf.BertConfig, {"num_hidden_layers": 3}, BF16, {"pooling_type": 1}),
    "bert-cls": ("bert", hf.BertConfig, {"hidden_size": 48, "num_attention_heads": 3}, F16, {"pooling_type": 2}),
    "bert-rank": ("bert", hf.BertConfig, {"num_labels": 1}, F16, {"pooling_type": 4}),
    "nomic-bert": ("nomic-bert", hf.NomicBertConfig, rope("default", 1000.0), F16, {"pooling_type": 1}),
}
ENCODERS = ("bert", "nomic-bert")
ALWAYS_F32 = ("norm", "token_types", "position_embd", "ffn_gate_inp")  # as published files have them
POST_NORMS = ("gemma2", "gemma3", "olmo2", "gpt-oss")


# ---- weights -------------------------------------------------------------------------------------------------------

def fill(model, rng, plus_one):
    """Random parameters with gains that keep the layers' contributions comparable."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            shape = tuple(p.shape)
            if "norm" in name.lower() and len(shape) == 1 and name.endswith("weight"):
                x = (0 if plus_one else 1) + 0.2 * rng.standard_normal(shape)
            elif len(shape) == 1 or name.endswith("_bias"):
                x = 0.3 * rng.standard_normal(shape)
            elif "embed" in name:
                x = rng.standard_normal(shape) * (1.0 if "embed_tokens" in name or "word_" in name else 0.5)
            else:
                fan = shape[1] if len(shape) == 3 and plus_one is None else shape[-1]
                x = rng.standard_normal(shape) * 1.6 / np.sqrt(fan)
            p.copy_(torch.from_numpy(x))


def round_matrix(x, kind, name):
    """(type number, bytes, values) of a matrix as it lies in the file."""
    if isinstance(kind, int):
        raw, values = models.encode(x, kind)
        return kind, raw, values.reshape(x.shape)
    qtype = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    try:
        raw = gguf.quants.quantize(x.astype(np.float32), qtype)
    except NotImplementedError:
        raw = random_blocks(x, kind, block, size, name)
    values = gguf.quants.dequantize(raw, qtype).astype(np.float64).reshape(x.shape)
    return int(qtype), raw.tobytes(), values


def random_blocks(x, kind, block, size, name):
    """Blocks of random bits with plausible scales, for types that the package only reads."""
    rng = np.random.default_rng(sum(name.encode()))
    rows = x.shape[0] * x.shape[1] // block
    raw = rng.integers(0, 256, (rows, size), dtype=np.uint8)
    at, spread = {"Q2_K": ((80, 82), 20), "Q3_K": ((108,), 60), "Q4_K": ((0, 2), 250), "Q5_K": ((0, 2), 500),
                  "Q6_K": ((208,), 1000), "IQ4_NL": ((0,), 60), "IQ4_XS": ((0,), 1200)}[kind]
    for offset in at:
        scale = (np.abs(rng.standard_normal(rows)) + 0.5) * 1.2 / np.sqrt(x.shape[1]) / spread
        raw[:, offset:offset + 2] = scale.astype(np.float16).view(np.uint8).reshape(rows, 2)
    return raw.reshape(x.shape[0], -1)


def tensor_kind(kind, name, index):
    if kind == "MXFP4":
        return kind if "_exps." in name else F16
    if kind == "ALL":
        return QTYPES[index % len(QTYPES)]
    return kind


# ---- from transformers' names to GGUF's ----------------------------------------------------------------------------

def permute(w, heads):
    """Rotation of halves to rotation of adjacent pairs, as the llama converter does."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.sinks": "attn_sinks.weight",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp", "mlp.experts.gate_up_proj": "experts",
    "mlp.experts.gate_up_proj_bias": "experts_bias", "mlp.experts.down_proj": "ffn_down_exps.weight",
    "mlp.experts.down_proj_bias": "ffn_down_exps.bias",
}
GLOBAL_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight"}
ENCODER_NAMES = [
    ("embeddings.word_embeddings", "token_embd"), ("embeddings.token_type_embeddings", "token_types"),
    ("embeddings.position_embeddings", "position_embd"), ("embeddings.LayerNorm", "token_embd_norm"),
    ("attention.self.query", "attn_q"), ("attention.self.key", "attn_k"), ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"), ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"), ("output.dense", "ffn_down"), ("output.LayerNorm", "layer_output_norm"),
    ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"), ("post_attention_layernorm", "attn_output_norm"),
    ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
    ("post_mlp_layernorm", "layer_output_norm"), ("pooler.dense", "cls"), ("classifier", "cls.output"),
]


def encoder_name(name):
    name = name.removeprefix("bert.").removeprefix("model.")
    stem, end = name.rsplit(".", 1)
    prefix = ""
    if "layer." in stem or "layers." in stem:
        number = stem.split("layer.")[-1].split("layers.")[-1].split(".")[0]
        prefix, stem = f"blk.{number}.", stem.split(f".{number}.", 1)[1]
    for theirs, ours in ENCODER_NAMES:
        if stem == theirs:
            return f"{prefix}{ours}.{end}"
    return None


def decoder_name(name, arch):
    if name in GLOBAL_NAMES:
        return GLOBAL_NAMES[name]
    number, stem = name.removeprefix("model.layers.").split(".", 1)
    if stem in LAYER_NAMES:
        return f"blk.{number}.{LAYER_NAMES[stem]}"
    stem, end = stem.rsplit(".", 1)
    ours = LAYER_NAMES.get(stem) or {"post_attention_layernorm":
                                     "post_attention_norm" if arch in POST_NORMS else "ffn_norm"}[stem]
    return f"blk.{number}.{ours}.{end}"


class Tensors:
    """Parameters on their way into a file; what the file's rounding leaves of them goes back into the model."""

    def __init__(self, arch, kind, cfg):
        self.arch, self.kind, self.cfg, self.files, self.count = arch, kind, cfg, {}, 0

    def put(self, name, x):
        x = np.ascontiguousarray(x)
        exact = x.ndim == 1 or name.endswith(".bias") or any(part in name for part in ALWAYS_F32)
        kind = F32 if exact else tensor_kind(self.kind, name, self.count)
        self.count += not exact
        number, raw, values = round_matrix(x.reshape(-1, x.shape[-1]), kind, name)
        self.last = number
        self.files[name] = (number, list(x.shape), raw)
        return values.reshape(x.shape)

    def add(self, name, x):
        """Stores a parameter under GGUF's name(s) and returns what it has become, in the shape it had."""
        base = name.split(".", 2)[-1]
        if base == "experts":  # gate and up in one
            prefix = name.removesuffix("experts")
            if self.arch == "gpt-oss":  # [experts][in][2 ff], alternating
                out = np.empty_like(x)
                for i, part in enumerate(("gate", "up")):
                    out[..., i::2] = self.put(f"{prefix}ffn_{part}_exps.weight",
                                              x[..., i::2].swapaxes(1, 2)).swapaxes(1, 2)
                return out
            half = x.shape[1] // 2
            return np.concatenate([self.put(f"{prefix}ffn_gate_exps.weight", x[:, :half]),
                                   self.put(f"{prefix}ffn_up_exps.weight", x[:, half:])], axis=1)
        if base == "experts_bias":
            prefix, out = name.removesuffix("experts_bias"), np.empty_like(x)
            for i, part in enumerate(("gate", "up")):
                out[..., i::2] = self.put(f"{prefix}ffn_{part}_exps.bias", x[..., i::2])
            return out
        if base == "ffn_down_exps.weight" and self.arch == "gpt-oss":
            return self.put(name, x.swapaxes(1, 2)).swapaxes(1, 2)
        if self.arch == "llama" and base.split(".")[0] in ("attn_q", "attn_k"):
            heads = self.cfg.num_attention_heads if "attn_q" in base else self.cfg.num_key_value_heads
            return unpermute(self.put(name, permute(x, heads)), heads)
        if self.arch in ("gemma2", "gemma3") and "norm" in name:
            return self.put(name, x + 1) - 1
        return self.put(name, x)


def fuse_qkv(tensors, layers):
    """nomic-bert's files have one matrix for queries, keys and values."""
    for i in range(layers):
        parts = [tensors.files.pop(f"blk.{i}.attn_{c}.weight") for c in "qkv"]
        rows = sum(p[1][0] for p in parts)
        tensors.files[f"blk.{i}.attn_qkv.weight"] = (parts[0][0], [rows, parts[0][1][1]], b"".join(p[2] for p in parts))


# ---- metadata ------------------------------------------------------------------------------------------------------

def rope_tensors(cfg, tensors):
    p = cfg.rope_parameters or {}
    if p.get("rope_type") == "llama3":
        hd = cfg.hidden_size // cfg.num_attention_heads
        inv = p["rope_theta"] ** -(np.arange(0, hd, 2) / hd)
        scaled = hf.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](cfg, "cpu")[0].double().numpy()
        tensors.put("rope_freqs.weight", inv / scaled)
    if p.get("rope_type") == "longrope":
        tensors.put("rope_factors_long.weight", np.array(p["long_factor"]))
        tensors.put("rope_factors_short.weight", np.array(p["short_factor"]))


def shape_keys(cfg, arch):
    hd = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
    p = getattr(cfg, "rope_parameters", None) or {}
    full = p.get("full_attention", p)
    keys = {
        "context_length": cfg.max_position_embeddings, "embedding_length": cfg.hidden_size,
        "block_count": cfg.num_hidden_layers, "feed_forward_length": cfg.intermediate_size,
        "attention.head_count": cfg.num_attention_heads,
        "attention.head_count_kv": getattr(cfg, "num_key_value_heads", None) or cfg.num_attention_heads,
    }
    if arch in ENCODERS:
        keys |= {"attention.layer_norm_epsilon": cfg.layer_norm_eps, "attention.causal": False}
    else:
        keys |= {"attention.layer_norm_rms_epsilon": cfg.rms_norm_eps, "attention.key_length": hd,
                 "attention.value_length": hd}
    if full:
        keys |= {"rope.freq_base": float(full["rope_theta"])}
        if "partial_rotary_factor" in full:
            keys |= {"rope.dimension_count": int(hd * full["partial_rotary_factor"])}
        if full.get("rope_type") == "longrope":
            keys |= {"rope.scaling.attn_factor": full["attention_factor"],
                     "rope.scaling.original_context_length": full["original_max_position_embeddings"]}
    optional = {"sliding_window": "attention.sliding_window", "attn_logit_softcapping": "attn_logit_softcapping",
                "final_logit_softcapping": "final_logit_softcapping", "num_local_experts": "expert_count",
                "num_experts": "expert_count", "num_experts_per_tok": "expert_used_count",
                "moe_intermediate_size": "expert_feed_forward_length"}
    if arch == "gpt-oss":
        keys["expert_feed_forward_length"] = cfg.intermediate_size
    for theirs, ours in optional.items():
        if getattr(cfg, theirs, None):
            keys[ours] = getattr(cfg, theirs)
    return keys


def metadata(name, cfg, arch, more):
    tokens, types, merges = models.vocabulary()
    keys = {f"{arch}.{k}": v for k, v in (shape_keys(cfg, arch) | more).items()}
    if arch in ENCODERS:
        keys["tokenizer.ggml.token_type_count"] = cfg.type_vocab_size
    return {"general.architecture": arch, "general.name": name, **keys,
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges,
            "tokenizer.ggml.eos_token_id": len(tokens) - 4}


# ---- the reference -------------------------------------------------------------------------------------------------

def half_cache(model):
    """Attention reads keys and values in half precision."""
    module = sys.modules[type(model).__module__]
    eager = getattr(module.eager_attention_forward, "eager", module.eager_attention_forward)

    def attention(layer, query, key, value, *args, **kw):
        return eager(layer, query, key.half().to(key.dtype), value.half().to(value.dtype), *args, **kw)

    attention.eager = eager
    module.eager_attention_forward = attention


def round8(x):
    """Activations as products with quantised weights see them: 8 bits in blocks of 32."""
    blocks = x.reshape(-1, 32)
    scale = blocks.abs().amax(dim=1, keepdim=True) / 127
    return (torch.round(blocks / torch.where(scale == 0, 1, scale)) * scale).reshape(x.shape)


def round_inputs(model, quantized):
    """`quantized` names the parameters of quantised type."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name + ".weight" in quantized:
            module.register_forward_pre_hook(lambda _, args: (round8(args[0]), *args[1:]))
        if name + ".gate_up_proj" in quantized:  # experts, whose second product is not a module
            module.register_forward_pre_hook(lambda _, args: (round8(args[0]), *args[1:]))
            gate = module._apply_gate
            module._apply_gate = lambda x, gate=gate: round8(gate(x))


class Reference:
    def __init__(self, name):
        self.name = name
        self.arch, config, args, self.kind, self.more = CASES[name]
        if self.arch in ENCODERS:
            args = {k: v for k, v in base_config(**args).items() if k not in ("rms_norm_eps", "num_key_value_heads")}
            args["pad_token_id"] = 0
        else:
            args = base_config(**args)
        self.cfg = config(**args, attn_implementation="eager")
        auto = hf.AutoModelForCausalLM
        if self.arch in ENCODERS:
            auto = hf.AutoModelForSequenceClassification if self.more["pooling_type"] == 4 else hf.AutoModel
        self.model = auto.from_config(self.cfg, attn_implementation="eager", experts_implementation="eager")
        self.model = self.model.double().eval()
        self.quantized = isinstance(self.kind, str)
        self.tied = getattr(self.cfg, "tie_word_embeddings", False)
        half_cache(self.model)
        plus_one = {"gemma2": True, "gemma3": True, "gpt-oss": None}.get(self.arch, False)
        fill(self.model, np.random.default_rng(sum(name.encode())), plus_one)
        self.tensors = Tensors(self.arch, self.kind, self.cfg)
        self.export()

    def export(self):
        quantized = set()
        with torch.no_grad():
            for theirs, p in self.model.named_parameters():
                ours = encoder_name(theirs) if self.arch in ENCODERS else decoder_name(theirs, self.arch)
                if ours is not None and ours != "cls.weight" or self.more.get("pooling_type") == 4:
                    if ours.startswith("cls.") and self.more.get("pooling_type") != 4:
                        continue
                    p.copy_(torch.from_numpy(np.array(self.tensors.add(ours, p.numpy()))))
                    if self.tensors.last not in (F32, F16, BF16):
                        quantized.add(theirs)
        round_inputs(self.model, quantized)
        if self.arch == "nomic-bert":
            fuse_qkv(self.tensors, self.cfg.num_hidden_layers)
        if self.arch not in ENCODERS and "full_attention" not in (self.cfg.rope_parameters or {}):
            rope_tensors(self.cfg, self.tensors)
        models.write_gguf(os.path.join(HERE, self.name + ".gguf"), metadata(self.name, self.cfg, self.arch, self.more),
                          self.tensors.files)

    def run(self, tokens):
        """Logits (None for encoders) and hidden states of every token."""
        with torch.no_grad():
            ids = torch.tensor([tokens])
            out = self.model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        hidden = out.hidden_states[-1][0].numpy()
        if self.more.get("pooling_type") == 4:
            return out.logits[0].numpy(), hidden
        return (None if self.arch in ENCODERS else out.logits[0].numpy()), hidden

    def greedy(self, tokens):
        out = []
        types = models.vocabulary()[1]
        while len(out) < N_GREEDY:
            row = self.run(tokens + out)[0][-1]
            best, lead = int(np.argmax(row)), np.diff(np.sort(row)[-2:])[0]
            if lead < MARGIN[self.quantized] * np.abs(row).max() or types[best] != 1:
                break
            out.append(best)
        return out

    def embedding(self, logits, hidden):
        kind = self.more.get("pooling_type", 1)
        if kind == 4:
            return logits
        v = {1: hidden.mean(axis=0), 2: hidden[0], 3: hidden[-1]}[kind]
        return v / np.linalg.norm(v)

    def case(self, rng, n):
        tries = [[int(t) for t in rng.integers(0, self.cfg.vocab_size - 4, n)] for _ in range(6)]
        greedy = []
        if self.arch in ENCODERS:
            prompt = tries[0]
        else:
            prompt = None
            for p in tries:
                g = self.greedy(p)
                if prompt is None or len(g) > len(greedy):
                    prompt, greedy = p, g
                if len(g) == N_GREEDY:
                    break
        logits, hidden = self.run(prompt)
        out = {"prompt": prompt, "greedy": greedy,
               "embedding": rounded(self.embedding(logits, hidden))}
        out["hidden" if self.arch in ENCODERS else "logits"] = rounded(hidden[-1] if self.arch in ENCODERS else logits[-1])
        print(f"{self.name:16} prompt {n:3}: greedy {len(greedy)}", flush=True)
        return out


def rounded(values):
    return [round(float(v), 6) for v in values]


# ---- llama.cpp -----------------------------------------------------------------------------------------------------

def llama_cpp_differs(entry):
    """Largest difference from the reference, and whether the continuations are equal."""
    sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))
    from llama_cpp import Llama
    encoder = "hidden" in entry["cases"][0]
    model = Llama(os.path.join(HERE, "..", entry["model"]), threads=1, ctx=CONTEXT // 2, embeddings=encoder)
    worst, equal = 0, True
    for case in entry["cases"]:
        want = np.array(case["embedding" if encoder else "logits"])
        got = np.array(model.embed(case["prompt"])[:len(want)] if encoder else model.logits(case["prompt"])[-1])
        if encoder and len(want) > 1:
            got = got / np.linalg.norm(got)
        worst = max(worst, np.abs(got - want).max() / np.abs(want).max())
        equal = equal and (encoder or list(model.greedy(case["prompt"], len(case["greedy"]))) == case["greedy"])
    return {"difference": float(f"{worst:.1e}"), "greedy_equal": equal}


def llama_cpp_apart(entry):
    code = f"import json, sys; sys.path.insert(0, {os.path.dirname(HERE)!r}); import make_arch_vectors as m; " \
           "print(json.dumps(m.llama_cpp_differs(json.load(sys.stdin))))"
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(entry), capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def main():
    names = [a for a in sys.argv[1:] if a != "--llama-cpp"]
    torch.set_num_threads(1)
    os.makedirs(HERE, exist_ok=True)
    path = os.path.join(HERE, "arch.json")
    done = {}
    if names and os.path.exists(path):
        with open(path) as f:
            done = {entry["model"]: entry for entry in json.load(f)}
    out = []
    for name in CASES:
        if names and name not in names:
            out += [done[f"arch/{name}.gguf"]] if f"arch/{name}.gguf" in done else []
            continue
        ref = Reference(name)
        rng = np.random.default_rng(7)
        sizes = (9, 20, 45) if "longrope" in name else (1, 9, 45)  # longrope: beyond the original context
        entry = {"model": f"arch/{name}.gguf", "quantized": ref.quantized,
                 "cases": [ref.case(rng, n) for n in sizes]}
        if "--llama-cpp" in sys.argv:
            entry["llama_cpp"] = llama_cpp_apart(entry)
            print(f"{name:16} llama.cpp: {entry['llama_cpp']}", flush=True)
        out.append(entry)
    with open(path, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
