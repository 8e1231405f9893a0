"""Modules as trees: their modes, their state, containers, seeds and appearance."""

import numpy as np
import pytest
from support.arrays import assert_equal
from support.layers import F64, LAYERS, apart, small_net, twice

import fastconv.functional as F
from fastconv import Tensor, nn
from fastconv.testing import gradcheck, gradcheck_module


def test_modes_reach_every_module():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dropout())), nn.Concat(nn.ReLU()))
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    assert model.train() is model
    assert all(m.training for m in model.modules())


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


def test_a_layer_in_two_places_is_saved_in_both_and_learned_once(rng):
    model = twice(nn.Linear(3, 3, **F64))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "0", "1"]
    other = twice(nn.Linear(3, 3, dtype=np.float64, rng=1))
    assert other.load_state_dict(model.state_dict()) == ([], [])
    x = rng.standard_normal((2, 3))
    assert_equal(other(x), model(x))
    with pytest.raises(ValueError, match=r"missing \['2.weight', '2.bias'\]"):
        other.load_state_dict(dict(list(model.state_dict().items())[:2]))


def test_a_parameter_of_two_layers_is_learned_once(rng):
    model = nn.Sequential(nn.Linear(3, 3, **F64), nn.Tanh(), nn.Linear(3, 3, **F64))
    model[2].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
    state = model.state_dict()
    assert state["0.weight"] is state["2.weight"]
    gradcheck_module(model, rng.standard_normal((2, 3)))


def test_modules_in_lists_and_dictionaries_are_found(rng):
    class Tower(nn.Module):
        def __init__(self):
            self.blocks = [nn.Linear(3, 3, **F64), (nn.ReLU(), nn.Linear(3, 2, **F64))]
            self.scales = {"last": nn.Parameter(np.ones(2)), "deep": [nn.Linear(2, 1, **F64)]}

        def forward(self, input):
            first, (activation, second) = self.blocks
            output = second(activation(first(input))) * self.scales["last"]
            return self.scales["deep"][0](output)

    model = Tower()
    names = ["blocks.0", "blocks.1.0", "blocks.1.1", "scales.deep.0"]
    assert [name for name, _ in model.named_modules()][1:] == names
    weights = [
        f"{name}.{kind}" for name in names if name[-3:] != "1.0" for kind in ("weight", "bias")
    ]
    assert sorted(model.state_dict()) == sorted([*weights, "scales.last"])
    assert not any(module.training for module in model.eval().modules())
    gradcheck_module(model, apart(rng, (4, 3)))


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


def test_a_layer_may_stand_in_several_places(rng):
    linear = nn.Linear(4, 4, **F64)
    for model in (
        nn.Sequential(linear, nn.Tanh(), linear),
        nn.Sequential(linear, nn.Sequential(nn.Sequential(linear))),
        nn.Residual(linear, linear),
        nn.Concat(nn.Residual(linear), linear),
        nn.ModuleList([linear, linear]),
    ):
        assert [p.shape for p in model.parameters()] == [(4, 4), (4,)]
        if not isinstance(model, nn.ModuleList):
            gradcheck_module(model, rng.standard_normal((3, 4)))


def test_module_list_is_a_list():
    layers = [nn.ReLU(), nn.Linear(2, 3, rng=0), nn.Tanh()]
    found = nn.ModuleList(layers[:1])
    found.extend(layers[1:])
    found.append(layers[1])
    assert list(found) == [*layers, layers[1]]
    assert len(found) == 4
    assert found[-1] is layers[1]
    assert isinstance(found[1:], nn.ModuleList)
    assert list(found[1:]) == [layers[1], layers[2], layers[1]]
    found[0] = layers[2]
    assert [name for name, _ in found.named_children()] == ["0", "1", "2", "3"]
    assert list(found.state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert repr(found[:1]) == "ModuleList(\n  (0): Tanh()\n)"
    with pytest.raises(IndexError):
        found[4]


def test_module_dict_is_a_dictionary():
    heads = nn.ModuleDict({"shape": nn.Linear(2, 3, rng=0)})
    heads["colour"] = nn.Linear(2, 5, rng=1)
    assert list(heads) == list(heads.keys()) == ["shape", "colour"]
    assert len(heads) == 2
    assert "colour" in heads
    assert "size" not in heads
    assert [layer.out_features for layer in heads.values()] == [3, 5]
    assert dict(heads.items())["shape"] is heads["shape"]
    assert list(heads.state_dict()) == [
        "shape.weight", "shape.bias", "colour.weight", "colour.bias"
    ]  # fmt: skip
    with pytest.raises(KeyError):
        heads["size"]
    with pytest.raises(TypeError, match="names must be strings, got 1"):
        heads[1] = nn.ReLU()


@pytest.mark.parametrize("make", [nn.ModuleList, nn.ModuleDict])
def test_what_only_holds_modules_has_no_forward(make):
    with pytest.raises(NotImplementedError, match=f"{make.__name__} defines no forward"):
        make()(np.ones(1))


def test_modules_of_several_inputs(rng):
    class Distance(nn.Module):
        def __init__(self):
            self.twin = nn.Linear(4, 2, **F64)

        def forward(self, input, other, scale=1.0):
            return (self.twin(input) - self.twin(other)).abs() * scale

    model = Distance()
    a, b = rng.standard_normal((2, 3, 4))
    assert isinstance(model(a, b), Tensor)
    assert_equal(model(a, b, scale=2.0), 2 * model(a, b).data)
    gradcheck(lambda a, b: model(a, b, scale=2.0), None, a, b)


def test_containers_refuse_what_is_not_a_module():
    for make, name in (
        (nn.Sequential, "layer 0"),
        (nn.Residual, "body"),
        (lambda wrong: nn.Residual(nn.ReLU(), wrong), "shortcut"),
        (lambda wrong: nn.Concat(nn.ReLU(), wrong), "branch 1"),
        (lambda wrong: nn.ModuleList([nn.ReLU(), wrong]), "module 1"),
        (lambda wrong: nn.ModuleList([nn.ReLU()]).__setitem__(0, wrong), "module 0"),
        (lambda wrong: nn.ModuleDict({"head": wrong}), "module 'head'"),
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


# ---------------------------------------------------------------------- parameters


def test_parameter_refuses_a_gradient_of_another_shape():
    p = nn.Parameter(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 3\)"):
        p.accumulate(np.ones(3))
    assert p.grad is None


def test_gradients_are_real_numbers_of_the_parameters_precision():
    p = nn.Parameter(np.zeros(2, np.float32))
    for g in (np.ones(2, complex), np.ones(2, bool), ["a", "b"]):
        for call in (p.accumulate, p.backward):
            with pytest.raises(TypeError, match="grad must be real numbers"):
                call(g)
    assert p.grad is None
    p.accumulate([1, 2])
    p.backward(np.array([0.5, 1e300]))
    assert_equal(p.grad, np.array([1.5, np.inf], np.float32))


def test_a_module_that_defines_no_forward_says_so():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        nn.Module()(np.ones(1))


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
