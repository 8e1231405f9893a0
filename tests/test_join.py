"""Arrays joined, cut and chosen from."""

import numpy as np
import pytest
from support.arrays import LAYOUTS, assert_equal, channels_last, integers, is_channels_last

import fastconv.functional as F
from fastconv import Tensor, reference
from fastconv.testing import gradcheck


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_joins_and_their_gradients_equal_the_reference(layout, axis, dtype, rng):
    x = LAYOUTS[layout](integers(rng, (2, 3, 4, 5), dtype))
    sizes = (0, 2, x.shape[axis])
    cut = [np.moveaxis(np.moveaxis(x, axis, 0)[:n], 0, axis) for n in sizes]
    joined = F.concatenate(cut, axis)
    assert_equal(joined, reference.concatenate(cut, axis))
    for back, part in zip(
        F.concatenate_backward(joined, [part.shape for part in cut], axis), cut, strict=True
    ):
        assert_equal(back, part)
        assert back.size == 0 or np.shares_memory(back, joined)
    for part, expected in zip(F.split(joined, sizes, axis), cut, strict=True):
        assert_equal(part, expected)
    stacked = F.stack([x, -x, x], axis)
    assert_equal(stacked, reference.stack([x, -x, x], axis))
    for back, expected in zip(F.stack_backward(stacked, axis), (x, -x, x), strict=True):
        assert_equal(back, expected)


def test_joins_of_channels_last_images_are_channels_last(rng):
    x = channels_last(integers(rng, (2, 3, 4, 5)))
    assert is_channels_last(F.concatenate([x, x], 1))
    assert F.concatenate([x.copy(), x.copy()], 1).flags.c_contiguous


@pytest.mark.parametrize(
    ("condition", "a", "b"),
    [
        ((3, 4), (3, 4), (3, 4)),
        ((3, 4), (), (3, 1)),
        ((1,), (3, 4), (4,)),
        ((2, 1, 1), (3, 1), (4,)),
        ((0, 4), (4,), ()),
    ],
    ids=str,
)
def test_choices_and_their_gradients_equal_the_reference(condition, a, b, rng):
    chosen, x, y = rng.random(condition) > 0.5, integers(rng, a), integers(rng, b)
    z = F.where(chosen, x, y)
    assert_equal(z, reference.where(chosen, x, y))
    g = integers(rng, z.shape)
    for found, expected in zip(
        F.where_backward(g, chosen, a, b), reference.where_backward(g, chosen, a, b), strict=True
    ):
        assert_equal(found, np.asarray(expected))


def test_a_gradient_that_was_not_chosen_is_zero_whatever_it_was():
    g, chosen = np.array([np.inf, np.nan]), np.array([True, False])
    a, b = F.where_backward(g, chosen, (2,), (2,))
    assert_equal(a, np.array([np.inf, 0.0]))
    assert_equal(b, np.array([0.0, np.nan]))


def test_gradients_through_the_tape(rng):
    a, b = rng.standard_normal((2, 2, 3))
    chosen = a > b
    for join in (
        lambda a, b: F.concatenate([a, b, a], 1),
        lambda a, b: F.stack((b, a), -1),
        lambda a, b: F.where(chosen, a * a, b),
        lambda a, b: F.split(a * b, [1, 2], axis=1)[1],
        lambda a, b: F.split(a, 3, -1)[0] @ F.split(b, 2)[1],
    ):
        gradcheck(join, None, a, b)


def test_arrays_and_tensors_may_be_joined(rng):
    x, a = Tensor(rng.standard_normal(3), requires_grad=True), rng.standard_normal(3)
    F.concatenate([a, x, a]).backward(np.arange(9.0))
    assert_equal(x.grad, np.array([3.0, 4.0, 5.0]))
    assert not F.stack([Tensor(a), a]).requires_grad


X = np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.concatenate([]), TypeError, r"at least one array, got \[\]"),
        (lambda: F.concatenate(X), TypeError, "arrays must be a list or tuple"),
        (lambda: F.concatenate([X, X.astype(int)]), TypeError, r"arrays\[1\].*int64"),
        (lambda: F.concatenate([X, X.astype(np.float32)]), TypeError, "float32"),
        (lambda: F.concatenate([X, X], 2), ValueError, "axis=2"),
        (lambda: F.concatenate([X, X], 1.0), TypeError, r"axis.*1\.0"),
        (lambda: F.concatenate([X, X.T]), ValueError, r"\(2, 3\), \(3, 2\)"),
        (lambda: F.concatenate([X, X[0]]), ValueError, r"\(2, 3\), \(3,\)"),
        (lambda: F.concatenate([X.sum(), X.sum()]), ValueError, "use stack"),
        (lambda: F.stack([X, X.T]), ValueError, r"\(2, 3\), \(3, 2\)"),
        (lambda: F.stack([X, X], -4), ValueError, "axis=-4"),
        (lambda: F.stack_backward(X, 2), ValueError, "axis=2"),
        (lambda: F.split(X, 2, 1), ValueError, r"sections=2 .* axis 1 .*\(2, 3\)"),
        (lambda: F.split(X, [1, 3], 1), ValueError, r"sections=\[1, 3\]"),
        (lambda: F.split(X, [4, -1], 1), ValueError, r"sections=\[4, -1\]"),
        (lambda: F.split(X, [1.5, 1.5], 1), TypeError, r"sections .*1\.5"),
        (lambda: F.split(X, 0), ValueError, "sections.*0"),
        (lambda: F.concatenate_backward(X, [(1, 3)]), ValueError, r"\(2, 3\).*\(1, 3\)"),
        (lambda: F.concatenate_backward(X, [(1, 3), (1, 2)]), ValueError, r"\(1, 2\)"),
        (lambda: F.concatenate_backward(X, [(1, 3), (1,)]), ValueError, r"\(1,\)"),
        (lambda: F.concatenate_backward(X, [(3, 3), (-1, 3)]), ValueError, r"\(-1, 3\)"),
        (lambda: F.concatenate_backward(X, [2]), TypeError, r"input_shapes\[0\].*2"),
        (lambda: F.concatenate_backward(X, 2), TypeError, "input_shapes.*2"),
        (lambda: F.where(X, X, X), TypeError, "condition must be boolean, got float64"),
        (lambda: F.where(X > 0, X, 1), TypeError, "other.*int64"),
        (lambda: F.where(X > 0, X.astype(np.float32), X), TypeError, "float32.*float64"),
        (lambda: F.where(X > 0, X.T, X), ValueError, "broadcast"),
        (lambda: F.where_backward(X, X > 0, (3, 3), ()), ValueError, r"input_shape \(3, 3\)"),
        (lambda: F.where_backward(X, X > 0, (), (1, 2, 3)), ValueError, "other_shape"),
        (lambda: F.where_backward(X[0], X > 0, (), ()), ValueError, "condition's shape"),
        (lambda: F.where_backward(X, X > 0, 3, ()), TypeError, "input_shape.*3"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
