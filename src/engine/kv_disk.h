/* Keys and values on disk, so that a conversation can go on after a restart without its prompt being
 * evaluated anew. A file holds whole blocks [from, to) of one sequence, and all its tokens up to `to`: what a
 * prompt begins with is found by comparing tokens, never by a hash. A later turn of a conversation adds a
 * file that begins where the earlier one ends.
 *
 * The directory belongs to one model. Files of other models, damaged ones and the least recently used beyond
 * the limit are removed. A file appears under its name when it is complete; every block has a checksum.
 *
 * The engine thread calls; reading and writing are done by a thread of its own, which meanwhile holds
 * references on the blocks and pokes the mailbox when it is done. */
#ifndef CAIRN_ENGINE_KV_DISK_H
#define CAIRN_ENGINE_KV_DISK_H

#include <stdatomic.h>
#include "engine/kv.h"

struct engine_model;
struct engine_seq;
struct kv_disk;
struct mailbox;

/* Makes the directory when there is none (its parent exists), and reads what is in it. `restored` counts
 * tokens that were read. 0, -ENOMEM, or the system's error with a message. */
int kv_disk_open(const struct engine_opts *o, const struct engine_model *m, struct kv *kv, int n_ctx,
                 struct mailbox *box, atomic_uint_fast64_t *restored, struct kv_disk **ret, char *err,
                 size_t errn);
/* Ends what is under way, and gives its blocks back. Accepts NULL. */
void kv_disk_close(struct kv_disk *d);
/* Begins to write the first n blocks, which are published and hold `tokens`, as far as they are not there
 * yet. No promise: with too much under way, or on a full disk, nothing is kept. */
void kv_disk_save(struct kv_disk *d, const int32_t *tokens, const int32_t *blocks, int n);
/* Begins to read what the disk has of the sequence's first n tokens, `have` of which are in the tree. True:
 * the sequence is `loading` until that is in the tree. */
bool kv_disk_load(struct kv_disk *d, struct engine_seq *seq, size_t n, size_t have);
/* Takes over what is done. */
void kv_disk_poll(struct kv_disk *d);
uint64_t kv_disk_bytes(const struct kv_disk *d);
#endif
