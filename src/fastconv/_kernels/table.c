/* Which kernels this processor gets. Whole feature groups are asked for, not single bits: the
 * compiler was told it may use all of a group. */
#include <string.h>

#include "atomic.h"
#include "kernels.h"

#define FC_DECLARE(real, set)                                              \
    void fc_tile_##real##_##set(const fc_tile *);                          \
    void fc_outer_##real##_##set(const fc_outer *);                        \
    void fc_copy2d_##real##_##set(void *, fc_size, fc_size, const void *, fc_size, fc_size, fc_size, \
                                  fc_size);                                \
    void fc_stream2d_##real##_##set(void *, fc_size, fc_size, const void *, fc_size, fc_size,         \
                                    fc_size, fc_size);                     \
    void fc_pack_filters_##real##_##set(void *, const void *, fc_size, fc_size, fc_size, fc_size,    \
                                        fc_size, fc_size, fc_size, fc_size, fc_size);                \
    void fc_unpack_filters_##real##_##set(void *, fc_size, const void *, fc_size, fc_size, fc_size,  \
                                          fc_size);                        \
    void fc_dots_##real##_##set(const fc_dots *);                          \
    void fc_grouped_##real##_##set(const fc_grouped *);                    \
    void fc_grouped_weight_##real##_##set(const fc_grouped_grad *);        \
    void fc_max_fold_##real##_##set(void *, void *, const void *, fc_size, fc_size, fc_size,          \
                                    fc_size, fc_size);                     \
    void fc_max_slide_##real##_##set(const fc_pool_slide *);               \
    void fc_add_fold_##real##_##set(void *, const void *, fc_size, fc_size, fc_size, int);            \
    void fc_mean_slide_##real##_##set(const fc_pool_slide *);              \
    void fc_mean_spread_##real##_##set(const fc_pool_slide *);             \
    void fc_plane_maxima_##real##_##set(void *, fc_size, const void *, fc_size, fc_size, fc_size);   \
    void fc_plane_means_##real##_##set(void *, fc_size, const void *, fc_size, fc_size, fc_size,     \
                                       double);                            \
    void fc_plane_fills_##real##_##set(void *, fc_size, const void *, fc_size, fc_size, fc_size,     \
                                       double);                            \
    void fc_max_windows_##real##_##set(const fc_pool_windows *);           \
    void fc_mean_windows_##real##_##set(const fc_pool_windows *);          \
    int fc_max_scatter_##real##_##set(const fc_max_scatter *);             \
    int fc_max_tiles_##real##_##set(const fc_max_tiles *);                 \
    extern const fc_winograd fc_winograd_##real##_##set[2];                \
    void fc_sgd_##real##_##set(const fc_sgd *);                             \
    void fc_adam_##real##_##set(const fc_adam *);                          \
    void fc_add_##real##_##set(const void *, const void *, void *, fc_size, int);                    \
    extern const fc_activation fc_activations_##real##_##set[FC_ACTIVATIONS];                        \
    void fc_softmax_##real##_##set(const fc_softmax *);                    \
    void fc_softmax_backward_##real##_##set(const fc_softmax *);           \
    int fc_cross_entropy_##real##_##set(fc_cross_entropy *);               \
    int fc_cross_entropy_backward_##real##_##set(const fc_cross_entropy *);                          \
    double fc_squared_error_##real##_##set(const void *, const void *, void *, fc_size);             \
    void fc_squared_error_backward_##real##_##set(const void *, const void *, void *, fc_size,       \
                                                  double);                 \
    double fc_logistic_loss_##real##_##set(const void *, const void *, const void *, void *,         \
                                           fc_size);                       \
    double fc_logistic_loss_backward_##real##_##set(const void *, const void *, const void *,        \
                                                    void *, fc_size, double);                        \
    void fc_column_sums_##real##_##set(double *, const void *, fc_size, fc_size, fc_size);           \
    void fc_norm_moments_##real##_##set(const fc_norm *);                  \
    void fc_norm_apply_##real##_##set(const fc_norm *);                    \
    void fc_norm_gradient_sums_##real##_##set(const fc_norm *);            \
    void fc_norm_gradient_##real##_##set(const fc_norm *);

#define FC_TABLE(real, set, code, size, vl, rows)                                \
    {                                                                      \
        .isa = #set, .dtype = code, .itemsize = size, .lanes = vl, .mr = rows, .nr = 2 * vl,                        \
        .tile = fc_tile_##real##_##set,                                    \
        .outer = fc_outer_##real##_##set,                                  \
        .copy2d = fc_copy2d_##real##_##set,                                \
        .stream2d = fc_stream2d_##real##_##set,                            \
        .pack_filters = fc_pack_filters_##real##_##set,                    \
        .unpack_filters = fc_unpack_filters_##real##_##set,                \
        .dots = fc_dots_##real##_##set,                                    \
        .grouped = fc_grouped_##real##_##set,                              \
        .grouped_weight = fc_grouped_weight_##real##_##set,                \
        .max_fold = fc_max_fold_##real##_##set,                            \
        .max_slide = fc_max_slide_##real##_##set,                          \
        .add_fold = fc_add_fold_##real##_##set,                            \
        .mean_slide = fc_mean_slide_##real##_##set,                        \
        .mean_spread = fc_mean_spread_##real##_##set,                      \
        .plane_maxima = fc_plane_maxima_##real##_##set,                    \
        .plane_means = fc_plane_means_##real##_##set,                      \
        .plane_fills = fc_plane_fills_##real##_##set,                      \
        .max_windows = fc_max_windows_##real##_##set,                      \
        .mean_windows = fc_mean_windows_##real##_##set,                    \
        .max_scatter = fc_max_scatter_##real##_##set,                      \
        .max_tiles = fc_max_tiles_##real##_##set,                          \
        .winograd = fc_winograd_##real##_##set,                            \
        .sgd = fc_sgd_##real##_##set,                                      \
        .adam = fc_adam_##real##_##set,                                    \
        .add = fc_add_##real##_##set,                                      \
        .activations = fc_activations_##real##_##set,                      \
        .softmax = fc_softmax_##real##_##set,                              \
        .softmax_backward = fc_softmax_backward_##real##_##set,            \
        .cross_entropy = fc_cross_entropy_##real##_##set,                  \
        .cross_entropy_backward = fc_cross_entropy_backward_##real##_##set,                          \
        .squared_error = fc_squared_error_##real##_##set,                  \
        .squared_error_backward = fc_squared_error_backward_##real##_##set,                          \
        .logistic_loss = fc_logistic_loss_##real##_##set,                  \
        .logistic_loss_backward = fc_logistic_loss_backward_##real##_##set,                          \
        .column_sums = fc_column_sums_##real##_##set,                      \
        .norm_moments = fc_norm_moments_##real##_##set,                    \
        .norm_apply = fc_norm_apply_##real##_##set,                        \
        .norm_gradient_sums = fc_norm_gradient_sums_##real##_##set,        \
        .norm_gradient = fc_norm_gradient_##real##_##set,                  \
    }

#define FC_BOTH(set, bytes, rows)                                          \
    FC_DECLARE(f32, set)                                                   \
    FC_DECLARE(f64, set)                                                   \
    static const fc_kernels set##_f32 = FC_TABLE(f32, set, FC_FLOAT32, 4, (bytes) / 4, rows);                    \
    static const fc_kernels set##_f64 = FC_TABLE(f64, set, FC_FLOAT64, 8, (bytes) / 8, rows);

#if defined(__SSE2__) || defined(_M_X64)
FC_BOTH(baseline, 16, 6)
#else
FC_DECLARE(f32, baseline)
FC_DECLARE(f64, baseline)
static const fc_kernels baseline_f32 = FC_TABLE(f32, baseline, FC_FLOAT32, 4, 1, 4);
static const fc_kernels baseline_f64 = FC_TABLE(f64, baseline, FC_FLOAT64, 8, 1, 4);
#endif
#if defined(FC_HAVE_AVX2)
FC_BOTH(avx2, 32, 6)
#endif
#if defined(FC_HAVE_AVX512)
FC_BOTH(avx512, 64, 14)
#endif
#if defined(FC_HAVE_NEON)
FC_BOTH(neon, 16, 12)
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
    {"avx512", has_avx512, {&avx512_f32, &avx512_f64}},
#endif
#if defined(FC_HAVE_AVX2)
    {"avx2", has_avx2, {&avx2_f32, &avx2_f64}},
#endif
#if defined(FC_HAVE_NEON)
    {"neon", always, {&neon_f32, &neon_f64}},
#endif
    {"baseline", always, {&baseline_f32, &baseline_f64}},
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
