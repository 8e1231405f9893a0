"""Activations and sums over chunks, softmax over blocks of positions, copies between formats."""

from fastconv._drivers.blocking cimport CHUNK, CHUNK_ROWS, ceil_div, chunk_size, chunks_of
from fastconv._drivers.classes cimport ClassArray, ClassBlock, class_array, find_class_block
from fastconv._drivers.kernels cimport (
    FC_GELU, FC_GELU_TANH, FC_SIGMOID, FC_SILU, FC_SOFTPLUS, FC_TANH, fc_activation, fc_kernels,
    fc_size, fc_softmax)
from fastconv._drivers.runtime cimport OK, parallel_for


# ---------------------------------------------------------------- activations

cdef inline double activation_work(int op, bint backward) noexcept nogil:
    # of an element, in the units of parallel_for
    if op in (FC_SILU, FC_GELU, FC_GELU_TANH, FC_SOFTPLUS):
        return 15
    if op in (FC_SIGMOID, FC_TANH) and not backward:
        return 15
    return 3


ctypedef struct ActivationCall:
    const fc_activation *op
    const char *a  # x, or the output's gradient
    const char *b  # NULL, or what forward saved
    char *out
    fc_size n, itemsize
    double param


cdef int activation_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const ActivationCall *c = <const ActivationCall *> context
    cdef fc_size n = chunk_size(c.n, task), at = task * CHUNK * c.itemsize
    if c.b == NULL:
        c.op.forward(c.a + at, c.out + at, n, c.param)
    else:
        c.op.backward(c.a + at, c.b + at, c.out + at, n, c.param)
    return OK


cdef int run_activation(int op, const fc_kernels *kernels, const void *a, const void *b, void *out,
                        fc_size n, double param, int num_threads) noexcept nogil:
    cdef ActivationCall c
    c.op = &kernels.activations[op]
    c.a, c.b, c.out = <const char *> a, <const char *> b, <char *> out
    c.n, c.itemsize, c.param = n, kernels.itemsize, param
    return parallel_for(activation_task, &c, chunks_of(n), 0, n * activation_work(op, b != NULL),
                        num_threads)


cdef int activation(int op, const fc_kernels *kernels, const void *x, void *y, fc_size n,
                    double param, int num_threads) noexcept nogil:
    return run_activation(op, kernels, x, NULL, y, n, param, num_threads)


cdef int activation_backward(int op, const fc_kernels *kernels, const void *g, const void *saved,
                             void *dx, fc_size n, double param, int num_threads) noexcept nogil:
    return run_activation(op, kernels, g, saved, dx, n, param, num_threads)


# ---------------------------------------------------------------- sums

ctypedef struct AddCall:
    const fc_kernels *kernels
    const char *a
    const char *b
    char *out
    fc_size n
    bint relu


cdef int add_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const AddCall *c = <const AddCall *> context
    cdef fc_size at = task * CHUNK * c.kernels.itemsize
    c.kernels.add(c.a + at, c.b + at, c.out + at, chunk_size(c.n, task), c.relu)
    return OK


cdef int add(const fc_kernels *kernels, const void *a, const void *b, void *out, fc_size n,
             bint relu, int num_threads) noexcept nogil:
    cdef AddCall c
    c.kernels, c.n, c.relu = kernels, n, relu
    c.a, c.b, c.out = <const char *> a, <const char *> b, <char *> out
    return parallel_for(add_task, &c, chunks_of(n), 0, <double> 3 * n, num_threads)


# ---------------------------------------------------------------- softmax

ctypedef struct SoftmaxCall:
    ClassArray array
    const fc_kernels *kernels
    const char *x
    const char *g
    char *out
    bint log


cdef int softmax_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const SoftmaxCall *c = <const SoftmaxCall *> context
    cdef fc_softmax k
    cdef ClassBlock b = find_class_block(&c.array, task, &k)
    cdef fc_size i, at
    k.log = c.log
    for i in range(b.first, b.last):
        at = (i * c.array.classes * c.array.inner + b.start) * c.array.itemsize
        k.x, k.out = c.x + at, c.out + at
        if c.g == NULL:
            c.kernels.softmax(&k)
        else:
            k.g = c.g + at
            c.kernels.softmax_backward(&k)
    return OK


cdef int softmax(const fc_kernels *kernels, const void *x, const void *g, void *out, fc_size outer,
                 fc_size classes, fc_size inner, bint log, int num_threads) noexcept nogil:
    cdef double element_work = 5 if g != NULL and not log else 20
    cdef SoftmaxCall c
    c.array = class_array(outer, classes, inner, kernels.itemsize)
    c.kernels, c.log = kernels, log
    c.x, c.g, c.out = <const char *> x, <const char *> g, <char *> out
    return parallel_for(softmax_task, &c, c.array.tasks, 0, element_work * outer * classes * inner,
                        num_threads)


# ---------------------------------------------------------------- from one memory format to another

ctypedef struct ConversionCall:
    const fc_kernels *kernels
    const char *x
    char *out
    fc_size rows, cols
    fc_size task_rows, blocks  # tasks of one index of outer


cdef int convert_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const ConversionCall *c = <const ConversionCall *> context
    cdef fc_size size = c.kernels.itemsize, start = task % c.blocks * c.task_rows
    cdef fc_size at = task // c.blocks * c.rows * c.cols
    c.kernels.copy2d(c.out + (at + start) * size, size, c.rows * size,
                     c.x + (at + start * c.cols) * size, c.cols * size, size,
                     min(c.task_rows, c.rows - start), c.cols)
    return OK


cdef int convert_layout(const fc_kernels *kernels, const void *x, void *out, fc_size outer,
                        fc_size rows, fc_size cols, int num_threads) noexcept nogil:
    cdef ConversionCall c
    c.kernels, c.rows, c.cols = kernels, rows, cols
    c.x, c.out = <const char *> x, <char *> out
    c.task_rows = max(1, CHUNK // cols // CHUNK_ROWS) * CHUNK_ROWS
    c.blocks = ceil_div(rows, c.task_rows)
    return parallel_for(convert_task, &c, outer * c.blocks, 0, <double> 3 * outer * rows * cols,
                        num_threads)
