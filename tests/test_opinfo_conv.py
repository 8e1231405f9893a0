"""Convolutions and padding on the samples of PyTorch's own tests, forward and gradients."""

import inspect

import pytest
from support.opinfo import check_samples

import fastconv.functional as F

pytestmark = pytest.mark.peer("torch", "expecttest")

OPS = [f"{op}{n}d" for op in ("conv", "conv_transpose") for n in (1, 2, 3)]


def convolution(name):
    """What computes a sample of this op with fastconv."""
    forward = getattr(F, name)

    def compute(sample):
        bound = inspect.signature(forward).bind(*sample.args, **sample.kwargs)
        options = dict(bound.arguments)
        x, w, b = options.pop("input"), options.pop("weight"), options.pop("bias", None)
        g = sample.grad_output
        grads = (
            getattr(F, f"{name}_backward_input")(g, w, x.shape, **options),
            getattr(F, f"{name}_backward_weight")(g, x, w.shape, **options),
        )
        if b is not None:
            grads += (getattr(F, f"{name}_backward_bias")(g),)
        return (forward(x, w, b, **options),), grads

    return compute


@pytest.mark.parametrize("name", OPS)
def test_every_sample_agrees(name):
    assert check_samples(f"nn.functional.{name}", convolution(name)) >= 6


def padding(sample):
    bound = inspect.signature(F.pad).bind(*sample.args, **sample.kwargs)
    options = dict(bound.arguments)
    x = options.pop("input")
    y = F.pad(x, **options)
    options.pop("value", None)
    return (y,), (F.pad_backward(sample.grad_output, x.shape, **options),)


def test_every_sample_of_padding_agrees():
    assert check_samples("nn.functional.pad", padding) >= 40
