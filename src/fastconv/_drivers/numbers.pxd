# A single element as a double, by its dtype; elements are read and written here and nowhere else
# in Cython.
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

# The same of a real, a number as kernels compute with them, by its size.
cdef inline double get_real(int real_size, const void *at) noexcept nogil:
    return (<const float *> at)[0] if real_size == sizeof(float) else (<const double *> at)[0]

cdef inline void put_real(int real_size, void *at, double value) noexcept nogil:
    if real_size == sizeof(float):
        (<float *> at)[0] = <float> value
    else:
        (<double *> at)[0] = value
