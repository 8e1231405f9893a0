# A single element as a double, by its dtype: the one place that reads and writes elements in Cython.
from fastconv._drivers.kernels cimport FC_FLOAT32

cdef inline double get_number(int dtype, const void *at) noexcept nogil:
    if dtype == FC_FLOAT32:
        return (<const float *> at)[0]
    return (<const double *> at)[0]

cdef inline void put_number(int dtype, void *at, double value) noexcept nogil:
    if dtype == FC_FLOAT32:
        (<float *> at)[0] = <float> value
    else:
        (<double *> at)[0] = value
