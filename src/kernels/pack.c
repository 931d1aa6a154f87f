/* Packing of quantised matrices into panels, as gemm of the vector variants reads them.
 *
 * A panel holds P rows, one for each 32-bit lane. The codes come first, 32 values after the other; four
 * consecutive codes of each row make a vector, so 32 values are vectors 0 to 7, cut into planes of bits:
 *
 *      bits    planes
 *      8       8 vectors
 *      4       4 vectors: vector j in the low nibbles of plane j, vector j + 4 in the high ones
 *      2       2 vectors: vector j in the (j % 4)th pair of bits of plane j / 4
 *      1       1 vector: vector j in bit j
 *
 * 5 bits are planes of 4 and of 1, 6 are 4 and 2, 3 are 2 and 1. After all codes come the scales and what
 * else `side` of the format names: for each block the numbers of all rows side by side. */
#include <string.h>
#include "kernels/block.h"
#include "kernels/kernels.h"

#define QUADS (SUB / 4) /* vectors of 32 values */

/* Cuts 32 codes, as 8 words of four, into the words of their planes; returns how many. */
static int cut_planes(int bits, const uint32_t quad[QUADS], uint32_t plane[QUADS])
{
        int n = 0;
        for (int j = 0; j < QUADS && bits == 8; j++)
                plane[n++] = quad[j];
        for (int j = 0; j < 4 && bits >= 4 && bits < 8; j++)
                plane[n++] = (quad[j] & 0x0f0f0f0f) | (quad[j + 4] & 0x0f0f0f0f) << 4;
        int done = bits >= 4 ? 4 : 0; /* lower bits that have a plane */
        for (int i = 0; i < 2 && (bits - done == 2 || bits - done == 3); i++, n++) {
                plane[n] = 0;
                for (int j = 0; j < 4; j++)
                        plane[n] |= (quad[4 * i + j] >> done & 0x03030303) << 2 * j;
        }
        if (bits == 3 || bits == 5) {
                plane[n] = 0;
                for (int j = 0; j < QUADS; j++)
                        plane[n] |= (quad[j] >> (bits - 1) & 0x01010101) << j;
                n++;
        }
        return n;
}

/* One row's codes: its lane of every plane of the panel. */
static void pack_codes(const struct kern_block *f, const uint8_t *row, size_t n, size_t panel, uint8_t *dst)
{
        for (size_t k = 0; k < n; k += SUB) {
                uint32_t quad[QUADS], plane[QUADS];
                uint8_t codes[SUB];
                f->codes(row + k / f->values * f->bytes, (int)(k % f->values / SUB), codes);
                memcpy(quad, codes, sizeof(quad));
                int planes = cut_planes(f->bits, quad, plane);
                for (int i = 0; i < planes; i++, dst += 4 * panel)
                        memcpy(dst, &plane[i], 4);
        }
}

/* One row's side numbers: its place beside those of the other rows. */
static void pack_side(const struct kern_block *f, const uint8_t *row, size_t n, size_t panel, size_t r,
                      uint8_t *dst)
{
        for (size_t b = 0; b < n / f->values; b++, row += f->bytes) {
                for (int s = 0; s < 2; s++) {
                        const struct kern_side *side = &f->side[s];
                        for (size_t i = 0; i < side->count; i++, dst += side->bytes * panel)
                                memcpy(dst + r * side->bytes, row + side->at + i * side->bytes, side->bytes);
                }
        }
}

void kern_pack(const struct kern_type *t, enum kern_isa isa, const void *src, size_t n, size_t from,
               size_t to, void *dst)
{
        const struct kern_block *f = t->format;
        size_t row_bytes = kern_type_size(t, n), panel = t->panel[isa], code_bytes = n / 8 * f->bits;
        for (size_t p = from; p < to; p += panel) {
                uint8_t *out = (uint8_t *)dst + p * row_bytes;
                if (to - p < panel)
                        memset(out, 0, panel * row_bytes);
                for (size_t r = 0; r < panel && p + r < to; r++) {
                        const uint8_t *row = (const uint8_t *)src + (p + r) * row_bytes;
                        pack_codes(f, row, n, panel, out + 4 * r);
                        pack_side(f, row, n, panel, r, out + code_bytes * panel);
                }
        }
}
