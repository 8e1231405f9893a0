"""The tape: what is recorded, kept, found out and freed."""

import copy
import gc
import inspect
import pickle
import re
import sys
import weakref
from functools import partial

import numpy as np
import pytest
from support.threads import at_once

import fastconv
import fastconv.functional as F
from fastconv import Tensor, nn, optim
from fastconv.autograd import checkpoint, is_grad_enabled, register


def tensor(*values):
    return Tensor(np.array(values), requires_grad=True)


# ---- what is recorded


def test_arrays_in_arrays_out():
    assert type(F.relu(np.ones(2))) is np.ndarray
    assert type(F.concatenate([np.ones(2)])) is np.ndarray


@pytest.mark.parametrize("call", [
    lambda t: F.relu(t), lambda t: F.relu(input=t), lambda t: F.concatenate([np.ones(1), t]),
    lambda t: F.concatenate(arrays=(t,)), lambda t: F.add(np.ones(2), t),
    lambda t: np.ones(2) * t, lambda t: np.float64(2) * t, lambda t: 1 - t,
])  # fmt: skip
def test_a_tensor_anywhere_makes_a_tensor(call):
    t = tensor(1.0, 2.0)
    y = call(t)
    assert type(y) is Tensor
    assert y.requires_grad
    y.sum().backward()
    assert t.grad.shape == (2,)


def test_without_a_gradient_nothing_is_recorded():
    y = F.relu(Tensor(np.ones(2)))
    assert not y.requires_grad
    with pytest.raises(RuntimeError, match="requires a gradient"):
        y.backward(np.ones(2))
    with fastconv.no_grad():
        assert not is_grad_enabled()
        assert not F.relu(tensor(1.0)).requires_grad
    assert is_grad_enabled()


def test_gradients_nobody_wants_are_not_computed(monkeypatch):
    called = []
    rule = F.conv2d.rule
    for names, function in rule.functions.items():
        spy = spy_on(function, names, called)
        monkeypatch.setitem(rule.functions, names, spy)
    monkeypatch.setattr(rule, "plans", {})
    layers = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.Conv2d(2, 2, 3, rng=0))
    layers(np.ones((1, 1, 7, 7), np.float32)).sum().backward()
    assert sorted(called) == ["bias", "bias", "input", "weight", "weight"]


def spy_on(function, names, called):
    """The same gradient, which says that it was called; its parameters must be the same."""
    inner = function.__wrapped__
    if "weight_shape" in function.parameters:

        def spy(grad_output, input, weight_shape, stride, padding, dilation, groups):
            called.extend(names)
            return inner(grad_output, input, weight_shape, stride, padding, dilation, groups)
    elif "weight" in function.parameters:

        def spy(grad_output, weight, input_shape, stride, padding, dilation, groups):
            called.extend(names)
            return inner(grad_output, weight, input_shape, stride, padding, dilation, groups)
    else:

        def spy(grad_output):
            called.extend(names)
            return inner(grad_output)

    return type(function)(spy)


def test_an_operand_without_a_gradient_is_named():
    with pytest.raises(TypeError, match="mse_loss has no gradient with respect to target"):
        F.mse_loss(tensor(1.0), tensor(2.0))
    assert F.mse_loss(tensor(1.0), tensor(2.0).detach()).item() == 1


def test_out_is_refused():
    x, w = np.ones((1, 1, 3, 3)), Tensor(np.ones((1, 1, 3, 3)), requires_grad=True)
    out = np.zeros((1, 1, 1, 1))
    with pytest.raises(TypeError, match="out"):
        F.conv2d(x, w, out=out)
    assert not out.any()


def test_wrong_calls_raise_what_they_raise_of_arrays():
    t = Tensor(np.ones((1, 1, 3, 3)))
    for call in (lambda a: F.conv2d(a), lambda a: F.conv2d(a, a, no=1), lambda a: F.relu(a, 1, 2)):
        with pytest.raises(TypeError) as of_arrays:
            call(t.data)
        with pytest.raises(TypeError, match=re.escape(str(of_arrays.value))):
            call(t)
    with pytest.raises(ValueError, match="input"):
        F.conv2d(Tensor(np.ones(3)), t)
    with pytest.raises(TypeError, match="share one dtype"):
        t + Tensor(np.ones((1, 1, 3, 3), np.float32))


def test_a_joint_gradient_beside_one_of_an_option():
    def forward(a, b, c=1.0):
        return a * b * c

    def both(grad, a, b, c):
        return grad * b * c, grad * a * c

    op = register(forward, both, c=lambda grad, a, b: grad * a * b)
    for wanted in np.ndindex(2, 2, 2):
        tensors = [Tensor(np.array([v])) for v in (2.0, 3.0, 5.0)]
        for t, wants in zip(tensors, wanted, strict=True):
            t.requires_grad = wants
        y = op(*tensors)
        if any(wanted):
            y.backward([1.0])
        for t, wants, right in zip(tensors, wanted, (15, 10, 6), strict=True):
            assert (t.grad is not None) == wants
            assert not wants or t.grad.item() == right


def test_packed_weights_have_no_gradient():
    x, w = Tensor(np.ones((1, 1, 5, 5)), requires_grad=True), np.ones((1, 1, 3, 3))
    for y in (
        F.conv2d(x, F.pack_conv2d_weight(w)),
        F.conv_transpose2d(x, F.pack_conv_transpose2d_weight(w)),
    ):
        with pytest.raises(TypeError, match=r"weight must be an array for a gradient, got Packed"):
            y.sum().backward()


def test_ops_look_like_functions():
    assert F.conv2d.__name__ == "conv2d"
    assert "convolution" in F.conv2d.__doc__
    assert list(inspect.signature(F.relu).parameters) == ["input"]
    assert pickle.loads(pickle.dumps(F.conv2d)) is F.conv2d  # noqa: S301 - our own bytes


# ---- gradients


def test_a_layer_in_two_places():
    layer = nn.Linear(1, 1, bias=False, dtype=np.float64, rng=0)
    layer.weight.data[...] = 3
    layer(layer(np.ones((1, 1)))).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, [[6]])


def test_gradients_add_up_over_backward_passes():
    t = tensor(1.0, 2.0)
    for _ in range(3):
        (t * t).sum().backward()
    np.testing.assert_array_equal(t.grad, [6, 12])
    t.zero_grad()
    assert t.grad is None


def test_accumulate_copies():
    p, q, g = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(2)), np.ones(2)
    p.accumulate(g)
    q.accumulate(g)
    p.accumulate(g)
    np.testing.assert_array_equal((p.grad, q.grad, g), [(2, 2), (1, 1), (1, 1)])


@pytest.mark.parametrize("function", [
    lambda a, b: a + b, lambda a, b: F.add(a, b), lambda a, b: F.concatenate([a, b]),
    lambda a, b: a.reshape(2, 1) + b.reshape(2, 1), lambda a, b: a - (-b),
])  # fmt: skip
def test_no_two_leaves_share_a_gradient(function):
    a, b = tensor(1.0, 2.0), tensor(3.0, 4.0)
    y = function(a, b)
    g = np.ones(y.shape)
    y.backward(g)
    before = b.grad.copy()
    a.grad += 5
    np.testing.assert_array_equal(b.grad, before)
    np.testing.assert_array_equal(g, 1)


def test_backward_of_more_than_a_number_needs_a_gradient():
    y = tensor(1.0, 2.0) * 2
    with pytest.raises(ValueError, match=r"\(2,\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        y.backward(np.ones(3))
    y.backward([1, 1])


def test_backward_twice_is_refused():
    t = tensor(1.0)
    y = (t * t).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="before"):
        y.backward()
    np.testing.assert_array_equal(t.grad, [2])


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.bool_])
def test_only_floating_numbers_require_gradients(dtype):
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        Tensor(np.ones(2, dtype), requires_grad=True)
    assert Tensor(np.ones(2, dtype)).dtype == dtype


# ---- what must not change


def test_results_are_read_only():
    y = tensor(1.0) * 2
    for write in (lambda: y.data.__setitem__(0, 1), lambda: y.numpy().fill(0),
                  lambda: np.asarray(y).fill(0), lambda: y.reshape(1).data.fill(0)):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            write()


@pytest.mark.parametrize("threads", [1, 4])
def test_an_array_given_and_overwritten_is_found_out(threads):
    x = np.random.default_rng(0).random((2, 3, 300, 301))
    w = Tensor(np.ones((1, 3, 1, 1)), requires_grad=True)
    for at in ((0, 0, 0, 0), (1, 2, 299, 300), (1, 0, 17, 5)):
        with fastconv.threads(threads):
            y = F.conv2d(x, w)
            x[at] += 1e-9
            with pytest.raises(RuntimeError, match=r"input of conv2d, of shape \(2, 3, 300, 301\)"):
                y.backward(np.ones(y.shape))
            assert w.grad is None


def test_two_images_that_change_places_are_found_out():
    x = np.random.default_rng(0).integers(0, 2, (64, 1, 64, 64)).astype(np.float32)
    w = Tensor(np.ones((1, 1, 1, 1), np.float32), requires_grad=True)
    y = F.conv2d(x, w)
    x[[3, 40]] = x[[40, 3]]
    with pytest.raises(RuntimeError, match="changed"):
        y.backward(np.ones(y.shape))


def test_what_is_not_needed_may_change():
    x = np.ones((1, 1, 4, 4))
    t = Tensor(x, requires_grad=True)
    y = F.relu(t + 1)
    x[...] = 7
    y.backward(np.ones(y.shape))
    np.testing.assert_array_equal(t.grad, np.ones(x.shape))


def test_an_optimisers_step_before_backward_is_found_out():
    layer = nn.Linear(2, 2, rng=0)
    second = nn.Linear(2, 2, rng=1)
    optimizer = optim.SGD([*layer.parameters(), *second.parameters()], lr=0.1)
    x = np.ones((3, 2), np.float32)
    one, two = second(layer(x)).sum(), second(layer(x)).sum()
    one.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="weight of linear"):
        two.backward()


def test_load_state_dict_before_backward_is_found_out():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    state = {key: value.copy() for key, value in model.state_dict().items()}
    loss = model(np.ones((3, 2), np.float32)).sum()
    model.load_state_dict(state)
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


# ---- errors in the middle, memory, threads


class Broken(Exception):
    pass


def test_an_exception_in_backward_changes_no_gradient():
    fail = True

    def forward(input):
        return input * 2

    def backward(grad, input):
        if fail:
            raise Broken
        return grad * 2

    double = register(forward, input=backward)
    a, b = tensor(1.0), tensor(2.0)

    def loss():
        return (double(a) * b).sum() + (b * b).sum()

    with pytest.raises(Broken):
        loss().backward()
    assert (a.grad, b.grad) == (None, None)
    fail = False
    loss().backward()
    np.testing.assert_array_equal((a.grad, b.grad), [[4], [6]])


def test_a_gradient_that_cannot_be_added_changes_no_other():
    a, b = tensor(1.0), tensor(2.0)
    (a * b).sum().backward()
    b.grad = np.zeros(3)
    with pytest.raises(ValueError, match="shape"):
        (a * b).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([2], [0, 0, 0])


def test_a_tape_that_is_dropped_leaks_nothing():
    gc.collect()
    gc.disable()
    try:
        w = Tensor(np.ones((4, 4)), requires_grad=True)
        x = Tensor(np.ones((4, 4)), requires_grad=True)
        found = weakref.ref(x)
        y = F.relu(x @ w).sum() + checkpoint(lambda t: t * t, x).sum()
        node = weakref.ref(y)
        del x, y
        assert (found(), node()) == (None, None)
        x = Tensor(np.ones((4, 4)), requires_grad=True)
        found = weakref.ref(x)
        y = F.relu(x @ w).sum()
        y.backward()
        del x
        assert found() is None  # the loss is still there, what it was made of is not
    finally:
        gc.enable()


def test_long_tapes():
    t = tensor(1.0)
    y = t
    for _ in range(50_000):
        y = y + 1
    y.backward([1.0])
    np.testing.assert_array_equal(t.grad, [1])
    y = t
    for _ in range(50_000):
        y = y + 1
    del y


def test_what_was_kept_is_freed_as_backward_goes():
    alive = []

    def forward(input):
        return input + 0

    def backward(grad):
        alive.append(sum(array() is not None for array in kept))
        return grad

    probe = register(forward, input=backward)
    kept = []
    y = Tensor(np.ones(10_000), requires_grad=True)
    for _ in range(5):
        y = F.tanh(probe(y))  # keeps its output
        kept.append(weakref.ref(y._array))
    y.backward(np.ones(10_000))
    assert alive == [5, 4, 3, 2, 1]  # the last is the Tensor's own


def test_threads_have_tapes_of_their_own():
    def train(i):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, rng=i), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.3, rng=i), nn.Linear(4 * 36, 3, rng=i),
        )  # fmt: skip
        rng = np.random.default_rng(i)
        x = rng.random((5, 1, 8, 8), dtype=np.float32)
        for _ in range(3):
            F.cross_entropy(model(x), rng.integers(0, 3, 5)).backward()
        return [p.grad for p in model.parameters()]

    expected = [train(i) for i in range(16)]
    for found, right in zip(at_once(train), expected, strict=True):
        for a, b in zip(found, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_no_grad_belongs_to_its_thread():
    def enabled(i):
        if i % 2:
            with fastconv.no_grad():
                return [is_grad_enabled() for _ in range(100)]
        return [is_grad_enabled() for _ in range(100)]

    for i, found in enumerate(at_once(enabled)):
        assert set(found) == {i % 2 == 0}


# ---- Tensors


def test_numpy_functions_do_not_lose_gradients():
    t = tensor(1.0, 2.0)
    with pytest.raises(TypeError):
        np.exp(t)
    assert type(np.ones(2) + t) is Tensor
    np.testing.assert_array_equal(np.asarray(t), [1, 2])
    assert np.asarray(t, np.float32).dtype == np.float32


def test_numbers():
    t = Tensor(np.float32(2.5))
    assert (float(t), t.item(), int(t), f"{t:.1f}", bool(t)) == (2.5, 2.5, 2, "2.5", True)
    assert (t.shape, t.ndim, t.size) == ((), 0, 1)
    with pytest.raises(TypeError, match="iterated"):
        iter(t)
    with pytest.raises(ValueError, match="size 1"):
        float(tensor(1.0, 2.0))


def test_models_are_copied_with_their_gradients():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.BatchNorm2d(2))
    model[0](np.ones((3, 2), np.float32)).sum().backward()
    twin = copy.deepcopy(model)
    for (name, p), (_, q) in zip(model.named_parameters(), twin.named_parameters(), strict=True):
        assert type(q) is nn.Parameter
        assert not np.shares_memory(p.data, q.data), name
        np.testing.assert_array_equal(p.data, q.data)
    np.testing.assert_array_equal(twin[0].weight.grad, model[0].weight.grad)
    assert not np.shares_memory(twin[0].weight.grad, model[0].weight.grad)
    with pytest.raises(TypeError, match="detach"):
        copy.deepcopy(tensor(1.0) * 2)


def test_comparisons_are_arrays():
    t = tensor(1.0, 2.0)
    for found, right in (
        (t > 1, [False, True]),
        (t == tensor(1.0, 3.0), [True, False]),
        (t <= tensor(1.0, 1.0), [True, False]),
        (t != 1, [False, True]),
        (t.argmax(), 1),
    ):
        assert not isinstance(found, Tensor)
        np.testing.assert_array_equal(found, right)
    assert len({t, tensor(1.0)}) == 2  # by identity


def test_requires_grad_and_data_of_results_cannot_be_set():
    y = tensor(1.0) * 2
    with pytest.raises(ValueError, match="op made"):
        y.requires_grad = False
    with pytest.raises(ValueError, match="op made"):
        y.data = np.ones(1)


def test_repr():
    assert repr(tensor(1.0)) == "Tensor([1.], requires_grad=True)"
    assert repr(Tensor(np.ones(1, np.float32))) == "Tensor([1.], dtype=float32)"


# ---- ReLU of what was just made


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="references on the stack are not counted")
def test_relu_is_taken_along_where_nobody_else_has_the_operand():
    conv = nn.Conv2d(1, 2, 3, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    taken = F.relu(conv(x))
    assert taken._node.op is F.conv2d
    held = conv(x)
    apart = F.relu(held)
    assert apart._node.op is F.relu
    assert (held.data < 0).any()


def test_relu_leaves_what_a_tuple_holds():
    """The only reference to a Tensor, in a tuple of arguments, is not the interpreter's."""
    conv = nn.Conv2d(1, 2, 3, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)

    def logged(*args):
        return args, F.relu(*args)

    (before,), after = logged(conv(x))
    later = partial(F.relu, conv(x))
    for held, rectified in ((before, after), (later.args[0], later())):
        assert (held.data < 0).any()
        np.testing.assert_array_equal(rectified.data, np.maximum(held.data, 0))


def test_relu_of_a_wrong_keyword_is_refused():
    conv = nn.Conv2d(1, 2, 3, rng=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
        F.relu(x=conv(np.ones((1, 3, 3), np.float32)))


def test_relu_has_the_bits_that_it_has_apart():
    conv, norm = nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)

    def run(function):
        conv.zero_grad()
        y = function()
        y.backward(y.data)
        return y.data, conv.weight.grad, conv.bias.grad

    def apart():
        h = norm(conv(x))
        return F.relu(h)

    model = nn.Sequential(conv, norm, nn.ReLU())
    for found in (run(lambda: F.relu(norm(conv(x)))), run(lambda: model(x))):
        for a, b in zip(found, run(apart), strict=True):
            np.testing.assert_array_equal(a, b)
