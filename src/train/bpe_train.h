/* Learns a byte-level BPE vocabulary (Sennrich et al., 2016): start from the 256 bytes and join the most
 * frequent neighbouring pair again and again. */
#ifndef CAIRN_TRAIN_BPE_TRAIN_H
#define CAIRN_TRAIN_BPE_TRAIN_H

#include <stddef.h>
#include "base/str.h"

struct bpe_trainer;

/* `pre` names the pattern that cuts text into words, as in tokenizer.h. 0, -EINVAL or -ENOMEM. */
int bpe_trainer_new(const char *pre, struct bpe_trainer **ret);
void bpe_trainer_free(struct bpe_trainer *t); /* accepts NULL */
/* Counts the words of a text. 0 or -ENOMEM. */
int bpe_trainer_add(struct bpe_trainer *t, struct str text);
/* Learns until there are n_vocab tokens, the last n_special of which are control tokens with the given
 * spellings, and writes the vocabulary file (vocab.h). A pair seen once is not joined, so fewer tokens are
 * possible. bos and eos are spellings among `special`. Equal counts are decided by the lower ids, so the
 * same words always give the same file. 0 or a negative errno with a message. */
int bpe_trainer_write(struct bpe_trainer *t, size_t n_vocab, const char *const *special, size_t n_special,
                      const char *bos, const char *eos, const char *path, char *err, size_t errn);
#endif
