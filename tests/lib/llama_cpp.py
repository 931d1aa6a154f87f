"""llama.cpp in this process, through ctypes, for benchmarks and for capturing test vectors. Standard library only.

The shared libraries are those of npm's prebuilt package, pinned below and installed into build/llama-cpp on first
use (LLAMA_CPP_LIBS names another folder of them). `make test` never needs them.

    from llama_cpp import Llama
    model = Llama("model.gguf", threads=2)
    rows = model.logits([1, 2, 3])          # one row of n_vocab floats for each token
    more = model.greedy([1, 2, 3], 32)      # the tokens that follow

The structs are declared for exactly this version: their defaults are compared with what is known of them when the
library is loaded, so that a layout that moved is an error and not a wrong figure.
"""
import ctypes
import os
import subprocess
import time
from array import array
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "@node-llama-cpp/linux-x64"
VERSION = "3.22.1"  # llama.cpp's release v0.5.0
SONAME = "v0.5.0"

POOLING = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}


class ModelParams(ctypes.Structure):
    _fields_ = [
        ("devices", c_void_p), ("tensor_buft_overrides", c_void_p), ("n_gpu_layers", c_int32),
        ("split_mode", c_int32), ("load_mode", c_int32), ("lazy_mode", c_int32), ("main_gpu", c_int32),
        ("tensor_split", c_void_p), ("progress_callback", c_void_p), ("progress_data", c_void_p),
        ("kv_overrides", c_void_p), ("vocab_only", c_bool), ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool), ("no_host", c_bool), ("no_alloc", c_bool), ("load_mtp", c_bool),
    ]


class ContextParams(ctypes.Structure):
    _fields_ = [
        ("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32), ("n_threads_batch", c_int32), ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32), ("pooling_type", c_int32), ("attention_type", c_int32),
        ("flash_attn_type", c_int32), ("rope_freq_base", c_float), ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float), ("yarn_attn_factor", c_float), ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float), ("yarn_orig_ctx", c_uint32), ("defrag_thold", c_float),
        ("cb_eval", c_void_p), ("cb_eval_data", c_void_p), ("type_k", c_int32), ("type_v", c_int32),
        ("abort_callback", c_void_p), ("abort_data", c_void_p), ("embeddings", c_bool),
        ("offload_kqv", c_bool), ("no_perf", c_bool), ("op_offload", c_bool), ("swa_full", c_bool),
        ("kv_unified", c_bool), ("samplers", c_void_p), ("n_samplers", c_size_t), ("ctx_other", c_void_p),
    ]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)), ("n_seq_id", POINTER(c_int32)), ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


def libraries():
    """The folder of the shared libraries; installs the pinned package when it is not there."""
    if os.environ.get("LLAMA_CPP_LIBS"):
        return Path(os.environ["LLAMA_CPP_LIBS"])
    home = ROOT / "build" / "llama-cpp"
    folder = home / "node_modules" / PACKAGE / "bins" / "linux-x64"
    if not (folder / f"libllama.{SONAME}.so").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix",
                        str(home), f"{PACKAGE}@{VERSION}"], check=True, stdout=subprocess.DEVNULL)
    return folder


_PROTOTYPES = {
    "llama_backend_init": (None, []),
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelParams]),
    "llama_model_free": (None, [c_void_p]),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextParams]),
    "llama_free": (None, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_n_embd": (c_int32, [c_void_p]),
    "llama_model_n_params": (c_uint64, [c_void_p]),
    "llama_model_size": (c_uint64, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_token_to_piece": (c_int32, [c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool]),
    "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
    "llama_batch_free": (None, [Batch]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_encode": (c_int32, [c_void_p, Batch]),
    "llama_synchronize": (None, [c_void_p]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_embeddings_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_embeddings_seq": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_pooling_type": (c_int32, [c_void_p]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
    "llama_adapter_lora_init": (c_void_p, [c_void_p, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)]),
}

_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
_lib = None
_keep = []  # callbacks that the library holds


def _check_layout(lib):
    m, c = lib.llama_model_default_params(), lib.llama_context_default_params()
    known = [
        ("model", (m.n_gpu_layers, m.split_mode, m.load_mode, m.use_extra_bufts, m.vocab_only),
         (-1, 1, -1, True, False)),
        ("context", (c.n_ctx, c.n_batch, c.n_ubatch, c.n_seq_max, c.n_threads), (512, 2048, 512, 1, 4)),
        ("context", (c.flash_attn_type, c.yarn_ext_factor, c.defrag_thold, c.type_k, c.type_v), (-1, -1.0, -1.0, 1, 1)),
        ("context", (c.embeddings, c.offload_kqv, c.no_perf, c.swa_full), (False, True, True, True)),
    ]
    for what, got, want in known:
        if got != want:
            raise RuntimeError(f"llama.cpp's {what} parameters have another layout: {got}, expected {want}")


def library(isa=None, verbose=False):
    """Loads llama.cpp once a process. `isa` names a build of its CPU backend ("haswell" is AVX2, "zen4" the widest
    AVX-512 one); the default is the best that this CPU runs. A process has one: later calls cannot change it."""
    global _lib
    if _lib is not None:
        return _lib
    folder = libraries()
    ctypes.CDLL(str(folder / "libggml-base.so"), ctypes.RTLD_GLOBAL)
    ggml = ctypes.CDLL(str(folder / f"libggml.{SONAME}.so"), ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(str(folder / f"libllama.{SONAME}.so"))
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    _check_layout(lib)
    if not verbose:
        _keep.append(_LOG(lambda level, text, data: None))
        lib.llama_log_set(_keep[-1], None)
    if isa:
        ggml.ggml_backend_load.restype, ggml.ggml_backend_load.argtypes = c_void_p, [c_char_p]
        if not ggml.ggml_backend_load(str(folder / f"libggml-cpu-{isa}.so").encode()):
            raise RuntimeError(f"llama.cpp's backend {isa} does not load here")
    else:
        ggml.ggml_backend_load_all_from_path.argtypes = [c_char_p]
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
    lib.llama_backend_init()
    _lib = lib
    return lib


class Llama:
    """One model with one context. Not for several threads at once."""

    def __init__(self, path, threads=2, ctx=2048, batch=None, seqs=1, embeddings=False, pooling=None, isa=None,
                 lora=None, lora_scale=1.0, verbose=False):
        self.lib = lib = library(isa, verbose)
        self.batch_size = batch or max(ctx, 512)
        self.model = self.ctx = None
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        p = lib.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_seq_max = ctx, self.batch_size, seqs
        p.n_ubatch = self.batch_size if embeddings else min(512, self.batch_size)
        p.n_threads = p.n_threads_batch = threads
        p.embeddings, p.kv_unified = embeddings, seqs > 1
        p.n_outputs_max_per_seq = self.batch_size  # logits of any row may be asked for
        if pooling is not None:
            p.pooling_type = POOLING[pooling]
        self.ctx = lib.llama_init_from_model(self.model, p)
        if not self.ctx:
            raise RuntimeError(f"llama.cpp cannot make a context for {path}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)
        self.n_embd = lib.llama_model_n_embd(self.model)
        self.n_params = lib.llama_model_n_params(self.model)
        self.bytes = lib.llama_model_size(self.model)
        if lora:
            adapter = c_void_p(lib.llama_adapter_lora_init(self.model, str(lora).encode()))
            if not adapter or lib.llama_set_adapters_lora(self.ctx, ctypes.byref(adapter), 1,
                                                          ctypes.byref(c_float(lora_scale))):
                raise RuntimeError(f"llama.cpp cannot load the adapter {lora}")

    def close(self):
        if self.ctx:
            self.lib.llama_free(self.ctx)
        if self.model:
            self.lib.llama_model_free(self.model)
        self.ctx = self.model = None

    __del__ = close

    # --- text ---------------------------------------------------------------------------------------------------

    def tokenize(self, text, special=False, parse=False):
        """`special` adds bos and eos as the model wants; `parse` matches control tokens written in the text."""
        raw = text.encode() if isinstance(text, str) else text
        out = (c_int32 * (len(raw) + 16))()
        n = self.lib.llama_tokenize(self.vocab, raw, len(raw), out, len(out), special, parse)
        if n < 0:
            raise RuntimeError("llama.cpp cannot tokenize this text")
        return list(out[:n])

    def piece(self, token, special=True):
        out = ctypes.create_string_buffer(4096)
        n = self.lib.llama_token_to_piece(self.vocab, token, out, len(out), 0, special)
        if n < 0:
            raise RuntimeError(f"the piece of token {token} is too long")
        return out.raw[:n]

    # --- evaluation ---------------------------------------------------------------------------------------------

    def reset(self):
        """Forgets all sequences."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.ctx), False)

    def forget(self, seq, first=0):
        """Drops a sequence's tokens from position `first` on."""
        self.lib.llama_memory_seq_rm(self.lib.llama_get_memory(self.ctx), seq, first, -1)

    def share(self, source, target, n):
        """The first n tokens of `source` become those of `target` too."""
        self.lib.llama_memory_seq_cp(self.lib.llama_get_memory(self.ctx), source, target, 0, n)

    def decode(self, rows):
        """Evaluates rows (token, position, sequence, wants_logits) together. Results are read by row number."""
        b = self.lib.llama_batch_init(len(rows), 0, 1)
        try:
            b.n_tokens = len(rows)
            for i, (token, pos, seq, wants) in enumerate(rows):
                b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, pos, 1, 1 if wants else 0
                b.seq_id[i][0] = seq
            rc = self.lib.llama_decode(self.ctx, b)
            if rc:
                raise RuntimeError(f"llama_decode failed with {rc}")
            self.lib.llama_synchronize(self.ctx)
        finally:
            self.lib.llama_batch_free(b)

    def row(self, i):
        """The logits of row i of the last decode."""
        p = self.lib.llama_get_logits_ith(self.ctx, i)
        if not p:
            raise RuntimeError(f"row {i} has no logits")
        return array("f", ctypes.string_at(p, 4 * self.n_vocab))

    def logits(self, tokens):
        """A row of n_vocab floats for each token of one fresh sequence."""
        self.reset()
        self.decode([(t, i, 0, True) for i, t in enumerate(tokens)])
        return [self.row(i) for i in range(len(tokens))]

    def prefill(self, tokens, seq=0, first=0):
        """Evaluates tokens at positions first ... in one batch; logits of the last one only. Seconds."""
        start = time.perf_counter()
        self.decode([(t, first + i, seq, i + 1 == len(tokens)) for i, t in enumerate(tokens)])
        return time.perf_counter() - start

    def greedy(self, tokens, n):
        """The n most likely tokens that follow, one at a time."""
        self.reset()
        out = []
        self.prefill(tokens)
        last = len(tokens) - 1
        while len(out) < n:
            row = self.row(last)
            out.append(row.index(max(row)))
            if len(out) < n:
                self.decode([(out[-1], len(tokens) + len(out) - 1, 0, True)])
                last = 0
        return out

    def embed(self, tokens):
        """The pooled embedding of one input as the model pools it (needs embeddings=True)."""
        self.reset()
        self.decode([(t, i, 0, True) for i, t in enumerate(tokens)])
        pooled = self.lib.llama_pooling_type(self.ctx) != POOLING["none"]
        p = self.lib.llama_get_embeddings_seq(self.ctx, 0) if pooled \
            else self.lib.llama_get_embeddings_ith(self.ctx, len(tokens) - 1)
        if not p:
            raise RuntimeError("the model gave no embedding")
        return array("f", ctypes.string_at(p, 4 * self.n_embd))
