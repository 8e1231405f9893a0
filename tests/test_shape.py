"""Flatten and its gradient."""

import math

import numpy as np
import pytest
from support.arrays import LAYOUTS, assert_equal, integers

import fastconv.functional as F


@pytest.mark.parametrize(
    ("start", "end", "shape"),
    [
        (1, -1, (2, 60)),
        (0, -1, (120,)),
        (0, 1, (6, 4, 5)),
        (-2, -1, (2, 3, 20)),
        (2, 2, (2, 3, 4, 5)),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_flatten_equals_reshape(start, end, shape, layout, rng):
    x = integers(rng, (2, 3, 4, 5))
    y = F.flatten(LAYOUTS[layout](x), start, end)
    assert_equal(y, x.reshape(shape))
    assert_equal(F.flatten_backward(y, x.shape), x)


@pytest.mark.parametrize(
    "shape",
    [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 4, 5), (0, 3, 4, 5), (2, 3, 7), (2, 3, 1), (2, 3, 2, 4, 5)],
)
def test_flatten_backward_to_channels_last(shape, rng):
    g = rng.standard_normal((shape[0], math.prod(shape[1:])))
    back = F.flatten_backward(g, shape, channels_last=True)
    assert_equal(back, g.reshape(shape))
    assert np.moveaxis(back, 1, -1).flags.c_contiguous
    one_order = shape[1] == 1 or math.prod(shape[2:]) == 1
    assert np.shares_memory(back, g) == (g.size > 0 and one_order)
    with pytest.raises(ValueError, match="3 or more sizes"):
        F.flatten_backward(np.ones((2, 12)), (2, 12), channels_last=True)


def test_empty_batch_is_flattened():
    y = F.flatten(np.ones((0, 3, 4)))
    assert y.shape == (0, 12)
    assert F.flatten_backward(y, (0, 3, 4)).shape == (0, 3, 4)


def test_flatten_refuses_invalid_arguments():
    x = np.ones((2, 3, 4))
    for start, end, text in ((3, -1, "start_dim.*3"), (1, 5, "end_dim.*5"), (2, 1, "start_dim.*2")):
        with pytest.raises(ValueError, match=text):
            F.flatten(x, start, end)
    with pytest.raises(ValueError, match=r"\(2, 11\).*\(2, 3, 4\)|\(2, 3, 4\).*\(2, 11\)"):
        F.flatten_backward(np.ones((2, 11)), (2, 3, 4))
