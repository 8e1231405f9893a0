"""Losses and their gradients: every reduction, PyTorch's rules, strict on labels."""

import itertools

import numpy as np
import pytest
from support.arrays import assert_equal

import fastconv
import fastconv.functional as F
from fastconv import Tensor, nn, reference
from fastconv.testing import assert_close, gradcheck

DTYPES = [np.float32, np.float64]
REDUCTIONS = ["mean", "sum", "none"]
CLASSES = 5
SHAPES = [(CLASSES,), (7, CLASSES), (2, CLASSES, 3, 4)]


def indices_for(rng, shape):
    """One class for each of the (N, C, ...) logits' rows; shape (C,) has a single row."""
    return rng.integers(0, CLASSES, (shape[0], *shape[2:]) if len(shape) > 1 else ())


def probabilities_for(rng, shape):
    return reference.softmax(rng.standard_normal(shape), min(1, len(shape) - 1))


def some_g(rng, loss):
    return rng.standard_normal(np.shape(loss))


# the option sets of cross-entropy: (class weights, ignore_index, label_smoothing)
CROSS_ENTROPY = list(itertools.product([False, True], [-100, 2], [0.0, 0.1]))


def cross_entropy_options(rng, dtype, option, reduction):
    weighted, ignore_index, smoothing = option
    return {
        "weight": (rng.random(CLASSES) + 0.1).astype(dtype) if weighted else None,
        "ignore_index": ignore_index,
        "label_smoothing": smoothing,
        "reduction": reduction,
    }


def check_pair(name, x, target, options, rng):
    """Forward and backward equal the reference."""
    dtype = x.dtype
    tolerance = 64 * np.finfo(dtype).eps
    expected = getattr(reference, name)(x, target, **options)
    actual = getattr(F, name)(x, target, **options)
    assert_close(
        np.asarray(actual, dtype), np.asarray(expected, dtype), rtol=tolerance, atol=tolerance
    )
    if options["reduction"] == "none":
        assert actual.dtype == dtype
    g = some_g(rng, expected).astype(dtype)
    expected = getattr(reference, f"{name}_backward")(g, x, target, **options)
    actual = getattr(F, f"{name}_backward")(g, x, target, **options)
    assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("option", CROSS_ENTROPY, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_equals_reference(shape, option, reduction, dtype, rng):
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    options = cross_entropy_options(rng, dtype, option, reduction)
    target = indices_for(rng, shape)
    if shape == (CLASSES,):
        target = np.asarray(1)  # ignoring the only row leaves a mean over nothing
    check_pair("cross_entropy", x, target, options, rng)
    if option[1] == -100:
        check_pair("cross_entropy", x, probabilities_for(rng, shape).astype(dtype), options, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_equals_reference(reduction, dtype, rng):
    for shape in ((4,), (3, 5), (2, 3, 4, 5)):
        x, t = rng.standard_normal((2, *shape)).astype(dtype)
        check_pair("mse_loss", x, t, {"reduction": reduction}, rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_bce_equals_reference(positive, weighted, reduction, dtype, rng):
    x = (4 * rng.standard_normal((6, 5))).astype(dtype)
    options = {
        "weight": rng.random((6, 5)).astype(dtype) if weighted else None,
        "pos_weight": (rng.random(5) + 0.5).astype(dtype) if positive else None,
        "reduction": reduction,
    }
    target = rng.random(x.shape).astype(dtype)
    check_pair("binary_cross_entropy_with_logits", x, target, options, rng)


# ----------------------------------------------------------------- by definition


def test_cross_entropy_follows_its_definition(rng):
    x, y = rng.standard_normal((6, CLASSES)), np.array([0, 1, 2, 3, 2, 4])
    log_p = np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))
    each = -log_p[np.arange(6), y]
    assert_close(F.cross_entropy(x, y, reduction="none"), each)
    assert_close(np.float64(F.cross_entropy(x, y, reduction="sum")), each.sum())
    assert_close(np.float64(F.cross_entropy(x, y)), each.mean())
    kept = y != 2
    assert_close(np.float64(F.cross_entropy(x, y, ignore_index=2)), each[kept].mean())
    w = np.array([1.0, 2.0, 0.5, 3.0, 4.0])
    weighted = (w[y] * each).sum() / w[y].sum()
    assert_close(np.float64(F.cross_entropy(x, y, weight=w)), weighted)
    smooth = 0.9 * each + 0.1 * -log_p.mean(1)
    assert_close(F.cross_entropy(x, y, label_smoothing=0.1, reduction="none"), smooth)


def test_gradient_of_cross_entropy_is_probability_less_target(rng):
    x, y = rng.standard_normal((6, CLASSES)), rng.integers(0, CLASSES, 6)
    grad = F.cross_entropy_backward(1.0, x, y, reduction="sum")
    assert_close(grad, F.softmax(x) - np.eye(CLASSES)[y])
    assert_close(F.cross_entropy_backward(1.0, x, y), grad / 6)
    assert_close(F.cross_entropy_backward(2.5, x, y, reduction="sum"), 2.5 * grad)


def test_ignored_rows_do_not_contribute(rng):
    x, y = rng.standard_normal((6, CLASSES)), np.array([0, 7, 2, 7, 4, 1])
    x[1] = np.nan  # not even a NaN of theirs is seen
    kept = y != 7
    options = {"ignore_index": 7, "label_smoothing": 0.2}
    loss = F.cross_entropy(x, y, **options)
    assert_close(np.float64(loss), np.float64(F.cross_entropy(x[kept], y[kept], **options)))
    each = F.cross_entropy(x, y, reduction="none", **options)
    np.testing.assert_array_equal(each == 0, ~kept)


def test_one_hot_targets_equal_class_indices(rng):
    x, y = rng.standard_normal((2, CLASSES, 3, 4)), rng.integers(0, CLASSES, (2, 3, 4))
    certain = np.moveaxis(np.eye(CLASSES)[y], -1, 1)
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "label_smoothing": 0.3}
        a, b = F.cross_entropy(x, y, **options), F.cross_entropy(x, certain, **options)
        assert_close(np.asarray(a), np.asarray(b))


def test_bce_follows_its_definition(rng):
    x, t = rng.standard_normal((4, 3)), rng.random((4, 3))
    s = 1 / (1 + np.exp(-x))
    each = -(t * np.log(s) + (1 - t) * np.log(1 - s))
    assert_close(F.binary_cross_entropy_with_logits(x, t, reduction="none"), each)
    assert_close(np.float64(F.binary_cross_entropy_with_logits(x, t)), each.mean())


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_do_not_overflow(dtype):
    x = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], dtype)
    losses = F.cross_entropy(x, np.array([2, 1]), reduction="none")
    assert_close(losses, np.array([2e4, 0], dtype))
    grad = F.cross_entropy_backward(1.0, x, np.array([2, 1]), reduction="sum")
    assert_close(grad, np.array([[1, 0, -1], [0, 0, 0]], dtype))
    x = np.array([-1e4, -1e4, 1e4, 1e4], dtype)
    t = np.array([0, 1, 0, 1], dtype)
    losses = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    assert_close(losses, np.array([0, 1e4, 1e4, 0], dtype))
    grad = F.binary_cross_entropy_with_logits_backward(1.0, x, t, reduction="sum")
    assert_close(grad, np.array([0, -1, 1, 0], dtype))


def test_logits_of_minus_infinity_do_not_contribute():
    """Minus infinity rules a class out; 0 * inf must not make its row NaN."""
    x = np.array([[0.0, -np.inf, 0.0]])
    assert_close(np.float64(F.cross_entropy(x, np.array([0]))), np.log(2.0))
    grad = F.cross_entropy_backward(1.0, x, np.array([0]))
    assert_close(grad, np.array([[-0.5, 0.0, 0.5]]))


def test_nan_logits_make_a_nan_loss():
    x = np.array([[np.nan, 1.0], [0.0, 1.0]])
    losses = F.cross_entropy(x, np.array([1, 1]), reduction="none")
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    assert np.isnan(F.cross_entropy(x, np.array([1, 1])))
    assert np.isnan(F.mse_loss(x, np.zeros_like(x)))


def test_empty_batch_has_nan_mean_and_zero_sum():
    x, y = np.zeros((0, 3)), np.zeros(0, int)
    assert F.cross_entropy(x, y, reduction="sum") == 0
    assert F.cross_entropy(x, y, reduction="none").shape == (0,)
    assert np.isnan(F.cross_entropy(x, y))  # 0 / 0, as in PyTorch
    assert np.isnan(F.mse_loss(x, x))
    assert F.cross_entropy_backward(1.0, x, y).shape == (0, 3)


def test_mean_over_ignored_rows_alone_is_nan_and_its_gradient_zero():
    x, y = np.zeros((2, 3)), np.array([1, 1])
    assert np.isnan(F.cross_entropy(x, y, ignore_index=1))
    assert_close(F.cross_entropy_backward(1.0, x, y, ignore_index=1), np.zeros((2, 3)))


@pytest.mark.parametrize("index_type", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_may_have_any_integer_type(index_type, rng):
    x, y = rng.standard_normal((4, CLASSES)), np.array([0, 4, 2, 1])
    assert F.cross_entropy(x, y.astype(index_type)) == F.cross_entropy(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype, rng):
    x, t = rng.standard_normal((2, 3, 21, 70, 60)).astype(dtype)
    labels, t = rng.integers(0, 21, (3, 70, 60)), np.abs(t)
    flat = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)  # channels-last
    calls = [
        lambda: F.mse_loss(x, t),
        lambda: F.mse_loss_backward(1.0, x, t),
        lambda: F.binary_cross_entropy_with_logits(x, t),
        lambda: F.binary_cross_entropy_with_logits_backward(1.0, x, t),
        *(
            call
            for a in (x, flat)
            for call in (
                lambda a=a: F.cross_entropy(a, labels, ignore_index=3),
                lambda a=a: F.cross_entropy_backward(1.0, a, labels, ignore_index=3),
            )
        ),
    ]
    for call in calls:
        results = set()
        for n in (1, 2, 3, 7):
            with fastconv.threads(n):
                results.add(np.asarray(call()).tobytes())
        assert len(results) == 1


def test_operands_may_have_any_strides(rng):
    x, t = rng.standard_normal((2, 4, CLASSES, 6, 5))
    t, labels = np.abs(t), rng.integers(0, CLASSES, (4, 6, 5))
    for change in (
        lambda a: np.swapaxes(np.ascontiguousarray(np.swapaxes(a, -1, -2)), -1, -2),
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: np.asfortranarray(a),
    ):
        for reduction in REDUCTIONS:
            for name, args in (
                ("mse_loss", (t,)),
                ("binary_cross_entropy_with_logits", (t,)),
                ("cross_entropy", (labels,)),
            ):
                changed = [change(a) for a in args]
                loss = getattr(F, name)(x, *args, reduction=reduction)
                other = getattr(F, name)(change(x), *changed, reduction=reduction)
                assert_close(np.asarray(other), np.asarray(loss))
                g = np.ones(np.shape(loss))
                back = getattr(F, f"{name}_backward")
                assert_close(
                    back(g, change(x), *changed, reduction=reduction),
                    back(g, x, *args, reduction=reduction),
                )


# -------------------------------------------------------------------- gradients


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("option", CROSS_ENTROPY, ids=str)
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_cross_entropy_gradcheck(shape, option, reduction, rng):
    options = cross_entropy_options(rng, np.float64, option, reduction)
    targets = [indices_for(rng, shape)]
    if option[1] == -100:
        targets.append(probabilities_for(rng, shape))
    for target in targets:
        gradcheck(
            lambda x: F.cross_entropy(x, target, **options),  # noqa: B023
            lambda g, x: F.cross_entropy_backward(g, x, target, **options),  # noqa: B023
            rng.standard_normal(shape),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_and_bce_gradcheck(reduction, rng):
    t, weight, pos_weight = rng.random((4, 3)), rng.random((4, 3)), rng.random(3)
    gradcheck(
        lambda x: F.mse_loss(x, t, reduction),
        lambda g, x: F.mse_loss_backward(g, x, t, reduction),
        rng.standard_normal((4, 3)),
    )
    gradcheck(
        lambda x: F.binary_cross_entropy_with_logits(x, t, weight, reduction, pos_weight),
        lambda g, x: F.binary_cross_entropy_with_logits_backward(
            g, x, t, weight, reduction, pos_weight
        ),
        rng.standard_normal((4, 3)),
    )


# -------------------------------------------------------------------- bad input

X, Y = np.zeros((4, 3)), np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"target": np.array([0, 1, 3, 0])}, ValueError, ["target", "3"]),
        ({"target": np.array([0, -1, 2, 0])}, ValueError, ["target", "-1"]),
        ({"target": np.array([0, 1, 2])}, ValueError, ["target", "(3,)", "(4, 3)"]),
        ({"target": np.array([0.0, 1.0, np.nan, 0.0])}, (TypeError, ValueError), ["target"]),
        ({"target": np.full((4, 3), np.nan)}, ValueError, ["target", "nan"]),
        ({"target": np.full((4, 2), 0.5)}, ValueError, ["target", "(4, 2)", "(4, 3)"]),
        ({"target": np.full((4, 3), 0.5, np.float32)}, TypeError, ["float32", "float64"]),
        ({"target": None}, TypeError, ["target"]),
        ({"input": np.zeros((4, 3), int)}, TypeError, ["input", "int64"]),
        ({"input": np.zeros((4, 0))}, ValueError, ["input", "(4, 0)"]),
        ({"input": np.float64(0)}, (TypeError, ValueError), ["input"]),
        ({"weight": np.ones(4)}, ValueError, ["weight", "(4,)", "3"]),
        ({"weight": np.ones(3, np.float32)}, TypeError, ["float32", "float64"]),
        ({"label_smoothing": -0.1}, ValueError, ["label_smoothing", "-0.1"]),
        ({"label_smoothing": 1.5}, ValueError, ["label_smoothing", "1.5"]),
        ({"reduction": "average"}, ValueError, ["reduction", "average"]),
    ],
)
def test_cross_entropy_refuses_invalid_arguments(change, error, contains):
    for call in (F.cross_entropy, lambda **k: F.cross_entropy_backward(1.0, **k)):
        with pytest.raises(error) as caught:
            call(**{"input": X, "target": Y, **change})
        for text in contains:
            assert text in str(caught.value)


@pytest.mark.parametrize("name", ["mse_loss", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize(
    ("change", "error", "contains"),
    [
        ({"target": np.zeros((3, 3))}, ValueError, ["target", "(3, 3)", "(4, 3)"]),
        ({"target": np.zeros((4, 3), int)}, TypeError, ["target", "int64"]),
        ({"target": np.zeros((4, 3), np.float32)}, TypeError, ["float32", "float64"]),
        ({"input": np.zeros((4, 3), int)}, TypeError, ["input", "int64"]),
        ({"reduction": "average"}, ValueError, ["reduction", "average"]),
    ],
)
def test_mse_and_bce_refuse_invalid_arguments(name, change, error, contains):
    function, backward = getattr(F, name), getattr(F, f"{name}_backward")
    for call in (function, lambda **k: backward(1.0, **k)):
        with pytest.raises(error) as caught:
            call(**{"input": X, "target": X, **change})
        for text in contains:
            assert text in str(caught.value)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, np.ones(3)])
def test_nan_targets_of_bce_are_refused(weight, reduction):
    t = np.zeros((4, 3))
    t[2, 1] = np.nan
    g = np.ones((4, 3)) if reduction == "none" else 1.0
    with pytest.raises(ValueError, match=r"target .* nan at \(2, 1\)"):
        F.binary_cross_entropy_with_logits(X, t, weight, reduction)
    with pytest.raises(ValueError, match=r"target .* nan at \(2, 1\)"):
        F.binary_cross_entropy_with_logits_backward(g, X, t, weight, reduction)
    assert np.isnan(F.binary_cross_entropy_with_logits(t, X, weight, "sum"))


def test_invalid_grad_output_is_refused():
    for g, reduction in ((np.ones(4), "mean"), (np.ones(3), "none"), (1.0, "none")):
        with pytest.raises(ValueError, match="grad_output"):
            F.cross_entropy_backward(g, X, Y, reduction=reduction)
    with pytest.raises(ValueError, match=r"grad_output.*\(4,\)"):
        F.mse_loss_backward(np.ones(4), X, X, "none")


# ------------------------------------------------------------------------- as layers

LAYERS = [
    (lambda r: nn.MSELoss(reduction=r), lambda rng: rng.random((4, 3))),
    (lambda r: nn.CrossEntropyLoss(reduction=r), lambda rng: rng.integers(0, 3, 4)),
    (
        lambda r: nn.CrossEntropyLoss([1, 2, 3], 1, r, 0.1),
        lambda rng: rng.integers(0, 3, 4),
    ),
    (
        lambda r: nn.BCEWithLogitsLoss(np.ones((4, 1)), r, [1, 2, 3]),
        lambda rng: rng.random((4, 3)),
    ),
]


def assert_passes_on(criterion, name, x, target, g, **options):
    """The layer has the loss and the gradient, to the bit, of the function with these options."""
    scores = Tensor(x, requires_grad=True)
    loss = criterion(scores, target)
    assert_equal(loss, np.asarray(getattr(F, name)(x, target, **options)))
    loss.backward(g)
    assert_equal(scores.grad, getattr(F, f"{name}_backward")(g, x, target, **options))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_layers_pass_their_options_on(reduction, rng):
    x, labels, t = rng.standard_normal((4, 3)), np.array([0, 1, 2, 1]), rng.random((4, 3))
    w, row = np.array([1.0, 2.0, 3.0]), rng.random((4, 1))
    assert_passes_on(
        nn.CrossEntropyLoss([1, 2, 3], 1, reduction, 0.1),
        "cross_entropy",
        x,
        labels,
        rng.random(4 if reduction == "none" else ()),
        weight=w,
        ignore_index=1,
        reduction=reduction,
        label_smoothing=0.1,
    )
    g = rng.random((4, 3) if reduction == "none" else ())
    assert_passes_on(
        nn.BCEWithLogitsLoss(row, reduction, [1, 2, 3]),
        "binary_cross_entropy_with_logits",
        x,
        t,
        g,
        weight=row,
        reduction=reduction,
        pos_weight=w,
    )
    assert_passes_on(nn.MSELoss(reduction), "mse_loss", x, t, g, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("make", "make_target"), LAYERS)
def test_gradients_of_layers(make, make_target, reduction, rng):
    criterion, target = make(reduction), make_target(rng)
    x = rng.standard_normal((4, 3))
    gradcheck(lambda x: criterion(x, target), None, x)
    loss = criterion(x, target)
    assert isinstance(loss, Tensor)
    assert (loss.shape == ()) == (reduction != "none")
    assert not loss.requires_grad
    scores = Tensor(x.astype(np.float32), requires_grad=True)
    single = criterion(scores, target if target.ndim == 1 else np.float32(target))
    assert_close(np.float64(single), np.float64(loss), rtol=1e-5, atol=1e-6)
    single.backward(np.ones(single.shape))
    assert scores.grad.dtype == np.float32


def test_layers_go_back_from_one_by_default(rng):
    x, t = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    for given, g in ((None, 1.0), (0.5, 0.5), (np.float32(0.5), 0.5)):
        scores = Tensor(x, requires_grad=True)
        nn.CrossEntropyLoss()(scores, t).backward(given)
        assert_equal(scores.grad, F.cross_entropy_backward(g, x, t))


def test_a_loss_within_no_grad_does_not_go_back():
    scores = Tensor(np.zeros((2, 3)), requires_grad=True)
    for criterion in (nn.MSELoss(), nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()):
        with nn.no_grad():
            loss = criterion(scores, np.full((2, 3), 0.5))
        with pytest.raises(RuntimeError, match="within no_grad"):
            loss.backward()


# -------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("option", CROSS_ENTROPY, ids=str)
def test_cross_entropy_agrees_with_torch(option, reduction, rng):
    import torch

    x, y = rng.standard_normal(SHAPES[2]), indices_for(rng, SHAPES[2])
    options = cross_entropy_options(rng, np.float64, option, reduction)
    t = torch.tensor(x, requires_grad=True)
    theirs = {
        k: torch.tensor(v) if k == "weight" and v is not None else v for k, v in options.items()
    }
    loss = torch.nn.functional.cross_entropy(t, torch.tensor(y), **theirs)
    assert_close(np.asarray(F.cross_entropy(x, y, **options)), loss.detach().numpy())
    g = some_g(rng, loss.detach().numpy())
    loss.backward(torch.tensor(g))
    assert_close(F.cross_entropy_backward(g, x, y, **options), t.grad.numpy())
