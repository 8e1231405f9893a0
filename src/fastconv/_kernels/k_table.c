/* The kernel table of this compilation's instruction set and dtype. */
#include "simd.h"

#define FC_STRING_(word) #word
#define FC_STRING(word) FC_STRING_(word)

#if defined(FC_F32)
#define DTYPE FC_FLOAT32
#else
#define DTYPE FC_FLOAT64
#endif

const fc_kernels FC_NAME(kernels) = {
    .isa = FC_STRING(FC_ISA),
    .dtype = DTYPE,
    .itemsize = sizeof(real),
    .lanes = VL,
    .mr = FC_MR,
    .nr = 2 * VL,
#define FC_KERNEL(result, name, parameters) .name = FC_NAME(name),
#define FC_SUBTABLE(type, name, count) .name = FC_NAME(name),
#include "kernel_list.h"
};
