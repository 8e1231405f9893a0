"""The samples of PyTorch's own tests, its OpInfo database, as arrays.

torch's package has them, but they need `expecttest` as well.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One call of an op in float64, and what torch makes of it.

    Attributes
    ----------
    args, kwargs
        As the op takes them, with arrays for tensors; the first one is the input.
    outputs : tuple of arrays
    grad_output : array
        A gradient of the first output.
    grads : tuple of arrays
        That of each argument of `args` that has one, in their order.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[np.ndarray, ...]
    grad_output: np.ndarray
    grads: tuple[np.ndarray, ...]

    def __str__(self):
        shown = [f"array{a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in self.args]
        return ", ".join([*shown, *(f"{name}={value!r}" for name, value in self.kwargs.items())])


def samples(name):
    """Every sample of the op that torch calls so, such as ``nn.functional.conv2d``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about torch
        import torch
        from torch.testing._internal.common_methods_invocations import op_db

        found = [op for op in op_db if op.name == name]
        assert found, f"torch has no samples of {name}"
        for op in found:
            for sample in op.sample_inputs("cpu", torch.float64, requires_grad=True):
                yield _computed(torch, op.op, sample)


def _computed(torch, op, sample):
    args = (sample.input, *sample.args)
    outputs = op(*args, **sample.kwargs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    leaves = [a for a in args if torch.is_tensor(a) and a.requires_grad]
    grad_output = torch.randn(outputs[0].shape, dtype=torch.float64)
    grads = torch.autograd.grad(outputs[0], leaves, grad_output)
    return Sample(
        _arrays(torch, args),
        {key: _arrays(torch, value) for key, value in sample.kwargs.items()},
        _arrays(torch, outputs),
        grad_output.numpy(),
        _arrays(torch, tuple(grads)),
    )


def _arrays(torch, value):
    """With arrays in the places of tensors."""
    if torch.is_tensor(value):
        return value.detach().numpy()
    if isinstance(value, tuple | list):
        return tuple(_arrays(torch, v) for v in value)
    return value


def check_samples(name, compute):
    """`compute(sample)` returns outputs and gradients, as tuples; both are torch's.

    Returns how many samples there are.
    """
    count = 0
    for sample in samples(name):
        outputs, grads = compute(sample)
        for ours, theirs in zip((*outputs, *grads), (*sample.outputs, *sample.grads), strict=True):
            assert ours.shape == theirs.shape, sample
            assert ours.dtype == theirs.dtype, sample
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12, err_msg=str(sample))
        count += 1
    return count
