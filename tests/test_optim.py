"""Optimisers, schedules and clipping: the formulas by hand, torch step by step, and resuming."""

import inspect
import io
import math

import numpy as np
import pytest

import fastconv
from fastconv import nn, optim
from fastconv.testing import assert_close

# every branch of every update: (class, options)
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.05}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True, "weight_decay": 0.05}),
]


def parameters(rng, dtype=np.float64):
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in ((3, 4), (5,), ())]


def set_gradients(rng, params, without=None):
    for i, p in enumerate(params):
        g = rng.standard_normal(p.shape).astype(p.dtype)
        p.grad = None if i == without else np.asarray(g)


def make(name, options, params):
    return getattr(optim, name)(params, **options)


# ------------------------------------------------------------------ by their formulas


def test_sgd_follows_its_formula():
    p = nn.Parameter(np.array([1.0]))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5, dampening=0.2, weight_decay=0.1)
    p.grad = np.array([2.0])
    optimizer.step()  # v = 2 + 0.1
    assert p.data[0] == pytest.approx(1 - 0.1 * 2.1)
    optimizer.step()  # v = 0.5 v + 0.8 (2 + 0.1 p)
    assert p.data[0] == pytest.approx(0.79 - 0.1 * (0.5 * 2.1 + 0.8 * 2.079))


def test_nesterov_follows_its_formula():
    p = nn.Parameter(np.array([1.0]))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5, nesterov=True)
    p.grad = np.array([2.0])
    optimizer.step()  # v = 2, step 2 + 0.5 * 2
    assert p.data[0] == pytest.approx(0.7)
    optimizer.step()  # v = 3, step 2 + 0.5 * 3
    assert p.data[0] == pytest.approx(0.35)


def test_adam_and_adamw_follow_their_formulas():
    for name, decoupled in (("Adam", False), ("AdamW", True)):
        p = nn.Parameter(np.array([1.0]))
        optimizer = make(name, {"lr": 0.1, "eps": 0.01, "weight_decay": 0.2}, [p])
        x, m, v = 1.0, 0.0, 0.0
        for k, g in enumerate((2.0, -1.0, 0.5), start=1):
            p.grad = np.array([g])
            optimizer.step()
            if decoupled:
                x -= 0.1 * 0.2 * x
            else:
                g += 0.2 * x
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            x -= 0.1 * (m / (1 - 0.9**k)) / (math.sqrt(v / (1 - 0.999**k)) + 0.01)
            assert p.data[0] == pytest.approx(x, rel=1e-12)


def test_rmsprop_follows_its_formula():
    for centered in (False, True):
        p = nn.Parameter(np.array([1.0]))
        options = {"lr": 0.1, "alpha": 0.9, "eps": 0.01, "momentum": 0.5, "centered": centered}
        optimizer = optim.RMSprop([p], **options)
        x, s, a, v = 1.0, 0.0, 0.0, 0.0
        for g in (2.0, -1.0, 0.5):
            p.grad = np.array([g])
            optimizer.step()
            s, a = 0.9 * s + 0.1 * g * g, 0.9 * a + 0.1 * g
            v = 0.5 * v + g / (math.sqrt(s - centered * a * a) + 0.01)
            x -= 0.1 * v
            assert p.data[0] == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_same_bits_for_any_number_of_threads_and_any_position(name, options, dtype, rng):
    size = 100_003  # several chunks, the last one and its last vector not full
    data, *grads = (rng.standard_normal(size).astype(dtype) for _ in range(3))

    def steps(threads, part=slice(None)):
        p = nn.Parameter(data[part].copy())
        optimizer = make(name, options, [p])
        with fastconv.threads(threads):
            for g in grads:
                p.grad = g[part]
                optimizer.step()
        kept = (p.data, *optimizer.state_dict().values())
        return [a.tobytes() for a in kept if isinstance(a, np.ndarray)]

    whole = steps(1)
    assert all(steps(n) == whole for n in (2, 3, 4))
    itemsize = np.dtype(dtype).itemsize
    for part in (slice(0, 1), slice(3, 8), slice(16_380, 16_421)):
        cut = slice(part.start * itemsize, part.stop * itemsize)
        assert steps(2, part) == [a[cut] for a in whole]


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_step_without_weight_decay_does_not_depend_on_the_parameter(name):
    p = nn.Parameter(np.array([np.inf, 1.0]))
    optimizer = make(name, {"lr": 0.1}, [p])
    p.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_allclose(p.data, [np.inf, 0.9])


# ------------------------------------------------------------------- what step leaves be


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_step_works_in_place_and_does_not_modify_gradients(name, options, rng):
    params = parameters(rng)
    optimizer = make(name, options, params)
    arrays, before = [p.data for p in params], [p.data.copy() for p in params]
    set_gradients(rng, params, without=1)
    grads = [None if p.grad is None else p.grad.copy() for p in params]
    optimizer.step()
    for i, p in enumerate(params):
        assert p.data is arrays[i]
        assert p.data.dtype == np.float64
        if i == 1:  # without a gradient, not even decay
            np.testing.assert_array_equal(p.data, before[i])
            continue
        np.testing.assert_array_equal(p.grad, grads[i])
        assert (p.data != before[i]).all()
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_data_and_gradient_may_have_any_strides(name, options, rng):
    straight = [nn.Parameter(rng.standard_normal((4, 6)))]
    wide = np.zeros((12, 8))
    strided = wide[::-2, 1:5].T
    strided[...] = straight[0].data
    strange = [nn.Parameter(strided)]
    optimizers = [make(name, options, params) for params in (straight, strange)]
    for _ in range(3):
        g = rng.standard_normal((4, 6))
        straight[0].grad, strange[0].grad = g, np.asfortranarray(g)
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_array_equal(strange[0].data, straight[0].data)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_float32_stays_float32(name, options, rng):
    single = parameters(np.random.default_rng(1), np.float32)
    double = parameters(np.random.default_rng(1))
    optimizers = [make(name, options, params) for params in (single, double)]
    for _ in range(5):
        set_gradients(rng, double)
        for p, q in zip(single, double, strict=True):
            p.grad = np.asarray(q.grad, np.float32)
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(single, double, strict=True):
        assert_close(p.data, q.data.astype(np.float32), rtol=1e-4, atol=1e-4)
    for key, value in optimizers[0].state_dict().items():
        if isinstance(value, np.ndarray):
            assert value.dtype == np.float32, key


def test_gradient_of_another_shape_is_refused_before_any_update(rng):
    params = parameters(rng)
    set_gradients(rng, params)
    params[1].grad = np.ones(1)  # would broadcast
    before = [p.data.copy() for p in params]
    with pytest.raises(ValueError, match=r"params\[1\].*\(1,\).*\(5,\)"):
        optim.SGD(params, lr=0.1).step()
    for p, data in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.data, data)


# ---------------------------------------------------------------------- state_dict


def through_npz(state):
    """The state as it comes back from a file: every number a 0-d array."""
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_resuming_from_a_state_dict_equals_continuing(name, options, rng):
    params = parameters(rng)
    optimizer = make(name, options, params)
    for k in range(4):
        set_gradients(rng, params, without=2 if k == 1 else None)
        optimizer.step()
    optimizer.lr *= 0.5
    state = through_npz(optimizer.state_dict())
    resumed = [nn.Parameter(p.data.copy()) for p in params]
    other = make(name, {}, resumed)  # every hyperparameter comes from the state
    other.load_state_dict(state)
    assert repr(other) == repr(optimizer)
    for _ in range(4):
        set_gradients(rng, params)
        for p, q in zip(params, resumed, strict=True):
            q.grad = p.grad
        optimizer.step()
        other.step()
        for p, q in zip(params, resumed, strict=True):
            np.testing.assert_array_equal(q.data, p.data)


def test_loaded_arrays_are_copies_in_the_parameters_precision(rng):
    params = parameters(rng)
    optimizer = optim.Adam(params)
    set_gradients(rng, params)
    optimizer.step()
    single = [nn.Parameter(p.data.astype(np.float32)) for p in params]
    for others, dtype in ((single, np.float32), (parameters(rng), np.float64)):
        other = optim.Adam(others)
        other.load_state_dict(optimizer.state_dict())
        for key, value in other.state_dict().items():
            if isinstance(value, np.ndarray):
                assert value.dtype == dtype
                assert not np.shares_memory(value, optimizer.state_dict()[key])


def test_state_dict_is_flat_numbers_and_arrays(rng):
    params = parameters(rng)
    optimizer = optim.Adam(params, lr=0.5)
    assert optimizer.state_dict() == {
        "Adam.0.params": 3,
        "Adam.0.lr": 0.5,
        "Adam.0.betas": (0.9, 0.999),
        "Adam.0.eps": 1e-8,
        "Adam.0.weight_decay": 0.0,
    }
    set_gradients(rng, params, without=1)
    optimizer.step()
    state = optimizer.state_dict()
    assert state["0.step"] == 1
    assert state["0.exp_avg"].shape == state["0.exp_avg_sq"].shape == (3, 4)
    assert not any(key.startswith("1.") for key in state)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"Adam.0.lr": None}, "no Adam.0.lr"),
        ({"Adam.0.lr": -1.0}, "lr.*-1"),
        ({"Adam.0.lr": "fast"}, "lr.*fast"),
        ({"Adam.0.lr": np.ones(2)}, "lr"),
        ({"Adam.0.betas": 0.5}, r"betas.*0\.5"),
        ({"Adam.0.betas": [0.5, 1.0]}, r"beta2.*1\.0"),
        ({"Adam.0.betas": np.ones((1, 2))}, r"Adam\.0\.betas"),
        ({"Adam.0.params": 2}, r"groups of \[2\] parameters, this Adam has groups of \[3\]"),
        ({"Adam.0.params": math.inf}, r"Adam\.0\.params.*inf"),
        ({"Adam.1.params": 2}, r"\[3, 2\]"),
        ({"Adam.1.lr": 2}, r"unknown entry 'Adam\.1\.lr'"),
        ({"AdamW.0.lr": 1.0}, "state is of AdamW, this optimiser is Adam"),
        ({"0.exp_avg": None}, r"parameter 0 lacks \['exp_avg'\]"),
        ({"0.exp_avg": np.ones((4, 3))}, r"0.exp_avg.*\(3, 4\).*\(4, 3\)"),
        ({"0.exp_avg": np.ones((3, 4), int)}, r"0.exp_avg.*int64"),
        ({"0.step": 1.5}, r"0.step.*1\.5"),
        ({"0.step": -1}, r"0.step.*-1"),
        ({"9.step": 1}, r"unknown entry '9.step'"),
        ({"0.velocity": np.ones((3, 4))}, r"unknown entry '0.velocity'"),
        ({"momentum": 0.9}, r"unknown entry 'momentum'"),
    ],
)
def test_load_state_dict_refuses_without_changing_anything(change, text, rng):
    params = parameters(rng)
    optimizer = optim.Adam(params, lr=0.5)
    set_gradients(rng, params)
    optimizer.step()
    before = optimizer.state_dict()
    kept = {k: np.copy(v) for k, v in before.items()}
    state = {**before, "Adam.0.lr": 0.25, **change}
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(ValueError, match=text):
        optimizer.load_state_dict(state)
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, kept[key])


# ----------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda p: optim.SGD(p, lr=-0.1), ValueError, r"lr.*-0\.1"),
        (lambda p: optim.SGD(p, lr=math.nan), ValueError, "lr.*nan"),
        (lambda p: optim.SGD(p, lr=math.inf), ValueError, "lr.*inf"),
        (lambda p: optim.SGD(p, lr="0.1"), TypeError, r"lr.*'0\.1'"),
        (lambda p: optim.SGD(p, momentum=-1), ValueError, "momentum.*-1"),
        (lambda p: optim.SGD(p, weight_decay=-1), ValueError, "weight_decay.*-1"),
        (lambda p: optim.SGD(p, dampening=math.nan), ValueError, "dampening.*nan"),
        (lambda p: optim.SGD(p, nesterov=True), ValueError, "nesterov.*momentum=0"),
        (
            lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
            r"nesterov.*dampening=0\.1",
        ),
        (lambda p: optim.Adam(p, betas=(1.0, 0.9)), ValueError, r"beta1.*1\.0"),
        (lambda p: optim.Adam(p, betas=(0.9, -0.1)), ValueError, r"beta2.*-0\.1"),
        (lambda p: optim.AdamW(p, eps=-1), ValueError, "eps.*-1"),
        (lambda p: optim.RMSprop(p, alpha=-1), ValueError, "alpha.*-1"),
        (lambda p: optim.SGD([]), ValueError, "params is empty"),
        (lambda p: optim.SGD([*p, p[0]]), ValueError, "same parameter twice"),
        (lambda p: optim.StepLR(optim.SGD(p), 0), ValueError, "step_size.*0"),
        (lambda p: optim.StepLR(optim.SGD(p), 1, gamma=-1), ValueError, "gamma.*-1"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD(p), 0), ValueError, "T_max.*0"),
        (lambda p: optim.CosineAnnealingLR(optim.SGD(p), 1, -1), ValueError, "eta_min.*-1"),
        (lambda p: optim.clip_grad_norm(p, -1), ValueError, "max_norm.*-1"),
        (lambda p: optim.clip_grad_norm(p, 1, 0.5), ValueError, r"norm_type.*0\.5"),
        (lambda p: optim.clip_grad_value(p, -1), ValueError, "clip_value.*-1"),
    ],
)
def test_invalid_arguments_are_refused(call, error, text, rng):
    with pytest.raises(error, match=text):
        call(parameters(rng))


# -------------------------------------------------------------------------- groups


def test_a_group_is_updated_as_an_optimizer_of_its_own_would(rng):
    for name, options in OPTIMIZERS:
        ours = parameters(rng)
        apart = [nn.Parameter(p.data.copy()) for p in ours]
        other = {"lr": 0.003, "weight_decay": 0.3}
        optimizer = make(name, options, [{"params": ours[:1], **other}, {"params": ours[1:]}])
        alone = [make(name, {**options, **other}, apart[:1]), make(name, options, apart[1:])]
        for _ in range(3):
            set_gradients(rng, ours)
            for p, q in zip(ours, apart, strict=True):
                q.grad = p.grad
            for each in (optimizer, *alone):
                each.step()
        for p, q in zip(ours, apart, strict=True):
            np.testing.assert_array_equal(p.data, q.data)
        assert optimizer.params == ours


def test_settings_of_a_group_may_be_changed_between_steps(rng):
    p, q = (nn.Parameter(np.zeros(2)) for _ in range(2))
    optimizer = optim.SGD([{"params": p}, {"params": iter([q]), "lr": 0.5}], lr=0.1)
    p.grad = q.grad = np.ones(2)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    np.testing.assert_allclose(p.data, -1.1)
    np.testing.assert_allclose(q.data, -1.0)
    with pytest.raises(AttributeError, match=r"\[0\.5, 1\.0\]"):
        optimizer.lr  # noqa: B018
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
    assert optimizer.lr == 0.25
    with pytest.raises(ValueError, match=r"lr.*-1"):
        optimizer.lr = -1


def test_the_users_dicts_and_lists_stay_theirs(rng):
    group = {"params": parameters(rng), "lr": 0.5}
    optimizer = optim.SGD([group])
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.param_groups[0]["params"].pop()
    assert group["lr"] == 0.5
    assert len(group["params"]) == 3


@pytest.mark.parametrize(
    ("groups", "error", "text"),
    [
        (lambda p: [{"params": p}, {"params": p[:1]}], ValueError, r"twice: params\[1\]\['params'"),
        (lambda p: [{"params": [p[0], p[0]]}], ValueError, r"twice.*\[1\], of shape \(3, 4\)"),
        (lambda p: [{"params": p, "rate": 1}], TypeError, r"params\[0\].*'rate'; SGD has lr, mom"),
        (
            lambda p: [{"params": p}, {"params": []}],
            ValueError,
            r"params\[1\]\['params'\] is empty",
        ),
        (lambda p: [{"lr": 0.1}], ValueError, r"params\[0\] has no 'params', only \['lr'\]"),
        (lambda p: [{"params": p, "lr": -1}], ValueError, r"params\[0\]: lr.*-1"),
        (lambda p: [{"params": p, "lr": "1"}], TypeError, r"params\[0\]: lr.*'1'"),
        (lambda p: [{"params": p, "nesterov": True}], ValueError, r"params\[0\]: nesterov"),
        (lambda p: [{"params": p[:1]}, p[1]], TypeError, r"not both: params\[1\] is .* Parameter"),
        (lambda p: {"params": p}, TypeError, r"params\[0\] must be a Parameter.* type str"),
        (lambda p: p[0], TypeError, "one alone"),
        (lambda p: 3, TypeError, "params must be a list of parameters, .* type int"),
        (lambda p: [{"params": 3}], TypeError, r"params\[0\]\['params'\] must be a list"),
        (lambda p: [p[0].data], TypeError, r"params\[0\] must be a Parameter.* type ndarray"),
        (lambda p: [("w", p[0])], TypeError, r"params\[0\] must be a Parameter.* type tuple"),
        (lambda p: [p[0] * 2], ValueError, r"params\[0\] was made by an op"),
        (lambda p: [fastconv.Tensor([1, 2])], TypeError, "float32 or float64, got int64"),
    ],
)
def test_groups_are_refused(groups, error, text, rng):
    with pytest.raises(error, match=text):
        optim.SGD(groups(parameters(rng)), lr=0.1)


def test_groups_are_saved_and_resumed(rng):
    params = parameters(rng)
    groups = [{"params": params[1:], "betas": (0.5, 0.6)}, {"params": params[:1], "lr": 0.5}]
    optimizer = optim.Adam(groups)
    set_gradients(rng, params)
    optimizer.step()
    state = through_npz(optimizer.state_dict())
    again = optim.Adam([{"params": params[1:]}, {"params": params[:1]}])
    again.load_state_dict(state)
    assert repr(again) == repr(optimizer)
    assert again.param_groups[0]["betas"] == (0.5, 0.6)
    for others in ([{"params": params[:1]}, {"params": params[1:]}], params):
        with pytest.raises(ValueError, match=r"groups of \[2, 1\] parameters, .* \[(1, 2|3)\]"):
            optim.Adam(others).load_state_dict(state)


def test_an_optimizer_that_is_another_is_found_out(rng):
    params = parameters(rng)
    state = optim.AdamW(params, lr=0.1, weight_decay=0.5).state_dict()
    optim.AdamW(params, lr=1e-5, weight_decay=0.5).check_same(through_npz(state))
    for other, text in (
        (optim.Adam(params), "state is of AdamW, this optimiser is Adam"),
        (optim.AdamW(params), r"weight_decay=0\.5, and this AdamW weight_decay=0\.01"),
        (optim.AdamW(params, betas=(0.5, 0.6), weight_decay=0.5), r"\(0\.9, 0\.999\).*\(0\.5"),
        (optim.AdamW(params[:2]), r"\[3\] parameters.*\[2\]"),
    ):
        with pytest.raises(ValueError, match=text):
            other.check_same(state)
    groups = optim.SGD([{"params": params[:1]}, {"params": params[1:], "momentum": 0.5}])
    with pytest.raises(ValueError, match=r"momentum=0\.5 \(of parameter group 1\)"):
        optim.SGD([{"params": params[:1]}, {"params": params[1:]}]).check_same(groups.state_dict())


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR"])
def test_schedules_scale_the_rate_of_every_group(name, rng):
    params = parameters(rng)
    both = optim.SGD([{"params": params[:1], "lr": 2.0}, {"params": params[1:]}], lr=0.5)
    alone = [optim.SGD(params[:1], lr=2.0), optim.SGD(params[1:], lr=0.5)]
    schedules = [getattr(optim, name)(optimizer, 3) for optimizer in (both, *alone)]
    for _ in range(5):
        for schedule in schedules:
            schedule.step()
        assert [g["lr"] for g in both.param_groups] == [optimizer.lr for optimizer in alone]
    fresh = optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=7.0)
    getattr(optim, name)(fresh, 3).load_state_dict(through_npz(schedules[0].state_dict()))
    assert [g["lr"] for g in fresh.param_groups] == [g["lr"] for g in both.param_groups]
    with pytest.raises(ValueError, match=r"base_lrs.* 1 numbers, one for each parameter group"):
        schedules[1].load_state_dict(schedules[0].state_dict())


# ---------------------------------------------------------------------- on the tape


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_step_between_forward_and_backward_is_found_out(name, rng):
    p, q = parameters(rng)[:2]
    optimizer = make(name, {}, [p])
    for _ in range(2):
        (p * p).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    loss, other = (p * p).sum(), (q * q).sum()
    p.grad = np.ones(p.shape)
    optimizer.step()
    other.backward()
    with pytest.raises(RuntimeError, match="changed between the forward pass and backward"):
        loss.backward()


def test_parameters_without_a_gradient_wanted_may_be_held(rng):
    frozen, learned = parameters(rng)[:2]
    frozen.requires_grad = False
    optimizer = optim.Adam([frozen, learned])
    before = frozen.data.copy()
    (learned * learned).sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(frozen.data, before)
    optimizer.zero_grad()
    assert learned.grad is None


# ----------------------------------------------------------------------- schedules


def test_schedules_follow_their_formulas(rng):
    optimizer = optim.SGD(parameters(rng), lr=2.0)
    schedule = optim.StepLR(optimizer, step_size=3, gamma=0.1)
    for epoch in range(1, 10):
        schedule.step()
        assert optimizer.lr == pytest.approx(2.0 * 0.1 ** (epoch // 3), rel=1e-12)
    optimizer = optim.SGD(parameters(rng), lr=2.0)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.5)
    rates = []
    for _ in range(16):
        schedule.step()
        rates.append(optimizer.lr)
    assert rates[3] == pytest.approx(1.25)
    assert rates[7] == 0.5
    assert rates[15] == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR"])
def test_schedules_resume(name, rng):
    make_schedule = getattr(optim, name)
    first, second = (optim.SGD(parameters(rng), lr=lr) for lr in (2.0, 1.0))
    schedule, resumed = make_schedule(first, 3), make_schedule(second, 3)
    schedule.step()
    schedule.step()
    resumed.load_state_dict(through_npz(schedule.state_dict()))
    for _ in range(5):
        assert second.lr == first.lr
        schedule.step()
        resumed.step()
    with pytest.raises(ValueError, match="no base_lr"):
        resumed.load_state_dict({"last_epoch": 3})
    with pytest.raises(ValueError, match="last_epoch"):
        resumed.load_state_dict({"last_epoch": 0.5, "base_lrs": [1.0]})
    for rates in (1.0, [1.0, 2.0], [-1.0], [[1.0]], ["fast"]):
        with pytest.raises(ValueError, match=r"base_lrs|lr must"):
            resumed.load_state_dict({"last_epoch": 1, "base_lrs": rates})


# ------------------------------------------------------------------------ clipping


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_clip_grad_norm_scales_to_max_norm(norm_type, rng):
    params = parameters(rng)
    set_gradients(rng, params, without=1)
    every = np.concatenate([p.grad.ravel() for p in params if p.grad is not None])
    norm = np.linalg.norm(every, norm_type)
    grads = [p.grad for p in params]
    assert optim.clip_grad_norm(params, 2 * norm, norm_type) == pytest.approx(norm)
    np.testing.assert_array_equal(grads[0], every[:12].reshape(3, 4))  # short enough: untouched
    optim.clip_grad_norm(params, norm / 4, norm_type)
    clipped = np.concatenate([p.grad.ravel() for p in params if p.grad is not None])
    assert_close(clipped, every / 4, rtol=1e-5)
    assert all(p.grad is g for p, g in zip(params, grads, strict=True))  # in place
    assert optim.clip_grad_norm([params[1]], 1.0) == 0.0


def test_clip_grad_norm_of_non_finite_gradients():
    for bad in (math.nan, math.inf):
        params = [nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(2))]
        params[0].grad, params[1].grad = np.array([1.0, bad]), np.ones(2)
        norm = optim.clip_grad_norm(params, 1.0)
        assert not math.isfinite(norm)
        assert np.isnan(params[0].grad[1])


def test_gradients_of_a_loss_are_clipped_one_parameter_at_a_time(rng):
    p, q = nn.Parameter(rng.standard_normal(5)), nn.Parameter(rng.standard_normal(5))
    (p + q).sum().backward()
    assert optim.clip_grad_norm(p, 1.0) == pytest.approx(math.sqrt(5))
    optim.clip_grad_value(p, 0.25)
    np.testing.assert_array_equal(p.grad, np.full(5, 0.25))
    np.testing.assert_array_equal(q.grad, np.ones(5))


def test_clip_grad_value_clips_every_element(rng):
    params = parameters(rng)
    set_gradients(rng, params, without=1)
    before = params[0].grad.copy()
    optim.clip_grad_value(params, 0.5)
    np.testing.assert_array_equal(params[0].grad, np.clip(before, -0.5, 0.5))
    assert params[1].grad is None


# -------------------------------------------------------------------------- training


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_every_optimizer_minimizes_a_quadratic(name, options):
    p = nn.Parameter(np.array([3.0, -2.0]))
    optimizer = make(name, {**options, "lr": 0.02, "weight_decay": 0.0}, [p])
    for _ in range(400):
        p.grad = p.data * np.array([1.0, 4.0])
        optimizer.step()
    assert np.linalg.norm(p.data) < 0.1


# ----------------------------------------------------------------------------- peers


@pytest.mark.peer("torch")
def test_constructors_have_torchs_arguments():
    import torch

    for name in ("SGD", "Adam", "AdamW", "RMSprop"):
        theirs = inspect.signature(getattr(torch.optim, name)).parameters
        for argument in inspect.signature(getattr(optim, name)).parameters.values():
            if argument.name != "params":
                assert argument.default == theirs[argument.name].default, (name, argument)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_agrees_with_torch_step_by_step(name, options, dtype, rng):
    import torch

    ours = parameters(rng, dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    optimizer, peer = make(name, options, ours), getattr(torch.optim, name)(theirs, **options)
    schedule = optim.CosineAnnealingLR(optimizer, 30, 1e-4)
    peer_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(peer, 30, 1e-4)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for k in range(50):
        set_gradients(rng, ours, without=1 if k % 7 == 3 else None)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = None if p.grad is None else torch.tensor(p.grad)
        norm = optim.clip_grad_norm(ours, 4.0)
        peer_norm = torch.nn.utils.clip_grad_norm_(theirs, 4.0)
        assert norm == pytest.approx(float(peer_norm), rel=1e-5)
        optimizer.step()
        peer.step()
        for p, q in zip(ours, theirs, strict=True):
            assert_close(p.data, q.detach().numpy(), rtol=tolerance, atol=tolerance)
        schedule.step()
        peer_schedule.step()
        assert optimizer.lr == pytest.approx(peer_schedule.get_last_lr()[0], rel=1e-9)


@pytest.mark.peer("torch")
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_groups_agree_with_torchs(kind, rng):
    import torch

    ours = parameters(rng)
    theirs = [torch.nn.Parameter(torch.tensor(p.data)) for p in ours]
    special = {"lr": 0.02, "weight_decay": 0.1}
    special |= {"betas": (0.5, 0.7)} if "Adam" in kind else {"momentum": 0.5}

    def groups(params):
        return [{"params": params[:2]}, {"params": params[2], **special}]

    optimizer = getattr(optim, kind)(groups(ours), lr=0.01)
    peer = getattr(torch.optim, kind)(groups(theirs), lr=0.01)
    schedule = optim.StepLR(optimizer, 3, 0.5)
    peer_schedule = torch.optim.lr_scheduler.StepLR(peer, 3, 0.5)
    for _ in range(10):
        set_gradients(rng, ours)
        for p, q in zip(ours, theirs, strict=True):
            q.grad = torch.tensor(p.grad)
        for each in (optimizer, peer, schedule, peer_schedule):
            each.step()
        for p, q in zip(ours, theirs, strict=True):
            assert_close(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-12)
        for group, other in zip(optimizer.param_groups, peer.param_groups, strict=True):
            assert group["lr"] == pytest.approx(other["lr"], rel=1e-12)
            assert all(group[name] == other[name] for name in special if name != "lr")
