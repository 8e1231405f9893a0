"""Activations and sums over chunks, softmax over blocks of positions, copies between formats."""

from fastconv._drivers.kernels cimport (
    FC_GELU, FC_GELU_TANH, FC_SIGMOID, FC_SILU, FC_SOFTPLUS, FC_TANH)
from fastconv._drivers.kernels cimport fc_activation, fc_kernels, fc_size, fc_softmax
from fastconv._drivers.runtime cimport OK, parallel_for

cdef enum:
    CHUNK = 16384  # elements of a task: a first-level cache or two, and some microseconds of work
    CONVERTED = 16    # rows of a task that converts come in multiples of this, a vector or several
    BLOCK = 128    # positions of a softmax task come in multiples of this, as every kernel likes


cdef inline double cost(int op, bint backward) noexcept nogil:
    # of an element, in the units of parallel_for
    if op in (FC_SILU, FC_GELU, FC_GELU_TANH, FC_SOFTPLUS):
        return 15
    if op in (FC_SIGMOID, FC_TANH) and not backward:
        return 15
    return 3


# ---- activations ----

ctypedef struct Map:
    const fc_activation *op
    const char *a  # x, or the output's gradient
    const char *b  # NULL, or what forward saved
    char *out
    fc_size n, itemsize
    double param

cdef int map_chunk(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Map *m = <const Map *> context
    cdef fc_size start = task * CHUNK
    cdef fc_size n = min(<fc_size> CHUNK, m.n - start)
    cdef fc_size at = start * m.itemsize
    if m.b == NULL:
        m.op.forward(m.a + at, m.out + at, n, m.param)
    else:
        m.op.backward(m.a + at, m.b + at, m.out + at, n, m.param)
    return OK


cdef int run_map(int op, const fc_kernels *kernels, const void *a, const void *b, void *out, fc_size n,
                 double param, int num_threads) noexcept nogil:
    cdef Map m
    m.op = &kernels.activations[op]
    m.a, m.b, m.out = <const char *> a, <const char *> b, <char *> out
    m.n, m.itemsize, m.param = n, kernels.itemsize, param
    return parallel_for(map_chunk, &m, (n + CHUNK - 1) // CHUNK, 0, n * cost(op, b != NULL),
                        num_threads)


cdef int activation(int op, const fc_kernels *kernels, const void *x, void *y, fc_size n, double param,
                    int num_threads) noexcept nogil:
    return run_map(op, kernels, x, NULL, y, n, param, num_threads)


cdef int activation_backward(int op, const fc_kernels *kernels, const void *g, const void *saved, void *dx,
                             fc_size n, double param, int num_threads) noexcept nogil:
    return run_map(op, kernels, g, saved, dx, n, param, num_threads)


# ---- sums ----

ctypedef struct Sum:
    const fc_kernels *kernels
    const char *a
    const char *b
    char *out
    fc_size n
    bint relu

cdef int add_chunk(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Sum *s = <const Sum *> context
    cdef fc_size start = task * CHUNK, at = start * s.kernels.itemsize
    s.kernels.add(s.a + at, s.b + at, s.out + at, min(<fc_size> CHUNK, s.n - start), s.relu)
    return OK


cdef int add(const fc_kernels *kernels, const void *a, const void *b, void *out, fc_size n, bint relu,
             int num_threads) noexcept nogil:
    cdef Sum s
    s.kernels = kernels
    s.a, s.b, s.out = <const char *> a, <const char *> b, <char *> out
    s.n, s.relu = n, relu
    return parallel_for(add_chunk, &s, (n + CHUNK - 1) // CHUNK, 0, <double> 3 * n, num_threads)


# ---- softmax ----

ctypedef struct Softmax:
    const fc_kernels *kernels
    const char *x
    const char *g
    char *out
    fc_size outer, classes, inner, itemsize
    fc_size outer_step, inner_step  # what one task does
    bint log

cdef int softmax_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Softmax *s = <const Softmax *> context
    cdef fc_size inner_tasks = (s.inner + s.inner_step - 1) // s.inner_step
    cdef fc_size first = (task // inner_tasks) * s.outer_step
    cdef fc_size last = min(first + s.outer_step, s.outer)
    cdef fc_size start = (task % inner_tasks) * s.inner_step
    cdef fc_size i, at
    cdef fc_softmax k
    k.classes, k.log = s.classes, s.log
    if s.inner == 1:
        # one class after the other in memory: `outer` is the positions
        k.positions, k.class_stride = last - first, s.itemsize
        k.position_stride = s.classes * s.itemsize
        last = first + 1
    else:
        k.positions, k.position_stride = min(s.inner_step, s.inner - start), s.itemsize
        k.class_stride = s.inner * s.itemsize
    for i in range(first, last):
        at = (i * s.classes * s.inner + start) * s.itemsize
        k.x, k.out = s.x + at, s.out + at
        if s.g == NULL:
            s.kernels.softmax(&k)
        else:
            k.g = s.g + at
            s.kernels.softmax_backward(&k)
    return OK


cdef int softmax(const fc_kernels *kernels, const void *x, const void *g, void *out, fc_size outer,
                 fc_size classes, fc_size inner, bint log, int num_threads) noexcept nogil:
    cdef Softmax s
    s.kernels = kernels
    s.x, s.g, s.out = <const char *> x, <const char *> g, <char *> out
    s.outer, s.classes, s.inner, s.itemsize, s.log = outer, classes, inner, kernels.itemsize, log
    s.inner_step = min(inner, max(<fc_size> 1, CHUNK // classes // BLOCK) * BLOCK)
    s.outer_step = max(<fc_size> 1, CHUNK // (classes * inner))
    cdef fc_size tasks = ((outer + s.outer_step - 1) // s.outer_step
                          * ((inner + s.inner_step - 1) // s.inner_step))
    cdef double per_element = 5 if g != NULL and not log else 20
    return parallel_for(softmax_block, &s, tasks, 0,
                        per_element * outer * classes * inner, num_threads)


# ---- copies from one memory format to the other ----

ctypedef struct Conversion:
    const fc_kernels *kernels
    const char *x
    char *out
    fc_size rows, cols, row_step, blocks

cdef int convert_block(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Conversion *t = <const Conversion *> context
    cdef fc_size size = t.kernels.itemsize
    cdef fc_size start = task % t.blocks * t.row_step
    cdef fc_size at = task // t.blocks * t.rows * t.cols
    t.kernels.copy2d(t.out + (at + start) * size, size, t.rows * size,
                     t.x + (at + start * t.cols) * size, t.cols * size, size,
                     min(t.row_step, t.rows - start), t.cols)
    return OK


cdef int convert_layout(const fc_kernels *kernels, const void *x, void *out, fc_size outer, fc_size rows, fc_size cols,
              int num_threads) noexcept nogil:
    cdef Conversion t
    t.kernels = kernels
    t.x, t.out = <const char *> x, <char *> out
    t.rows, t.cols = rows, cols
    t.row_step = max(<fc_size> 1, CHUNK // cols // CONVERTED) * CONVERTED
    t.blocks = (rows + t.row_step - 1) // t.row_step
    return parallel_for(convert_block, &t, outer * t.blocks, 0, <double> 3 * outer * rows * cols,
                        num_threads)
