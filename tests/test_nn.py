"""Layers on the tape: their gradients, their precision and formats, no_grad, and threads."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.arrays import assert_equal, channels_last
from support.layers import F64, IMAGE, LAYERS, SIGNAL, VOLUME, apart, small_net, twice

import fastconv.functional as F
from fastconv import Tensor, autograd, nn
from fastconv.autograd.rules import Rule
from fastconv.testing import assert_close, gradcheck_module


def passed(layer, x, g=None):
    """Output, gradient of the input, and those of the parameters, of one pass there and back."""
    layer.zero_grad()
    x = Tensor(x, requires_grad=True)
    y = layer(x)
    y.backward(np.ones(y.shape) if g is None else g)
    return [y.data, x.grad, *(p.grad for p in layer.parameters())]


def assert_all_equal(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert_equal(a, e)


# -------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_gradients(make, shape, rng):
    gradcheck_module(make(), apart(rng, shape))


def test_every_layer_is_checked():
    found = {type(module).__name__ for make, _ in LAYERS for module in make().modules()}
    kinds = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    layers = {name for name in kinds if issubclass(getattr(nn, name), nn.Module)}
    apart = {"Module", "ModuleDict", "ModuleList", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"}
    losses = {name for name in layers if issubclass(getattr(nn, name), nn.Loss)}
    assert layers - found == apart | losses


@pytest.mark.parametrize(
    ("pool", "unpool", "shape"),
    [
        (nn.MaxPool1d, nn.MaxUnpool1d, SIGNAL),
        (nn.MaxPool2d, nn.MaxUnpool2d, IMAGE),
        (nn.MaxPool3d, nn.MaxUnpool3d, VOLUME),
    ],
)
def test_unpooling_goes_back_through_pooling(pool, unpool, shape, rng):
    x = Tensor(apart(rng, shape), requires_grad=True)
    down, up = pool(3, 2, 1, return_indices=True), unpool(3, 2, 1)
    y, indices = down(x)
    z = up(y, indices, x.shape)
    np.testing.assert_array_equal(z.data[z.data != 0], x.data[z.data != 0])
    g = rng.standard_normal(x.shape)
    chosen = np.zeros(x.shape)
    np.put_along_axis(chosen.reshape(*shape[:2], -1), indices.reshape(*shape[:2], -1), 1.0, axis=-1)
    once = np.unique(indices.reshape(*shape[:2], -1)[0, 0]).size == indices[0, 0].size
    z.backward(g)
    if once:
        np.testing.assert_array_equal(x.grad[0, 0], (g * chosen)[0, 0])
    assert not x.grad[chosen == 0].any()
    with nn.no_grad():
        assert len(down(x)) == 2


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_parameters_get_the_same_bits_if_the_input_wants_no_gradient(make, shape, rng):
    layer, x = make(), apart(rng, shape)
    _, _, *expected = passed(layer, x)
    layer.zero_grad()
    y = layer(x)
    if not expected:
        assert not y.requires_grad
        return
    y.backward(np.ones(y.shape))
    assert_all_equal([p.grad for p in layer.parameters()], expected)


def test_an_images_gradient_is_not_computed_where_nobody_asks(monkeypatch, rng):
    def refuse(grad):
        raise ZeroDivisionError

    for op in (F.conv2d, F.tanh):
        gradients = dict.fromkeys(op.rule.functions, refuse)
        if op is F.conv2d:
            gradients = {**op.rule.functions, ("input",): refuse}
        monkeypatch.setattr(op, "rule", Rule(op, gradients))
    model = nn.Sequential(
        nn.Identity(), nn.Sequential(nn.Tanh(), nn.Conv2d(1, 2, 3, **F64)), nn.ReLU()
    )
    x = rng.random((1, 1, 5, 5))
    y = model(x)
    y.backward(np.ones(y.shape))
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ZeroDivisionError):
        passed(model, x)


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_float32_stays_float32_and_agrees_with_float64(make, shape, rng):
    double = make()
    x = apart(rng, shape)
    single = make()
    for p in single.parameters():
        p.data = p.data.astype(np.float32)
    for module in single.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean = module.running_mean.astype(np.float32)
            module.running_var = module.running_var.astype(np.float32)
    g = rng.standard_normal(make()(x).shape)
    results = passed(single, x.astype(np.float32), g.astype(np.float32))
    for a, e in zip(results, passed(double, x, g), strict=True):
        assert_close(a, e.astype(np.float32), rtol=1e-4, atol=1e-4)


def test_gradients_accumulate_until_zeroed(rng):
    model, x = small_net(), apart(rng, (3, 2, 6, 6))
    g = rng.standard_normal((3, 5))
    model(x).backward(g)
    once = [p.grad.copy() for p in model.parameters()]
    model(x).backward(g)
    for p, grad in zip(model.parameters(), once, strict=True):
        assert_equal(p.grad, grad + grad)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_the_same_pass_gives_the_same_bits_and_goes_back_once(make, shape, rng):
    layer, x = make(), apart(rng, shape)
    g = rng.standard_normal(layer(x).shape)
    assert_all_equal(passed(layer, x, g), passed(layer, x, g))
    x = Tensor(x, requires_grad=True)
    y = layer(x)
    y.backward(g)
    if y is not x:
        with pytest.raises(RuntimeError, match="call the model again"):
            y.backward(g)


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_forward_and_backward_leave_their_arguments_alone(make, shape, rng):
    layer, array = make(), apart(rng, shape)
    kept = array.copy()
    x = Tensor(array, requires_grad=True)
    y = layer(x)
    output = y.data.copy()
    g = rng.standard_normal(y.shape)
    kept_g = g.copy()
    y.backward(g)
    assert_all_equal([array, g, y.data], [kept, kept_g, output])
    for found in (x.grad, *(p.grad for p in layer.parameters())):
        found += 1  # nobody else's, and nothing's view
    assert_all_equal([array, g, y.data], [kept, kept_g, output])


def test_channels_last_images_give_the_same_results(rng):
    model, x = small_net(), apart(rng, (3, 2, 6, 6))
    g = rng.standard_normal((3, 5))
    for a, e in zip(passed(model, channels_last(x), g), passed(model, x, g), strict=True):
        assert_close(a, e)


class Watched(nn.Module):
    """Keeps the gradient that passes."""

    def __init__(self):
        def watch(grad):
            self.grad = grad
            return grad

        self.op = autograd.register(lambda input: input, input=watch)

    def forward(self, input):
        return self.op(input)


@pytest.mark.parametrize(
    "pooling",
    [
        (nn.MaxPool2d(6),),
        (nn.AvgPool2d(6),),
        (nn.GlobalAvgPool2d(),),
        (nn.AdaptiveMaxPool2d(1),),
        (nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1, **F64)),
        (nn.MaxPool2d(2),),
        (nn.AvgPool2d(3), nn.Dropout(0.5, rng=0)),
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_gradients_have_the_format_of_the_images(pooling, last, rng):
    layers = [
        nn.Conv2d(2, 4, 3, padding=1, **F64),
        nn.BatchNorm2d(4, dtype=np.float64),
        nn.ReLU(),
        nn.Residual(nn.Conv2d(4, 4, 3, padding=1, **F64)),
        nn.Tanh(),
        *pooling,
    ]
    watched = [Watched() for _ in layers]
    model = nn.Sequential(*(m for pair in zip(watched, layers, strict=True) for m in pair))
    x = apart(rng, (3, 2, 6, 6))
    x = Tensor(channels_last(x) if last else x, requires_grad=True)
    y = nn.Flatten()(model(x))
    y.backward(rng.standard_normal(y.shape))
    for watch, layer in zip(watched, layers, strict=True):
        flags = (watch.grad.flags.c_contiguous, watch.grad.transpose(0, 2, 3, 1).flags.c_contiguous)
        assert flags == (not last, last) or watch.grad.shape[2:] == (1, 1), layer


# --------------------------------------------------------------------------- no_grad


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_no_grad_changes_no_output_and_keeps_no_array(make, shape, rng):
    layer, x = make().eval(), apart(rng, shape)
    expected = layer(x)
    with nn.no_grad():
        assert not nn.is_grad_enabled()
        output = layer(x)
    assert nn.is_grad_enabled()
    assert_equal(output, expected)
    with pytest.raises(RuntimeError, match=r"requires a gradient, or it was made within no_grad"):
        output.backward(np.ones(output.shape))
    if np.shares_memory(output.data, x):
        del output
    del expected
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_what_is_recorded_goes_with_its_output(make, shape, rng):
    layer, x = make(), apart(rng, shape)
    y = layer(Tensor(x, requires_grad=True))
    assert y.requires_grad
    alive = weakref.ref(x)
    del x, y
    gc.collect()
    assert alive() is None


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), nn.no_grad():
        1 / 0  # noqa: B018
    assert nn.is_grad_enabled()


def test_threads_share_a_model_in_evaluation(rng):
    model = small_net().eval()
    images = [apart(rng, (3, 2, 6, 6)) for _ in range(16)]

    @nn.no_grad()
    def predict(x):
        return model(x)

    expected = [predict(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for actual, y in zip(pool.map(predict, images), expected, strict=True):
            assert_equal(actual, y)


def test_threads_record_a_shared_model_each_for_itself(rng):
    model = twice(nn.Conv2d(2, 2, 3, padding=1, **F64))
    images = [apart(rng, (3, 2, 6, 6)) for _ in range(16)]

    def gradient(x):
        x = Tensor(x, requires_grad=True)
        (model(x) ** 2).sum().backward()
        return x.grad

    expected = [gradient(x) for x in images]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            assert_all_equal(pool.map(gradient, images), expected)


# ------------------------------------------------------------------ dropout and batch norm


def test_dropout_drops_in_training_only():
    layer, x = nn.Dropout(0.5, rng=0), np.ones((20, 20))
    y, grad = passed(layer, x)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert_equal(grad, y)  # the mask that forward used
    assert not np.array_equal(layer(x), y)
    layer.eval()
    assert_all_equal(passed(layer, x), [x, x])


def test_dropout_goes_on_from_a_saved_generator():
    layer, x = nn.Dropout(rng=0), np.ones(100)
    layer(x)
    state = layer.rng.bit_generator.state
    y = layer(x)
    layer.rng.bit_generator.state = state
    assert_equal(layer(x), y)


def test_batch_norm_keeps_running_statistics(rng):
    layer, x = nn.BatchNorm2d(3, dtype=np.float64), rng.normal(4, 2, (5, 3, 2, 2))
    y = layer(x)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), ddof=1)
    assert_close(y.mean((0, 2, 3)), np.zeros(3))
    assert_close(layer.running_mean, 0.1 * mean)
    assert_close(layer.running_var, 0.9 + 0.1 * var)
    assert layer.num_batches_tracked == 1
    layer.eval()
    z = layer(x)
    column = (3, 1, 1)
    expected = (x - layer.running_mean.reshape(column)) / np.sqrt(
        layer.running_var.reshape(column) + 1e-5
    )
    assert_close(z, expected)
    assert layer.num_batches_tracked == 1


def test_batch_norm_without_momentum_averages_all_batches(rng):
    layer = nn.BatchNorm2d(3, momentum=None, dtype=np.float64)
    batches = rng.normal(4, 2, (4, 5, 3, 2, 2))
    for x in batches:
        layer(x)
    assert_close(layer.running_mean, batches.mean((0, 1, 3, 4)))
    assert_close(layer.running_var, batches.var((1, 3, 4), ddof=1).mean(0))


def test_a_refused_batch_leaves_batch_norm_as_it_was():
    layer = nn.BatchNorm2d(3)
    before = {name: array.copy() for name, array in layer.state_dict().items()}
    with pytest.raises(ValueError, match="4"):
        layer(np.ones((2, 4, 2, 2), np.float32))
    for name, array in layer.state_dict().items():
        assert_equal(array, before[name])


# ----------------------------------------------------------------------- bad input


def test_layers_pass_on_what_the_functions_refuse():
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\)"):
        nn.Conv2d(4, 4, 3)(np.ones((2, 3, 8, 8), np.float32))
    with pytest.raises(TypeError, match="float64"):
        nn.Conv2d(3, 4, 3)(np.ones((2, 3, 8, 8)))


# --------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
def test_agrees_with_an_equal_torch_network(rng):
    torch = pytest.importorskip("torch")
    tn = torch.nn
    theirs = tn.Sequential(
        tn.Conv2d(2, 4, 3, padding=1),
        tn.BatchNorm2d(4),
        tn.ReLU(),
        tn.MaxPool2d(2),
        tn.Flatten(),
        tn.Linear(4 * 3 * 3, 5),
    ).double()
    ours = small_net()
    ours.load_state_dict({name: array.numpy() for name, array in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, labels = rng.standard_normal((3, 2, 6, 6)), rng.integers(0, 5, 3)
    criterion = nn.CrossEntropyLoss(weight=[1, 2, 3, 4, 5], label_smoothing=0.1)
    image = Tensor(x, requires_grad=True)
    y = ours(image)
    loss = criterion(y, labels)
    loss.backward()
    tx = torch.tensor(x, requires_grad=True)
    ty = theirs(tx)
    weight = torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    tloss = tn.functional.cross_entropy(ty, torch.tensor(labels), weight, label_smoothing=0.1)
    tloss.backward()
    assert_close(y, ty.detach().numpy())
    assert_close(loss, tloss.detach().numpy())
    assert_close(image.grad, tx.grad.numpy())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad, q.grad.numpy())
    for name, array in theirs.state_dict().items():  # running statistics moved alike
        assert_close(ours.state_dict()[name], array.numpy(), name=name)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict().items()})
    assert_close(ours.eval()(x), theirs.eval()(torch.tensor(x)).detach().numpy())
