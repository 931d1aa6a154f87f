/* From floats to the block formats. Portable C: the same bytes on every machine. */
#ifndef CAIRN_KERNELS_QUANTIZE_H
#define CAIRN_KERNELS_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether kern_quantize can make the type (ggml's number): every type of the table of weight types. */
bool kern_can_quantize(uint32_t type);

/* n values, a multiple of the type's block, to n / block * bytes of dst. Scales are chosen for the least
 * squared error, large values weighing more. 0, -ERANGE (values so large that their scale is beyond f16),
 * -EINVAL (an infinity or not a number, which no format holds: *ret_bad, unless NULL, is its index; or n is
 * no multiple; or an unknown type). */
int kern_quantize(uint32_t type, const float *x, size_t n, void *dst, size_t *ret_bad);
#endif
