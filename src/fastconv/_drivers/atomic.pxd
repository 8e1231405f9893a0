# What _kernels/atomic.h declares.
from fastconv._drivers.kernels cimport fc_size

cdef extern from "atomic.h" nogil:
    int fc_load_int(const int *number)
    void fc_store_int(int *number, int value)
    fc_size fc_load_size(const fc_size *number)
    void fc_store_size(fc_size *number, fc_size value)
    fc_size fc_add_size(fc_size *number, fc_size by)
    void *fc_load_pointer(void **slot)
    bint fc_fill_pointer(void **slot, void *pointer)
    void *fc_take_pointer(void **slot)
