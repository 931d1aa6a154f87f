/* Private to this folder: scales for a group of values. */
#ifndef CAIRN_KERNELS_QUANTIZE_FIT_H
#define CAIRN_KERNELS_QUANTIZE_FIT_H

#include <stdint.h>

#define FIT_MAX 32 /* values in a group */

/* The scale for codes -half .. half - 1 that makes the sum of x^2 * (x - scale * code)^2 small, by trying
 * several and solving each for the best factor. 0 when all values are. The sign is that which lets the value
 * of the largest magnitude have code -half. */
float fit_symmetric(const float *x, int n, int half);
/* The same for the 16 codes of a table. */
float fit_table(const float *x, int n, const int8_t table[16]);
/* scale * code - min with codes 0 .. top; scale and min are not negative. Values weigh rms(x) + |x|. */
void fit_affine(const float *x, int n, int top, float *ret_scale, float *ret_min);
#endif
