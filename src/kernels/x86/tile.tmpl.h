/* The end of a tile: R by T accumulators, `width` to a row, are summed over their lanes and stored. Needs
 * vec_*.h. */

static inline __attribute__((always_inline)) void tile_store(const vf *acc, const int width, float *y,
                                                             size_t ldy, const int R, const int T)
{
        if (R == 4) { /* four rows of a token lie side by side */
                for (int t = 0; t < T; t++)
                        _mm_storeu_ps(y + (size_t)t * ldy,
                                      vsum4(acc[t], acc[width + t], acc[2 * width + t], acc[3 * width + t]));
                return;
        }
        for (int r = 0; r < R; r++, acc += width, y++) {
                float sums[4];
                if (T == 4)
                        _mm_storeu_ps(sums, vsum4(acc[0], acc[1], acc[2], acc[3]));
                for (int t = 0; t < T; t++)
                        y[(size_t)t * ldy] = T == 4 ? sums[t] : vsum(acc[t]);
        }
}
