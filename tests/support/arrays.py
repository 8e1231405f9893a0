"""Arrays whose values suit a test, and arrays of every memory layout."""

import numpy as np


def assert_equal(actual, expected, name="array"):
    """Equal in every element, in shape and in dtype."""
    np.testing.assert_array_equal(actual, expected, err_msg=name, strict=True)


def integers(rng, shape, dtype=np.float64, limit=4):
    """Small integers: sums of their products are exact in float32, whatever the order."""
    return rng.integers(-limit, limit + 1, shape).astype(dtype)


def distinct(rng, shape, dtype=np.float64):
    """Values at least 0.5 apart, and off 0: no kink of max or ReLU is near."""
    count = int(np.prod(shape))
    values = rng.permutation(count) - count // 2
    return (values + 0.5).reshape(shape).astype(dtype) / 2


# ---- memory layouts: each function takes an array and returns an equal one with other strides


def channels_last(x):
    """(…, C, H, W) in shape, (…, H, W, C) in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -3, -1)), -1, -3)


def _read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _every_second(x):
    wide = np.full([2 * n for n in x.shape], 77, x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def _misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels_last": channels_last,
    "fortran": np.asfortranarray,
    "width_first": lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "negative_strides": lambda x: x[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "reversed_channels": lambda x: channels_last(np.flip(x, -3))[..., ::-1, :, :],
    "every_second": _every_second,
    "read_only": _read_only,
    "misaligned": _misaligned,
}


def is_channels_last(x):
    return np.moveaxis(x, -3, -1).flags.c_contiguous
