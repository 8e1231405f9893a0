# cython: language_level=3, boundscheck=False, wraparound=False
"""Image filters that run fastconv's kernels without the GIL.

Images are C-contiguous (N, C, H, W) or, with ``channels_last``, (N, H, W, C); filters are
(K, C, R, S). Padding goes all around an image.
"""

from fastconv cimport (
    CHANNELS_LAST, CONTIGUOUS, Conv2dShape,
    conv2d_backward_input_f32, conv2d_backward_input_f64,
    conv2d_backward_weight_f32, conv2d_backward_weight_f64,
    conv2d_f32, conv2d_f64, conv2d_shape_init,
)

import numpy as np


cdef class Geometry:
    """The sizes of one convolution; ``status`` is 0 if they make one."""
    cdef Conv2dShape shape
    cdef readonly int status

    def __init__(self, images, filters, Py_ssize_t stride=1, Py_ssize_t padding=0,
                 Py_ssize_t dilation=1, Py_ssize_t groups=1, bint channels_last=False):
        cdef Conv2dShape *s = &self.shape
        s.batch, s.in_channels, s.in_h, s.in_w = images
        s.out_channels, _, s.kernel_h, s.kernel_w = filters
        s.stride_h = s.stride_w = stride
        s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = padding
        s.dilation_h = s.dilation_w = dilation
        s.groups = groups
        s.input_format = s.output_format = CHANNELS_LAST if channels_last else CONTIGUOUS
        self.status = conv2d_shape_init(s)

    @property
    def output_shape(self):
        """(N, K, out_h, out_w), as the kernels worked it out."""
        return self.shape.batch, self.shape.out_channels, self.shape.out_h, self.shape.out_w


def correlate(Geometry geometry, const float[::1] images, const float[::1] filters,
              const float[::1] bias, float[::1] out):
    """out = images * filters + bias; all are flat, `bias` may be None."""
    cdef const float *b = NULL if bias is None else &bias[0]
    cdef int status
    with nogil:
        status = conv2d_f32(&geometry.shape, &images[0], &filters[0], b, &out[0], 0)
    return status


def images_gradient(Geometry geometry, const float[::1] grad, const float[::1] filters,
                    float[::1] out):
    """out = gradient of the images, from that of what `correlate` put out."""
    cdef int status
    with nogil:
        status = conv2d_backward_input_f32(&geometry.shape, &grad[0], &filters[0], &out[0], 0)
    return status


def filters_gradient(Geometry geometry, const float[::1] grad, const float[::1] images,
                     float[::1] out):
    """out = gradient of the filters, from that of what `correlate` put out."""
    cdef int status
    with nogil:
        status = conv2d_backward_weight_f32(&geometry.shape, &grad[0], &images[0], &out[0], 0)
    return status


def deblur(Geometry geometry, const double[::1] blurred, const double[::1] filters, double rate,
           int steps):
    """Landweber's iteration x += rate Aᵀ(b - A x), where A blurs; all of it in one nogil block."""
    cdef double[::1] image = np.zeros_like(blurred)
    cdef double[::1] residual = np.zeros_like(blurred)
    cdef double[::1] step = np.zeros_like(blurred)
    cdef Py_ssize_t i, n = blurred.shape[0]
    cdef int status = 0
    with nogil:
        for _ in range(steps):
            status |= conv2d_f64(&geometry.shape, &image[0], &filters[0], NULL, &residual[0], 0)
            for i in range(n):
                residual[i] = blurred[i] - residual[i]
            status |= conv2d_backward_input_f64(&geometry.shape, &residual[0], &filters[0],
                                                &step[0], 0)
            for i in range(n):
                image[i] += rate * step[i]
    if status:
        raise MemoryError
    return np.asarray(image)


def identify(Geometry geometry, const double[::1] images, const double[::1] filtered, int size,
             double rate, int steps):
    """Find by gradient descent the filter of `size` elements that makes `filtered` of `images`."""
    cdef double[::1] filters = np.zeros(size)
    cdef double[::1] grad = np.zeros(size)
    cdef double[::1] residual = np.zeros_like(filtered)
    cdef Py_ssize_t i, n = filtered.shape[0]
    cdef int status = 0
    with nogil:
        for _ in range(steps):
            status |= conv2d_f64(&geometry.shape, &images[0], &filters[0], NULL, &residual[0], 0)
            for i in range(n):
                residual[i] -= filtered[i]
            status |= conv2d_backward_weight_f64(&geometry.shape, &residual[0], &images[0],
                                                 &grad[0], 0)
            for i in range(size):
                filters[i] -= rate * grad[i]
    if status:
        raise MemoryError
    return np.asarray(filters)
