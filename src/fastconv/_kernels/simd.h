/* Whole-vector operations for the instruction set and the dtype of this compilation.
 *
 * setup.py compiles every kernel family k_*.c once per (instruction set, dtype) and defines
 *   FC_ISA             the set's name: simd_<set>.h has its vectors
 *   FC_DTYPE           the dtype's name in dtypes.h, and FC_DTYPE_<NAME> for the preprocessor
 *   FC_REAL_BITS       of a real: 32 or 64
 * A kernel family is written once, in terms of:
 *   stored             an element in memory: whatever the table's pointers lead to
 *   real               a number in registers, and in memory of ours: sums are made of these
 *   widen, narrow      from stored to real and back
 *   VL, vreal          how many reals a vector holds, and a vector
 *   v_load, v_store    vectors of stored elements (any alignment), converted on the way;
 *   ..._n              the first n < VL elements only; the others read as zero, stay untouched
 *   ..._upto           as many elements as there are: n, or VL
 *   v_load_real, ...   the same of reals
 *   v_zero v_set1 v_add v_sub v_mul v_div v_min v_max v_sqrt, v_fma(a, b, c) = a * b + c
 *                      (v_min and v_max are NaN where b is, and may be b where only a is)
 *   v_max_nan          the greater one, and NaN where either is
 *   v_less v_less_equal v_equal    (a, b, x, y): x where a < b, a <= b, a == b, else y
 *   v_bits v_real vb_...        vectors as bit patterns, and back
 *   FC_MR              rows of the register tile: FC_MR x 2 VL accumulators, with room to spare
 *   FC_REGISTERS       how many vectors the registers hold
 *
 * simd_<set>.h defines VL, vreal, FC_MR, FC_REGISTERS and these operations on reals. What stands
 * below behind #ifndef it defines where it has better instructions, with a macro of that name.
 */
#ifndef FASTCONV_SIMD_H
#define FASTCONV_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dtypes.h"
#include "kernels.h"

#if defined(_MSC_VER)
#define FC_INLINE static __forceinline
#define FC_RESTRICT __restrict
#define FC_NOINLINE __declspec(noinline)
#else
#define FC_INLINE static inline __attribute__((always_inline))
#define FC_RESTRICT __restrict__
#define FC_NOINLINE __attribute__((noinline))
#endif

#define FC_PASTE_(a, b) a##_##b
#define FC_PASTE(a, b) FC_PASTE_(a, b)
#define FC_STRING_(words) #words
#define FC_STRING(words) FC_STRING_(words)
/* FC_NAME(tile) is fc_tile_f32_avx512 and so on */
#define FC_NAME(op) FC_PASTE(FC_PASTE(FC_PASTE(fc, op), FC_DTYPE), FC_ISA)

/* ---- the dtype ---- */

#define FC_TYPES(with, code, name, stored, real, bits)  \
    typedef stored fc_stored_##name;                    \
    typedef real fc_real_##name;                        \
    enum { fc_code_##name = code };
FC_DTYPE_LIST(FC_TYPES, _)
typedef FC_PASTE(fc_stored, FC_DTYPE) stored;
typedef FC_PASTE(fc_real, FC_DTYPE) real;

/* as wide as a real: an integer, and a bit pattern */
#if FC_REAL_BITS == 32
typedef int32_t intreal;
typedef uint32_t bits;
#else
typedef int64_t intreal;
typedef uint64_t bits;
#endif

FC_INLINE real real_of(bits b) {
    real x;
    memcpy(&x, &b, sizeof x);
    return x;
}

FC_INLINE bits bits_of(real x) {
    bits b;
    memcpy(&b, &x, sizeof b);
    return b;
}

/* ---- the instruction set ---- */

#define FC_SIMD_HEADER_(set) FC_STRING(simd_##set.h)
#define FC_SIMD_HEADER(set) FC_SIMD_HEADER_(set)
#include FC_SIMD_HEADER(FC_ISA)

/* ---- vectors of reals in memory ---- */

#ifndef v_load_real_n
FC_INLINE vreal v_load_real_n(const real *p, int n) {
    real t[VL] = {0};
    for (int i = 0; i < n; i++) t[i] = p[i];
    return v_load_real(t);
}
#endif
#ifndef v_store_real_n
FC_INLINE void v_store_real_n(real *p, vreal v, int n) {
    real t[VL];
    v_store_real(t, v);
    for (int i = 0; i < n; i++) p[i] = t[i];
}
#endif
#ifndef v_stream_real
FC_INLINE void v_stream_real(real *p, vreal v) { v_store_real(p, v); }
#endif

/* ---- elements in memory ----
 * A dtype whose elements are not reals defines FC_CONVERTS, widen and narrow, and v_load, v_store,
 * v_load_n and v_store_n where its set has instructions for them. */

#ifndef FC_CONVERTS
_Static_assert(sizeof(stored) == sizeof(real), "a dtype that is stored otherwise is converted");
FC_INLINE real widen(stored x) { return x; }
FC_INLINE stored narrow(real x) { return x; }
FC_INLINE vreal v_load(const stored *p) { return v_load_real(p); }
FC_INLINE void v_store(stored *p, vreal v) { v_store_real(p, v); }
FC_INLINE vreal v_load_n(const stored *p, int n) { return v_load_real_n(p, n); }
FC_INLINE void v_store_n(stored *p, vreal v, int n) { v_store_real_n(p, v, n); }
#else
#ifndef v_load_n
FC_INLINE vreal v_load_n(const stored *p, int n) {
    real t[VL] = {0};
    for (int i = 0; i < n; i++) t[i] = widen(p[i]);
    return v_load_real(t);
}
#endif
#ifndef v_store_n
FC_INLINE void v_store_n(stored *p, vreal v, int n) {
    real t[VL];
    v_store_real(t, v);
    for (int i = 0; i < n; i++) p[i] = narrow(t[i]);
}
#endif
#ifndef v_load
FC_INLINE vreal v_load(const stored *p) { return v_load_n(p, VL); }
#endif
#ifndef v_store
FC_INLINE void v_store(stored *p, vreal v) { v_store_n(p, v, VL); }
#endif
#endif

FC_INLINE fc_size fc_min(fc_size a, fc_size b) { return a < b ? a : b; }

/* How many elements a vector takes of those that are left. */
FC_INLINE int upto(fc_size left) { return left < VL ? (int)left : VL; }

/* The vector at p of a run that ends after n more elements, and zeros past the end. */
FC_INLINE vreal v_load_upto(const stored *p, fc_size n) {
    return n < VL ? v_load_n(p, (int)n) : v_load(p);
}
FC_INLINE void v_store_upto(stored *p, vreal v, fc_size n) {
    if (n < VL)
        v_store_n(p, v, (int)n);
    else
        v_store(p, v);
}
FC_INLINE vreal v_load_real_upto(const real *p, fc_size n) {
    return n < VL ? v_load_real_n(p, (int)n) : v_load_real(p);
}
FC_INLINE void v_store_real_upto(real *p, vreal v, fc_size n) {
    if (n < VL)
        v_store_real_n(p, v, (int)n);
    else
        v_store_real(p, v);
}

/* Runs `call` for all of a line's contiguous channels: for `vectors` vectors side by side, from
 * channel c on, the last of which has n channels. Both are constants but at the end of the line. */
enum { FC_SIDE_BY_SIDE = 4 };
#define FC_FOR_CHANNELS(channels, call)                                             \
    do {                                                                            \
        fc_size c = 0;                                                              \
        for (; c + FC_SIDE_BY_SIDE * VL <= (channels); c += FC_SIDE_BY_SIDE * VL) { \
            enum { vectors = FC_SIDE_BY_SIDE, n = VL };                             \
            call;                                                                   \
        }                                                                           \
        for (; c + VL <= (channels); c += VL) {                                     \
            enum { vectors = 1, n = VL };                                           \
            call;                                                                   \
        }                                                                           \
        if (c < (channels)) {                                                       \
            enum { vectors = 1 };                                                   \
            const int n = (int)((channels) - c);                                    \
            call;                                                                   \
        }                                                                           \
    } while (0)

/* To a whole cache line, past the caches, where a vector is one (streams of parts would leave lines
 * unfinished); elsewhere as v_store. fc_fence comes before others read it. */
FC_INLINE void v_stream(stored *p, vreal v) {
#ifndef FC_CONVERTS
    v_stream_real(p, v);
#else
    v_store(p, v);
#endif
}

/* Two neighbours, p[0] and p[1] again and again, by one load where two would be: for tiles that are
 * short of loads. v_pair_first and v_pair_second spread either of them to all lanes. */
#if defined(v_load_pair_real) && !defined(FC_CONVERTS)
#define FC_PAIRS 1
FC_INLINE vreal v_load_pair(const stored *p) { return v_load_pair_real(p); }
#else
#define FC_PAIRS 0
FC_INLINE vreal v_load_pair(const stored *p) { return v_set1(widen(*p)); }
#ifndef v_load_pair_real
FC_INLINE vreal v_pair_first(vreal v) { return v; }
FC_INLINE vreal v_pair_second(vreal v) { return v; }
#endif
#endif

/* Spreading channels within groups: element i of v_pick(p, v_picker(group, u)) is
 * p[i / group * group + u], where group divides VL. */
#ifdef v_permute
FC_INLINE vreal v_pick(const stored *p, vindex i) { return v_permute(v_load(p), i); }
#else
typedef struct {
    int group, u;
} vindex;
FC_INLINE vindex v_picker(int group, int u) {
    const vindex i = {group, u};
    return i;
}
FC_INLINE vreal v_pick(const stored *p, vindex i) {
    real t[VL];
    for (int k = 0; k < VL; k++) t[k] = widen(p[k / i.group * i.group + i.u]);
    return v_load_real(t);
}
#endif

/* Every second element of p[0 .. 2n - 2], for n <= VL outputs; the others are anything. */
FC_INLINE vreal v_load_even(const stored *p, int n) {
#ifdef v_even
    const int m = 2 * n - 1;
    if (m <= VL) return v_even_low(v_load_n(p, m));
    return v_even(v_load(p), v_load_n(p + VL, m - VL));
#else
    real t[VL] = {0};
    for (int i = 0; i < n; i++) t[i] = widen(p[2 * i]);
    return v_load_real(t);
#endif
}

/* p[i] - base for n <= VL integers, which reals can tell apart. */
#ifndef v_integers
FC_INLINE vreal v_integers(const int64_t *p, int64_t base, int n) {
    real t[VL] = {0};
    if (n == VL)
        for (int i = 0; i < VL; i++) t[i] = (real)(p[i] - base);
    else
        for (int i = 0; i < n; i++) t[i] = (real)(p[i] - base);
    return v_load_real(t);
}
#endif

/* Have the line at p brought to the second-level cache; p need not exist. */
FC_INLINE void v_prefetch(const void *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}
FC_INLINE void v_prefetch_write(const void *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 1, 3);
#else
    (void)p;
#endif
}

/* ---- vectors in registers ---- */

/* Rows become columns: r[i] holds element i of each of the VL vectors it was given. */
#ifndef v_transpose
FC_INLINE void v_transpose(vreal *r) {
    real t[VL][VL];
    for (int i = 0; i < VL; i++) v_store_real(t[i], r[i]);
    for (int i = 0; i < VL; i++) {
        real row[VL];
        for (int j = 0; j < VL; j++) row[j] = t[j][i];
        r[i] = v_load_real(row);
    }
}
#endif

/* The first n elements of v, then zeros. */
#ifndef v_first
FC_INLINE vreal v_first(vreal v, int n) {
    real t[VL];
    v_store_real(t, v);
    return v_load_real_n(t, n);
}
#endif

/* Pairwise over the lanes: (0 + VL/2) + (VL/4 + ...) and so on, the same order everywhere. */
#ifndef v_sum
FC_INLINE real v_sum(vreal v) {
    real t[VL];
    v_store_real(t, v);
    for (int half = VL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) t[i] += t[i + half];
    return t[0];
}
#endif

FC_INLINE vbits vb_set1(bits b) { return v_bits(v_set1(real_of(b))); }

/* Tell GCC and clang that a value may have changed: they then keep it in a register, where they
 * would compute or load it again at every use. */
#if defined(__GNUC__)
#define FC_KEEP(x) __asm__("" : "+r"(x))
#else
#define FC_KEEP(x) (void)(x)
#endif
#ifndef FC_KEEP_VECTOR
#define FC_KEEP_VECTOR(x) (void)(x)
#endif

/* X(m) for every number of rows of a register tile: each is a function with constant bounds. */
#define FC_ROWS(X) FC_PASTE(FC_ROWS, FC_MR)(X)
#define FC_ROWS_1(X) X(1)
#define FC_ROWS_2(X) FC_ROWS_1(X) X(2)
#define FC_ROWS_3(X) FC_ROWS_2(X) X(3)
#define FC_ROWS_4(X) FC_ROWS_3(X) X(4)
#define FC_ROWS_5(X) FC_ROWS_4(X) X(5)
#define FC_ROWS_6(X) FC_ROWS_5(X) X(6)
#define FC_ROWS_7(X) FC_ROWS_6(X) X(7)
#define FC_ROWS_8(X) FC_ROWS_7(X) X(8)
#define FC_ROWS_9(X) FC_ROWS_8(X) X(9)
#define FC_ROWS_10(X) FC_ROWS_9(X) X(10)
#define FC_ROWS_11(X) FC_ROWS_10(X) X(11)
#define FC_ROWS_12(X) FC_ROWS_11(X) X(12)
#define FC_ROWS_13(X) FC_ROWS_12(X) X(13)
#define FC_ROWS_14(X) FC_ROWS_13(X) X(14)
#define FC_ROWS_15(X) FC_ROWS_14(X) X(15)
#define FC_ROWS_16(X) FC_ROWS_15(X) X(16)

/* ---- the kernels, whose definitions are held to the list ---- */

#define FC_KERNEL(result, name, parameters) result FC_NAME(name) parameters;
#define FC_SUBTABLE(type, name, count) extern const type FC_NAME(name)[count];
#include "kernel_list.h"
extern const fc_kernels FC_NAME(kernels);

#endif
