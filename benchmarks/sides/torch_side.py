"""PyTorch, eager: forward through torch.nn.functional, backward through the operator beneath it.

Calling the backward operators directly leaves out what recording a graph costs. Only the losses
whose backward is a chain of operators go through the autograd engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.cases import Array, Case

Call = Callable[[], Any]
aten = torch.ops.aten


class Torch:
    version = torch.__version__

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def prepare(self, case: Case) -> Call | None:
        arguments = {name: _tensor(name, value, case) for name, value in case.arguments.items()}
        if case.step == "forward":
            return _forward(case.function, arguments)
        if case.function == "max_pool2d_backward":  # fastconv needs no more than the indices
            arguments |= case.row.options
        return _BACKWARD[case.function](**arguments)

    def arrays(self, result: Any) -> list[Array]:
        results = result if isinstance(result, tuple) else (result,)
        return [r.detach().numpy() for r in results]


def _tensor(name: str, value: Any, case: Case) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(value)  # shares memory, and with it the memory format
    if name == "weight" and case.format == "channels_last" and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)  # as Module.to makes it
    return tensor


def _forward(function: str, arguments: dict[str, Any]) -> Call | None:
    """torch.nn.functional's op of the same name, where its arguments are named otherwise."""
    arguments.pop("return_statistics", None)
    if "axis" in arguments:
        arguments["dim"] = arguments.pop("axis")
    if function == "dropout":
        return None  # draws other numbers, so its results cannot be compared
    if function.startswith("global_"):
        arguments["output_size"] = 1
        function = function.replace("global", "adaptive")
    return partial(getattr(F, function), **arguments)


def _convolution_backward(
    *,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    wanted: int,
) -> Call:
    mask = [i == wanted for i in range(3)]  # of input, weight, bias
    geometry = *([n, n] for n in (stride, padding, dilation)), False, [0, 0], groups
    call = partial(aten.convolution_backward, grad_output, input, weight, None, *geometry, mask)
    return lambda: call()[wanted]


def _like(grad_output: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor to read a shape and a memory format from."""
    last = not grad_output.is_contiguous() and grad_output.ndim == 4
    format = torch.channels_last if last else torch.contiguous_format
    return torch.zeros(shape, dtype=grad_output.dtype).contiguous(memory_format=format)


def _conv2d_backward_input(
    grad_output: torch.Tensor, input_shape: tuple[int, ...], **rest: Any
) -> Call:
    input = _like(grad_output, input_shape)
    return _convolution_backward(grad_output=grad_output, input=input, wanted=0, **rest)


def _conv2d_backward_weight(
    grad_output: torch.Tensor, weight_shape: tuple[int, ...], **rest: Any
) -> Call:
    weight = _like(grad_output, weight_shape)
    return _convolution_backward(grad_output=grad_output, weight=weight, wanted=1, **rest)


def _max_pool2d_backward(
    grad_output: torch.Tensor,
    indices: torch.Tensor,
    input_shape: tuple[int, ...],
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    return_indices: bool = False,
) -> Call:
    input, k, s = _like(grad_output, input_shape), kernel_size, stride or kernel_size
    geometry = [k, k], [s, s], [padding, padding], [1, 1], False
    return partial(aten.max_pool2d_with_indices_backward, grad_output, input, *geometry, indices)


def _adaptive_max_pool2d_backward(
    grad_output: torch.Tensor, indices: torch.Tensor, input_shape: tuple[int, ...]
) -> Call:
    input = _like(grad_output, input_shape)
    return partial(aten.adaptive_max_pool2d_backward, grad_output, input, indices)


def _avg_pool2d_backward(
    grad_output: torch.Tensor,
    input_shape: tuple[int, ...],
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
) -> Call:
    input, k, s = _like(grad_output, input_shape), kernel_size, stride or kernel_size
    geometry = [k, k], [s, s], [padding, padding], False, True, None
    return partial(aten.avg_pool2d_backward, grad_output, input, *geometry)


def _adaptive_avg_pool2d_backward(grad_output: torch.Tensor, input_shape: tuple[int, ...]) -> Call:
    return partial(aten._adaptive_avg_pool2d_backward, grad_output, _like(grad_output, input_shape))


def _batch_norm_backward(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    invstd: torch.Tensor,
    training: bool,
) -> Call:
    # evaluation reads the running statistics: with eps 0 these are the same
    statistics = mean, invstd**-2, mean, invstd, training, 0.0, [True] * 3
    return partial(aten.native_batch_norm_backward, grad_output, input, weight, *statistics)


def _softmax_backward(
    operator: Any, grad_output: torch.Tensor, output: torch.Tensor, axis: int
) -> Call:
    return partial(operator, grad_output, output, axis, grad_output.dtype)


def _linear_backward(grad_output: torch.Tensor, input: torch.Tensor, weight: torch.Tensor) -> Call:
    return lambda: (grad_output @ weight, grad_output.T @ input, grad_output.sum(0))


def _through_autograd(
    function: Callable[..., torch.Tensor],
    grad_output: float,
    input: torch.Tensor,
    target: torch.Tensor,
) -> Call:
    input.requires_grad_()
    with torch.enable_grad():
        loss = function(input, target)
    seed = torch.full_like(loss, grad_output)
    return partial(torch.autograd.grad, loss, input, seed, retain_graph=True)


_BACKWARD: Mapping[str, Callable[..., Call]] = {
    "conv2d_backward_input": _conv2d_backward_input,
    "conv2d_backward_weight": _conv2d_backward_weight,
    "conv2d_backward_bias": lambda grad_output: partial(grad_output.sum, (0, 2, 3)),
    "max_pool2d_backward": _max_pool2d_backward,
    "adaptive_max_pool2d_backward": _adaptive_max_pool2d_backward,
    "global_max_pool2d_backward": _adaptive_max_pool2d_backward,
    "avg_pool2d_backward": _avg_pool2d_backward,
    "adaptive_avg_pool2d_backward": _adaptive_avg_pool2d_backward,
    "global_avg_pool2d_backward": _adaptive_avg_pool2d_backward,
    "batch_norm_backward": _batch_norm_backward,
    "relu_backward": lambda grad_output, input: partial(
        aten.threshold_backward, grad_output, input, 0
    ),
    "leaky_relu_backward": lambda grad_output, input: partial(
        aten.leaky_relu_backward, grad_output, input, 0.01, False
    ),
    "sigmoid_backward": lambda grad_output, output: partial(
        aten.sigmoid_backward, grad_output, output
    ),
    "tanh_backward": lambda grad_output, output: partial(aten.tanh_backward, grad_output, output),
    "gelu_backward": lambda grad_output, input, approximate="none": partial(
        aten.gelu_backward, grad_output, input, approximate=approximate
    ),
    "silu_backward": lambda grad_output, input: partial(aten.silu_backward, grad_output, input),
    "softmax_backward": partial(_softmax_backward, aten._softmax_backward_data),
    "log_softmax_backward": partial(_softmax_backward, aten._log_softmax_backward_data),
    "dropout_backward": lambda grad_output, mask, p: partial(
        aten.native_dropout_backward, grad_output, mask, 1 / (1 - p)
    ),
    "linear_backward": _linear_backward,
    "mse_loss_backward": partial(_through_autograd, F.mse_loss),
    "cross_entropy_backward": partial(_through_autograd, F.cross_entropy),
    "binary_cross_entropy_with_logits_backward": partial(
        _through_autograd, F.binary_cross_entropy_with_logits
    ),
}
