/* gemm for weights that convert to float vectors. Included once per type with GEMM_NAME, W_BYTES (of a
 * value), W_LOAD(p) and W_LOADN(p, k) defined; needs vec_*.h and tile.tmpl.h. TILE_R and
 * TILE_T fit the register file; up to NARROW tokens rows are taken singly, as gemm_q8.tmpl.h explains. */
#ifndef TILE_R
#define TILE_R 4
#endif

#define TILE GEMM_CAT(GEMM_NAME, _tile)
#define GEMM_CAT(a, b) GEMM_CAT_(a, b)
#define GEMM_CAT_(a, b) a##b

/* R rows by T tokens; one accumulator each, so every result is summed in the same order. */
static inline __attribute__((always_inline)) void TILE(const char *w, size_t row_bytes, const float *x,
                                                       size_t ldx, size_t n, float *y, size_t ldy,
                                                       const int R, const int T)
{
        vf acc[TILE_R][TILE_T];
        for (int r = 0; r < R; r++)
                for (int t = 0; t < T; t++)
                        acc[r][t] = vset1(0);
        size_t k = 0, tail = n % VL;
        for (; k + VL <= n; k += VL) {
                vf xv[TILE_T];
                for (int t = 0; t < T; t++)
                        xv[t] = vload(x + (size_t)t * ldx + k);
                for (int r = 0; r < R; r++) {
                        vf wv = W_LOAD(w + (size_t)r * row_bytes + k * W_BYTES);
                        for (int t = 0; t < T; t++)
                                acc[r][t] = vfma(wv, xv[t], acc[r][t]);
                }
        }
        if (tail) {
                for (int r = 0; r < R; r++) {
                        vf wv = W_LOADN(w + (size_t)r * row_bytes + k * W_BYTES, tail);
                        for (int t = 0; t < T; t++)
                                acc[r][t] = vfma(wv, vloadn(x + (size_t)t * ldx + k, tail), acc[r][t]);
                }
        }
        tile_store(acc[0], TILE_T, y, ldy, R, T);
}

static void GEMM_CAT(GEMM_NAME, _rows)(const char *w, size_t row_bytes, const float *x, size_t ldx, size_t n,
                                       float *y, size_t ldy, size_t rows, size_t nt)
{
        bool narrow = nt <= NARROW;
        size_t parts = nt / TILE_T;
        for (size_t r = 0; r < rows;) {
                bool wide = !narrow && r + TILE_R <= rows;
                const char *row = w + r * row_bytes;
                size_t t = 0;
                for (; t + TILE_T <= nt; t += TILE_T) {
                        if (wide) {
                                kern_prefetch_part(row + TILE_R * row_bytes, TILE_R * row_bytes, t / TILE_T,
                                                   parts);
                                TILE(row, row_bytes, x + t * ldx, ldx, n, y + t * ldy + r, ldy, TILE_R,
                                     TILE_T);
                        } else {
                                TILE(row, row_bytes, x + t * ldx, ldx, n, y + t * ldy + r, ldy, 1, TILE_T);
                        }
                }
                for (; t < nt; t++) {
                        if (wide)
                                TILE(row, row_bytes, x + t * ldx, ldx, n, y + t * ldy + r, ldy, TILE_R, 1);
                        else
                                TILE(row, row_bytes, x + t * ldx, ldx, n, y + t * ldy + r, ldy, 1, 1);
                }
                r += wide ? TILE_R : 1;
        }
}

void GEMM_NAME(const void *w, size_t row_bytes, const struct kern_act *x, float *y, size_t ldy, size_t rows,
               size_t nt)
{
        size_t block = kern_token_block(x->n * sizeof(float));
        for (size_t t = 0; t < nt; t += block)
                GEMM_CAT(GEMM_NAME, _rows)
        (w, row_bytes, x->f + t * x->ldf, x->ldf, x->n, y + t * ldy, ldy, rows,
         nt - t < block ? nt - t : block);
}

#undef TILE
#undef GEMM_CAT
#undef GEMM_CAT_
#undef GEMM_NAME
#undef W_BYTES
#undef W_LOAD
#undef W_LOADN
