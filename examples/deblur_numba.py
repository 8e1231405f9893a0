"""Deblurs pictures in a function that Numba compiles and that runs without the GIL.

Richardson and Lucy's iteration: blur what the picture may have been, divide what was seen by that,
and multiply the guess by what comes of the quotient on its way back through the blur. Blurring is a
convolution, the way back its input gradient: two functions of fastconv's C level. What lies in
between is Numba's. Run as a script, it deblurs a picture of its own.
"""

import ctypes

import numpy as np
from numba import njit
from numba.extending import get_cython_function_address

from fastconv import functional

ARRAY = ctypes.c_void_p  # an array's .ctypes
NULL = ctypes.c_size_t  # 0, where none is given
SIZE = ctypes.c_ssize_t
INT = ctypes.c_int


def c_function(name, result, *arguments):
    """One that fastconv/_capi.pxd declares, callable from Python and from compiled functions."""
    address = get_cython_function_address("fastconv._capi", name)
    return ctypes.CFUNCTYPE(result, *arguments)(address)


status_text = c_function("status_text", ctypes.c_char_p, INT)
conv2d_init = c_function("conv2d_init", INT, ARRAY, *[SIZE] * 11)
# geometry, input, weight, bias, output, workspace, num_threads
conv = c_function("conv_f64", INT, ARRAY, ARRAY, ARRAY, NULL, ARRAY, NULL, INT)
# geometry, grad_output, weight, grad_input, workspace, num_threads
conv_backward_input = c_function(
    "conv_backward_input_f64", INT, ARRAY, ARRAY, ARRAY, ARRAY, NULL, INT
)
GEOMETRY_FIELDS = 29  # of a ConvGeometry: 8 and three axes of 7, all of them Py_ssize_t


@njit(nogil=True)
def richardson_lucy(seen, kernel, steps):
    """A status and the images; takes new, C-contiguous arrays of float64 for granted."""
    n, h, w = seen.shape
    size = kernel.shape[0]
    geometry = np.empty(GEOMETRY_FIELDS, np.intp)
    images = np.full_like(seen, seen.mean())
    quotient = np.ones_like(seen)
    factor, of_ones = np.empty_like(seen), np.empty_like(seen)

    # of_ones: what comes back of a quotient of 1, less where the blur crosses the border
    status = conv2d_init(geometry.ctypes, n, 1, h, w, 1, size, size, 1, size // 2, 1, 1)
    status = status or conv_backward_input(
        geometry.ctypes, quotient.ctypes, kernel.ctypes, of_ones.ctypes, 0, 0
    )
    for _ in range(steps):
        status = status or conv(
            geometry.ctypes, images.ctypes, kernel.ctypes, 0, quotient.ctypes, 0, 0
        )
        quotient[:] = seen / np.maximum(quotient, 1e-300)
        status = status or conv_backward_input(
            geometry.ctypes, quotient.ctypes, kernel.ctypes, factor.ctypes, 0, 0
        )
        images *= factor / of_ones
    return status, images


def deblur(seen, kernel, steps):
    """Estimate what was blurred.

    Parameters
    ----------
    seen : array (N, H, W)
        Blurred pictures, nowhere negative; black beyond their borders.
    kernel : array (S, S)
        What the blur makes of a point, mirrored; positive. S is odd.
    steps : int
        The more, the sharper, noise included.

    Returns
    -------
    array (N, H, W) of float64
    """
    # pointers carry no types: what C is to read as doubles is made of doubles here
    seen, kernel = np.array(seen, np.float64, order="C"), np.array(kernel, np.float64, order="C")
    size = len(kernel)
    if seen.ndim != 3 or kernel.shape != (size, size) or size % 2 == 0:
        raise ValueError(f"expected (N, H, W) and (S, S), S odd: got {seen.shape}, {kernel.shape}")
    status, images = richardson_lucy(seen, kernel, steps)
    if status:
        raise ValueError(status_text(status).decode())
    return images


def main():
    y, x = np.mgrid[:96, :96]
    disc = np.hypot(y - 30, x - 34) < 18
    stripes = (y > 60) & (y < 84) & (x > 12) & (x < 84) & (x % 8 < 4)
    picture = 0.1 + 0.9 * (disc | stripes)
    bell = np.exp(-(np.arange(-4, 5) ** 2) / 4)
    kernel = np.outer(bell, bell) / bell.sum() ** 2

    seen = functional.conv2d(picture[None], kernel[None, None], padding=4)
    print(f"blurred: {np.abs(seen - picture).mean():.4f} off")
    for steps in (10, 100, 1000):
        (image,) = deblur(seen, kernel, steps)
        print(f"{steps:4} steps: {np.abs(image - picture).mean():.4f} off")


if __name__ == "__main__":
    main()
