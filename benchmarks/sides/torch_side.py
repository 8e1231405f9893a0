"""PyTorch, eager: forward through torch.nn.functional, backward through the operator beneath it.

Calling the backward operators directly leaves out what recording a graph costs. Only the losses
whose backward is a chain of operators go through the autograd engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.cases import Array, Case

Call = Callable[[], Any]
aten = torch.ops.aten
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Torch:
    version = torch.__version__

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def prepare(self, case: Case) -> Call | None:
        arguments = {name: _tensor(name, value, case) for name, value in case.arguments.items()}
        if case.step == "forward":
            return _forward(case.function, arguments)
        if case.function.startswith("max_pool"):  # fastconv needs no more than the indices
            arguments |= case.row.options
        return _BACKWARD[re.sub(r"\dd(?=_)", "", case.function)](**arguments)

    def arrays(self, result: Any) -> list[Array]:
        results = result if isinstance(result, tuple) else (result,)
        return [r.detach().numpy() for r in results]


def _tensor(name: str, value: Any, case: Case) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(value)  # shares memory, and with it the memory format
    if name == "weight" and case.format == "channels_last" and tensor.ndim in _CHANNELS_LAST:
        return tensor.contiguous(memory_format=_CHANNELS_LAST[tensor.ndim])  # as Module.to makes it
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


def _each(value: int | tuple[int, ...], axes: int) -> list[int]:
    return list(value) if isinstance(value, tuple) else [value] * axes


def _convolution_backward(
    *,
    stride: int | tuple[int, ...],
    padding: int | tuple[int, ...],
    dilation: int | tuple[int, ...] = 1,
    groups: int,
    output_padding: int | tuple[int, ...] | None = None,
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    wanted: int,
) -> Call:
    mask = [i == wanted for i in range(3)]  # of input, weight, bias
    axes = weight.ndim - 2
    options = [_each(option, axes) for option in (stride, padding, dilation)]
    transposed = output_padding is not None
    geometry = *options, transposed, _each(output_padding or 0, axes), groups
    call = partial(aten.convolution_backward, grad_output, input, weight, None, *geometry, mask)
    return lambda: call()[wanted]


def _like(grad_output: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor to read a shape and a memory format from."""
    zeros = torch.zeros(shape, dtype=grad_output.dtype)
    if grad_output.is_contiguous():
        return zeros
    return torch.zeros_like(zeros.movedim(1, -1).contiguous()).movedim(-1, 1)


def _conv_backward_input(
    grad_output: torch.Tensor, input_shape: tuple[int, ...], **rest: Any
) -> Call:
    input = _like(grad_output, input_shape)
    return _convolution_backward(grad_output=grad_output, input=input, wanted=0, **rest)


def _conv_backward_weight(
    grad_output: torch.Tensor, weight_shape: tuple[int, ...], **rest: Any
) -> Call:
    weight = torch.zeros(weight_shape, dtype=grad_output.dtype)
    if not grad_output.is_contiguous() and weight.ndim in _CHANNELS_LAST:
        weight = weight.contiguous(memory_format=_CHANNELS_LAST[weight.ndim])
    return _convolution_backward(grad_output=grad_output, weight=weight, wanted=1, **rest)


def _pooling(operator: str, tensors: list[torch.Tensor], *rest: Any) -> Call:
    """A backward operator of two or three axes; sequences are images of one row to it."""
    axes = tensors[0].ndim - 2
    if axes > 1:
        return partial(getattr(aten, operator.format(axes)), *tensors, *rest)
    call = partial(getattr(aten, operator.format(2)), *(t.unsqueeze(-2) for t in tensors), *rest)
    return lambda: call().squeeze(-2)


def _window(axes: int, kernel_size: Any, stride: Any, padding: Any) -> list[list[int]]:
    """Kernel, stride and padding as the operators take them."""
    if axes > 1:
        return [_each(v, axes) for v in (kernel_size, stride or kernel_size, padding)]
    return [
        [row, *_each(v, 1)]
        for row, v in ((1, kernel_size), (1, stride or kernel_size), (0, padding))
    ]


def _max_pool_backward(
    grad_output: torch.Tensor,
    indices: torch.Tensor,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    return_indices: bool = False,
) -> Call:
    axes = len(input_shape) - 2
    input = _like(grad_output, input_shape)
    window = _window(axes, kernel_size, stride, padding)
    rest = *window, [1] * max(axes, 2), False
    if axes == 1:
        call = partial(
            aten.max_pool2d_with_indices_backward,
            *(t.unsqueeze(-2) for t in (grad_output, input)),
            *rest,
            indices.unsqueeze(-2),
        )
        return lambda: call().squeeze(-2)
    operator = getattr(aten, f"max_pool{axes}d_with_indices_backward")
    return partial(operator, grad_output, input, *rest, indices)


def _adaptive_max_pool_backward(
    grad_output: torch.Tensor, indices: torch.Tensor, input_shape: tuple[int, ...]
) -> Call:
    if indices.ndim == 5:  # as torch's own forward leaves them; others its operator misreads
        indices = indices.contiguous()
    tensors = [grad_output, _like(grad_output, input_shape), indices]
    return _pooling("adaptive_max_pool{}d_backward", tensors)


def _avg_pool_backward(
    grad_output: torch.Tensor,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
) -> Call:
    window = _window(len(input_shape) - 2, kernel_size, stride, padding)
    tensors = [grad_output, _like(grad_output, input_shape)]
    return _pooling("avg_pool{}d_backward", tensors, *window, False, True, None)


def _adaptive_avg_pool_backward(grad_output: torch.Tensor, input_shape: tuple[int, ...]) -> Call:
    tensors = [grad_output, _like(grad_output, input_shape)]
    return _pooling("_adaptive_avg_pool{}d_backward", tensors)


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


# by the name of the function, less the number of axes
_BACKWARD: Mapping[str, Callable[..., Call]] = {
    "conv_backward_input": _conv_backward_input,
    "conv_backward_weight": _conv_backward_weight,
    "conv_transpose_backward_input": partial(_conv_backward_input, output_padding=0),
    "conv_transpose_backward_weight": partial(_conv_backward_weight, output_padding=0),
    "conv_backward_bias": lambda grad_output: partial(
        grad_output.sum, (0, *range(2, grad_output.ndim))
    ),
    "max_pool_backward": _max_pool_backward,
    "adaptive_max_pool_backward": _adaptive_max_pool_backward,
    "global_max_pool_backward": _adaptive_max_pool_backward,
    "avg_pool_backward": _avg_pool_backward,
    "adaptive_avg_pool_backward": _adaptive_avg_pool_backward,
    "global_avg_pool_backward": _adaptive_avg_pool_backward,
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
