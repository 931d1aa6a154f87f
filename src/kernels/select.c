/* Which variant this process uses. Compiled without any instruction-set flag. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/variants.h"

#if KERN_X86
#include <cpuid.h>
#endif

#if KERN_X86
/* No name for it in every compiler's __builtin_cpu_supports. */
static bool has_f16c(void)
{
        unsigned a, b, c, d;
        return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}
#endif

static bool supported(enum kern_isa isa)
{
#if KERN_X86
        __builtin_cpu_init();
        if (isa == KERN_AVX2)
                return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
        if (isa == KERN_AVX512)
                return supported(KERN_AVX2) && __builtin_cpu_supports("avx512f") &&
                       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
        return isa == KERN_REF;
}

const struct kern *kern_variant(enum kern_isa isa)
{
        static const struct kern *const variants[KERN_ISAS] = {
                [KERN_REF] = &kern_ref,
#if KERN_X86
                [KERN_AVX2] = &kern_avx2,
                [KERN_AVX512] = &kern_avx512,
#endif
        };
        return (unsigned)isa < KERN_ISAS && supported(isa) ? variants[isa] : NULL;
}

const struct kern *kern_select(char *err, size_t errn)
{
        static const char *const names[KERN_ISAS] = { "ref", "avx2", "avx512" };
        const char *want = getenv("CAIRN_KERN");
        if (!want || !*want) {
                for (int isa = KERN_ISAS - 1; isa > KERN_REF; isa--)
                        if (kern_variant((enum kern_isa)isa))
                                return kern_variant((enum kern_isa)isa);
                return &kern_ref;
        }
        for (int isa = 0; isa < KERN_ISAS; isa++) {
                if (strcmp(want, names[isa]))
                        continue;
                if (!kern_variant((enum kern_isa)isa))
                        snprintf(err, errn, "CAIRN_KERN=%s: this CPU does not support it", want);
                return kern_variant((enum kern_isa)isa);
        }
        snprintf(err, errn, "CAIRN_KERN=%.40s is unknown: ref, avx2 or avx512", want);
        return NULL;
}
