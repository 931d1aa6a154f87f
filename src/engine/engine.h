/* In-process inference over GGUF files: the only header of this folder that others may include.
 *
 * A model owns one engine thread. That thread alone touches sequences, KV memory and sampling; every
 * other thread talks to it through the calls below, which only leave a message and never wait for
 * inference (engine_embed is the exception and says so). Each step of the engine evaluates one token of
 * every decoding sequence together with a slice of waiting prompts. What a sequence generates does not
 * depend on what else is in the batch.
 *
 * Functions return 0 or a negative errno value. */
#ifndef CAIRN_ENGINE_ENGINE_H
#define CAIRN_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/json.h"
#include "base/str.h"

struct engine_model;
struct engine_seq;
struct grammar;       /* grammar/grammar.h */
struct grammar_vocab; /* grammar/grammar.h */

/* ---- models ------------------------------------------------------------------------------------- */

enum engine_kv_type { ENGINE_KV_F16, ENGINE_KV_Q8_0 };

/* A LoRA adapter (a GGUF file) added to the weights of a model with a factor. */
struct engine_adapter {
        const char *path;
        float scale;
};

/* Zero in any member means the default. */
struct engine_opts {
        int threads; /* compute threads; default: the cores this process may use, fewer for a small model */
        int ctx_max; /* upper limit of the context in tokens; default: what the model was made for */
        size_t kv_bytes; /* memory for keys and values; default: max_batch full contexts, at most 1 GiB */
        int max_batch;   /* sequences evaluated together; default 32 */
        int max_queue;   /* sequences waiting beyond those; default 256 */
        enum engine_kv_type kv_type;
        const char *kv_dir;   /* directory for the KV of sequences with `keep`; NULL: none is kept on disk */
        size_t kv_disk_bytes; /* limit of that directory; default 4 GiB */
        const struct engine_adapter *adapters;
        size_t n_adapters;
        bool no_lookup; /* never draft from what the prompt and the output have said before */
};

struct engine_info {
        const char *name;         /* general.name, or the file's name without directory and .gguf */
        const char *arch;         /* "llama" */
        const char *quantization; /* type of most weight bytes: "F16", "Q8_0", ... */
        uint64_t n_params;
        uint64_t file_bytes;
        int n_ctx; /* tokens a sequence may have, prompt included */
        int n_ctx_train;
        int n_embd; /* values of an embedding */
        int n_layer;
        int n_vocab;
        int32_t bos, eos;     /* -1 when the model has none */
        bool add_bos;         /* raw prompts start with bos */
        bool generates;       /* false for encoders: they make embeddings only */
        bool has_chat;        /* messages can be rendered: by the file's template or as ChatML */
        const char *template; /* tokenizer.chat_template, or NULL */
};

/* Maps the file, checks all of it, packs quantised weights for the kernels (which reads them once, with all
 * threads) and starts the engine thread.
 * -ENOENT, -EACCES, -EINVAL (damaged or unsupported; err says what), -ENOMEM. err may be NULL. */
int engine_model_open(const char *path, const struct engine_opts *opts, struct engine_model **ret, char *err,
                      size_t errn);
/* Ends every live sequence with DONE(cancelled), joins the thread and frees. Handles of sequences may
 * outlive the model, but only engine_seq_unref may then be called on them. Accepts NULL. */
void engine_model_close(struct engine_model *m);
/* Constant for the life of the model; strings belong to the model. Any thread. */
const struct engine_info *engine_model_info(const struct engine_model *m);

/* ---- text and tokens (any thread) --------------------------------------------------------------- */

/* A caller-owned, growing token list: start from {0}, end with engine_tokens_release. */
struct engine_tokens {
        int32_t *p;
        size_t n, cap;
};
void engine_tokens_release(struct engine_tokens *t);

#define ENGINE_TOK_BOS 1u /* start with bos when the model wants it */
#define ENGINE_TOK_EOS 4u /* end with eos or [SEP] when the model wants it: for embeddings */
#define ENGINE_TOK_SPECIAL                                                                \
        2u /* let control tokens written in the text ("<|im_end|>") be matched: never for \
              what a user wrote in a message */

/* Appends the tokens of `text` to *out. -ENOMEM, -EINVAL (not UTF-8). */
int engine_tokenize(const struct engine_model *m, struct str text, unsigned flags, struct engine_tokens *out);
/* The bytes of one token, owned by the model: possibly part of a UTF-8 character, empty for control tokens
 * and for ids outside the vocabulary. */
struct str engine_token_piece(const struct engine_model *m, int32_t id);
/* The text of n tokens as valid UTF-8 (broken sequences become U+FFFD), NUL-terminated, freed with
 * mem_free(). NULL when memory is out. */
char *engine_detokenize(const struct engine_model *m, const int32_t *tokens, size_t n, size_t *ret_n);

/* A conversation in the form that published chat templates take. */
struct engine_chat {
        const json_t *messages; /* array of {role, content: string or null, tool_calls: [{id, type:
                                   "function", function: {name, arguments: object}}], tool_call_id, name,
                                   reasoning_content}, whatever of these applies */
        const json_t *tools; /* array of {type: "function", function: {name, description, parameters}}; NULL:
                                none */
        const json_t
                *vars; /* object of further variables (enable_thinking, reasoning_effort, ...); NULL: none */
        bool generate; /* open the assistant's turn at the end */
};
/* Appends the tokens of the model's rendering. Control tokens come from the template alone: whatever a
 * message says, no marker can come of it. -ENOTSUP when the model has no template, -EINVAL (the template
 * refuses; err has its words; or not UTF-8), -E2BIG (over a limit of rendering), -ENOMEM. err may be NULL. */
int engine_chat_tokenize(const struct engine_model *m, const struct engine_chat *chat,
                         struct engine_tokens *out, char *err, size_t errn);
/* The same as text, for people and tests: mem_free() it. */
int engine_chat_render(const struct engine_model *m, const struct engine_chat *chat, char **ret, char *err,
                       size_t errn);

/* The id of the control token that is written `text`, or -1. */
int32_t engine_token_find(const struct engine_model *m, struct str text);
/* How a control token is written ("<|im_end|>"), empty for other tokens. Owned by the model. */
struct str engine_token_name(const struct engine_model *m, int32_t id);
/* The vocabulary in the form that grammars need; made on first use (milliseconds), owned by the model. NULL
 * when memory is out. */
const struct grammar_vocab *engine_vocab(struct engine_model *m);

/* ---- generation --------------------------------------------------------------------------------- */

struct engine_bias {
        int32_t id;
        float bias; /* added to the logit; -100 and below forbid the token */
};

/* Order of application: bias, penalties, (logprobs are taken here), temperature, top_k, top_p, min_p. */
struct engine_sampling {
        float temperature; /* 0 takes the most likely token */
        float top_p;       /* 1 is off */
        float min_p;       /* 0 is off; relative to the most likely token */
        int top_k;         /* 0 is off */
        float frequency;   /* per earlier occurrence in the generated text */
        float presence;    /* once a token has been generated */
        float repetition;  /* 1 is off; divides or multiplies logits of tokens of the prompt or output */
        bool has_seed;     /* equal seed, prompt and parameters give equal output */
        uint64_t seed;
        const struct engine_bias *bias;
        size_t n_bias;
};
#define ENGINE_SAMPLING_DEFAULT                                        \
        {                                                              \
                .temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f \
        }

#define ENGINE_STOP_MAX 16            /* stop strings a request may have */
#define ENGINE_STOP_BYTES 512         /* length of each */
#define ENGINE_TOP_MAX 20             /* alternatives reported per token */
#define ENGINE_LOGPROB_MIN (-9999.0f) /* reported for what is impossible */

/* A sequence that waits gains a level every ten seconds, so that none waits for ever. One with a higher level
 * takes the place of one with a lower; what that had computed is mostly found again in the KV. */
enum engine_priority { ENGINE_BATCH = -2, ENGINE_FLEX = -1, ENGINE_DEFAULT = 0, ENGINE_PRIORITY = 1 };

/* Copied by engine_submit; nothing needs to outlive the call. */
struct engine_req {
        const int32_t *prompt; /* at least one token */
        size_t n_prompt;
        int max_tokens; /* tokens to generate; < 0: until the context is full; 0: the prompt is only scored */
        struct engine_sampling sampling;
        const struct str *stop; /* non-empty UTF-8 strings; matched in the text, never emitted */
        size_t n_stop;
        int logprobs;         /* -1: none; 0: of the chosen token; 1..20: and that many alternatives */
        bool prompt_logprobs; /* also PROMPT events for every prompt token (needs logprobs >= 0) */
        bool records;         /* TEXT events carry their tokens even without logprobs */
        int priority;         /* enum engine_priority or any other number: higher goes first */
        uint64_t owner; /* whose request it is (a project): among equals, who has used least goes first */
        struct grammar *grammar; /* the output follows it, to its end or to max_tokens; NULL: anything goes */
        bool controls;           /* CONTROL events for control tokens other than those that end a turn */
        const int32_t *prediction; /* what the output probably says: drafted from, never trusted */
        size_t n_prediction;
        bool keep; /* its KV may be put on disk, for the conversation to go on after a restart */
};

struct engine_top {
        int32_t id;
        float logprob;
};

struct engine_token {
        int32_t id;
        struct str piece;             /* bytes, owned by the model; see engine_token_piece */
        float logprob;                /* NAN when not asked for, and for the first token of a prompt */
        const struct engine_top *top; /* n_top alternatives, most likely first */
        int n_top;
};

enum engine_finish { ENGINE_STOP, ENGINE_LENGTH, ENGINE_CANCELLED, ENGINE_ERROR };

struct engine_usage {
        int prompt_tokens;
        int cached_tokens;       /* of prompt_tokens: taken from KV of an earlier or running sequence */
        int completion_tokens;   /* generated, without the end-of-turn token */
        int accepted_prediction; /* of the request's prediction: tokens that came out as predicted */
        int rejected_prediction; /* and tokens that were evaluated in vain */
};

enum engine_event_kind {
        ENGINE_EV_PROMPT,  /* tokens[]: the next records of the prompt; no text */
        ENGINE_EV_TEXT,    /* text: the next piece of output, valid UTF-8; tokens[]: records it completes */
        ENGINE_EV_CONTROL, /* token `control` was generated; text before it has been delivered; tokens[]: the
                              records up to its own */
        ENGINE_EV_DONE,    /* the last event, always delivered exactly once */
};

/* Valid during the callback only. */
struct engine_event {
        enum engine_event_kind kind;
        struct str text;
        const struct engine_token *tokens;
        size_t n_tokens;
        int32_t control; /* CONTROL only */
        /* DONE only */
        enum engine_finish finish;
        struct str stop; /* the stop string that ended it, or empty */
        struct engine_usage usage;
        int error; /* ENGINE_ERROR: negative errno value */
        const char *error_msg;
};

/* on_event runs on the engine thread and must not block or call engine_model_close or engine_embed. false
 * means "full" for all but DONE, where the result is ignored: the event was not taken, and the sequence is
 * not computed until engine_seq_resume, which delivers the same event again. Its place is given to others. */
struct engine_sink {
        bool (*on_event)(void *ctx, const struct engine_event *ev);
        void *ctx;
};

/* Queues a sequence. 0 and a handle in *ret (to be released with engine_seq_unref); events may arrive before
 * the call returns. Errors deliver no event: -EINVAL (a token or parameter out of range), -E2BIG (the prompt
 * and one token do not fit: n_prompt >= engine_model_info()->n_ctx), -EAGAIN (queue full), -ENOTSUP (an
 * encoder), -ENOMEM. */
int engine_submit(struct engine_model *m, const struct engine_req *req, const struct engine_sink *sink,
                  struct engine_seq **ret);
/* Asks for the end: DONE(cancelled) comes before the next token is computed, unless DONE was under way.
 * Any thread, also from on_event. */
void engine_seq_cancel(struct engine_seq *s);
/* The sink has room again. Spurious calls are harmless. Any thread. */
void engine_seq_resume(struct engine_seq *s);
/* Gives the handle up; the sequence runs on if it is not finished. Accepts NULL. */
void engine_seq_unref(struct engine_seq *s);

/* ---- embeddings --------------------------------------------------------------------------------- */

struct engine_input {
        const int32_t *tokens;
        size_t n; /* 1 .. n_ctx */
};
/* ret[i * n_embd ...] gets what the model's pooling (mean, first or last token) makes of the hidden states
 * after the final norm, brought to length 1; of a reranker, the scores of its labels as they are. Waits for
 * the engine thread: call it from a worker thread. `cancel` (may be NULL) is polled. -EINVAL, -E2BIG (an
 * input is longer than n_ctx), -EAGAIN (queue full), -ECANCELED, -ENOMEM. */
int engine_embed(struct engine_model *m, const struct engine_input *in, size_t n, float *ret,
                 bool (*cancel)(void *ctx), void *ctx);

/* ---- files -------------------------------------------------------------------------------------- */

/* What a GGUF file holds: {"file_bytes", "parts", "architecture", "name", "parameters", "types": {"Q8_0":
 * {"tensors", "bytes"}}, "metadata": {key: value}, "tensors": [{"name", "type", "shape", "bytes"}],
 * "runnable", "reason"}. Arrays of the metadata longer than 8 are {"type", "length", "first": [8 items]};
 * "reason" says why the file cannot be run, and is null when it can. 0 with a new object; errors as
 * engine_model_open for files that cannot be read at all. */
int engine_inspect(const char *path, json_t **ret, char *err, size_t errn);

struct engine_quantize_state {
        uint64_t done, total; /* bytes of the input */
        uint64_t written;     /* bytes of tensors in the output */
        size_t tensor_no, tensors;
        struct str tensor; /* its name */
};
struct engine_quantize_opts {
        const char *type; /* "Q4_K_M", "q8_0", ...: see engine_quantize_type_at */
        int threads;      /* 0: all cores that this process may use */
        bool (*progress)(void *ctx, const struct engine_quantize_state *st); /* may be NULL; false ends with
                                                                                -ECANCELED */
        void *ctx;
};
/* Writes `in` (all parts of a split file) as one file with its matrices in another type. `out` appears, or is
 * replaced, when all of it is written. 0 or a negative errno value with a message. */
int engine_quantize(const char *in, const char *out, const struct engine_quantize_opts *opts, char *err,
                    size_t errn);
/* The names that `type` may have, smallest files first; NULL at the end. */
const char *engine_quantize_type_at(size_t i);

/* ---- figures for /metrics (any thread) ---------------------------------------------------------- */

struct engine_stats {
        uint64_t active;         /* sequences with KV memory */
        uint64_t queued;         /* sequences waiting for it */
        uint64_t kv_used;        /* bytes of KV held by live sequences */
        uint64_t kv_cached;      /* bytes of KV kept for reuse only */
        uint64_t kv_total;       /* bytes of KV there are */
        uint64_t tokens_decoded; /* totals since the model was opened */
        uint64_t tokens_prefill;
        uint64_t tokens_cached;
        uint64_t tokens_drafted;  /* evaluated ahead on a guess */
        uint64_t tokens_accepted; /* of these: guessed right */
        uint64_t steps;
        uint64_t sequences;
        uint64_t preempted;       /* times that a sequence lost its place to another */
        uint64_t wait_ms;         /* estimate for a sequence that comes now with ENGINE_DEFAULT */
        uint64_t kv_disk_bytes;   /* in kv_dir */
        uint64_t tokens_restored; /* read from there */
};
void engine_model_stats(const struct engine_model *m, struct engine_stats *ret);
#endif
