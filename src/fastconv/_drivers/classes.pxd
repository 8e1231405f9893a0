# Arrays (outer, classes, inner) without gaps, as softmax and cross-entropy see them: a position is
# an index of outer and one of inner, and has an element of every class.
from fastconv._drivers.blocking cimport CHUNK, CHUNK_POSITIONS, ceil_div, next_index
from fastconv._drivers.kernels cimport fc_size, fc_softmax

ctypedef struct ClassArray:
    fc_size outer, classes, inner, itemsize
    fc_size outer_step, inner_step  # what one task does
    fc_size inner_tasks, tasks

# One task's share: for every `outer` from first to last, a call of a kernel from `start` of inner.
ctypedef struct ClassBlock:
    fc_size first, last, start

cdef inline ClassArray class_array(fc_size outer, fc_size classes, fc_size inner,
                                   fc_size itemsize) noexcept nogil:
    cdef ClassArray a
    a.outer, a.classes, a.inner, a.itemsize = outer, classes, inner, itemsize
    a.inner_step = min(inner, max(1, CHUNK // classes // CHUNK_POSITIONS) * CHUNK_POSITIONS)
    a.outer_step = max(1, CHUNK // (classes * inner))
    a.inner_tasks = ceil_div(inner, a.inner_step)
    a.tasks = ceil_div(outer, a.outer_step) * a.inner_tasks
    return a

cdef inline ClassBlock find_class_block(const ClassArray *a, fc_size task,
                                        fc_softmax *k) noexcept nogil:
    # Writes to `k` the sizes and strides of the kernel's calls.
    cdef ClassBlock b
    b.first = task
    b.start = next_index(&b.first, a.inner_tasks) * a.inner_step
    b.first = b.first * a.outer_step
    b.last = min(b.first + a.outer_step, a.outer)
    k.classes = a.classes
    k.class_stride = a.inner * a.itemsize
    if a.inner == 1:  # one class after the other in memory: a call takes every `outer`
        k.positions = b.last - b.first
        k.position_stride = a.classes * a.itemsize
        b.last = b.first + 1
    else:
        k.positions = min(a.inner_step, a.inner - b.start)
        k.position_stride = a.itemsize
    return b
