# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Edges of grey images: derivatives, their size, its ridges and a threshold in one go.

Every image is a task for one thread, which computes all of it without the GIL, in memory that the
thread keeps from image to image.
"""

from cython.parallel cimport prange, threadid
from libc.math cimport fabsf

from fastconv cimport (
    OK, OUT_OF_MEMORY, Axis, ConvGeometry, Workspace, conv2d_init, conv_f32, status_text,
)

import numpy as np

import fastconv

# Gaussian smoothing and Sobel's differences in one: the first filter sees change along a row, the
# second down a column.
SMOOTH, CHANGE = [1, 4, 6, 4, 1], [-1, -2, 0, 2, 1]
cdef const float[:, :, ::1] FILTERS = np.array(
    [np.outer(SMOOTH, CHANGE), np.outer(CHANGE, SMOOTH)], np.float32
)
cdef float GAIN = 48  # what they make of a step from 0 to 1
cdef float TAN_22_5 = 0.41421356


cdef int check(int status) except -1:
    if status == OUT_OF_MEMORY:
        raise MemoryError(status_text(status).decode())
    if status != OK:
        raise ValueError(status_text(status).decode())
    return 0


def detect(const float[:, :, ::1] images, float threshold, int num_threads=0):
    """Mark the pixels where a smoothed image changes most, and enough.

    Parameters
    ----------
    images : array (N, H, W) of float32
        C-contiguous, at least 5 x 5 pixels.
    threshold : float
        Height of the least step that is an edge.
    num_threads : int
        0 means what fastconv itself would use.

    Returns
    -------
    array (N, H, W) of uint8
        1 on edges, which are a pixel wide, else 0, as on the three outermost rows and columns.
    """
    cdef Py_ssize_t n = images.shape[0], h = images.shape[1], w = images.shape[2], i
    cdef int threads = max(1, min(n, num_threads or fastconv.get_num_threads()))
    cdef float min_square = (GAIN * threshold) ** 2
    cdef ConvGeometry geometry
    cdef Axis *axis = geometry.axis  # depth, height, width
    cdef Workspace needed
    check(conv2d_init(&geometry, 1, 1, h, w, 2, 5, 5, 1, 0, 1, 1))
    needed.data = NULL  # asks for its size
    check(conv_f32(&geometry, NULL, NULL, NULL, NULL, &needed, 1))

    edges = np.zeros((n, h, w), np.uint8)
    cdef unsigned char[:, :, ::1] out = edges
    cdef int[::1] status = np.zeros(n, np.intc)
    # one row for each thread
    cdef float[:, ::1] changes = np.empty((threads, 2 * axis[1].out * axis[2].out), np.float32)
    cdef unsigned char[:, ::1] scratch = np.empty((threads, needed.size), np.uint8)
    for i in prange(n, nogil=True, schedule="dynamic", num_threads=threads):
        status[i] = mark(&geometry, &images[i, 0, 0], min_square, &changes[threadid(), 0],
                         Workspace(&scratch[threadid(), 0], needed.size), &out[i, 0, 0])
    for i in range(n):
        check(status[i])
    return edges


cdef int mark(const ConvGeometry *geometry, const float *image, float min_square, float *changes,
              Workspace workspace, unsigned char *edges) noexcept nogil:
    """Mark those of one image. `changes` holds that along rows, then that down columns."""
    cdef Py_ssize_t h = geometry.axis[1].out, w = geometry.axis[2].out, y, x, i, step
    cdef const float *dx = changes
    cdef const float *dy = changes + h * w
    cdef int status = conv_f32(geometry, image, &FILTERS[0, 0, 0], NULL, changes, &workspace, 1)
    if status != OK:
        return status
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            i = y * w + x
            if square(dx[i], dy[i]) >= min_square:
                step = uphill(dx[i], dy[i], w)
                if (square(dx[i], dy[i]) > square(dx[i - step], dy[i - step])
                        and square(dx[i], dy[i]) >= square(dx[i + step], dy[i + step])):
                    edges[(y + 2) * geometry.axis[2].size + x + 2] = 1
    return OK


cdef inline float square(float dx, float dy) noexcept nogil:
    return dx * dx + dy * dy


cdef inline Py_ssize_t uphill(float dx, float dy, Py_ssize_t w) noexcept nogil:
    """How far off the neighbour is that lies across the edge: right, below, or on a diagonal."""
    if fabsf(dy) < TAN_22_5 * fabsf(dx):
        return 1
    if fabsf(dx) < TAN_22_5 * fabsf(dy):
        return w
    return w + 1 if dx * dy > 0 else w - 1
