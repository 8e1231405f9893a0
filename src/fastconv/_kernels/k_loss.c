/* Losses of single elements, and their gradients, over runs of contiguous elements. A sum is of
 * runs of a few vectors, then of those sums, then across the lanes: rounding errors grow by some
 * dozens of additions however long the run. */
#include "vmath.h"

enum { RUN = 16 * VL }; /* elements summed in a chain of their own */

/* Stores in `losses`, unless NULL, and returns the sum of `loss`, an expression in the index i of
 * an element and the number m of elements from there that count, at most VL. */
#define SUM_OF(n, losses, loss)                                       \
    vreal total = v_zero();                                           \
    for (fc_size run = 0; run < n; run += RUN) {                      \
        const fc_size end = n - run < RUN ? n : run + RUN;            \
        vreal sum = v_zero();                                         \
        for (fc_size i = run; i < end; i += VL) {                     \
            const int m = upto(end - i);                              \
            const vreal value = m < VL ? v_first(loss, m) : loss;     \
            if (losses) v_store_upto((stored *)losses + i, value, m); \
            sum = v_add(sum, value);                                  \
        }                                                             \
        total = v_add(total, sum);                                    \
    }                                                                 \
    return v_sum(total)

/* ---- (x - t)^2 ---- */

FC_INLINE vreal square(vreal d) { return v_mul(d, d); }

double FC_NAME(squared_error)(const void *x_, const void *t_, void *losses, fc_size n) {
    const stored *x = (const stored *)x_, *t = (const stored *)t_;
    SUM_OF(n, losses, square(v_sub(v_load_upto(x + i, m), v_load_upto(t + i, m))));
}

void FC_NAME(squared_error_backward)(const void *x_, const void *t_, void *dx, fc_size n,
                                     double scale) {
    const stored *x = (const stored *)x_, *t = (const stored *)t_;
    const vreal factor = v_set1((real)scale * 2);
    for (fc_size i = 0; i < n; i += VL) {
        const int m = upto(n - i);
        v_store_upto((stored *)dx + i,
                     v_mul(v_sub(v_load_upto(x + i, m), v_load_upto(t + i, m)), factor), m);
    }
}

/* ---- -yes log sigmoid(x) - no log sigmoid(-x); without `no`, that is 1 - yes ---- */

FC_INLINE vreal load_no(const stored *no, vreal yes, fc_size i, int m) {
    return no ? v_load_upto(no + i, m) : v_sub(v_set1(1), yes);
}

FC_INLINE vreal logistic_loss(vreal x, vreal yes, vreal no) {
    const vreal zero = v_zero(), both = v_log1p_exp(v_neg_abs(x));
    const vreal of_no = v_add(v_max(zero, x), both);
    const vreal of_yes = v_add(v_max(zero, v_sub(zero, x)), both);
    return v_add(v_mul(of_yes, yes), v_mul(of_no, no));
}

double FC_NAME(logistic_loss)(const void *x_, const void *yes_, const void *no_, void *losses,
                              fc_size n) {
    const stored *x = (const stored *)x_, *yes = (const stored *)yes_, *no = (const stored *)no_;
    SUM_OF(n, losses,
           logistic_loss(v_load_upto(x + i, m), v_load_upto(yes + i, m),
                         load_no(no, v_load_upto(yes + i, m), i, m)));
}

double FC_NAME(logistic_loss_backward)(const void *x_, const void *yes_, const void *no_, void *dx,
                                       fc_size n, double scale) {
    const stored *x = (const stored *)x_;
    const stored *yes_at = (const stored *)yes_, *no_at = (const stored *)no_;
    const vreal factor = v_set1((real)scale);
    vreal seen = v_zero();
    for (fc_size i = 0; i < n; i += VL) {
        const int m = upto(n - i);
        const vreal v = v_load_upto(x + i, m), yes = v_load_upto(yes_at + i, m);
        const vreal no = load_no(no_at, yes, i, m);
        const logistic l = logistic_of(v);
        const vreal low = v_mul(l.e, l.s); /* sigmoid(-|x|) */
        const vreal up = v_less(v, v_zero(), low, l.s), down = v_less(v, v_zero(), l.s, low);
        v_store_upto((stored *)dx + i, v_mul(v_sub(v_mul(no, up), v_mul(yes, down)), factor), m);
        seen = v_add(seen, yes);
    }
    return v_sum(seen);
}
