"""Batch normalisation over arrays seen as (outer, channels, inner).

Where inner is 1 the channels are contiguous and a line of the kernels crosses them all; otherwise a
line is the inner part of one channel. Sums are taken over chunks, of a size at which float32 keeps
its digits, and chunks are joined in double: first those of a segment, which is a task, in order,
then the segments, in order.
"""

from libc.string cimport memset

from fastconv._drivers.kernels cimport fc_kernels, fc_norm, fc_size
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, allocate, kernels, parallel_for, release

cdef enum:
    LINES = 64          # of a chunk, where lines cross the channels
    CHUNK = 4096        # elements of a chunk, where they do not
    SEGMENT = 65536     # elements of a task that sums
    MAP = 16384         # elements of a task that maps


cdef inline fc_size ceil_div(fc_size a, fc_size b) noexcept nogil:
    return (a + b - 1) // b


# ---- sums ----

ctypedef struct Sums:
    const BatchNorm *b
    const fc_kernels *kernels
    void (*kernel)(const fc_norm *) noexcept nogil
    const char *shift  # [channels] of the element type
    double *first      # [segments][channels]
    double *second
    fc_size chunks     # of a channel
    fc_size per_segment
    fc_size lines      # of a chunk, and
    fc_size pieces     # chunks of a line

cdef void plan(Sums *s, const BatchNorm *b) noexcept nogil:
    s.b = b
    s.kernels = kernels(b.itemsize)
    s.pieces = 1
    if b.inner == 1:
        s.lines = LINES
        s.per_segment = max(<fc_size> 1, SEGMENT // (LINES * b.channels))
    else:
        s.lines = max(<fc_size> 1, CHUNK // b.inner)
        s.pieces = ceil_div(b.inner, CHUNK)
        s.per_segment = SEGMENT // CHUNK
    s.chunks = ceil_div(b.outer, s.lines) * s.pieces


cdef fc_size chunk_elements(const Sums *s, fc_size chunk, fc_norm *k) noexcept nogil:
    """Where a chunk starts, in elements of channel 0, and its lines; returns its elements."""
    cdef const BatchNorm *b = s.b
    cdef fc_size line = chunk // s.pieces * s.lines
    cdef fc_size start = chunk % s.pieces * CHUNK
    cdef fc_size inner = min(<fc_size> CHUNK, b.inner - start)
    cdef fc_size at = (line * b.channels * b.inner + start) * b.itemsize
    k.lines = min(s.lines, b.outer - line)
    k.len = b.channels if b.inner == 1 else inner
    k.x = b.x + at
    k.g = b.g + at
    return k.lines * inner


cdef int sum_segment(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Sums *s = <const Sums *> context
    cdef const BatchNorm *b = s.b
    cdef fc_size channels = 1 if b.inner == 1 else b.channels  # tasks of a segment
    cdef fc_size segment = task // channels, channel = task % channels
    cdef fc_size first = segment * s.per_segment, chunk
    cdef fc_size offset = channel * b.inner * b.itemsize
    cdef fc_size elements
    cdef fc_norm k
    k.stride, k.crossing = b.channels * b.inner * b.itemsize, b.inner == 1
    k.first = s.first + segment * b.channels + channel
    k.second = s.second + segment * b.channels + channel
    k.shift = s.shift + channel * b.itemsize
    k.count = 0
    for chunk in range(first, min(first + s.per_segment, s.chunks)):
        elements = chunk_elements(s, chunk, &k)
        k.x = <const char *> k.x + offset
        k.g = <const char *> k.g + offset
        s.kernel(&k)
        k.count += elements
    return OK


cdef int run_sums(Sums *s, double work) noexcept nogil:
    cdef const BatchNorm *b = s.b
    cdef fc_size segments = ceil_div(s.chunks, s.per_segment)
    cdef fc_size tasks = segments if b.inner == 1 else segments * b.channels
    memset(s.first, 0, segments * b.channels * sizeof(double))
    memset(s.second, 0, segments * b.channels * sizeof(double))
    return parallel_for(sum_segment, s, tasks, 0,
                        work * b.outer * b.channels * b.inner, b.num_threads)


cdef double segment_elements(const Sums *s, fc_size segment) noexcept nogil:
    cdef fc_norm k
    cdef fc_size chunk, first = segment * s.per_segment
    cdef double n = 0
    for chunk in range(first, min(first + s.per_segment, s.chunks)):
        n += chunk_elements(s, chunk, &k)
    return n


cdef int moments(const BatchNorm *b, double *mean, double *m2) noexcept nogil:
    cdef Sums s
    plan(&s, b)
    cdef fc_size segments = ceil_div(s.chunks, s.per_segment), i, c
    cdef double count, n, delta
    cdef int status
    cdef char *partial = allocate(2 * segments * b.channels * sizeof(double))
    if partial == NULL:
        return OUT_OF_MEMORY
    s.kernel = s.kernels.norm_moments
    s.shift = partial  # not read
    s.first = <double *> partial
    s.second = s.first + segments * b.channels
    status = run_sums(&s, 4)
    if status == OK:
        for c in range(b.channels):
            mean[c], m2[c] = s.first[c], s.second[c]
        count = segment_elements(&s, 0)
        for i in range(1, segments):
            n = segment_elements(&s, i)
            for c in range(b.channels):
                # the rule of the kernel's join()
                delta = s.first[i * b.channels + c] - mean[c]
                mean[c] += delta * (n / (count + n))
                m2[c] += s.second[i * b.channels + c] + delta * delta * (count * (n / (count + n)))
            count += n
    release(partial)
    return status


cdef void narrow(char *to, const double *values, fc_size n, int itemsize) noexcept nogil:
    cdef fc_size i
    for i in range(n):
        if itemsize == 4:
            (<float *> to)[i] = <float> values[i]
        else:
            (<double *> to)[i] = values[i]


cdef int gradient_sums(const BatchNorm *b, const double *shift, double *sum_g,
                       double *sum_gx) noexcept nogil:
    cdef Sums s
    plan(&s, b)
    cdef fc_size segments = ceil_div(s.chunks, s.per_segment), i, c
    cdef int status
    cdef char *partial = allocate((2 * segments + 1) * b.channels * sizeof(double))
    if partial == NULL:
        return OUT_OF_MEMORY
    s.kernel = s.kernels.norm_gradient_sums
    s.first = <double *> partial
    s.second = s.first + segments * b.channels
    narrow(<char *> (s.second + segments * b.channels), shift, b.channels, b.itemsize)
    s.shift = <char *> (s.second + segments * b.channels)
    status = run_sums(&s, 4)
    if status == OK:
        for c in range(b.channels):
            sum_g[c] = sum_gx[c] = 0
        for i in range(segments):
            for c in range(b.channels):
                sum_g[c] += s.first[i * b.channels + c]
                sum_gx[c] += s.second[i * b.channels + c]
    release(partial)
    return status


# ---- maps ----

ctypedef struct Maps:
    const BatchNorm *b
    void (*kernel)(const fc_norm *) noexcept nogil
    fc_norm tile      # what is common to all tasks
    fc_size lines     # all of them
    fc_size per_task  # lines
    fc_size pieces    # tasks of a line

cdef int map_lines(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const Maps *m = <const Maps *> context
    cdef const BatchNorm *b = m.b
    cdef fc_norm k = m.tile
    cdef fc_size line = task // m.pieces * m.per_task
    cdef fc_size start = task % m.pieces * MAP
    cdef fc_size at = line * k.stride + start * b.itemsize
    k.lines = min(m.per_task, m.lines - line)
    if m.pieces > 1:
        k.len = min(<fc_size> MAP, k.len - start)
    k.channel = 0 if k.crossing else line % b.channels
    k.x, k.g, k.out = b.x + at, b.g + at, b.out + at
    m.kernel(&k)
    return OK


cdef int run_maps(const BatchNorm *b, bint backward, const double *shift, const double *scale,
                  const double *slope, const double *offset) noexcept nogil:
    cdef Maps m
    cdef fc_size size = b.channels * sizeof(double)
    cdef int status
    cdef char *vectors = allocate(4 * size)
    if vectors == NULL:
        return OUT_OF_MEMORY
    narrow(vectors, shift, b.channels, b.itemsize)
    narrow(vectors + size, scale, b.channels, b.itemsize)
    narrow(vectors + 2 * size, offset, b.channels, b.itemsize)
    if backward:
        narrow(vectors + 3 * size, slope, b.channels, b.itemsize)
    m.b = b
    m.tile.shift, m.tile.scale = vectors, vectors + size
    m.tile.offset, m.tile.slope = vectors + 2 * size, vectors + 3 * size
    m.tile.channels, m.tile.crossing = b.channels, b.inner == 1
    m.pieces = 1
    if b.inner == 1:
        m.lines, m.tile.len = b.outer, b.channels
    else:
        m.lines, m.tile.len = b.outer * b.channels, b.inner
        m.pieces = ceil_div(b.inner, MAP)
    m.tile.stride = m.tile.len * b.itemsize
    m.per_task = max(<fc_size> 1, MAP // m.tile.len)
    if backward:
        m.kernel = kernels(b.itemsize).norm_gradient
    else:
        m.kernel = kernels(b.itemsize).norm_apply
    status = parallel_for(map_lines, &m, ceil_div(m.lines, m.per_task) * m.pieces, 0,
                          3.0 * b.outer * b.channels * b.inner, b.num_threads)
    release(vectors)
    return status


cdef int apply(const BatchNorm *b, const double *shift, const double *scale,
               const double *offset) noexcept nogil:
    return run_maps(b, False, shift, scale, NULL, offset)


cdef int gradient(const BatchNorm *b, const double *shift, const double *scale,
                  const double *slope, const double *offset) noexcept nogil:
    return run_maps(b, True, shift, scale, slope, offset)
