"""Poolings on the samples of PyTorch's own tests, forward and gradients."""

import inspect
import itertools

import numpy as np
import pytest
from support.opinfo import check_samples

import fastconv.functional as F

pytestmark = pytest.mark.peer("torch", "expecttest")

WINDOWS = ("max_pool", "avg_pool")
OPS = [
    f"{op}{n}d"
    for op in (*WINDOWS, "adaptive_max_pool", "adaptive_avg_pool", "max_unpool")
    for n in (1, 2, 3)
]


def in_arrays(name):
    """What computes a sample of this op with fastconv."""
    forward, backward = getattr(F, name), getattr(F, f"{name}_backward")

    def compute(sample):
        bound = inspect.signature(forward).bind(*sample.args, **sample.kwargs)
        options = dict(bound.arguments)
        x = options.pop("input")
        y = forward(x, **options)
        if "unpool" in name:
            return (y,), (backward(sample.grad_output, options["indices"]),)
        if "max" in name:
            outputs = y if isinstance(y, tuple) else (y,)
            _, indices = forward(x, **{**options, "return_indices": True})
            return outputs, (backward(sample.grad_output, indices, x.shape),)
        options.pop("output_size", None)
        return (y,), (backward(sample.grad_output, x.shape, **options),)

    return compute


@pytest.mark.parametrize("name", OPS)
def test_every_sample_agrees(name):
    assert check_samples(f"nn.functional.{name}", in_arrays(name)) >= 6


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("norm_type", [1, 2, 3, 2.5, 0.5, -1, np.inf, -np.inf])
def test_pooling_by_p_norms_agrees(norm_type, n, rng):
    """torch has no samples of these."""
    import torch

    forward, backward = getattr(F, f"lp_pool{n}d"), getattr(F, f"lp_pool{n}d_backward")
    theirs = getattr(torch.nn.functional, f"lp_pool{n}d")
    x = rng.standard_normal((2, 3, 7, 8, 9)[: 2 + n])
    if norm_type not in (2, np.inf, -np.inf):
        x = np.abs(x) + 0.1
    x[0, 0] = 0 if norm_type == 2 else x[0, 0]
    for kernel, stride, ceil_mode in itertools.product((2, 3), (None, 1, 2), (False, True)):
        t = torch.tensor(x, requires_grad=True)
        expected = theirs(t, norm_type, kernel, stride, ceil_mode)
        options = norm_type, kernel, stride, ceil_mode
        np.testing.assert_allclose(forward(x, *options), expected.detach().numpy(), rtol=1e-12)
        g = rng.standard_normal(expected.shape)
        (grad,) = torch.autograd.grad(expected, t, torch.tensor(g))
        np.testing.assert_allclose(backward(g, x, *options), grad.numpy(), rtol=1e-9, atol=1e-12)
