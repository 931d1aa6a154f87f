/* Matrix products of F32, F16 and BF16 weights. */
#include "kernels/variants.h"
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/tile.tmpl.h"

#define TILE_T 2 /* with 4 rows, what the registers hold */
#define NARROW 0

#define GEMM_NAME kern_gemm_f32_avx2
#define W_BYTES 4
#define W_LOAD(p) vload((const float *)(const void *)(p))
#define W_LOADN(p, k) vloadn((const float *)(const void *)(p), k)
#include "kernels/x86/gemm_float.tmpl.h"

#define GEMM_NAME kern_gemm_f16_avx2
#define W_BYTES 2
#define W_LOAD(p) vfrom_f16(vload16(p))
#define W_LOADN(p, k) vfrom_f16(vload16n(p, k))
#include "kernels/x86/gemm_float.tmpl.h"

#define GEMM_NAME kern_gemm_bf16_avx2
#define W_BYTES 2
#define W_LOAD(p) vfrom_bf16(vload16(p))
#define W_LOADN(p, k) vfrom_bf16(vload16n(p, k))
#include "kernels/x86/gemm_float.tmpl.h"
