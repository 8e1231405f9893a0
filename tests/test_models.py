"""The model zoo: sizes by the formula, shapes, seeds, and that each learns."""

from itertools import pairwise

import numpy as np
import pytest

from fastconv import Tensor, nn, optim
from fastconv.nn import models
from fastconv.testing import assert_close

ZOO = {
    "lenet5": (models.lenet5, (1, 28, 28)),
    "lenet5-32": (lambda **k: models.lenet5(in_channels=3, image_size=32, **k), (3, 32, 32)),
    "lenet5-8": (
        lambda **k: models.lenet5(image_size=8, width=2, batch_norm=True, **k),
        (1, 8, 8),
    ),
    "vgg11": (models.vgg11, (3, 32, 32)),
    "vgg11-plain": (lambda **k: models.vgg11(batch_norm=False, **k), (3, 32, 32)),
    "resnet18": (models.resnet18, (3, 32, 32)),
    "mobilenet": (models.mobilenet, (3, 32, 32)),
}


def count(model):
    return sum(p.size for p in model.parameters())


def conv(i, o, k, bias=False):
    return i * o * k * k + o * bias


def bn(c):
    return 2 * c


def linear(i, o):
    return i * o + o


def test_lenet5_has_the_parameters_of_its_formula():
    dense = linear(120, 84) + linear(84, 10)
    large = conv(1, 6, 5, True) + conv(6, 16, 5, True) + linear(16 * 5 * 5, 120) + dense
    assert count(models.lenet5()) == count(models.lenet5(image_size=32)) == large == 61_706
    tiny = conv(1, 6, 3, True) + conv(6, 16, 3, True) + linear(16 * 2 * 2, 120) + dense
    assert count(models.lenet5(image_size=8)) == tiny
    wide = conv(3, 12, 5, True) + bn(12) + conv(12, 32, 5, True) + bn(32) + linear(32 * 25, 120)
    wide += linear(120, 84) + linear(84, 7)
    model = models.lenet5(7, 3, 32, width=2, batch_norm=True, dropout=0.5)
    assert count(model) == wide


def test_vgg11_has_the_parameters_of_its_formula():
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    plain = sum(conv(i, o, 3, True) for i, o in pairwise(channels)) + linear(512, 10)
    assert count(models.vgg11(batch_norm=False)) == plain == 9_225_610
    assert count(models.vgg11()) == plain + sum(map(bn, channels[1:]))


def test_resnet18_has_the_parameters_of_its_formula():
    total = conv(3, 64, 3) + bn(64) + linear(512, 100)
    inputs = 64
    for outputs in (64, 128, 256, 512):
        total += conv(inputs, outputs, 3) + 3 * conv(outputs, outputs, 3) + 4 * bn(outputs)
        if inputs != outputs:
            total += conv(inputs, outputs, 1) + bn(outputs)
        inputs = outputs
    assert count(models.resnet18(100)) == total


def test_mobilenet_has_the_parameters_of_its_formula():
    total = conv(1, 32, 3) + bn(32) + conv(320, 1280, 1) + bn(1280) + linear(1280, 10)
    inputs = 32
    for t, outputs, repeats in (
        (1, 16, 1),
        (6, 24, 2),
        (6, 32, 3),
        (6, 64, 4),
        (6, 96, 3),
        (6, 160, 3),
        (6, 320, 1),
    ):
        for _ in range(repeats):
            hidden = t * inputs
            total += (conv(inputs, hidden, 1) + bn(hidden)) * (t != 1)
            total += 9 * hidden + bn(hidden) + conv(hidden, outputs, 1) + bn(outputs)
            inputs = outputs
    assert count(models.mobilenet(in_channels=1)) == total


@pytest.mark.parametrize("name", ZOO)
def test_shapes_and_one_step_of_training(name, rng):
    make, shape = ZOO[name]
    model = make(num_classes=7, rng=0)
    x = Tensor(rng.standard_normal((4, *shape)).astype(np.float32), requires_grad=True)
    labels = rng.integers(0, 7, 4)
    criterion = nn.CrossEntropyLoss()
    y = model(x)
    assert y.shape == (4, 7)
    assert y.dtype == np.float32
    loss = criterion(y, labels)
    before = loss.item()
    assert 0.2 < before / np.log(7) < 5  # as uncertain as an untrained model should be
    loss.backward()
    assert x.grad.shape == x.shape
    assert all(p.grad is not None and p.grad.dtype == np.float32 for p in model.parameters())
    # a small enough step along the gradient must lower the loss by nearly lr |gradient|²
    square = sum(float(np.vdot(p.grad, p.grad)) for p in model.parameters())
    lr = 1e-2 * before / square
    optim.SGD(model.parameters(), lr=lr).step()
    after = criterion(model(x), labels).item()
    assert 0.5 < (before - after) / (lr * square) < 1.5


@pytest.mark.parametrize("name", ZOO)
def test_seed_decides_the_weights(name):
    make, _ = ZOO[name]
    first, second, double = make(rng=3), make(rng=3), make(rng=3, dtype=np.float64)
    for (key, a), b, c in zip(
        first.state_dict().items(),
        second.state_dict().values(),
        double.state_dict().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b, err_msg=key)
        np.testing.assert_array_equal(a, c.astype(a.dtype), err_msg=key)
    assert not np.array_equal(first[0].weight.data, make(rng=4)[0].weight.data)


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "mobilenet"])
def test_untrained_outputs_neither_vanish_nor_explode(name, rng):
    """Kaiming's point: the output of an untrained network neither vanishes nor explodes."""
    make, shape = ZOO[name]
    model = make(rng=0)
    y = model[:-1](rng.standard_normal((4, *shape)).astype(np.float32))
    assert 0.05 < (y**2).mean().sqrt() < 20


def test_evaluation_of_one_image_equals_that_of_a_batch(rng):
    model = models.lenet5(batch_norm=True, dropout=0.5, rng=0).eval()
    x = rng.standard_normal((3, 1, 28, 28)).astype(np.float32)
    with nn.no_grad():
        assert_close(model(x[1:2])[0], model(x)[1])


def test_lenet5_refuses_other_image_sizes():
    with pytest.raises(ValueError, match=r"image_size must be one of \[28, 32, 8\], got 64"):
        models.lenet5(image_size=64)
