"""A layer and the ReLU after it, which Sequential runs as one call."""

from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest

from fastconv import nn


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
        assert model(x).tobytes() == one_by_one(model, x).tobytes()


def test_fused_layers_remember_for_backward(rng):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, rng=0),
        nn.ReLU(),
        nn.Residual(nn.Sequential(nn.Conv2d(8, 8, 1, rng=1), nn.ReLU(), nn.Conv2d(8, 8, 1, rng=2))),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.ReLU(),
    )
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    g = rng.standard_normal((2, 8, 9, 9), np.float32)
    found = []
    for network in (model, deepcopy(model)):
        network.zero_grad()
        network(x)
        found.append([network.backward(g), *(p.grad for p in network.parameters())])
    model.zero_grad()
    one_by_one(model, x)
    found.append([model.backward(g), *(p.grad for p in model.parameters())])
    for results in found[1:]:
        for a, b in zip(found[0], results, strict=True):
            assert a.tobytes() == b.tobytes()


def test_fused_layers_forget_in_no_grad(rng):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, rng=0), nn.ReLU())
    x = rng.standard_normal((2, 3, 9, 9), np.float32)
    y = model(x)
    with nn.no_grad():
        model(x)
    for layer in model:
        with pytest.raises(RuntimeError, match=r"needs a forward pass first"):
            layer.backward(y)


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
        assert nn.Sequential(*layers)(x).tobytes() == one_by_one(layers, x).tobytes()
