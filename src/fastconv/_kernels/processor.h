/* What the processor can do, and the operating system lets it: FC_HAS(feature), for the features of
 * x86-64 below. Elsewhere nothing is asked for beyond the platform's floor. */
#ifndef FASTCONV_PROCESSOR_H
#define FASTCONV_PROCESSOR_H

#define FC_HAS(feature) fc_has(FC_FEATURE_##feature)

#if defined(__x86_64__) || defined(_M_X64)

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

/* leaf of CPUID, its register (0 to 3 for a, b, c, d), bit, and the registers to be saved for it */
#define FC_FEATURE_fma 1, 2, 12, FC_YMM
#define FC_FEATURE_movbe 1, 2, 22, 0
#define FC_FEATURE_f16c 1, 2, 29, FC_YMM
#define FC_FEATURE_bmi 7, 1, 3, 0
#define FC_FEATURE_avx2 7, 1, 5, FC_YMM
#define FC_FEATURE_bmi2 7, 1, 8, 0
#define FC_FEATURE_avx512f 7, 1, 16, FC_ZMM
#define FC_FEATURE_avx512dq 7, 1, 17, FC_ZMM
#define FC_FEATURE_avx512cd 7, 1, 28, FC_ZMM
#define FC_FEATURE_avx512bw 7, 1, 30, FC_ZMM
#define FC_FEATURE_avx512vl 7, 1, 31, FC_ZMM
#define FC_FEATURE_lzcnt 0x80000001, 2, 5, 0

/* bits of the register XCR0, in which the system says what it saves of a thread that waits */
enum { FC_YMM = 0x6 };
#if defined(__APPLE__)
enum { FC_ZMM = FC_YMM }; /* macOS says so of a thread only once it has used them */
#else
enum { FC_ZMM = 0xe6 };
#endif

static inline int fc_cpuid(unsigned leaf, unsigned registers[4]) {
#if defined(_MSC_VER)
    int r[4];
    __cpuid(r, (int)(leaf & 0x80000000));
    if ((unsigned)r[0] < leaf) return 0;
    __cpuidex(r, (int)leaf, 0);
    for (int i = 0; i < 4; i++) registers[i] = (unsigned)r[i];
    return 1;
#else
    return __get_cpuid_count(leaf, 0, registers, registers + 1, registers + 2, registers + 3);
#endif
}

static inline unsigned fc_saved_registers(void) {
    enum { XSAVE_IN_USE = 1 << 27 };
    unsigned r[4];
    if (!fc_cpuid(1, r) || !(r[2] & XSAVE_IN_USE)) return 0;
#if defined(_MSC_VER)
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

static inline int fc_has(unsigned leaf, int which, int bit, unsigned saved) {
    unsigned r[4];
    return fc_cpuid(leaf, r) && (r[which] >> bit & 1) && (fc_saved_registers() & saved) == saved;
}

#endif

#endif
