/* What every processor of the platform has. */
#if defined(__SSE2__) || defined(_M_X64)
#include "simd_sse2.h"
#else
#include "simd_scalar.h"
#endif
