#include "engine/kv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

#define MAGIC "CAIRNKV1"
#define NAME_MAX_BYTES 128

uint64_t kv_file_sum(uint64_t seed, const void *p, size_t n)
{
        const uint8_t *bytes = p;
        uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15u), word;
        for (; n >= sizeof(word); n -= sizeof(word), bytes += sizeof(word)) {
                memcpy(&word, bytes, sizeof(word));
                h = (h ^ word) * 0xff51afd7ed558ccdu;
                h ^= h >> 32;
        }
        for (; n; n--)
                h = (h ^ *bytes++) * 0x100000001b3u;
        return h ^ h >> 29;
}

static size_t tokens_bytes(const struct kv_file_head *h)
{
        return (size_t)h->to * KERN_KV_BLOCK * sizeof(int32_t);
}

static size_t sums_bytes(const struct kv_file_head *h)
{
        return (size_t)(h->to - h->from) * sizeof(uint64_t);
}

static uint64_t data_at(const struct kv_file_head *h)
{
        return sizeof(*h) + tokens_bytes(h) + sums_bytes(h);
}

uint64_t kv_file_bytes(const struct kv_file_head *h)
{
        return data_at(h) + (h->to - h->from) * h->block_bytes;
}

static uint64_t head_sum(const struct kv_file_head *h, const int32_t *tokens, const uint64_t *sums)
{
        uint64_t s = kv_file_sum(0, h, offsetof(struct kv_file_head, sum));
        return kv_file_sum(kv_file_sum(s, tokens, tokens_bytes(h)), sums, sums_bytes(h));
}

static int write_all(int fd, const void *p, size_t n, uint64_t at)
{
        const char *bytes = p;
        while (n) {
                ssize_t k = pwrite(fd, bytes, n, (off_t)at);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EIO;
                bytes += k;
                at += (uint64_t)k;
                n -= (size_t)k;
        }
        return 0;
}

static int read_all(int fd, void *p, size_t n, uint64_t at)
{
        char *bytes = p;
        while (n) {
                ssize_t k = pread(fd, bytes, n, (off_t)at);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k <= 0)
                        return k < 0 ? -errno : -EINVAL;
                bytes += k;
                at += (uint64_t)k;
                n -= (size_t)k;
        }
        return 0;
}

static size_t block_bytes(const struct kv *kv)
{
        return (size_t)kv->n_layer * kv->at.block;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static int write_to(int fd, const struct kv *kv, struct kv_file_head *h, const int32_t *tokens,
                    const int32_t *blocks)
{
        size_t n = h->to - h->from, bytes = h->block_bytes;
        uint64_t *sums = mem_calloc(n, sizeof(*sums));
        uint8_t *room = mem_alloc(bytes);
        int rc = sums && room ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && i < n; i++) {
                kv_export(kv, blocks[i], room);
                sums[i] = kv_file_sum(0, room, bytes);
                rc = write_all(fd, room, bytes, data_at(h) + i * bytes);
        }
        if (!rc) {
                h->sum = head_sum(h, tokens, sums);
                rc = write_all(fd, h, sizeof(*h), 0);
        }
        if (!rc)
                rc = write_all(fd, tokens, tokens_bytes(h), sizeof(*h));
        if (!rc)
                rc = write_all(fd, sums, sums_bytes(h), sizeof(*h) + tokens_bytes(h));
        mem_free(sums);
        mem_free(room);
        return rc;
}

int kv_file_write(int dirfd, const char *name, const struct kv *kv, uint64_t model, const int32_t *tokens,
                  uint32_t from, uint32_t to, const int32_t *blocks)
{
        struct kv_file_head h = { .model = model, .from = from, .to = to, .block_bytes = block_bytes(kv) };
        char temporary[NAME_MAX_BYTES];
        memcpy(h.magic, MAGIC, sizeof(h.magic));
        snprintf(temporary, sizeof(temporary), "%s.tmp", name);
        int fd = openat(dirfd, temporary, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        int rc = write_to(fd, kv, &h, tokens, blocks);
        if (close(fd) && !rc)
                rc = -errno;
        if (!rc && renameat(dirfd, temporary, dirfd, name))
                rc = -errno;
        if (rc)
                unlinkat(dirfd, temporary, 0);
        return rc;
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* The head, checked as far as it can be without the rest of the file. */
static int read_head(int fd, const struct kv *kv, uint64_t model, struct kv_file_head *ret)
{
        struct stat st;
        int rc = read_all(fd, ret, sizeof(*ret), 0);
        if (rc)
                return rc;
        if (memcmp(ret->magic, MAGIC, sizeof(ret->magic)) || ret->model != model || ret->from >= ret->to ||
            ret->to > INT32_MAX / KERN_KV_BLOCK || ret->block_bytes != block_bytes(kv))
                return -EINVAL;
        if (fstat(fd, &st))
                return -errno;
        return (uint64_t)st.st_size == kv_file_bytes(ret) ? 0 : -EINVAL;
}

static int read_rest(int fd, const struct kv_file_head *h, int32_t **ret_tokens, uint64_t **ret_sums)
{
        int32_t *tokens = mem_alloc(tokens_bytes(h));
        uint64_t *sums = mem_alloc(sums_bytes(h));
        int rc = tokens && sums ? 0 : -ENOMEM;
        if (!rc)
                rc = read_all(fd, tokens, tokens_bytes(h), sizeof(*h));
        if (!rc)
                rc = read_all(fd, sums, sums_bytes(h), sizeof(*h) + tokens_bytes(h));
        if (!rc && head_sum(h, tokens, sums) != h->sum)
                rc = -EINVAL;
        if (rc) {
                mem_free(tokens);
                mem_free(sums);
                return rc;
        }
        *ret_tokens = tokens;
        *ret_sums = sums;
        return 0;
}

int kv_file_open(int dirfd, const char *name, const struct kv *kv, uint64_t model, uint32_t max_blocks,
                 struct kv_file_head *ret, int32_t **ret_tokens)
{
        uint64_t *sums = NULL;
        int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        int rc = read_head(fd, kv, model, ret);
        if (!rc && ret->to > max_blocks)
                rc = -EINVAL;
        if (!rc)
                rc = read_rest(fd, ret, ret_tokens, &sums);
        mem_free(sums);
        close(fd);
        return rc;
}

int kv_file_read(int dirfd, const char *name, struct kv *kv, uint64_t model, uint32_t first, int n,
                 const int32_t *blocks, int *ret_n)
{
        struct kv_file_head h;
        int32_t *tokens = NULL;
        uint64_t *sums = NULL;
        uint8_t *room = mem_alloc(block_bytes(kv));
        int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), i = 0;
        int rc = fd < 0 ? -errno : room ? read_head(fd, kv, model, &h) : -ENOMEM;
        if (!rc && (first < h.from || first + (uint32_t)n > h.to))
                rc = -EINVAL;
        if (!rc)
                rc = read_rest(fd, &h, &tokens, &sums);
        for (; !rc && i < n; i++) {
                uint32_t at = first - h.from + (uint32_t)i;
                rc = read_all(fd, room, h.block_bytes, data_at(&h) + at * h.block_bytes);
                if (!rc && kv_file_sum(0, room, h.block_bytes) != sums[at])
                        rc = -EINVAL;
                if (rc)
                        break;
                kv_import(kv, blocks[i], room);
        }
        *ret_n = i;
        if (fd >= 0)
                close(fd);
        mem_free(tokens);
        mem_free(sums);
        mem_free(room);
        return rc;
}
