/* The kernel table of this compilation's instruction set and dtype. */
#include "simd.h"

const fc_kernels FC_NAME(kernels) = {
    .isa = FC_STRING(FC_ISA),
    .dtype = FC_PASTE(fc_code, FC_DTYPE),
    .itemsize = sizeof(stored),
    .real_size = sizeof(real),
    .lanes = VL,
    .mr = FC_MR,
    .nr = 2 * VL,
#define FC_KERNEL(result, name, parameters) .name = FC_NAME(name),
#define FC_SUBTABLE(type, name, count) .name = FC_NAME(name),
#include "kernel_list.h"
};
