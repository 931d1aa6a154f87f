/* The file format of kv_disk: a head, the tokens, a checksum for each block, the blocks. Numbers are the
 * machine's own: the files are a cache and never leave it. */
#ifndef CAIRN_ENGINE_KV_FILE_H
#define CAIRN_ENGINE_KV_FILE_H

#include <stddef.h>
#include <stdint.h>
#include "engine/kv.h"

struct kv_file_head {
        char magic[8];
        uint64_t model;       /* fingerprint */
        uint32_t from, to;    /* blocks of the sequence that are here */
        uint64_t block_bytes; /* of each */
        uint64_t sum;         /* of what stands above, the tokens and the blocks' checksums */
};

/* A checksum against accidents; not against attackers, who cannot write to the directory. */
uint64_t kv_file_sum(uint64_t seed, const void *p, size_t n);
/* Bytes of a whole file. */
uint64_t kv_file_bytes(const struct kv_file_head *h);

/* Writes the file under dirfd/name, by way of a temporary one. blocks[0 .. to - from). 0 or negative errno.
 */
int kv_file_write(int dirfd, const char *name, const struct kv *kv, uint64_t model, const int32_t *tokens,
                  uint32_t from, uint32_t to, const int32_t *blocks);
/* Reads and checks all but the blocks. *ret_tokens (mem_free) has to * KERN_KV_BLOCK of them. -EINVAL:
 * damaged, of another model, or longer than max_blocks. */
int kv_file_open(int dirfd, const char *name, const struct kv *kv, uint64_t model, uint32_t max_blocks,
                 struct kv_file_head *ret, int32_t **ret_tokens);
/* Reads the sequence's blocks [first, first + n) into `blocks`. -EINVAL when damaged; *ret_n: how many are
 * good. */
int kv_file_read(int dirfd, const char *name, struct kv *kv, uint64_t model, uint32_t first, int n,
                 const int32_t *blocks, int *ret_n);
#endif
