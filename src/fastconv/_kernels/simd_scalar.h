/* No vectors known: one element at a time. */
#include <math.h>

#define FC_MR 4
#define FC_REGISTERS 16
#define VL 1
typedef real vreal;
typedef bits vbits;
FC_INLINE vreal v_set1(real x) { return x; }
FC_INLINE vreal v_zero(void) { return 0; }
FC_INLINE vreal v_load_real(const real *p) { return *p; }
FC_INLINE void v_store_real(real *p, vreal v) { *p = v; }
FC_INLINE vreal v_add(vreal a, vreal b) { return a + b; }
FC_INLINE vreal v_sub(vreal a, vreal b) { return a - b; }
FC_INLINE vreal v_mul(vreal a, vreal b) { return a * b; }
FC_INLINE vreal v_div(vreal a, vreal b) { return a / b; }
FC_INLINE vreal v_min(vreal a, vreal b) { return a < b ? a : b; }
FC_INLINE vreal v_max(vreal a, vreal b) { return a > b ? a : b; }
FC_INLINE vreal v_max_nan(vreal a, vreal b) { return (a > b) | (a != a) ? a : b; }
FC_INLINE vreal v_sqrt(vreal a) { return (real)sqrt(a); } /* rounds as float's own would */
FC_INLINE vreal v_fma(vreal a, vreal b, vreal c) { return a * b + c; }

FC_INLINE vreal v_less(vreal a, vreal b, vreal x, vreal y) { return a < b ? x : y; }
FC_INLINE vreal v_less_equal(vreal a, vreal b, vreal x, vreal y) { return a <= b ? x : y; }
FC_INLINE vreal v_equal(vreal a, vreal b, vreal x, vreal y) { return a == b ? x : y; }

FC_INLINE vbits v_bits(vreal v) { return bits_of(v); }
FC_INLINE vreal v_real(vbits v) { return real_of(v); }
FC_INLINE vbits vb_add(vbits a, vbits b) { return a + b; }
FC_INLINE vbits vb_sub(vbits a, vbits b) { return a - b; }
FC_INLINE vbits vb_and(vbits a, vbits b) { return a & b; }
FC_INLINE vbits vb_or(vbits a, vbits b) { return a | b; }
FC_INLINE vbits vb_left(vbits a, int n) { return a << n; }
FC_INLINE vbits vb_right(vbits a, int n) { return a >> n; }
