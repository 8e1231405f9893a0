"""Types of the compiled op layer; what each function does is said in _ops.pyx."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Self, TypeVar, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

# one dtype for all operands of a call
_Real = TypeVar("_Real", np.float32, np.float64)
_Pair = int | tuple[int, int]
_Padding = _Pair | str | tuple[int, int, int, int] | tuple[tuple[int, int], ...]

class MemoryFormat(IntEnum):
    CONTIGUOUS = 0
    CHANNELS_LAST = 1

# what `activation` and `activation_backward` take as op
RELU: int
LEAKY_RELU: int
SIGMOID: int
TANH: int
SILU: int
GELU: int
GELU_TANH: int
SOFTPLUS: int

def empty(
    shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...] | None = None
) -> NDArray[Any]: ...

class ConvShape:
    def __init__(
        self,
        input_shape: Sequence[int],
        weight_shape: Sequence[int],
        stride: _Pair = 1,
        padding: _Padding = 0,
        dilation: _Pair = 1,
        groups: int = 1,
        *,
        input_name: str = "input",
        weight_name: str = "weight",
    ) -> None: ...
    @property
    def input_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def weight_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def output_shape(self) -> tuple[int, int, int, int]: ...

@final
class PackedWeight:
    def __new__(cls, weight: NDArray[_Real], groups: int = 1) -> Self: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def groups(self) -> int: ...

class PoolShape:
    def __init__(
        self,
        input_shape: Sequence[int],
        kernel_size: _Pair = 1,
        stride: _Pair | None = None,
        padding: _Pair = 0,
        dilation: _Pair = 1,
        ceil_mode: bool = False,
        adaptive: _Pair | None = None,
        *,
        input_name: str = "input",
    ) -> None: ...
    @property
    def input_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def output_shape(self) -> tuple[int, int, int, int]: ...

def conv_shape(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: _Pair = 1,
    padding: _Padding = 0,
    dilation: _Pair = 1,
    groups: int = 1,
    *,
    input_name: str = "input",
    weight_name: str = "weight",
) -> ConvShape: ...
def conv_algorithm(
    shape: ConvShape, step: str, dtype: DTypeLike, *, algorithm: str = "auto"
) -> str: ...
def conv2d(
    input: NDArray[_Real],
    weight: NDArray[_Real] | PackedWeight,
    bias: NDArray[_Real] | None,
    output: NDArray[_Real],
    shape: ConvShape,
    *,
    relu: bool = False,
    algorithm: str = "auto",
    num_threads: int = 0,
) -> None: ...
def conv2d_backward_input(
    grad_output: NDArray[_Real],
    weight: NDArray[_Real],
    grad_input: NDArray[_Real],
    shape: ConvShape,
    *,
    algorithm: str = "auto",
    num_threads: int = 0,
) -> None: ...
def conv2d_backward_weight(
    grad_output: NDArray[_Real],
    input: NDArray[_Real],
    grad_weight: NDArray[_Real],
    shape: ConvShape,
    *,
    algorithm: str = "auto",
    num_threads: int = 0,
) -> None: ...
def conv2d_backward_bias(
    grad_output: NDArray[_Real], grad_bias: NDArray[_Real], *, num_threads: int = 0
) -> None: ...
def max_pool2d(
    input: NDArray[_Real],
    output: NDArray[_Real],
    indices: NDArray[np.int64] | None,
    shape: PoolShape,
    *,
    num_threads: int = 0,
) -> None: ...
def max_pool2d_backward(
    grad_output: NDArray[_Real],
    indices: NDArray[np.int64],
    grad_input: NDArray[_Real],
    *,
    num_threads: int = 0,
) -> None: ...
def avg_pool2d(
    input: NDArray[_Real],
    output: NDArray[_Real],
    shape: PoolShape,
    *,
    count_include_pad: bool = True,
    divisor_override: int = 0,
    num_threads: int = 0,
) -> None: ...
def avg_pool2d_backward(
    grad_output: NDArray[_Real],
    grad_input: NDArray[_Real],
    shape: PoolShape,
    *,
    count_include_pad: bool = True,
    divisor_override: int = 0,
    num_threads: int = 0,
) -> None: ...
def linear(
    input: NDArray[_Real],
    weight: NDArray[_Real],
    bias: NDArray[_Real] | None,
    output: NDArray[_Real],
    *,
    num_threads: int = 0,
) -> None: ...
def linear_backward(
    grad_output: NDArray[_Real],
    input: NDArray[_Real],
    weight: NDArray[_Real],
    grad_input: NDArray[_Real],
    grad_weight: NDArray[_Real],
    grad_bias: NDArray[_Real],
    *,
    num_threads: int = 0,
) -> None: ...
def activation(
    op: int,
    input: NDArray[_Real],
    out: NDArray[_Real],
    param: float = 0.0,
    num_threads: int = 0,
) -> None: ...
def activation_backward(
    op: int,
    grad_output: NDArray[_Real],
    saved: NDArray[_Real],
    out: NDArray[_Real],
    param: float = 0.0,
    num_threads: int = 0,
) -> None: ...
def add(
    a: NDArray[_Real],
    b: NDArray[_Real],
    out: NDArray[_Real],
    *,
    relu: bool = False,
    num_threads: int = 0,
) -> None: ...
def softmax(
    input: NDArray[_Real],
    out: NDArray[_Real],
    axis: int,
    log: bool = False,
    num_threads: int = 0,
) -> None: ...
def softmax_backward(
    grad_output: NDArray[_Real],
    output: NDArray[_Real],
    out: NDArray[_Real],
    axis: int,
    log: bool = False,
    num_threads: int = 0,
) -> None: ...
def squared_error(
    input: NDArray[_Real],
    target: NDArray[_Real],
    losses: NDArray[_Real] | None,
    num_threads: int = 0,
) -> float: ...
def squared_error_backward(
    input: NDArray[_Real],
    target: NDArray[_Real],
    out: NDArray[_Real],
    scale: float,
    num_threads: int = 0,
) -> None: ...
def logistic_loss(
    input: NDArray[_Real],
    yes: NDArray[_Real],
    no: NDArray[_Real] | None,
    losses: NDArray[_Real] | None,
    num_threads: int = 0,
) -> float: ...
def logistic_loss_backward(
    input: NDArray[_Real],
    yes: NDArray[_Real],
    no: NDArray[_Real] | None,
    out: NDArray[_Real],
    scale: float,
    num_threads: int = 0,
) -> float: ...
def cross_entropy(
    input: NDArray[_Real],
    labels: NDArray[np.int64],
    weight: NDArray[_Real] | None,
    losses: NDArray[_Real] | None,
    ignore_index: int,
    *,
    num_threads: int = 0,
) -> tuple[float, float]: ...
def cross_entropy_backward(
    input: NDArray[_Real],
    labels: NDArray[np.int64],
    weight: NDArray[_Real] | None,
    scale: NDArray[_Real],
    grad_input: NDArray[_Real],
    ignore_index: int,
    *,
    num_threads: int = 0,
) -> None: ...
def batch_norm(
    input: NDArray[_Real],
    out: NDArray[_Real],
    mean: NDArray[_Real],
    invstd: NDArray[_Real],
    running_mean: NDArray[_Real] | None,
    running_var: NDArray[_Real] | None,
    weight: NDArray[_Real] | None,
    bias: NDArray[_Real] | None,
    training: bool,
    momentum: float,
    eps: float,
    *,
    relu: bool = False,
    num_threads: int = 0,
) -> None: ...
def batch_norm_backward(
    grad_output: NDArray[_Real],
    input: NDArray[_Real],
    weight: NDArray[_Real] | None,
    mean: NDArray[_Real],
    invstd: NDArray[_Real],
    out: NDArray[_Real],
    grad_weight: NDArray[_Real],
    grad_bias: NDArray[_Real],
    training: bool,
    num_threads: int = 0,
) -> None: ...
def sgd(
    data: NDArray[_Real],
    grad: NDArray[_Real],
    velocity: NDArray[_Real] | None,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    one_minus_dampening: float,
    nesterov: float,
    num_threads: int = 0,
) -> None: ...
def adam(
    data: NDArray[_Real],
    grad: NDArray[_Real],
    mean: NDArray[_Real],
    square: NDArray[_Real],
    *,
    decay_factor: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    step_size: float,
    bias_correction2_sqrt: float,
    eps: float,
    num_threads: int = 0,
) -> None: ...
