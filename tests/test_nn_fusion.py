"""A layer and the ReLU after it, which Sequential runs as one call."""

from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import Tensor, nn


def one_by_one(layers, x):
    for layer in layers:
        x = layer(x)
    return x


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        nn.models.lenet5(in_channels=3, image_size=32, rng=0),
        nn.models.lenet5(in_channels=3, image_size=32, batch_norm=True, rng=0),
        nn.models.vgg11(batch_norm=False, rng=0),
        nn.models.resnet18(rng=0),
        nn.models.resnet18(rng=0).eval(),
    ],
)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_fused_layers_have_the_bits_of_single_ones(model, last, grad, rng):
    x = rng.standard_normal((2, 32, 32, 3), np.float32).transpose(0, 3, 1, 2)
    x = x if last else np.ascontiguousarray(x)
    with nullcontext() if grad else nn.no_grad():
        assert model(x).data.tobytes() == one_by_one(model, x).data.tobytes()


def gradients(network, model, x, g):
    """Of the input and the model's parameters, through a function that applies it."""
    model.zero_grad()
    image = Tensor(x, requires_grad=True)
    network(image).backward(g)
    return [image.grad, *(p.grad for p in model.parameters())]


def test_fused_layers_have_the_gradients_of_single_ones(rng):
    relu = nn.ReLU()
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, rng=0),
        relu,
        nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 1, rng=1), relu, nn.Conv2d(8, 8, 1, rng=2))),
        relu,
        nn.BatchNorm2d(8),
        relu,
    )
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    g = rng.standard_normal((2, 8, 9, 9), np.float32)
    copy = deepcopy(model)
    found = [
        gradients(model, model, x, g),
        gradients(copy, copy, x, g),
        gradients(lambda x: one_by_one(model, x), model, x, g),
    ]
    for results in found[1:]:
        for a, b in zip(found[0], results, strict=True):
            assert a.tobytes() == b.tobytes()


def test_a_layer_that_takes_a_relu_along_may_stand_elsewhere_without(rng):
    conv = nn.Conv2d(3, 3, 3, padding=1, rng=0)
    layers = conv, nn.ReLU(), conv
    model = nn.Sequential(*layers)
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    assert model(x).data.min() < 0
    fused, single = (
        gradients(network, model, x, np.ones_like(x))
        for network in (model, lambda x: one_by_one(layers, x))
    )
    for a, b in zip(fused, single, strict=True):
        assert a.tobytes() == b.tobytes()


def test_fused_layers_are_one_call(rng, monkeypatch):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, rng=0),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Residual(nn.Identity()),
        nn.ReLU(),
    )
    monkeypatch.setattr(F, "relu", None)
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    for found in gradients(model, model, x, np.ones((2, 8, 7, 7))):
        assert found.dtype == np.float32


def test_a_subclass_is_not_passed_over(rng):
    class Doubling(nn.Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    class Shifted(nn.ReLU):
        def forward(self, input):
            return super().forward(input) + 1

    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    for layers in (
        (Doubling(3, 8, 3, rng=0), nn.ReLU()),
        (nn.Conv2d(3, 8, 3, rng=0), Shifted()),
        (nn.BatchNorm2d(3), Shifted()),
        (nn.ReLU(), nn.ReLU(), nn.Conv2d(3, 8, 3, rng=0)),
    ):
        fused, single = nn.Sequential(*layers)(x), one_by_one(layers, x)
        assert fused.data.tobytes() == single.data.tobytes()
