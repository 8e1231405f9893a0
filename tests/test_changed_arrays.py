"""An array that backward needs is changed by way of another one that has the same memory."""

import numpy as np
import pytest

from fastconv import Tensor


def through_the_array(array, w):
    array[...] = 7


def through_a_view_of_it(array, w):
    array.reshape(-1)[:1] = 7


def through_data(array, w):
    w.data[...] = 7


def through_a_tensor_beside_it(array, w):
    w.detach().data[...] = 7


def through_a_part_of_the_tensor(array, w):
    w[:1].data[...] = 7


def through_an_update_of_a_tensor_beside_it(array, w):
    w.detach().written()[...] = 7


OF_THE_TENSOR = [
    through_data,
    through_a_tensor_beside_it,
    through_a_part_of_the_tensor,
    through_an_update_of_a_tensor_beside_it,
]


@pytest.mark.parametrize("change", [through_the_array, through_a_view_of_it, *OF_THE_TENSOR])
def test_backward_finds_out(change):
    array = np.full((2, 2), 3.0)
    w = Tensor(array, requires_grad=True)
    loss = (w * w).sum()
    change(array, w)
    with pytest.raises(RuntimeError, match="changed between the forward pass and backward"):
        loss.backward()
    assert w.grad is None


@pytest.mark.parametrize("change", OF_THE_TENSOR)
def test_backward_finds_out_of_what_only_the_tensor_has(change):
    w = Tensor(np.full((2, 2), 3.0), requires_grad=True)
    loss = (w * w).sum()
    change(None, w)
    with pytest.raises(RuntimeError, match="changed between the forward pass and backward"):
        loss.backward()


@pytest.mark.parametrize("part", [np.s_[:2], np.s_[::2, 1:], np.s_[..., None]])
def test_backward_finds_out_where_the_tensor_has_the_only_view(part):
    whole = np.full((4, 2), 3.0)
    w = Tensor(whole[part], requires_grad=True)
    loss = (w * w).sum()
    whole[...] = 7
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_backward_finds_out_of_memory_that_is_not_numpys(kind):
    memory = bytearray(32)
    w = Tensor(np.frombuffer(kind(memory) if kind is memoryview else memory), requires_grad=True)
    loss = (w * w).sum()
    memory[7] = 64
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


def test_looking_does_no_harm():
    w = Tensor(np.full((2, 2), 3.0), requires_grad=True)
    loss = (w * w).sum()
    for look in (w, w.detach(), w[:1]):
        look.data.sum()
    loss.backward()
    np.testing.assert_array_equal(w.grad, np.full((2, 2), 6.0))
