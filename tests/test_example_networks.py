"""The networks of examples/: they learn, their gradients are right, their losses are torch's."""

import re

import numpy as np
import pytest
from support.examples import EXAMPLES, load

import fastconv
import fastconv.functional as F
from fastconv import data, optim

#: by file: its network, and the loss of what that gives, in the example or in F
NETWORKS = {
    "unet": ("UNet", "binary_cross_entropy_with_logits"),
    "siamese": ("Siamese", "contrastive_loss"),
    "convgru": ("Forecast", "mse_loss"),
    "two_inputs": ("Larger", "binary_cross_entropy_with_logits"),
}


@pytest.fixture(params=NETWORKS)
def example(request):
    return load(request.param)


def in_precision(array, dtype):
    """Floating-point numbers in this one; counts and truth as they are."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


def network_of(example, rng, dtype):
    """An example's network in this precision, and its loss as a function of a batch."""
    network, loss = NETWORKS[example.__name__]
    model, criterion = (
        getattr(example, network)(rng),
        getattr(example, loss, getattr(F, loss, None)),
    )
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype)
    for module in model.modules():
        for name in module._buffers:
            value = getattr(module, name)
            setattr(module, name, in_precision(value, dtype))
    return model, lambda *inputs, target: criterion(model(*inputs), target)


def batches_of(example, rng, dtype, count):
    """What the example trains on: (inputs, target)."""
    arguments = ()
    if hasattr(example, "data"):
        images, labels = data.load_digits()
        arguments = data.normalize(images, 16), labels
    for _ in range(count):
        *inputs, target = example.draw(rng, *arguments)
        yield [x.astype(dtype) for x in inputs], in_precision(target, dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 60


def test_learns(example, capsys):
    with fastconv.threads(1):
        example.main()
    printed = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert len(losses) > 5
    assert max(losses[-3:]) < losses[0] / 3
    for share in re.findall(r"correct .*: ([\d.]+)%", printed):
        assert float(share) > 85


def test_gradients_tell_how_the_loss_changes(example, rng):
    """Along a direction of all parameters at once, in float64."""
    model, loss_of = network_of(example, rng, np.float64)
    ((inputs, target),) = batches_of(example, rng, np.float64, 1)
    loss_of(*inputs, target=target).backward()
    parameters = list(model.parameters())
    start = [p.data.copy() for p in parameters]
    ways = [rng.standard_normal(p.shape) for p in parameters]

    def loss_at(distance):
        for p, x, way in zip(parameters, start, ways, strict=True):
            p.data = x + distance * way
        with fastconv.no_grad():
            return loss_of(*inputs, target=target).item()

    slope = sum(np.vdot(p.grad, way) for p, way in zip(parameters, ways, strict=True))
    assert (loss_at(1e-7) - loss_at(-1e-7)) / 2e-7 == pytest.approx(slope, rel=1e-5)


@pytest.mark.peer("torch")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_twenty_steps_have_torchs_losses(example, dtype, tolerance, rng):
    import torch
    from support import torch_networks

    model, loss_of = network_of(example, rng, dtype)
    twin = getattr(torch_networks, type(model).__name__)()
    twin.to(torch.float64 if dtype == np.float64 else torch.float32)
    twin.load_state_dict({name: torch.tensor(x) for name, x in model.state_dict().items()})
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    peer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for inputs, target in batches_of(example, rng, dtype, 20):
        loss = loss_of(*inputs, target=target)
        expected = twin.loss(*map(torch.tensor, [*inputs, target]))
        for each, stepper in ((loss, optimizer), (expected, peer)):
            stepper.zero_grad()
            each.backward()
            stepper.step()
        losses.append((loss.item(), expected.item()))
    ours, theirs = np.array(losses).T
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)
    for name, array in twin.state_dict().items():
        np.testing.assert_allclose(
            model.state_dict()[name], array.numpy(), 100 * tolerance, tolerance, err_msg=name
        )
