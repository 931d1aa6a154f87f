/* The walk over rows and tokens of gemm_q8_*.c, which define tile(), TILE_R, TILE_T and NARROW first. */

static void rows_by_tokens(const uint8_t *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                           size_t rows, size_t t0, size_t t1)
{
        /* Up to NARROW tokens the weights come from memory at full speed: then one row at a time, a single
         * stream that hardware prefetchers follow. With more, arithmetic is the limit and rows share
         * activations. */
        bool narrow = t1 - t0 <= NARROW;
        size_t parts = (t1 - t0) / TILE_T;
        for (size_t r = 0; r < rows;) {
                bool wide = !narrow && r + TILE_R <= rows;
                const uint8_t *row = w + r * row_bytes;
                size_t t = t0;
                for (; t + TILE_T <= t1; t += TILE_T) {
                        if (wide) {
                                kern_prefetch_part(row + TILE_R * row_bytes, TILE_R * row_bytes,
                                                   (t - t0) / TILE_T, parts);
                                tile(row, row_bytes, x, t, y + r, ldy, TILE_R, TILE_T);
                        } else {
                                tile(row, row_bytes, x, t, y + r, ldy, 1, TILE_T);
                        }
                }
                for (; t < t1; t++) {
                        if (wide)
                                tile(row, row_bytes, x, t, y + r, ldy, TILE_R, 1);
                        else
                                tile(row, row_bytes, x, t, y + r, ldy, 1, 1);
                }
                r += wide ? TILE_R : 1;
        }
}

void VSUF(kern_gemm_q8_0)(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy,
                          size_t rows, size_t nt)
{
        size_t block = kern_token_block(x->ldq + x->ldd * sizeof(float));
        for (size_t t = 0; t < nt; t += block)
                rows_by_tokens(w, row_bytes, x, y, ldy, rows, t, nt - t < block ? nt : t + block);
}
