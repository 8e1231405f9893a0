/* Which kernels this processor gets. Whole feature groups are asked for, not single bits: the
 * compiler was told it may use all of a group. */
#include <string.h>

#include "atomic.h"
#include "kernels.h"

#define FC_DECLARE(set) extern const fc_kernels fc_kernels_f32_##set, fc_kernels_f64_##set;
FC_DECLARE(baseline)
#if defined(FC_HAVE_AVX2)
FC_DECLARE(avx2)
#endif
#if defined(FC_HAVE_AVX512)
FC_DECLARE(avx512)
#endif
#if defined(FC_HAVE_NEON)
FC_DECLARE(neon)
#endif

#if defined(FC_HAVE_AVX2) && defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
static int leaf7_and_os(unsigned long long os_state, int ebx_bits) {
    int r[4];
    __cpuid(r, 1);
    const int osxsave_avx_fma = (1 << 27) | (1 << 28) | (1 << 12);
    if ((r[2] & osxsave_avx_fma) != osxsave_avx_fma) return 0;
    if ((_xgetbv(0) & os_state) != os_state) return 0;
    __cpuidex(r, 7, 0);
    return (r[1] & ebx_bits) == ebx_bits;
}
static int has_avx2(void) { return leaf7_and_os(0x6, (1 << 3) | (1 << 5) | (1 << 8)); }
static int has_avx512(void) {
    return has_avx2() &&
           leaf7_and_os(0xe6, (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | (1 << 31));
}
#elif defined(FC_HAVE_AVX2)
static int has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif
static int always(void) { return 1; }

static const struct {
    const char *name;
    int (*supported)(void);
    const fc_kernels *tables[FC_DTYPES];
} sets[] = { /* best first */
#if defined(FC_HAVE_AVX512)
    {"avx512", has_avx512, {&fc_kernels_f32_avx512, &fc_kernels_f64_avx512}},
#endif
#if defined(FC_HAVE_AVX2)
    {"avx2", has_avx2, {&fc_kernels_f32_avx2, &fc_kernels_f64_avx2}},
#endif
#if defined(FC_HAVE_NEON)
    {"neon", always, {&fc_kernels_f32_neon, &fc_kernels_f64_neon}},
#endif
    {"baseline", always, {&fc_kernels_f32_baseline, &fc_kernels_f64_baseline}},
};
enum { SETS = sizeof sets / sizeof sets[0] };

static int chosen = SETS - 1;

int fc_select(const char *isa) {
    static const char *const known[] = {"baseline", "avx2", "avx512", "neon"};
    for (int i = 0; i < SETS; i++)
        if (!isa || !strcmp(isa, sets[i].name)) {
            if (sets[i].supported()) {
                fc_store_int(&chosen, i);
                return 0;
            }
            if (isa) return -2;
        }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (isa && !strcmp(isa, known[i])) return -2;
    return -1;
}

const fc_kernels *fc_table(int dtype) {
    return sets[fc_load_int(&chosen)].tables[dtype];
}
