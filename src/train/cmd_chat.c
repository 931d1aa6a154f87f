#include <stdio.h>
#include "base/json.h"
#include "train/args.h"
#include "train/checkpoint.h"
#include "train/commands.h"
#include "train/dataset.h"
#include "train/decode.h"
#include "train/vocab.h"

#define ANSWER_MAX 200

static json_t *make_messages(const char *system, const char *user)
{
        json_t *list = json_array();
        if (system)
                json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", system));
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", "user", "content", user));
        return list;
}

static int answer(const struct llama_params *p, const struct tokenizer *tok, const json_t *messages)
{
        struct tok_ids ids = { 0 };
        struct llama_work *w = llama_work_new(&p->shape, p->shape.n_ctx, p->shape.n_ctx);
        int rc = w ? chat_prompt(messages, tok, &ids) : -1;
        size_t from = ids.n;

        if (!rc)
                rc = decode_greedy(w, p, &ids, ANSWER_MAX, tokenizer_find(tok, STR("<|im_end|>")));
        for (size_t i = from; i < ids.n && !rc; i++) {
                struct str piece = tokenizer_piece(tok, ids.p[i]);
                fwrite(piece.p, 1, piece.n, stdout);
        }
        putchar('\n');
        llama_work_free(w);
        tok_ids_release(&ids);
        return rc;
}

int cmd_chat(int argc, char **argv)
{
        const char *checkpoint = NULL, *vocab_path = NULL, *user = NULL, *system = NULL;
        struct llama_params params = { 0 };
        struct run_state state;
        struct tokenizer *tok = NULL;
        json_t *messages = NULL;
        char err[256] = "no answer";
        const struct arg table[] = {
                { "checkpoint", ARG_TEXT, &checkpoint, true, "checkpoint file" },
                { "tokenizer", ARG_TEXT, &vocab_path, true, "vocabulary file" },
                { "user", ARG_TEXT, &user, true, "what the user says" },
                { "system", ARG_TEXT, &system, false, "system message" },
        };
        size_t n = sizeof(table) / sizeof(*table);

        if (!argc) {
                args_print(table, n);
                return 0;
        }
        int rc = args_parse(table, n, argc, argv, err, sizeof(err));
        if (!rc)
                rc = vocab_tokenizer(vocab_path, &tok, err, sizeof(err));
        if (!rc)
                rc = checkpoint_load(checkpoint, &params, NULL, NULL, &state, err, sizeof(err));
        if (!rc) {
                messages = make_messages(system, user);
                rc = answer(&params, tok, messages);
        }
        json_decref(messages);
        llama_params_release(&params);
        tokenizer_free(tok);
        if (rc)
                fprintf(stderr, "cairn-train: %s\n", err);
        return rc ? 1 : 0;
}
