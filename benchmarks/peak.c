/* The fastest a core multiplies and adds: independent chains of fused multiply-adds in registers.
 *
 * A fused multiply-add has a latency of 4 or 5 cycles and two may start in each, so 10 chains keep a
 * core busy; more are spare. With the two operands they must fit the 16 (AVX, SSE) or 32 (AVX-512,
 * NEON) vector registers: a spilled chain would measure the cache. REAL is float or double. */

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
#define FOR_EACH_CHAIN(DO) TWELVE(DO) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19)
#define CHAINS 20
#else
#define FOR_EACH_CHAIN(DO) TWELVE(DO)
#define CHAINS 12
#endif
#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

typedef REAL vec __attribute__((vector_size(BYTES)));

/* Runs n steps of every chain; returns the operations done (a multiply-add is two). *sink keeps the
 * compiler from leaving the work out. */
double fma_peak(long n, REAL *sink)
{
    vec x = (vec){0} + (REAL)0.5, y = (vec){0} + (REAL)sink[0];
#define DECLARE(i) vec a##i = y + (REAL)i;
    FOR_EACH_CHAIN(DECLARE)
    for (long step = 0; step < n; step++) {
#define STEP(i) a##i = a##i * x + y;
        FOR_EACH_CHAIN(STEP)
    }
    vec sum = {0};
#define ADD(i) sum += a##i;
    FOR_EACH_CHAIN(ADD)
    sink[0] = sum[0];
    return 2.0 * n * CHAINS * (BYTES / sizeof(REAL));
}
