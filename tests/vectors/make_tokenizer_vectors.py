#!/usr/bin/env python3
"""Makes tokenizers.json: small vocabularies of every kind, and what other implementations make of a text corpus.

    python3 -m venv v && v/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf numpy protobuf
    v/bin/python tests/vectors/make_tokenizer_vectors.py

The corpus is made here: every Unicode category and many scripts, combining and joined characters, runs of white space,
digits, contractions, code. The vocabularies are learnt from it by the `tokenizers` and `sentencepiece` libraries,
whose ids are the expected ones. llama.cpp reads the same vocabularies from GGUF files by the names that GGUF gives to
pre-tokenizers; how often it agrees is printed, and where a pattern exists under one name only there, its ids count.

For each vocabulary the ids of the first lines are written out, of the others a CRC-32; null where the library is not
asked."""
import json
import os
import random
import sys
import tempfile
import unicodedata
import zlib

import gguf
import numpy as np
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import llama_cpp  # noqa: E402

LINES, WHOLE = 1500, 60  # lines, and how many of them have their ids written out
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

# --- the corpus ---------------------------------------------------------------------------------------------

WORDS = """the quick brown fox jumps over a lazy dog and then it's done we're here they'll go I'd say you've won don't
can't stop Hello World HELLO hElLo camelCase PascalCase snake_case CONSTANT_NAME iPhone eBay McDonald return value
function token naïve café résumé Ångström Straße ÉCOLE Zürich São Paulo coöperate façade jalapeño smörgåsbord fiancée
Привет мир как дела ЭТО ТЕСТ Ελληνικά Καλημέρα κόσμε Σίσυφος שלום עולם مرحبا بالعالم नमस्ते दुनिया বাংলা ภาษาไทย
สวัสดี 你好世界 今天天气很好 こんにちは カタカナ ｶﾀｶﾅ 안녕하세요 세계 한국어 ქართული Հայերեն አማርኛ ខ្មែរ ລາວ မြန်မာ தமிழ் తెలుగు
Tiếng Việt İstanbul ıI ŠŽ ǅ ǆ ﬁne ﬂow ½ ² Ⅷ ① ㎏ ℃ Ａｂｃ １２３ ｗｉｄｅ""".split()
CODE = ["def f(x):\n    return x + 1", "if (a != b) { c++; }", "x = [1, 2, 3]  # list", "#include <stdio.h>\r\n\r\nint",
        "https://example.com/a/b?c=d&e=f", "{\"key\": [true, null, 1.5e-3]}", "SELECT * FROM t WHERE id='x';",
        "for(;;)//\n\t\tbreak;", "a->b::c", "$HOME/${x}", "<div class=\"a\">&amp;</div>", "user@mail.example"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", " \n", "\n ", "\r\n", "\u00a0", "\u3000", "\u2003", "      ", " \t "]
MARKS = list("!?.,;:-_/\\|()[]{}<>@#$%^&*+=~`'\"…–—«»“”‘’。，、！？।؟۔") + ["...", "!!!", "?!", "--", "'s", "'S", "'ll", "'RE", "’s"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇫🇷", "❤️", "🏳️‍🌈", "1️⃣", "🤷‍♀️", "e\u0301", "o\u0308\u0323", "\u200b", "\u200d", "\ufeff",
         "\u0000", "\u0007", "\u202e", "\ufffd", "\U0001d400", "\U00020000", "\U000e0041", "\u0378"]


def category_samples():
    """Two characters of every category, and of every block of 512."""
    seen, found = {}, []
    for c in range(0x20, 0x30000):
        if 0xD800 <= c < 0xE000:
            continue
        for key in (unicodedata.category(chr(c)), c // 512):
            if seen.get(key, 0) < 2 and unicodedata.category(chr(c)) != "Cn":
                seen[key] = seen.get(key, 0) + 1
                found.append(chr(c))
    return found


def corpus():
    r = random.Random(7)
    chars = category_samples()
    lines = ["", " ", "  ", "\n", "a", " a", "a ", "'s", "1234567890", "   leading", "trailing   ", "▁literal▁mark"]
    while len(lines) < LINES:
        parts = []
        for _ in range(r.randint(1, 12)):
            kind = r.random()
            if kind < 0.45:
                parts.append(r.choice(WORDS))
            elif kind < 0.55:
                parts.append(str(r.randint(0, 10 ** r.randint(1, 9))))
            elif kind < 0.63:
                parts.append(r.choice(MARKS) * r.choice([1, 1, 1, 3]))
            elif kind < 0.68:
                parts.append(r.choice(CODE))
            elif kind < 0.74:
                parts.append(r.choice(EMOJI))
            elif kind < 0.82:
                parts.append("".join(r.choice(chars) for _ in range(r.randint(1, 4))))
            elif kind < 0.88:
                word = r.choice(WORDS)
                parts.append(unicodedata.normalize(r.choice(["NFC", "NFD", "NFKD"]), word.upper()))
            else:
                parts.append(r.choice(WORDS) + r.choice(WORDS))
            if r.random() < 0.8:
                parts.append(r.choice(SPACES) if r.random() < 0.35 else " ")
        lines.append("".join(parts))
    return lines


# --- llama.cpp ------------------------------------------------------------------------------------------------


def by_llama_cpp(v, lines):
    """The ids llama.cpp gives, or None when it ends the process over the vocabulary."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.environ["GGML_NO_BACKTRACE"] = "1"
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        with os.fdopen(write, "w") as out:
            json.dump(in_this_process(v, lines), out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as back:
        text = back.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def in_this_process(v, lines):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "v.gguf")
        w = gguf.GGUFWriter(path, "llama")
        w.add_context_length(64)
        w.add_embedding_length(8)
        w.add_block_count(1)
        w.add_feed_forward_length(8)
        w.add_head_count(1)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_tokenizer_model({"bpe": "gpt2", "spm": "llama", "unigram": "t5", "wordpiece": "bert"}[v["kind"]])
        w.add_token_list([t.encode() for t in v["tokens"]])
        w.add_token_types(v["types"])
        if v["kind"] == "bpe":
            w.add_tokenizer_pre(v["pre"])
            w.add_token_merges(v["merges"])
        if "scores" in v:
            w.add_token_scores(v["scores"])
        if v["kind"] in ("spm", "unigram"):
            w.add_add_space_prefix(v["space_prefix"])
            w.add_remove_extra_whitespaces(v["squeeze_spaces"])
        if v.get("charsmap"):
            w.add_precompiled_charsmap(bytes.fromhex(v["charsmap"]))
        for name in ("bos", "eos", "unk"):
            if v.get(name, -1) >= 0:
                getattr(w, f"add_{name}_token_id")(v[name])
        w.add_tensor("token_embd.weight", np.zeros((len(v["tokens"]), 8), dtype=np.float32))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        lib = llama_cpp.library()
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.vocab_only = True
        model = lib.llama_model_load_from_file(path.encode(), params)
        if not model:
            return None
        vocab, found = lib.llama_model_get_vocab(model), []
        for line in lines:
            raw = line.encode()
            ids = (llama_cpp.c_int32 * (len(raw) * 4 + 16))()
            n = lib.llama_tokenize(vocab, raw, len(raw), ids, len(ids), False, False)
            found.append(list(ids[:n]))
        lib.llama_model_free(model)
        return found


# --- vocabularies ---------------------------------------------------------------------------------------------


def byte_level(lines):
    """One vocabulary for all patterns, learnt from whole lines, so that its tokens show where a pattern cuts."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=1400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(lines, trainer)
    state = json.loads(t.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["merges"]]
    return tokens, merges, t


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s"
SLASHED = TAIL.replace(r"[\r\n]*", r"[\r\n/]*", 1)
PRES = {  # name: patterns as the published tokenizer.json files have them; None: only llama.cpp's are at hand
    "gpt-2": [GPT2],
    "llama-bpe": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL],
    "dbrx": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL],
    "qwen2": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL],
    "qwen35": None,
    "gpt-4o": [CASED % ((CONTRACTION + "?",) * 2) + r"|\p{N}{1,3}" + SLASHED],
    "tekken": [CASED % ("", "") + r"|\p{N}" + SLASHED],
    "smollm": [r"\p{N}", GPT2],
    "falcon": None,
    "default": None,
    "deepseek-llm": None,
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "bloom": None,
    "viking": None,
    "seed-coder": None,
    "bailingmoe": None,
}
WHOLE_WORDS = {"llama-bpe", "tekken"}


def bpe_vocabularies(lines):
    tokens, merges, t = byte_level(lines)
    for name, patterns in PRES.items():
        v = {"name": name, "kind": "bpe", "pre": name}
        if patterns:
            state = json.loads(t.to_str())
            state["model"]["ignore_merges"] = name in WHOLE_WORDS
            made = Tokenizer.from_str(json.dumps(state))
            steps = [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
            made.pre_tokenizer = pre_tokenizers.Sequence(steps)
            v["ids"] = [made.encode(line, add_special_tokens=False).ids for line in lines]
        yield {**v, "shared": "bytes", "tokens": tokens, "merges": merges, "types": [NORMAL] * len(tokens)}


def sentencepiece_vocabulary(name, lines, **options):
    with tempfile.TemporaryDirectory() as folder:
        rules = options.pop("rules", None)
        if rules:
            path = os.path.join(folder, "rules.tsv")
            with open(path, "w", encoding="utf-8") as f:
                for source, target in rules.items():
                    row = [" ".join(f"{ord(c):04X}" for c in s) for s in (source, target)]
                    f.write("\t".join(row) + "\n")
            options["normalization_rule_tsv"] = path
        prefix = os.path.join(folder, "m")
        texts = [p for line in lines for p in line.replace("\0", "").split("\n") if p]
        spm.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_prefix=prefix, num_threads=1,
                                       minloglevel=2, **options)
        with open(prefix + ".model", "rb") as f:
            raw = f.read()
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(raw)
    sp = spm.SentencePieceProcessor(model_proto=raw)
    spec = proto.normalizer_spec
    return {
        "name": name,
        "kind": "spm" if options["model_type"] == "bpe" else "unigram",
        "tokens": [p.piece for p in proto.pieces],
        "scores": [p.score for p in proto.pieces],
        "types": [p.type for p in proto.pieces],
        "bos": sp.bos_id(), "eos": sp.eos_id(), "unk": sp.unk_id(),
        "space_prefix": spec.add_dummy_prefix,
        "squeeze_spaces": spec.remove_extra_whitespaces,
        "charsmap": spec.precompiled_charsmap.hex(),
        "ids": [sp.encode(line) for line in lines],
    }


RULES = {"ﬁ": "fi", "ﬂ": "fl", "½": "1/2", "²": "2", "①": "1", "㎏": "kg", "℃": "°C", "Ａ": "A", "ｂ": "b", "ｃ": "c",
         "１": "1", "２": "2", "３": "3", "\u3000": " ", "\u00a0": " ", "\t": " ", "\n": " ", "\u200b": "", "e\u0301": "é",
         "o\u0308": "ö", "ﾟ": "\u309a", "…": "...", "Ⅷ": "VIII", "\u2003": " "}


def sentencepiece_vocabularies(lines):
    size = 2200
    identity = {"normalization_rule_name": "identity", "character_coverage": 0.995}
    yield sentencepiece_vocabulary("spm", lines, model_type="bpe", vocab_size=size, byte_fallback=True,
                                   remove_extra_whitespaces=False, **identity)
    yield sentencepiece_vocabulary("spm-no-prefix", lines, model_type="bpe", vocab_size=size, byte_fallback=True,
                                   add_dummy_prefix=False, remove_extra_whitespaces=False, **identity)
    yield sentencepiece_vocabulary("spm-no-bytes", lines, model_type="bpe", vocab_size=size, **identity)
    yield sentencepiece_vocabulary("unigram", lines, model_type="unigram", vocab_size=1600, rules=RULES,
                                   character_coverage=0.99)
    yield sentencepiece_vocabulary("unigram-bytes", lines, model_type="unigram", vocab_size=1600, byte_fallback=True,
                                   remove_extra_whitespaces=False, **identity)


def not_comparable(line):
    """Whether the line has accents, marks or controls that the library's older tables do not know as such, or the
    character that stands for a space in GGUF's spelling."""
    return "▁" in line or any(unicodedata.category(c)[0] in "MPC" and unicodedata.ucd_3_2_0.category(c) == "Cn" for c in line)


def wordpiece_vocabularies(lines):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for name, lower in (("wordpiece", True), ("wordpiece-cased", False)):
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(lowercase=lower)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.train_from_iterator(lines, trainers.WordPieceTrainer(
            vocab_size=1500, limit_alphabet=900, special_tokens=special, show_progress=False))
        vocab = t.get_vocab()
        tokens = sorted(vocab, key=vocab.get)
        ids = [None if not_comparable(line) else t.encode(line, add_special_tokens=False).ids for line in lines]
        spelt = [s if s in special else s[2:] if s.startswith("##") else "▁" + s for s in tokens]
        types = [(UNKNOWN if s == "[UNK]" else CONTROL) if s in special else NORMAL for s in tokens]
        yield {"name": name, "kind": "wordpiece", "tokens": spelt, "types": types, "unk": 1, "bos": 2, "eos": 3,
               "fold": lower, "ids": ids}


# --- the file -------------------------------------------------------------------------------------------------


def crc(ids):
    return zlib.crc32(np.array(ids, dtype="<i4").tobytes())


def main():
    lines = corpus()
    shared, out = {}, []
    for make in (bpe_vocabularies, sentencepiece_vocabularies, wordpiece_vocabularies):
        for v in make(lines):
            other = by_llama_cpp(v, lines)
            ids = v.pop("ids", None)
            if ids and other:
                differ = [i for i in range(len(lines)) if ids[i] is not None and ids[i] != other[i]]
                print(f"{v['name']:16} {len(differ):5} of {len(lines)} lines differ from llama.cpp", end="")
                print(f"   e.g. {lines[differ[0]]!r}" if differ else "")
                v["llama_cpp_differs"] = len(differ)
            elif other:
                print(f"{v['name']:16} by llama.cpp alone")
            else:
                print(f"{v['name']:16} llama.cpp does not read it")
            if not ids and v["name"] == "deepseek-llm":  # llama.cpp takes other planes' Han for its own
                other = [None if max(line, default="") > "\uffff" else o for line, o in zip(lines, other)]
            ids = ids or other
            if not ids:
                sys.exit(f"nothing to compare {v['name']} with")
            if v.get("shared"):
                shared[v["shared"]] = {k: v.pop(k) for k in ("tokens", "merges", "types")}
            v["whole"] = ids[:WHOLE]
            v["crc"] = [None if i is None else crc(i) for i in ids[WHOLE:]]
            out.append(v)
    with open(os.path.join(HERE, "tokenizers.json"), "w", encoding="utf-8") as f:
        json.dump({"lines": lines, "shared": shared, "vocabularies": out}, f, ensure_ascii=True, separators=(",", ":"))


main()
