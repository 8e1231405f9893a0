"""Gradients by the tape: those of the public functions to the bit, and of NumPy's methods right."""

import operator

import numpy as np
import pytest

import fastconv
import fastconv.functional as F
from fastconv import Tensor
from fastconv.functional._op import Op
from fastconv.testing import gradcheck

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def last(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def by_tape(op, operands, options, grad):
    """Gradients of the operands, and the output."""
    tensors = [Tensor(a, requires_grad=True) for a in operands]
    y = op(*tensors, **options)
    y = y[0] if isinstance(y, tuple) else y
    y.backward(grad(y.shape) if callable(grad) else grad)
    return [t.grad for t in tensors], y.data


X = normal(2, 4, 9, 10)
G = normal(2, 4, 9, 10)

#: op: (operands, options, gradients of the operands from that of the output)
CASES = {
    name: ((X,), options, lambda g, x, n=name, o=options: [getattr(F, f"{n}_backward")(g, x, **o)])
    for name, options in {
        "relu": {},
        "leaky_relu": {"negative_slope": 0.3},
        "gelu": {"approximate": "tanh"},
        "silu": {},
        "softplus": {},
    }.items()
}
CASES |= {
    name: (
        (X,),
        options,
        lambda g, x, n=name, o=options: [
            getattr(F, f"{n}_backward")(g, getattr(F, n)(x, **o), **o)
        ],
    )
    for name, options in {
        "sigmoid": {},
        "tanh": {},
        "softmax": {"axis": 1},
        "log_softmax": {"axis": 1},
    }.items()
}
CASES |= {
    "add": ((X, G), {}, lambda g, x, y: [g, g]),
    "flatten": ((last(X),), {}, lambda g, x: [F.flatten_backward(g, x.shape, channels_last=True)]),
    "pad": (
        (X,),
        {"pad": (1, 2, 3, 1), "mode": "reflect"},
        lambda g, x: [F.pad_backward(g, x.shape, (1, 2, 3, 1), "reflect")],
    ),
    "dropout": (
        (X,),
        {"p": 0.4, "rng": 3},
        lambda g, x: [F.dropout_backward(g, F.dropout(x, 0.4, rng=3, return_mask=True)[1], 0.4)],
    ),
    "linear": ((normal(5, 7), normal(6, 7), normal(6)), {}, lambda g, x, w, b: [
        *F.linear_backward(g, x, w)
    ]),
    "where": ((X, G[:, :1]), {}, lambda g, x, y: [
        *F.where_backward(g, X > 0, x.shape, y.shape)
    ]),
    "concatenate": ((X, G[:, :2]), {}, lambda g, x, y: F.concatenate_backward(
        g, [x.shape, y.shape], 1
    )),
    "stack": ((X, G), {}, lambda g, x, y: F.stack_backward(g, 2)),
    "mse_loss": ((X,), {"target": G}, lambda g, x: [F.mse_loss_backward(g, x, G)]),
    "cross_entropy": (
        (normal(20, 5),),
        {"target": np.arange(20) % 5},
        lambda g, x: [F.cross_entropy_backward(g, x, np.arange(20) % 5)],
    ),
    "binary_cross_entropy_with_logits": (
        (X,),
        {"target": np.abs(G) % 1},
        lambda g, x: [F.binary_cross_entropy_with_logits_backward(g, x, np.abs(G) % 1)],
    ),
}  # fmt: skip


def _batch_norm(g, x, w, b):
    output, mean, invstd = F.batch_norm(
        x, None, None, w, b, training=True, return_statistics=True, activation="relu"
    )
    return F.batch_norm_backward(F.relu_backward(g, output), x, w, mean, invstd)


CASES["batch_norm"] = (
    (X, normal(4), normal(4)),
    {},
    _batch_norm,
)


def _conv(n, transposed):
    name = f"conv_transpose{n}d" if transposed else f"conv{n}d"
    x = normal(2, 4, *range(7, 7 + n))
    w = normal(4, 3, *[3] * n) if transposed else normal(6, 2, *[3] * n)
    options = {"stride": 2, "padding": 1, "groups": 2}
    b = normal(6)

    def expected(g, x, w, b):
        y = getattr(F, name)(x, w, b, **options)
        g = F.relu_backward(g, y)
        return [
            getattr(F, f"{name}_backward_input")(g, w, x.shape, **options),
            getattr(F, f"{name}_backward_weight")(g, x, w.shape, **options),
            getattr(F, f"{name}_backward_bias")(g),
        ]

    return {name: ((x, w, b), {**options, "activation": "relu"}, expected)}


def _pools(n):
    x = normal(2, 4, *range(7, 7 + n))
    max_pool, unpool = getattr(F, f"max_pool{n}d"), f"max_unpool{n}d"
    few, at = max_pool(x, 2, return_indices=True)
    cases = {
        f"max_pool{n}d": ({"kernel_size": 3, "stride": 1}, "indices"),
        f"adaptive_max_pool{n}d": ({"output_size": 2}, "indices"),
        f"global_max_pool{n}d": ({}, "indices"),
        f"avg_pool{n}d": ({"kernel_size": 3, "stride": 2, "padding": 1}, "shape"),
        f"adaptive_avg_pool{n}d": ({"output_size": 2}, None),
        f"global_avg_pool{n}d": ({}, None),
        f"lp_pool{n}d": ({"norm_type": 2, "kernel_size": 2}, "input"),
    }

    def expected(name, options, kind):
        op, backward = getattr(F, name), getattr(F, f"{name}_backward")
        if kind == "indices":
            return lambda g, x: [backward(g, op(x, **options, return_indices=True)[1], x.shape)]
        if kind == "input":
            return lambda g, x: [backward(g, x, **options)]
        return lambda g, x: [backward(g, x.shape, **(options if kind else {}))]

    return {
        name: ((x,), options, expected(name, options, kind))
        for name, (options, kind) in cases.items()
    } | {
        unpool: (
            (few,),
            {"indices": at, "kernel_size": 2, "output_size": x.shape},
            lambda g, y: [getattr(F, f"{unpool}_backward")(g, at)],
        )
    }


for _n in (1, 2, 3):
    CASES |= _conv(_n, False) | _conv(_n, True) | _pools(_n)


def _op(name):
    if name == "batch_norm":
        return lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, activation="relu")
    if name == "where":
        return lambda x, y: F.where(X > 0, x, y)
    if name == "concatenate":
        return lambda x, y: F.concatenate([x, y], 1)
    if name == "stack":
        return lambda x, y: F.stack([x, y], 2)
    return getattr(F, name)


def test_every_op_is_here():
    assert set(CASES) == {name for name in F.__all__ if isinstance(getattr(F, name), Op)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", sorted(CASES))
def test_gradients_are_those_of_the_public_functions(name, threads):
    operands, options, expected = CASES[name]
    op = _op(name)
    output = op(*operands, **options)
    g = normal(*np.shape(output))
    with fastconv.threads(threads):
        grads, y = by_tape(op, operands, options, g)
    np.testing.assert_array_equal(y, output)
    for grad, right, operand in zip(grads, expected(g, *operands), operands, strict=True):
        assert (grad.shape, grad.dtype) == (operand.shape, operand.dtype)
        np.testing.assert_array_equal(grad, right)


@pytest.mark.parametrize("name", sorted(CASES))
def test_gradients_of_one_operand_alone(name):
    """What is asked for one operand is what it gets when all ask, and the others get nothing."""
    operands, options, _ = CASES[name]
    op = _op(name)
    g = normal(*np.shape(op(*operands, **options)))
    everything, _ = by_tape(op, operands, options, g)
    for i in range(len(operands)):
        tensors = [Tensor(a, requires_grad=i == j) for j, a in enumerate(operands)]
        op(*tensors, **options).backward(g)
        assert [t.grad is not None for t in tensors] == [i == j for j in range(len(tensors))]
        np.testing.assert_array_equal(tensors[i].grad, everything[i])


# ---- methods and operators, in float64 by differences

A, B, C = (np.random.default_rng(1).random(s) + 0.5 for s in ((3, 4), (3, 4), (4,)))
METHODS = {
    "add": (lambda a, b: a + b, A, B),
    "add a row": (lambda a, c: a + c, A, C),
    "add a number": (lambda a: 2 + a + np.float32(1), A),
    "subtract": (lambda a, c: c - a, A, C),
    "subtract from a number": (lambda a: 3 - a, A),
    "multiply": (lambda a, c: a * c, A, C),
    "square": (lambda a: a * a, A),
    "divide": (lambda a, c: a / c, A, C),
    "divide a number": (lambda a: 2 / a, A),
    "power": (lambda a, c: a**c, A, C),
    "cube": (lambda a: a**3, A),
    "power of a number": (lambda a: 2**a, A),
    "pow": (lambda a: a.pow(2.5), A),
    "negative": (lambda a: -a, A),
    "exp": (lambda a: a.exp(), A),
    "log": (lambda a: a.log(), A),
    "sqrt": (lambda a: a.sqrt(), A),
    "abs": (lambda a: abs(1 - a), A),
    "clip": (lambda a: a.clip(0.7, 1.2), A),
    "clip from below": (lambda a: a.clip(min=0.9), A),
    "matmul": (lambda a, b: a @ b.T, A, B),
    "matmul of a vector": (lambda a, c: a @ c, A, C),
    "matmul by a vector": (lambda a, c: c @ a.T, A, C),
    "dot": (lambda a, c: a[0] @ c, A, C),
    "matmul of a batch": (lambda a, b: a.reshape(3, 1, 4) @ b.T, A, B),
    "index": (lambda a: a[1], A),
    "slices": (lambda a: a[1:, ::2], A),
    "new axis": (lambda a: a[:, None] * a, A),
    "index array": (lambda a: a[[0, 0, 2]], A),
    "index arrays": (lambda a: a[np.array([0, 1, 0]), np.array([1, 2, 1])], A),
    "mask": (lambda a: a[A > 1], A),
    "reshape": (lambda a: a.reshape(2, -1), A),
    "transpose": (lambda a: a.reshape(3, 2, 2).transpose(2, 0, 1) * 2, A),
    "permute": (lambda a: a.permute((1, 0)), A),
    "moveaxis": (lambda a: a.reshape(3, 2, 2).moveaxis(0, -1), A),
    "squeeze": (lambda a: a.reshape(1, 3, 1, 4).squeeze(0), A),
    "sum": (lambda a: a.sum(), A),
    "sum of an axis": (lambda a: a.sum(-1), A),
    "sum of axes": (lambda a: a.sum((0, 1), keepdims=True), A),
    "mean": (lambda a: a.mean(0), A),
    "var": (lambda a: a.var(1, ddof=1), A),
    "var of all": (lambda a: a.var(keepdims=True), A),
    "max": (lambda a: a.max(0), A),
    "min": (lambda a: a.min(), A),
    "split": (lambda a: F.split(a, [1, 3], 1)[1] * F.split(a, [1, 3], 1)[0], A),
    "used often": (lambda a: a * a.exp() + a.sum() / a - (a + a), A),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods(name):
    function, *operands = METHODS[name]
    gradcheck(function, None, *operands, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_methods_keep_float32(name):
    function, *operands = METHODS[name]
    tensors = [Tensor(a.astype(np.float32), requires_grad=True) for a in operands]
    y = function(*tensors)
    assert y.dtype == np.float32
    y.backward(np.ones(y.shape))
    assert all(t.grad.dtype == np.float32 and t.grad.shape == t.shape for t in tensors)


def test_extremes_share_the_gradient():
    t = Tensor(np.array([1.0, 3.0, 3.0]), requires_grad=True)
    t.max().backward()
    np.testing.assert_array_equal(t.grad, [0, 0.5, 0.5])


def test_long_sums_of_float32_keep_their_digits():
    t = Tensor(np.full((2**16, 2), 0.1, np.float32), requires_grad=True)
    exact = 2**16 * float(np.float32(0.1))
    np.testing.assert_allclose(t.sum(0).data, exact, rtol=1e-7)
    np.testing.assert_allclose(t.mean(0).data, np.float32(0.1), rtol=1e-7)
    (t + Tensor(np.zeros(2, np.float32), requires_grad=True)).sum().backward()


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul"])
def test_arrays_of_another_precision_are_refused(name):
    function = getattr(operator, name)
    single = Tensor(np.ones((2, 2), np.float32), requires_grad=True)
    double = np.ones((2, 2) if name == "matmul" else (1, 2))
    for a, b in ((single, double), (double, single), (single, Tensor(double))):
        with pytest.raises(TypeError, match=r"float32.*float64|float64.*float32"):
            function(a, b)
