/* Made by codegen/isas.py: edit that. The instruction sets of the machine that is compiled for,
 * best first. setup.py defines FC_HAVE_<SET> for those that this build compiles kernels for.
 *
 *   FC_BUILT(name, whether the processor has it)
 *   FC_LEFT_OUT(name)                              by this build
 *
 * Whoever includes this file defines both; they are undefined at its end. */

#if defined(__x86_64__) || defined(_M_X64)
#if defined(FC_HAVE_AVX512)
FC_BUILT(avx512, FC_HAS(avx2) && FC_HAS(fma) && FC_HAS(f16c) && FC_HAS(bmi) && FC_HAS(bmi2) &&
                 FC_HAS(lzcnt) && FC_HAS(movbe) && FC_HAS(avx512f) && FC_HAS(avx512bw) &&
                 FC_HAS(avx512cd) && FC_HAS(avx512dq) && FC_HAS(avx512vl))
#else
FC_LEFT_OUT(avx512)
#endif
#endif

#if defined(__x86_64__) || defined(_M_X64)
#if defined(FC_HAVE_AVX2)
FC_BUILT(avx2, FC_HAS(avx2) && FC_HAS(fma) && FC_HAS(f16c) && FC_HAS(bmi) && FC_HAS(bmi2) &&
               FC_HAS(lzcnt) && FC_HAS(movbe))
#else
FC_LEFT_OUT(avx2)
#endif
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#if defined(FC_HAVE_NEON)
FC_BUILT(neon, 1)
#else
FC_LEFT_OUT(neon)
#endif
#endif

#if defined(FC_HAVE_BASELINE)
FC_BUILT(baseline, 1)
#else
FC_LEFT_OUT(baseline)
#endif

#undef FC_BUILT
#undef FC_LEFT_OUT
