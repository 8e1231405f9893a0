/* Dot products of one row with several: what is left of a matrix product with next to no rows. */
#include "simd.h"

enum { ROWS = 8 }; /* that share one load of `a` */

FC_INLINE void dots(const fc_dots *p, fc_size first, const int rows) {
    vreal acc[ROWS];
    const char *b = (const char *)p->b + first * p->b_n;
    const stored *a = p->a;
    for (int q = 0; q < rows; q++) acc[q] = v_zero();
    fc_size k = 0;
    for (; k + VL <= p->k; k += VL) {
        const vreal av = v_load(a + k);
        for (int q = 0; q < rows; q++)
            acc[q] = v_fma(av, v_load((const stored *)(b + q * p->b_n) + k), acc[q]);
    }
    if (k < p->k) {
        const int tail = (int)(p->k - k);
        const vreal av = v_load_n(a + k, tail);
        for (int q = 0; q < rows; q++)
            acc[q] = v_fma(av, v_load_n((const stored *)(b + q * p->b_n) + k, tail), acc[q]);
    }
    stored *c = (stored *)p->c + first;
    for (int q = 0; q < rows; q++) c[q] = narrow(widen(c[q]) + v_sum(acc[q]));
}

void FC_NAME(dots)(const fc_dots *p) {
    fc_size j = 0;
    for (; j + ROWS <= p->n; j += ROWS) dots(p, j, ROWS);
    for (; j + 3 <= p->n; j += 3) dots(p, j, 3);
    for (; j < p->n; j++) dots(p, j, 1);
}
