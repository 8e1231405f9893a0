"""Batch normalisation over arrays seen as (outer, channels, inner).

Where inner is 1 the channels are contiguous and a line of the kernels crosses them all; otherwise a
line is the inner part of one channel. Sums are taken over chunks, of a size at which float32 keeps
its digits, and chunks are joined in double, in order: first those of a segment, which is a task,
then the segments.

Memory is read as seldom as can be. Where a channel fits the second-level cache, one task sums it
and then maps it; in evaluation, whose gradient needs no sums, every chunk is mapped as soon as it
is summed.
"""

from libc.math cimport sqrt
from libc.string cimport memset

from fastconv._drivers.blocking cimport (
    NORM_CACHED_BYTES, NORM_CHUNK, NORM_LINES, NORM_MAP, NORM_SEGMENT, TASKS, ceil_div, next_index)
from fastconv._drivers.kernels cimport fc_kernels, fc_norm, fc_size
from fastconv._drivers.memory cimport allocate, release
from fastconv._drivers.numbers cimport get_number, get_real, put_real
from fastconv._drivers.runtime cimport OK, OUT_OF_MEMORY, parallel_for


ctypedef struct NormPlan:
    const BatchNorm *b
    const fc_kernels *kernels
    double elements  # of a channel
    # reals, [channels]: what is subtracted from x (while the moments are summed, any
    # value of the channel), and what the maps multiply and add
    char *shift
    char *scale
    char *offset
    char *slope
    char *zeros
    void (*sum)(const fc_norm *) noexcept nogil
    void (*map)(const fc_norm *) noexcept nogil
    bint backward
    bint map_chunks             # as soon as they are summed
    # what the sums come to
    const double *bias
    double eps
    double *mean
    double *var
    double *invstd
    double *sum_g
    double *sum_gx
    # sums: a chunk is a few lines, or a piece of one
    fc_size lines, pieces       # lines of a chunk, chunks of a line
    fc_size chunks              # of a channel, which are cut into
    fc_size segments, segment_chunks
    double *first               # [segments][channels]
    double *second
    # maps: a task takes a few lines, of any channels, or a piece of one
    fc_size map_lines, map_len  # all of them, and their elements
    fc_size map_task_lines, map_pieces
    fc_size task_channels       # of a task that sums and maps


cdef int plan_norm(NormPlan *p, const BatchNorm *b, bint backward) noexcept nogil:
    """Cut channels into chunks, and make room for vectors."""
    cdef fc_size size = b.channels * sizeof(double)
    p.b, p.kernels, p.backward = b, b.kernels, backward
    p.elements = <double> b.outer * b.inner
    p.map_chunks = False
    p.pieces = 1
    if b.inner == 1:
        p.lines = NORM_LINES
        p.segment_chunks = max(1, NORM_SEGMENT // (NORM_LINES * b.channels))
    else:
        p.lines = max(1, NORM_CHUNK // b.inner)
        p.pieces = ceil_div(b.inner, NORM_CHUNK)
        p.segment_chunks = NORM_SEGMENT // NORM_CHUNK
    p.chunks = ceil_div(b.outer, p.lines) * p.pieces
    p.segments = ceil_div(p.chunks, p.segment_chunks)
    p.shift = allocate(5 * size)
    if p.shift == NULL:
        return OUT_OF_MEMORY
    p.scale, p.offset = p.shift + size, p.shift + 2 * size
    p.slope, p.zeros = p.shift + 3 * size, p.shift + 4 * size
    memset(p.zeros, 0, size)
    return OK


cdef inline double get_vector(const NormPlan *p, const char *vector, fc_size i) noexcept nogil:
    return get_real(p.kernels.real_size, vector + i * p.kernels.real_size)


cdef inline void put_vector(const NormPlan *p, char *vector, fc_size i,
                            double value) noexcept nogil:
    put_real(p.kernels.real_size, vector + i * p.kernels.real_size, value)


# ---------------------------------------------------------------- what the kernels read and write

cdef void point_kernel(const NormPlan *p, fc_size at, fc_norm *k) noexcept nogil:
    """At an element of the arrays."""
    cdef const BatchNorm *b = p.b
    cdef fc_size nbytes = at * b.kernels.itemsize
    k.x, k.g, k.out = b.x + nbytes, b.g + nbytes, b.out + nbytes


cdef fc_norm channel_kernel(const NormPlan *p, fc_size channel) noexcept nogil:
    """What all chunks of a channel have in common, or of all channels where lines cross them."""
    cdef const BatchNorm *b = p.b
    cdef fc_norm k
    cdef fc_size at = channel * b.kernels.real_size
    k.stride, k.crossing = b.channels * b.inner * b.kernels.itemsize, b.inner == 1
    k.channel, k.channels = 0, 1
    k.shift, k.scale, k.offset, k.slope = p.shift + at, p.scale + at, p.offset + at, p.slope + at
    k.x = k.g = k.out = NULL
    k.first = k.second = NULL
    k.lines = k.len = 0
    k.count = 0
    k.relu = b.relu
    return k


cdef fc_size point_chunk(const NormPlan *p, fc_size chunk, fc_size channel,
                         fc_norm *k) noexcept nogil:
    """At a chunk of a channel, or of all of them; returns its elements of a channel."""
    cdef const BatchNorm *b = p.b
    cdef fc_size line = chunk, start = next_index(&line, p.pieces) * NORM_CHUNK
    cdef fc_size inner = min(NORM_CHUNK, b.inner - start)
    line = line * p.lines
    k.lines = min(p.lines, b.outer - line)
    k.len = b.channels if b.inner == 1 else inner
    point_kernel(p, line * b.channels * b.inner + channel * b.inner + start, k)
    return k.lines * inner


# ---------------------------------------------------------------- sums, chunk by chunk

cdef void sum_chunks(const NormPlan *p, fc_size start, fc_size end, fc_size channel, double *first,
                     double *second) noexcept nogil:
    cdef fc_norm k = channel_kernel(p, channel), map
    cdef fc_size chunk, elements
    k.first, k.second = first, second
    for chunk in range(start, end):
        elements = point_chunk(p, chunk, channel, &k)
        p.sum(&k)
        k.count += elements
        if p.map_chunks:
            map = k
            map.x = k.g
            map.shift = map.offset = p.zeros
            p.map(&map)


cdef int segment_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const NormPlan *p = <const NormPlan *> context
    cdef fc_size segment = task, channel = 0, start, at
    if p.b.inner > 1:
        channel = next_index(&segment, p.b.channels)
    start = segment * p.segment_chunks
    at = segment * p.b.channels + channel
    sum_chunks(p, start, min(start + p.segment_chunks, p.chunks), channel, p.first + at,
               p.second + at)
    return OK


cdef double segment_elements(const NormPlan *p, fc_size segment) noexcept nogil:
    cdef fc_norm k
    cdef fc_size chunk, first = segment * p.segment_chunks
    cdef double n = 0
    for chunk in range(first, min(first + p.segment_chunks, p.chunks)):
        n += point_chunk(p, chunk, 0, &k)
    return n


cdef void join_segments(const NormPlan *p) noexcept nogil:
    """To the first."""
    cdef fc_size channels = p.b.channels, i, c
    cdef double count = segment_elements(p, 0), n, delta
    for i in range(1, p.segments):
        n = segment_elements(p, i)
        for c in range(channels):
            if p.backward:
                p.first[c] += p.first[i * channels + c]
                p.second[c] += p.second[i * channels + c]
            else:  # the rule of the kernel's join()
                delta = p.first[i * channels + c] - p.first[c]
                p.first[c] += delta * (n / (count + n))
                p.second[c] += (p.second[i * channels + c]
                                + delta * delta * (count * (n / (count + n))))
        count += n


# ---------------------------------------------------------------- what the sums come to

cdef void set_gradient_map(const NormPlan *p, fc_size c, double sum_g,
                           double sum_gx) noexcept nogil:
    """scale (g - mean(g) - u mean(g u)), u = (x - mean) invstd"""
    cdef double scale = p.b.weight[c] * p.invstd[c]
    cdef double rest = -scale / p.elements
    p.sum_g[c], p.sum_gx[c] = sum_g, sum_gx
    put_vector(p, p.slope, c, rest * p.invstd[c] * p.invstd[c] * sum_gx)
    put_vector(p, p.offset, c, rest * sum_g)
    put_vector(p, p.scale, c, scale)


cdef void set_map(const NormPlan *p, fc_size c, double first, double second) noexcept nogil:
    """weight (x - mean) invstd + bias, from the channel's moments, which are 0 in evaluation.

    The mean is in two parts, which together keep more digits than one would: what is subtracted
    from the input is of its dtype, and what that lacks comes after.
    """
    cdef double origin = p.mean[c], lacking, scale
    if p.b.training:
        origin = get_vector(p, p.shift, c)
        p.mean[c] = origin + first
        p.var[c] = second / p.elements
    put_vector(p, p.shift, c, p.mean[c])
    lacking = first + (origin - get_vector(p, p.shift, c))
    p.invstd[c] = 1 / sqrt(p.var[c] + p.eps)
    scale = p.invstd[c] * p.b.weight[c]
    put_vector(p, p.scale, c, scale)
    put_vector(p, p.offset, c, p.bias[c] - lacking * scale)


cdef void set_maps(const NormPlan *p, fc_size start, fc_size end, const double *first,
                   const double *second) noexcept nogil:
    """The vectors of the map, for the channels from start on, of which these are the sums."""
    cdef fc_size i
    for i in range(end - start):
        if p.backward:
            set_gradient_map(p, start + i, first[i], second[i])
        else:
            set_map(p, start + i, first[i], second[i])


# ---------------------------------------------------------------- maps

cdef int map_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    cdef const NormPlan *p = <const NormPlan *> context
    cdef const BatchNorm *b = p.b
    cdef fc_norm k = channel_kernel(p, 0)
    cdef fc_size line = task, start = next_index(&line, p.map_pieces) * NORM_MAP
    line = line * p.map_task_lines
    k.len = p.map_len
    if p.map_pieces > 1:
        k.len = min(NORM_MAP, p.map_len - start)
    k.stride = p.map_len * b.kernels.itemsize
    k.lines = min(p.map_task_lines, p.map_lines - line)
    k.channel, k.channels = 0 if b.inner == 1 else line % b.channels, b.channels
    point_kernel(p, line * p.map_len + start, &k)
    p.map(&k)
    return OK


cdef int map_all(NormPlan *p) noexcept nogil:
    cdef const BatchNorm *b = p.b
    p.map_lines, p.map_len, p.map_pieces = b.outer, b.channels, 1
    if b.inner > 1:
        p.map_lines, p.map_len = b.outer * b.channels, b.inner
        p.map_pieces = ceil_div(b.inner, NORM_MAP)
    p.map_task_lines = max(1, NORM_MAP // p.map_len)
    return parallel_for(map_task, p, ceil_div(p.map_lines, p.map_task_lines) * p.map_pieces, 0,
                        3 * p.elements * b.channels, b.num_threads)


# ---------------------------------------------------------------- sums and maps

cdef int channels_task(void *context, Py_ssize_t task, char *scratch) noexcept nogil:
    """Sum some channels, then map them, side by side as they are, while they are in the cache."""
    cdef const NormPlan *p = <const NormPlan *> context
    cdef const BatchNorm *b = p.b
    cdef fc_size start = task * p.task_channels, end = min(start + p.task_channels, b.channels)
    cdef fc_size c, n
    cdef double *first = <double *> scratch
    cdef double *second = first + p.task_channels
    cdef fc_norm k
    memset(first, 0, 2 * p.task_channels * sizeof(double))
    for c in range(start, end):
        sum_chunks(p, 0, p.chunks, c, first + c - start, second + c - start)
    set_maps(p, start, end, first, second)
    if p.map_chunks:
        return OK
    k = channel_kernel(p, 0)
    k.lines, k.len, k.stride = end - start, b.inner, b.inner * b.kernels.itemsize
    k.channel, k.channels = start, b.channels
    for n in range(b.outer):
        point_kernel(p, (n * b.channels + start) * b.inner, &k)
        p.map(&k)
    return OK


cdef int sum_and_map(NormPlan *p) noexcept nogil:
    cdef const BatchNorm *b = p.b
    cdef double elements = p.elements * b.channels
    cdef double nbytes = p.elements * b.kernels.itemsize * (2 if p.backward else 1)
    cdef int status
    if b.inner > 1 and b.channels >= TASKS // 2 and nbytes <= NORM_CACHED_BYTES:
        p.task_channels = max(1, min(b.channels // TASKS,
                                     <fc_size> (NORM_CACHED_BYTES / 2 / nbytes)))
        return parallel_for(channels_task, p, ceil_div(b.channels, p.task_channels),
                            2 * p.task_channels * sizeof(double), 6 * elements, b.num_threads)
    cdef fc_size room = 2 * p.segments * b.channels * sizeof(double)
    p.first = <double *> allocate(room)
    if p.first == NULL:
        return OUT_OF_MEMORY
    p.second = p.first + p.segments * b.channels
    memset(p.first, 0, room)
    status = parallel_for(segment_task, p, p.segments * (1 if b.inner == 1 else b.channels), 0,
                          4 * elements, b.num_threads)
    if status == OK:
        join_segments(p)
        set_maps(p, 0, b.channels, p.first, p.second)
        if not p.map_chunks:
            status = map_all(p)
    release(<char *> p.first)
    return status


cdef int batch_norm(const BatchNorm *b, const double *bias, double eps, double *mean, double *var,
                    double *invstd) noexcept nogil:
    cdef NormPlan p
    cdef fc_size c, line = b.inner * b.kernels.itemsize
    cdef int status = plan_norm(&p, b, False)
    if status != OK:
        return status
    p.sum, p.map = p.kernels.norm_moments, p.kernels.norm_apply
    p.bias, p.eps, p.mean, p.var, p.invstd = bias, eps, mean, var, invstd
    if b.training:
        for c in range(b.channels):
            put_vector(&p, p.shift, c, get_number(p.kernels.dtype, b.x + c * line))
        status = sum_and_map(&p)
    else:
        set_maps(&p, 0, b.channels, <double *> p.zeros, <double *> p.zeros)
        status = map_all(&p)
    release(p.shift)
    return status


cdef int batch_norm_backward(const BatchNorm *b, const double *mean, const double *invstd,
                             double *sum_g, double *sum_gx) noexcept nogil:
    cdef NormPlan p
    cdef fc_size c
    cdef int status = plan_norm(&p, b, True)
    if status != OK:
        return status
    p.sum, p.map = p.kernels.norm_gradient_sums, p.kernels.norm_gradient
    p.invstd, p.sum_g, p.sum_gx = <double *> invstd, sum_g, sum_gx
    for c in range(b.channels):
        put_vector(&p, p.shift, c, mean[c])
    if not b.training:  # scale g
        p.map, p.map_chunks = p.kernels.norm_apply, True
        for c in range(b.channels):
            put_vector(&p, p.scale, c, b.weight[c] * invstd[c])
    status = sum_and_map(&p)
    release(p.shift)
    return status
