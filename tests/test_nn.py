"""Layers, containers and losses as modules: gradients, state, modes, and what they refuse."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv.functional as F
from fastconv import nn
from fastconv.testing import assert_close, gradcheck, gradcheck_module

F64 = {"dtype": np.float64, "rng": 0}


def assert_equal(actual, expected):
    np.testing.assert_array_equal(actual, expected, strict=True)


def apart(rng, shape):
    """Values no two of which are near each other, and none near 0."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) + 0.5) / size * 4 - 2 + 1 / size


def small_net(rng=0, dtype=np.float64):
    """One of everything that has a state, between layers that have none."""
    rng = np.random.default_rng(rng)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, dtype=dtype, rng=rng),
        nn.BatchNorm2d(4, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5, dtype=dtype, rng=rng),
    )


# -------------------------------------------------------------------- gradients

IMAGE = (2, 4, 5, 6)
SIGNAL = (2, 4, 7)
VOLUME = (2, 3, 4, 3, 5)
LAYERS = [
    (lambda: nn.Conv2d(4, 2, 3, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False, **F64), IMAGE),
    (lambda: nn.Conv2d(4, 2, 2, padding="same", **F64), IMAGE[1:]),
    (lambda: nn.Linear(6, 3, **F64), (2, 3, 6)),
    (lambda: nn.Linear(6, 3, bias=False, **F64), (4, 6)),
    (lambda: nn.BatchNorm2d(4, dtype=np.float64), IMAGE),
    (lambda: nn.BatchNorm2d(4, dtype=np.float64).eval(), IMAGE),
    (lambda: nn.BatchNorm2d(4, affine=False, dtype=np.float64), IMAGE),
    (lambda: nn.BatchNorm2d(4, track_running_stats=False, dtype=np.float64).eval(), IMAGE),
    (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    (lambda: nn.MaxPool2d(2, 1, dilation=2), IMAGE),
    (lambda: nn.AvgPool2d(2), IMAGE),
    (lambda: nn.AvgPool2d(3, 2, 1, True, False), IMAGE),
    (lambda: nn.AvgPool2d(3, 2, divisor_override=5), IMAGE),
    (lambda: nn.AdaptiveAvgPool2d((2, 4)), IMAGE),
    (lambda: nn.AdaptiveMaxPool2d((3, 2)), IMAGE),
    (lambda: nn.GlobalAvgPool2d(), IMAGE),
    (lambda: nn.Dropout().eval(), (3, 4)),
    (lambda: nn.ReLU(), (3, 4)),
    (lambda: nn.LeakyReLU(0.2), (3, 4)),
    (lambda: nn.LeakyReLU(-0.2), (3, 4)),
    (lambda: nn.Sigmoid(), (3, 4)),
    (lambda: nn.Tanh(), (3, 4)),
    (lambda: nn.GELU(), (3, 4)),
    (lambda: nn.GELU("tanh"), (3, 4)),
    (lambda: nn.SiLU(), (3, 4)),
    (lambda: nn.Softmax(), (3, 4)),
    (lambda: nn.Softmax(1), (2, 3, 4)),
    (lambda: nn.LogSoftmax(0), (3, 4)),
    (lambda: nn.Flatten(), (2, 3, 4)),
    (lambda: nn.Flatten(0, 1), (2, 3, 4)),
    (lambda: nn.Identity(), (3, 4)),
    (lambda: nn.Sequential(), (3, 4)),
    (small_net, (3, 2, 6, 6)),
    (lambda: small_net().eval(), (3, 2, 6, 6)),
    (lambda: nn.Residual(nn.Conv2d(4, 4, 3, padding=1, **F64)), IMAGE),
    (lambda: nn.Residual(nn.Linear(6, 3, **F64), nn.Linear(6, 3, **F64)), (4, 6)),
    (lambda: nn.Residual(nn.Identity()), (3, 4)),
    (lambda: nn.Concat(nn.Conv2d(4, 3, 1, **F64), nn.Identity(), nn.ReLU()), IMAGE),
    (lambda: nn.Concat(nn.Identity(), nn.Conv2d(4, 3, 1, **F64)), IMAGE[1:]),
    (lambda: nn.Concat(nn.Linear(6, 2, **F64), nn.Linear(6, 3, **F64)), (4, 6)),
    (lambda: nn.Concat(nn.Tanh()), (4, 6)),
    (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2, **F64), SIGNAL),
    (lambda: nn.Conv1d(4, 2, 2, padding=(1, 2), dilation=2, bias=False, **F64), SIGNAL),
    (lambda: nn.Conv1d(4, 2, 3, padding="same", **F64), SIGNAL[1:]),
    (lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True), SIGNAL),
    (lambda: nn.MaxPool1d(2, 1, dilation=2), SIGNAL),
    (lambda: nn.AvgPool1d(2), SIGNAL),
    (lambda: nn.AvgPool1d(3, 2, 1, True, False), SIGNAL),
    (lambda: nn.MaxPool3d(2, 1), VOLUME),
    (lambda: nn.MaxPool2d(3, 2, "same"), IMAGE),
    (lambda: nn.AvgPool3d((2, 3, 2), 2, ((0, 1), (1, 1), (1, 0))), VOLUME),
    (lambda: nn.AdaptiveAvgPool1d(3), SIGNAL),
    (lambda: nn.AdaptiveMaxPool1d((3,)), SIGNAL[1:]),
    (lambda: nn.AdaptiveAvgPool3d((2, None, 3)), VOLUME),
    (lambda: nn.AdaptiveMaxPool3d(2), VOLUME),
    (lambda: nn.GlobalAvgPool1d(), SIGNAL),
    (lambda: nn.GlobalAvgPool3d(), VOLUME),
    (lambda: nn.GlobalMaxPool1d(), SIGNAL),
    (lambda: nn.GlobalMaxPool2d(), IMAGE),
    (lambda: nn.GlobalMaxPool3d(), VOLUME),
    (lambda: nn.LPPool1d(2, 3, 2), SIGNAL),
    (lambda: nn.LPPool2d(float("inf"), 2), IMAGE),
    (lambda: nn.LPPool3d(2, 2, 1), VOLUME),
]


@pytest.mark.parametrize(
    ("pool", "unpool", "shape"),
    [
        (nn.MaxPool1d, nn.MaxUnpool1d, SIGNAL),
        (nn.MaxPool2d, nn.MaxUnpool2d, IMAGE),
        (nn.MaxPool3d, nn.MaxUnpool3d, VOLUME),
    ],
)
def test_unpooling_goes_back_through_pooling(pool, unpool, shape, rng):
    x = apart(rng, shape)
    down, up = pool(3, 2, 1, return_indices=True), unpool(3, 2, 1)
    y, indices = down(x)
    z = up(y, indices, x.shape)
    np.testing.assert_array_equal(z[z != 0], x[z != 0])
    g = rng.standard_normal(x.shape)
    chosen = np.zeros(x.shape)
    np.put_along_axis(chosen.reshape(*shape[:2], -1), indices.reshape(*shape[:2], -1), 1.0, axis=-1)
    once = np.unique(indices.reshape(*shape[:2], -1)[0, 0]).size == indices[0, 0].size
    grad = down.backward(up.backward(g))
    if once:
        np.testing.assert_array_equal(grad[0, 0], (g * chosen)[0, 0])
    assert not grad[chosen == 0].any()
    with nn.no_grad():
        assert len(down(x)) == 2


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_gradients(make, shape, rng):
    gradcheck_module(make(), apart(rng, shape))


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_backward_parameters_fills_the_same_gradients(make, shape, rng):
    layer, x = make(), apart(rng, shape)
    g = rng.standard_normal(layer(x).shape)
    layer.backward(g)
    expected = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    layer.backward_parameters(g)
    for p, grad in zip(layer.parameters(), expected, strict=True):
        assert_equal(p.grad, grad)


def test_backward_parameters_leaves_the_images_gradient_out(monkeypatch, rng):
    model = nn.Sequential(
        nn.Identity(), nn.Sequential(nn.Tanh(), nn.Conv2d(1, 2, 3, **F64)), nn.ReLU()
    )
    g = np.ones_like(model(rng.random((1, 1, 5, 5))))
    monkeypatch.delattr(F, "conv2d_backward_input")
    monkeypatch.delattr(F, "tanh_backward")
    model.backward_parameters(g)
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(AttributeError):
        model.backward(g)


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
    y = double(x)
    g = rng.standard_normal(y.shape)
    tolerance = {"rtol": 1e-4, "atol": 1e-4}
    assert_close(single(x.astype(np.float32)), y.astype(np.float32), **tolerance)
    grad = single.backward(g.astype(np.float32))
    assert_close(grad, double.backward(g).astype(np.float32), **tolerance)
    for p, q in zip(single.parameters(), double.parameters(), strict=True):
        assert_close(p.grad, q.grad.astype(np.float32), **tolerance)


def test_gradients_accumulate_until_zeroed(rng):
    model, x = small_net(), apart(rng, (3, 2, 6, 6))
    g = rng.standard_normal((3, 5))
    model(x)
    model.backward(g)
    once = [p.grad.copy() for p in model.parameters()]
    model(x)
    model.backward(g)
    for p, grad in zip(model.parameters(), once, strict=True):
        assert_equal(p.grad, grad + grad)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_backward_may_be_repeated(rng):
    model = small_net()
    model(apart(rng, (3, 2, 6, 6)))
    g = rng.standard_normal((3, 5))
    assert_equal(model.backward(g), model.backward(g))


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_forward_and_backward_leave_their_arguments_alone(make, shape, rng):
    layer, x = make(), apart(rng, shape)
    kept = x.copy()
    y = layer(x)
    output = y.copy()
    g = rng.standard_normal(y.shape)
    kept_g = g.copy()
    layer.backward(g)
    assert_equal(x, kept)
    assert_equal(g, kept_g)
    assert_equal(y, output)


def test_channels_last_images_give_the_same_results(rng):
    model, x = small_net(), apart(rng, (3, 2, 6, 6))
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    g = rng.standard_normal((3, 5))
    y, grad = model(x), model.backward(g)
    assert_close(model(channels_last), y)
    assert_close(model.backward(g), grad)


class Watched(nn.Identity):
    """Keeps the gradient that passes."""

    def backward(self, grad_output):
        self.grad = grad_output
        return grad_output


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
    y = model(np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x)
    flatten = nn.Flatten()
    model.backward(flatten.backward(rng.standard_normal(flatten(y).shape)))
    for watch, layer in zip(watched, layers, strict=True):
        flags = (watch.grad.flags.c_contiguous, watch.grad.transpose(0, 2, 3, 1).flags.c_contiguous)
        assert flags == (not last, last) or watch.grad.shape[2:] == (1, 1), layer


# --------------------------------------------------------------- backward needs forward


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, 1),
        nn.Linear(1, 1),
        nn.BatchNorm2d(1),
        nn.MaxPool2d(1),
        nn.Dropout(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Concat(nn.Identity()),
    ],
)
def test_backward_before_forward(layer):
    name = type(layer).__name__
    x = np.ones((2, 1, 1, 1), np.float32)
    with pytest.raises(RuntimeError, match=f"{name}.backward needs a forward pass"):
        layer.backward(x)
    layer(x)
    with nn.no_grad():
        layer(x)
    with pytest.raises(RuntimeError, match=f"{name}.backward needs a forward pass"):
        layer.backward(x)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()])
def test_backward_before_the_loss(criterion):
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        criterion.backward()
    with nn.no_grad():
        criterion(np.zeros((2, 3)), np.full((2, 3), 0.5))
    with pytest.raises(RuntimeError, match="backward needs a forward pass"):
        criterion.backward()


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_no_grad_changes_no_output_and_keeps_no_array(make, shape, rng):
    layer, x = make().eval(), apart(rng, shape)
    expected = layer(x)
    with nn.no_grad():
        assert not nn.is_grad_enabled()
        assert_equal(layer(x), expected)
    assert nn.is_grad_enabled()
    del expected
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), nn.no_grad():
        1 / 0  # noqa: B018
    assert nn.is_grad_enabled()


def test_no_grad_belongs_to_its_thread():
    seen = []
    with nn.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


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


# ------------------------------------------------------------------ train and eval


def test_modes_reach_every_module():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dropout())), nn.Concat(nn.ReLU()))
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())


def test_dropout_drops_in_training_only():
    layer, x = nn.Dropout(0.5, rng=0), np.ones((20, 20))
    y = layer(x)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert_equal(layer.backward(x), y)  # the mask that forward used
    assert not np.array_equal(layer(x), y)
    layer.eval()
    assert_equal(layer(x), x)
    assert_equal(layer.backward(x), x)


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


# ---------------------------------------------------------------------- state_dict


def test_state_dict_has_torchs_names_in_torchs_order():
    assert list(small_net().state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "5.weight",
        "5.bias",
    ]
    nested = nn.Residual(nn.Sequential(nn.Linear(2, 2, bias=False)), nn.Linear(2, 2, bias=False))
    assert list(nested.state_dict()) == ["body.0.weight", "shortcut.weight"]
    assert [name for name, _ in nested.named_parameters()] == ["body.0.weight", "shortcut.weight"]
    assert [name for name, _ in nested.named_modules()] == ["", "body", "body.0", "shortcut"]


def test_state_dict_round_trip(rng):
    first, second = small_net(0), small_net(1)
    x = apart(rng, (3, 2, 6, 6))
    first(x)  # moves the running statistics
    arrays = second.state_dict()
    keys = second.load_state_dict(first.state_dict())
    assert keys == ([], [])
    assert_equal(second.eval()(x), first.eval()(x))
    for name, array in second.state_dict().items():
        assert array is arrays[name]  # in place: an optimiser's references stay valid
        assert array is not first.state_dict()[name]


def test_load_state_dict_converts_precision():
    single, double = small_net(0, np.float32), small_net(1)
    double.load_state_dict(single.state_dict())
    assert double[0].weight.dtype == np.float64
    assert_equal(double[0].weight.data, single[0].weight.data.astype(np.float64))
    single.load_state_dict(small_net(1).state_dict())
    assert single[5].weight.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"0.bias": None}, ValueError, r"missing \['0.bias'\]"),
        ({"7.weight": np.zeros(1)}, ValueError, r"unexpected \['7.weight'\]"),
        ({"5.bias": np.zeros(6)}, ValueError, r"5.bias.*\(6,\).*\(5,\)"),
        ({"5.bias": np.zeros((1, 5))}, ValueError, r"5.bias.*\(1, 5\).*\(5,\)"),
        ({"5.bias": np.zeros(5, complex)}, TypeError, r"5.bias.*complex"),
        ({"5.bias": np.array(["a"] * 5)}, TypeError, r"5.bias"),
        ({"1.num_batches_tracked": np.array(1.5)}, TypeError, "num_batches_tracked.*float64"),
    ],
)
def test_load_state_dict_refuses_without_loading_half(change, error, text):
    model = small_net(0)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = {**small_net(1).state_dict(), **change}
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(error, match=text):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        assert_equal(array, before[name])


def test_load_state_dict_not_strict():
    model, other = small_net(0), small_net(1)
    keys = model.load_state_dict({"5.bias": other[5].bias.data, "x": np.zeros(1)}, strict=False)
    assert keys.unexpected_keys == ["x"]
    assert keys.missing_keys == [name for name in model.state_dict() if name != "5.bias"]
    assert_equal(model[5].bias.data, other[5].bias.data)
    assert not np.array_equal(model[5].weight.data, other[5].weight.data)


# ---------------------------------------------------------------------- containers


def test_sequential_is_a_sequence():
    layers = [nn.ReLU(), nn.Tanh(), nn.Flatten()]
    model = nn.Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[-1] is layers[2]
    head = model[:2]
    assert isinstance(head, nn.Sequential)
    assert list(head) == layers[:2]
    with pytest.raises(IndexError):
        model[3]


def test_residual_adds_and_concat_joins(rng):
    x = rng.standard_normal((2, 3, 4, 4))
    relu = np.maximum(x, 0)
    assert_equal(nn.Residual(nn.ReLU())(x), relu + x)
    assert_equal(nn.Residual(nn.ReLU(), nn.ReLU())(x), relu + relu)
    joined = nn.Concat(nn.ReLU(), nn.Identity(), nn.Conv2d(3, 1, 1, **F64))(x)
    assert joined.shape == (2, 7, 4, 4)
    assert_equal(joined[:, :3], relu)
    assert_equal(joined[:, 3:6], x)


def test_one_layer_has_one_place():
    relu = nn.ReLU()
    for make in (
        lambda: nn.Sequential(relu, nn.Tanh(), relu),
        lambda: nn.Sequential(relu, nn.Sequential(nn.Sequential(relu))),
        lambda: nn.Residual(relu, relu),
        lambda: nn.Concat(nn.Residual(relu), relu),
    ):
        with pytest.raises(ValueError, match=r"ReLU\(\) stands in two places"):
            make()


def test_containers_refuse_what_is_not_a_module():
    for make, name in (
        (nn.Sequential, "layer 0"),
        (nn.Residual, "body"),
        (lambda wrong: nn.Residual(nn.ReLU(), wrong), "shortcut"),
        (lambda wrong: nn.Concat(nn.ReLU(), wrong), "branch 1"),
    ):
        with pytest.raises(TypeError, match=rf"{name} must be a Module, got .*relu"):
            make(F.relu)
        with pytest.raises(TypeError, match=rf"{name} must be a Module, got .*ReLU"):
            make(nn.ReLU)
    with pytest.raises(ValueError, match="at least one branch"):
        nn.Concat()


def test_containers_name_shapes_that_do_not_fit():
    x = np.ones((2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) into \(2, 1, 4, 4\).*carries \(2, 3"):
        nn.Residual(nn.Conv2d(3, 1, 1, **F64))(x)  # must not broadcast
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\), \(2, 3, 2, 2\)"):
        nn.Concat(nn.Identity(), nn.MaxPool2d(2))(x)


# -------------------------------------------------------------------------- losses

LOSSES = [
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


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_pass_their_options_on(reduction, rng):
    x, labels, t = rng.standard_normal((4, 3)), np.array([0, 1, 2, 1]), rng.random((4, 3))
    w, row = np.array([1.0, 2.0, 3.0]), rng.random((4, 1))
    g = rng.random({"none": 4}.get(reduction, ()))
    criterion = nn.CrossEntropyLoss([1, 2, 3], 1, reduction, 0.1)
    options = {"weight": w, "ignore_index": 1, "reduction": reduction, "label_smoothing": 0.1}
    assert_close(np.asarray(criterion(x, labels)), F.cross_entropy(x, labels, **options))
    assert_equal(criterion.backward(g), F.cross_entropy_backward(g, x, labels, **options))
    g = rng.random({"none": (4, 3)}.get(reduction, ()))
    criterion = nn.BCEWithLogitsLoss(row, reduction, [1, 2, 3])
    options = {"weight": row, "reduction": reduction, "pos_weight": w}
    loss = F.binary_cross_entropy_with_logits(x, t, **options)
    assert_close(np.asarray(criterion(x, t)), loss)
    grad = F.binary_cross_entropy_with_logits_backward(g, x, t, **options)
    assert_equal(criterion.backward(g), grad)
    criterion = nn.MSELoss(reduction)
    assert_close(np.asarray(criterion(x, t)), F.mse_loss(x, t, reduction))
    assert_equal(criterion.backward(g), F.mse_loss_backward(g, x, t, reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("make", "make_target"), LOSSES)
def test_gradients_of_losses(make, make_target, reduction, rng):
    criterion, target = make(reduction), make_target(rng)
    x = rng.standard_normal((4, 3))
    gradcheck(lambda x: criterion(x, target), lambda g, x: criterion.backward(g), x)
    loss = criterion(x, target)
    assert isinstance(loss, np.ndarray if reduction == "none" else float)
    single = criterion(x.astype(np.float32), target if target.ndim == 1 else np.float32(target))
    assert_close(np.float64(single), np.float64(loss), rtol=1e-5, atol=1e-6)


def test_losses_backward_from_one_by_default(rng):
    x, t = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    criterion = nn.CrossEntropyLoss()
    criterion(x, t)
    assert_equal(criterion.backward(), F.cross_entropy_backward(1.0, x, t))
    assert_equal(criterion.backward(0.5), F.cross_entropy_backward(0.5, x, t))


# ----------------------------------------------------------------------- bad input


def test_layers_pass_on_what_the_functions_refuse():
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\)"):
        nn.Conv2d(4, 4, 3)(np.ones((2, 3, 8, 8), np.float32))
    with pytest.raises(TypeError, match="float64"):
        nn.Conv2d(3, 4, 3)(np.ones((2, 3, 8, 8)))


def test_parameter_refuses_a_gradient_of_another_shape():
    p = nn.Parameter(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 3\)"):
        p.accumulate(np.ones(3))
    assert p.grad is None


def test_modules_that_define_nothing_say_so():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        nn.Module()(np.ones(1))
    with pytest.raises(NotImplementedError, match="Module defines no backward"):
        nn.Module().backward(np.ones(1))


# --------------------------------------------------------------- seeds and appearance


def test_seeds_decide_the_weights():
    a, b, c = (nn.Conv2d(3, 4, 3, rng=seed).state_dict() for seed in (0, 0, 1))
    assert_equal(a["weight"], b["weight"])
    assert_equal(a["bias"], b["bias"])
    assert not np.array_equal(a["weight"], c["weight"])
    rng = np.random.default_rng(0)
    first, second = nn.Linear(3, 4, rng=rng), nn.Linear(3, 4, rng=rng)
    assert not np.array_equal(first.weight.data, second.weight.data)


def test_repr():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=False, dilation=2, groups=1),
        nn.Residual(nn.Sequential(nn.ReLU(), nn.Identity())),
        nn.Linear(4, 2),
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(2, 2), padding=1, dilation=(2, 2), "
        "bias=False)\n"
        "  (1): Residual(\n"
        "    (body): Sequential(\n"
        "      (0): ReLU()\n"
        "      (1): Identity()\n"
        "    )\n"
        "  )\n"
        "  (2): Linear(4, 2)\n"
        ")"
    )
    assert repr(nn.Parameter(np.zeros(2))) == "Parameter(shape=(2,), dtype=float64)"
    for make, _ in LAYERS:
        assert repr(make()).startswith(type(make()).__name__ + "(")


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
    y = ours(x)
    loss = criterion(y, labels)
    grad_x = ours.backward(criterion.backward())
    tx = torch.tensor(x, requires_grad=True)
    ty = theirs(tx)
    weight = torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    tloss = tn.functional.cross_entropy(ty, torch.tensor(labels), weight, label_smoothing=0.1)
    tloss.backward()
    assert_close(y, ty.detach().numpy())
    assert_close(np.float64(loss), tloss.detach().numpy())
    assert_close(grad_x, tx.grad.numpy())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p.grad, q.grad.numpy())
    for name, array in theirs.state_dict().items():  # running statistics moved alike
        assert_close(ours.state_dict()[name], array.numpy(), name=name)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in ours.state_dict().items()})
    assert_close(ours.eval()(x), theirs.eval()(torch.tensor(x)).detach().numpy())
