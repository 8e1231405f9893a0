"""Every op of `fastconv.functional` in plain NumPy: the specification.

Names, arguments and results are those of `fastconv.functional`, less ``algorithm`` and ``out``;
docs/derivation.md derives each formula. Two things differ. Arguments are trusted here: checking
them is the functional layer's work. And arrays come back in whatever memory format NumPy makes.

Convolution is a correlation, as in every deep-learning library: with the padded input x,
``output[n, o, y, z] = bias[o] + sum over c, i, j of weight[o, c, i, j] * x[n, c, s y + d i, s z +
d j]`` for stride s and dilation d. It is computed as one matrix product over im2col columns, so it
is also what a careful NumPy user would write, and a fair opponent in a benchmark. `conv2d_naive`
and `conv2d_naive_backward` are the same sums as loops, to read first.

Shape comments use N images, C input and O output channels, G groups, an H x W input, an OH x OW
output and a KH x KW kernel.
"""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.polynomial.chebyshev import chebval
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Pair = int | Sequence[int]
OutputSize = int | Sequence[int | None]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Sides = tuple[tuple[int, int], ...]  # (before, after) for each axis

# ---------------------------------------------------------------- geometry
#
# Of one, two or three axes: as many as a kernel has.


def _each(value: Pair, axes: int) -> tuple[int, ...]:
    """An option of every axis; one number stands for all of them."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * axes


def _pair(value: Pair) -> tuple[int, ...]:
    return _each(value, 2)


def _sides(padding: Padding, kernel: Sequence[int], dilation: Pair) -> Sides:
    """Padding in any accepted form as (before, after) for each axis."""
    axes = len(kernel)
    if padding == "same":  # the odd one goes at the end
        totals = [d * (k - 1) for k, d in zip(kernel, _each(dilation, axes), strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    flat = [0] if isinstance(padding, str) else [int(p) for p in np.ravel(padding)]  # "valid"
    if len(flat) < 2 * axes:  # the same before and after
        flat = [p for p in _each(flat if len(flat) > 1 else flat[0], axes) for _ in range(2)]
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _pad(x: Array, sides: Sides, value: float) -> Array:
    if not np.any(sides):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - len(sides)) + list(sides), constant_values=value)


def _crop(x: Array, sides: Sides) -> Array:
    sizes = x.shape[-len(sides) :]
    inside: Any = [slice(a, n - b) for n, (a, b) in zip(sizes, sides, strict=True)]
    return x[(..., *inside)]


def _taps(
    padded: Array, kernel: Sequence[int], stride: Pair, dilation: Pair, output: Sequence[int]
) -> Iterator[Array]:
    """For each kernel position in turn, a view of what it touches: (..., OD, OH, OW)."""
    axes = len(kernel)
    strides, dilations = _each(stride, axes), _each(dilation, axes)
    for position in np.ndindex(*kernel):
        rows = zip(position, strides, dilations, output, strict=True)
        touched: Any = [slice(i * d, i * d + s * (o - 1) + 1, s) for i, s, d, o in rows]
        yield padded[(..., *touched)]


# ------------------------------------------------------------- convolution


def _columns(
    x: Array, kernel: Sequence[int], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """The patch under every output pixel: a view (N, G, C/G, KH, KW, OH, OW) of the padded x."""
    axes = len(kernel)
    strides, dilations = _each(stride, axes), _each(dilation, axes)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = _pad(x, _sides(padding, kernel, dilation), 0)
    windows = sliding_window_view(padded, extent, axis=tuple(range(2, 2 + axes)))
    steps: Any = [slice(None, None, step) for step in (1, 1, *strides, *dilations)]
    windows = windows[tuple(steps)]
    n, c, *rest = windows.shape
    windows = windows.reshape(n, groups, c // groups, *rest)
    return np.moveaxis(windows, range(3, 3 + axes), range(-axes, 0))


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
) -> Array:
    """output = weight * columns(input) + bias, a matrix product per image and group."""
    if activation is not None:
        return relu(conv2d(input, weight, bias, stride, padding, dilation, groups))
    if input.ndim < weight.ndim:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups)[0]
    columns = _columns(input, weight.shape[2:], stride, padding, dilation, groups)
    n, size = len(columns), columns.shape[weight.ndim + 1 :]
    o, taps = weight.shape[0], weight[0].size
    columns = columns.reshape(n, groups, taps, prod(size))
    output = weight.reshape(groups, o // groups, taps) @ columns
    output = output.reshape(n, o, prod(size))
    output = output if bias is None else output + bias[:, None]
    return output.reshape(n, o, *size)


def conv2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """Columns' gradient = weight transposed * grad_output, added back where each column came from.

    That is the transposed convolution: each output pixel stamps the kernel, scaled, on the input.
    """
    if grad_output.ndim < weight.ndim:
        return conv2d_backward_input(
            grad_output[None], weight, (1, *input_shape), stride, padding, dilation, groups
        )[0]
    n, o, *size = grad_output.shape
    kernel, taps = weight.shape[2:], weight[0].size
    w = weight.reshape(groups, o // groups, taps).swapaxes(1, 2)  # (G, C/G KH KW, O/G)
    g = grad_output.reshape(n, groups, o // groups, prod(size))
    columns = w * g if o == groups else w @ g  # one output channel: broadcasting is the product
    columns = columns.reshape(n, input_shape[1], prod(kernel), *size)
    sides = _sides(padding, kernel, dilation)
    grad_input = _pad(np.zeros(input_shape, grad_output.dtype), sides, 0)
    for k, tap in enumerate(_taps(grad_input, kernel, stride, dilation, size)):
        tap += columns[:, :, k]
    return _crop(grad_input, sides)


def conv2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """grad_weight = grad_output * columns(input) transposed: one product over images and pixels."""
    axes = len(weight_shape) - 2
    if input.ndim < len(weight_shape):
        grad_output, input = grad_output[None], input[None]
    n, o, *size = grad_output.shape
    columns = _columns(input, weight_shape[2:], stride, padding, dilation, groups)
    columns = np.moveaxis(columns, 0, -1 - axes)
    columns = columns.reshape(groups, prod(weight_shape[1:]), n * prod(size))
    g = grad_output.reshape(n, groups, o // groups, prod(size)).transpose(1, 2, 0, 3)
    grad_weight = g.reshape(groups, o // groups, n * prod(size)) @ columns.swapaxes(1, 2)
    return grad_weight.reshape(weight_shape)


def conv2d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over images and pixels."""
    return grad_output.sum(axis=(-2, -1) if grad_output.ndim == 3 else (0, 2, 3))


def conv1d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over sequences and positions."""
    return grad_output.sum(axis=-1 if grad_output.ndim == 2 else (0, 2))


def conv3d_backward_bias(grad_output: Array) -> Array:
    """grad_bias[o] = sum of grad_output over volumes and voxels."""
    return grad_output.sum(axis=(-3, -2, -1) if grad_output.ndim == 4 else (0, 2, 3, 4))


# The kernel says how many axes there are: what stands above is right for one and three too.
conv1d = conv3d = conv2d
conv1d_backward_input = conv3d_backward_input = conv2d_backward_input
conv1d_backward_weight = conv3d_backward_weight = conv2d_backward_weight


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    activation: str | None = None,
) -> Array:
    """The adjoint of conv2d(., weight): its gradient with respect to its input; plus bias."""
    axes = weight.ndim - 2
    kernel, strides = weight.shape[2:], _each(stride, axes)
    sides = _sides(padding, kernel, dilation)
    rows = zip(
        input.shape[-axes:], kernel, strides, _each(dilation, axes), sides,
        _each(output_padding, axes), strict=True,
    )  # fmt: skip
    size = [(n - 1) * s - sum(pad) + d * (k - 1) + extra + 1 for n, k, s, d, pad, extra in rows]
    shape = (*input.shape[: -axes - 1], weight.shape[1] * groups, *size)
    output = conv2d_backward_input(input, weight, shape, stride, padding, dilation, groups)
    if bias is not None:
        output = output + bias.reshape(-1, *[1] * axes)
    return output if activation is None else relu(output)


def conv_transpose2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """The adjoint of an adjoint: conv2d of grad_output."""
    grad_input = conv2d(grad_output, weight, None, stride, padding, dilation, groups)
    return grad_input[tuple(slice(size) for size in input_shape)]


def conv_transpose2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: Sequence[int],
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Array:
    """conv2d's, whose input is what was output here, with the two operands exchanged.

    An output_padding of a stride or more makes room for further outputs of that convolution.
    """
    axes = len(weight_shape) - 2
    pairs = zip(_each(output_padding, axes), _each(stride, axes), strict=True)
    input = _pad(input, tuple((0, extra // s) for extra, s in pairs), 0)
    return conv2d_backward_weight(
        input, grad_output, weight_shape, stride, padding, dilation, groups
    )


conv_transpose2d_backward_bias = conv2d_backward_bias
conv_transpose1d_backward_bias = conv1d_backward_bias
conv_transpose3d_backward_bias = conv3d_backward_bias

conv_transpose1d = conv_transpose3d = conv_transpose2d
conv_transpose1d_backward_input = conv_transpose3d_backward_input = conv_transpose2d_backward_input
conv_transpose1d_backward_weight = conv_transpose2d_backward_weight
conv_transpose3d_backward_weight = conv_transpose2d_backward_weight


def conv2d_naive(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """`conv2d` of a batch as its definition, one multiplication at a time."""
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    n_out, c_group, kh, kw = weight.shape
    x = _pad(input, _sides(padding, (kh, kw), dilation), 0)
    oh = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    ow = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    output = np.zeros((len(x), n_out, oh, ow), input.dtype)
    for n, o, y, z in np.ndindex(output.shape):
        first = o // (n_out // groups) * c_group  # first input channel of this group
        for c, i, j in np.ndindex(c_group, kh, kw):
            pixel = x[n, first + c, y * sh + i * dh, z * sw + j * dw]
            output[n, o, y, z] += weight[o, c, i, j] * pixel
        if bias is not None:
            output[n, o, y, z] += bias[o]
    return output


def conv2d_naive_backward(
    grad_output: Array,
    input: Array,
    weight: Array,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """(grad_input, grad_weight, grad_bias) of a batch.

    Forward did ``output += weight * pixel``. So backward, over the same loop, hands ``grad_output *
    weight`` to the pixel and ``grad_output * pixel`` to the weight.
    """
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    n_out, c_group, kh, kw = weight.shape
    sides = _sides(padding, (kh, kw), dilation)
    x = _pad(input, sides, 0)
    grad_x, grad_weight = np.zeros_like(x), np.zeros_like(weight)
    grad_bias = np.zeros(n_out, weight.dtype)
    for n, o, y, z in np.ndindex(grad_output.shape):
        g = grad_output[n, o, y, z]
        first = o // (n_out // groups) * c_group
        for c, i, j in np.ndindex(c_group, kh, kw):
            where = n, first + c, y * sh + i * dh, z * sw + j * dw
            grad_x[where] += g * weight[o, c, i, j]
            grad_weight[o, c, i, j] += g * x[where]
        grad_bias[o] += g
    return _crop(grad_x, sides), grad_weight, grad_bias


# ----------------------------------------------------------------- padding


def _padded(x: Array, pad: Sequence[int], mode: str, value: float) -> Array:
    sides = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[::-2], strict=True))
    more = [(max(a, 0), max(b, 0)) for a, b in sides]
    fewer = tuple((max(-a, 0), max(-b, 0)) for a, b in sides)
    if mode == "circular":  # goes round what is left
        return np.pad(_crop(x, fewer), more, "wrap")
    if mode == "constant":
        return _crop(np.pad(x, more, constant_values=value), fewer)
    return _crop(np.pad(x, more, "edge" if mode == "replicate" else "reflect"), fewer)


def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = 0) -> Array:
    """More elements at the ends of the last axes, or, where `pad` is negative, fewer."""
    return _padded(input, pad, mode, value or 0)


def pad_backward(
    grad_output: Array, input_shape: Sequence[int], pad: Sequence[int], mode: str = "constant"
) -> Array:
    """Each element gets the sum over its copies, which are found by padding the elements' numbers.

    The constant's number, -1, is that of one element after all others.
    """
    count = prod(input_shape)
    grad = np.zeros(count + 1, grad_output.dtype)
    np.add.at(grad, _padded(np.arange(count).reshape(input_shape), pad, mode, -1), grad_output)
    return grad[:-1].reshape(input_shape)


# ----------------------------------------------------------------- pooling


def _pool_sides(padding: Padding, size: Sequence[int], *options: tuple[int, ...]) -> Sides:
    """(before, after) of every axis; "same" makes outputs of ceil(size / stride)."""
    kernel, _, dilation = options
    if padding not in ("same", "same_lower"):
        return _sides(padding, kernel, dilation)
    sides = []
    for n, k, s, d in zip(size, *options, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        less, more = total // 2, total - total // 2
        sides.append((more, less) if padding == "same_lower" else (less, more))
    return tuple(sides)


class _Windows(NamedTuple):
    """What a pool's options make of a size, each a tuple with one entry for every axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    sides: Sides  # the padding
    reach: Sides  # the padding and what ceil mode overhangs
    output: tuple[int, ...]


def _windows(
    size: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
) -> _Windows:
    ndim = len(size)
    kernel, dilations = _each(kernel_size, ndim), _each(dilation, ndim)
    strides = kernel if stride is None else _each(stride, ndim)
    sides = _pool_sides(padding, size, kernel, strides, dilations)
    reach, output = [], []
    for n, k, s, d, (before, after) in zip(size, kernel, strides, dilations, sides, strict=True):
        room = n + before + after - d * (k - 1) - 1
        last = -(-room // s) if ceil_mode else room // s
        if last * s >= n + before:  # only in ceil mode: the window would start past the input
            last -= 1
        output.append(last + 1)
        reach.append((before, after + max(0, last * s - room)))
    return _Windows(kernel, strides, dilations, sides, tuple(reach), tuple(output))


def _running_max(taps: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Maximum, and its index, over (value, index) pairs; an index of -1 marks padding.

    A value replaces the best so far if it is larger or NaN, as in PyTorch: the first of equal
    maxima wins, and the last NaN. A window of nothing but padding has maximum -inf and index -1.
    """
    best, where = next(pairs := iter(taps))
    where = np.broadcast_to(where, best.shape)
    for value, index in pairs:
        take = (index >= 0) & ((value > best) | np.isnan(value) | (where < 0))
        best, where = np.where(take, value, best), np.where(take, index, where)
    return best.copy(), where.copy()


def _plane_index(size: Sequence[int]) -> NDArray[np.int64]:
    """The flat index of every pixel of a plane of this size."""
    return np.arange(prod(size), dtype=np.int64).reshape(size)


def _in_planes(indices: Array, plane: int, ndim: int) -> Array:
    """Indices into planes as indices into all of them, one plane after another."""
    planes = prod(indices.shape[:-ndim])
    return indices + plane * np.arange(planes).reshape(*indices.shape[:-ndim], *(1,) * ndim)


def _scatter(grad_output: Array, indices: Array, input_shape: Sequence[int], ndim: int) -> Array:
    """Add each output gradient to the input pixel it came from."""
    grad_input = np.zeros(tuple(input_shape), grad_output.dtype)
    at = _in_planes(indices, prod(input_shape[-ndim:]), ndim)
    real = indices >= 0
    np.add.at(grad_input.reshape(-1), at[real], grad_output[real])
    return grad_input


def _max_pool(
    ndim: int, input: Array, return_indices: bool, *options: Any
) -> Array | tuple[Array, Array]:
    size = input.shape[-ndim:]
    w = _windows(size, *options)
    values = _taps(_pad(input, w.reach, -np.inf), w.kernel, w.stride, w.dilation, w.output)
    if not return_indices:
        return reduce(np.maximum, values).copy()
    plane = _pad(_plane_index(size), w.reach, -1)
    indices = _taps(plane, w.kernel, w.stride, w.dilation, w.output)
    return _running_max(zip(values, indices, strict=True))


def _avg_divisor(
    size: Sequence[int], w: _Windows, count_include_pad: bool, divisor_override: int | None
) -> Array:
    """The number each window's sum is divided by: (OH, OW), for two axes.

    Pixels that ceil mode overhangs beyond the padding never count; padding counts if asked to.
    """
    if divisor_override is not None:
        return np.full(w.output, divisor_override)
    counts = []
    for n, k, s, (before, after), o in zip(
        size, w.kernel, w.stride, w.sides, w.output, strict=True
    ):
        start = np.arange(o) * s - before
        low, high = (-before, n + after) if count_include_pad else (0, n)
        counts.append(np.minimum(start + k, high) - np.maximum(start, low))
    return np.maximum(reduce(np.multiply.outer, counts), 1)  # a window of padding alone sums to 0


def _avg_pool(
    ndim: int, input: Array, include_pad: bool, divisor_override: int | None, *options: Any
) -> Array:
    size = input.shape[-ndim:]
    w = _windows(size, *options)
    divisor = _avg_divisor(size, w, include_pad, divisor_override)
    taps = _taps(_pad(input, w.reach, 0), w.kernel, w.stride, w.dilation, w.output)
    return reduce(np.add, taps) / divisor.astype(input.dtype)


def _avg_backward(
    ndim: int,
    grad_output: Array,
    input_shape: Sequence[int],
    include_pad: bool,
    divisor_override: int | None,
    *options: Any,
) -> Array:
    size = input_shape[-ndim:]
    w = _windows(size, *options)
    divisor = _avg_divisor(size, w, include_pad, divisor_override)
    share = grad_output / divisor.astype(grad_output.dtype)
    grad_input = _pad(np.zeros(tuple(input_shape), grad_output.dtype), w.reach, 0)
    for tap in _taps(grad_input, w.kernel, w.stride, w.dilation, w.output):
        tap += share
    return _crop(grad_input, w.reach)


def _grid(size: Sequence[int], output_size: OutputSize) -> list[list[slice]]:
    """For every axis [floor(i size / output), ceil((i + 1) size / output)) for every i.

    None among the sizes keeps the input's.
    """
    outputs = output_size if isinstance(output_size, Sequence) else (output_size,) * len(size)
    return [
        [slice(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        for n, o in ((n, n if o is None else o) for n, o in zip(size, outputs, strict=True))
    ]


def _areas(grid: list[list[slice]]) -> Array:
    """How many pixels each block of the grid has."""
    return reduce(np.multiply.outer, [np.array([s.stop - s.start for s in a]) for a in grid])


def _adaptive_avg(ndim: int, input: Array, output_size: OutputSize) -> Array:
    grid = _grid(input.shape[-ndim:], output_size)
    total = input
    for axis, spans in enumerate(grid, -ndim):
        rest: Any = (slice(None),) * (-1 - axis)
        sums = [total[(..., span, *rest)].sum(axis) for span in spans]
        total = np.stack(sums, axis=axis)
    return total / _areas(grid).astype(input.dtype)


def _adaptive_avg_backward(ndim: int, grad_output: Array, input_shape: Sequence[int]) -> Array:
    grid = _grid(input_shape[-ndim:], grad_output.shape[-ndim:])
    share = grad_output / _areas(grid).astype(grad_output.dtype)
    grad_input = np.zeros(tuple(input_shape), grad_output.dtype)
    for block in product(*map(enumerate, grid)):
        here: Any = [slice(i, i + 1) for i, _ in block]
        spans: Any = [span for _, span in block]
        grad_input[(..., *spans)] += share[(..., *here)]
    return grad_input


def _adaptive_max(
    ndim: int, input: Array, output_size: OutputSize, return_indices: bool
) -> Array | tuple[Array, Array]:
    grid = _grid(input.shape[-ndim:], output_size)
    plane = _plane_index(input.shape[-ndim:])

    def taps() -> Iterator[tuple[Array, Array]]:
        """Like a pool's taps, but a short block visits its last row or column again."""
        for tap in product(*(range(max(s.stop - s.start for s in spans)) for spans in grid)):
            at = np.ix_(
                *(
                    [min(s.start + i, s.stop - 1) for s in spans]
                    for i, spans in zip(tap, grid, strict=True)
                )
            )
            yield input[(..., *at)], plane[at]

    if return_indices:
        return _running_max(taps())
    return reduce(np.maximum, (value for value, _ in taps()))


def _lp_sums(ndim: int, input: Array, norm_type: float, *options: Any) -> Array:
    """Of input ** norm_type; a window that overhangs counts as if it went on with its mean."""
    kernel = _windows(input.shape[-ndim:], *options).kernel
    return _avg_pool(ndim, input**norm_type, True, None, *options) * prod(kernel)


def _lp_pool(
    ndim: int, input: Array, norm_type: float, kernel: Pair, stride: Pair | None, ceil_mode: bool
) -> Array:
    options = kernel, stride, 0, 1, ceil_mode
    if np.isinf(norm_type):
        sign = np.sign(norm_type)
        return sign * np.asarray(_max_pool(ndim, sign * np.abs(input), False, *options))
    with np.errstate(all="ignore"):
        return _lp_sums(ndim, input, norm_type, *options) ** (1 / norm_type)


def _lp_backward(
    ndim: int,
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel: Pair,
    stride: Pair | None,
    ceil_mode: bool,
) -> Array:
    options = kernel, stride, 0, 1, ceil_mode
    if np.isinf(norm_type):
        magnitudes = np.sign(norm_type) * np.abs(input)
        _, indices = _max_pool(ndim, magnitudes, True, *options)
        return _scatter(grad_output, indices, input.shape, ndim) * np.sign(input)
    with np.errstate(all="ignore"):
        sums = _lp_sums(ndim, input, norm_type, *options)
        share = np.where(sums == 0, 0, grad_output * sums ** (1 / norm_type - 1))
        taps = prod(_windows(input.shape[-ndim:], *options).kernel)
        spread = _avg_backward(ndim, share * taps, input.shape, True, None, *options)
        return spread * input ** (norm_type - 1)


def _unpool(
    ndim: int,
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None,
    padding: Pair,
    output_size: Sequence[int] | None,
) -> Array:
    """The last of the elements for one place is there."""
    kernel = _each(kernel_size, ndim)
    size: Sequence[int] = [
        (n - 1) * s - 2 * p + k
        for n, k, s, p in zip(
            input.shape[-ndim:],
            kernel,
            kernel if stride is None else _each(stride, ndim),
            _each(padding, ndim),
            strict=True,
        )
    ]
    if output_size is not None:
        size = output_size[-ndim:]
    output = np.zeros((*input.shape[:-ndim], *size), input.dtype)
    flat = output.reshape(-1)
    for at, index, value in zip(
        _in_planes(indices, prod(size), ndim).flat, indices.flat, input.flat, strict=True
    ):
        if index >= 0:
            flat[at] = value
    return output


def _unpool_backward(ndim: int, grad_output: Array, indices: Array) -> Array:
    at = _in_planes(indices, prod(grad_output.shape[-ndim:]), ndim)
    return np.where(indices < 0, 0, grad_output.reshape(-1)[np.maximum(at, 0)])


# ---- over 1 axis


def max_pool1d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest element of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(1, input, return_indices, *options)


def max_pool1d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest element alone."""
    return _scatter(grad_output, indices, input_shape, 1)


def avg_pool1d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _avg_pool(1, input, count_include_pad, None, *options)


def avg_pool1d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Every element of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, None
    return _avg_backward(1, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool1d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_avg(1, input, output_size)


def adaptive_avg_pool1d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every element of a block receives the block's gradient over its size."""
    return _adaptive_avg_backward(1, grad_output, input_shape)


def adaptive_max_pool1d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest element alone."""
    return _scatter(grad_output, indices, input_shape, 1)


def global_avg_pool1d(input: Array) -> Array:
    """The mean of every sequence: (N, C, 1)."""
    return input.mean(axis=(-1,), keepdims=True)


def global_avg_pool1d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every element receives its sequence's gradient over the sequence's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-1:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool1d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every sequence: (N, C, 1)."""
    return _adaptive_max(1, input, 1, return_indices)


def global_max_pool1d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each sequence's gradient goes to its largest element alone."""
    return _scatter(grad_output, indices, input_shape, 1)


def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool1d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _lp_backward(1, grad_output, input, *options)


def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool1d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _unpool_backward(1, grad_output, indices)


# ---- over 2 axes


def max_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest pixel of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(2, input, return_indices, *options)


def max_pool2d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest pixel alone."""
    return _scatter(grad_output, indices, input_shape, 2)


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _avg_pool(2, input, count_include_pad, divisor_override, *options)


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every pixel of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _avg_backward(2, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool2d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_avg(2, input, output_size)


def adaptive_avg_pool2d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every pixel of a block receives the block's gradient over its size."""
    return _adaptive_avg_backward(2, grad_output, input_shape)


def adaptive_max_pool2d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest pixel alone."""
    return _scatter(grad_output, indices, input_shape, 2)


def global_avg_pool2d(input: Array) -> Array:
    """The mean of every plane: (N, C, 1, 1)."""
    return input.mean(axis=(-2, -1), keepdims=True)


def global_avg_pool2d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every pixel receives its plane's gradient over the plane's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-2:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool2d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every plane: (N, C, 1, 1)."""
    return _adaptive_max(2, input, 1, return_indices)


def global_max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each plane's gradient goes to its largest pixel alone."""
    return _scatter(grad_output, indices, input_shape, 2)


def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _lp_backward(2, grad_output, input, *options)


def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _unpool_backward(2, grad_output, indices)


# ---- over 3 axes


def max_pool3d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | tuple[Array, Array]:
    """The largest voxel of every window; padding is -inf. Indices are flat per plane."""
    options = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(3, input, return_indices, *options)


def max_pool3d_backward(grad_output: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Each window's gradient goes to its largest voxel alone."""
    return _scatter(grad_output, indices, input_shape, 3)


def avg_pool3d(
    input: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The sum of every window over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    return _avg_pool(3, input, count_include_pad, divisor_override, *options)


def avg_pool3d_backward(
    grad_output: Array,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Every voxel of a window receives the window's gradient over its divisor."""
    options = kernel_size, stride, padding, 1, ceil_mode
    divisor = count_include_pad, divisor_override
    return _avg_backward(3, grad_output, input_shape, *divisor, *options)


def adaptive_avg_pool3d(input: Array, output_size: OutputSize) -> Array:
    """The mean of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_avg(3, input, output_size)


def adaptive_avg_pool3d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every voxel of a block receives the block's gradient over its size."""
    return _adaptive_avg_backward(3, grad_output, input_shape)


def adaptive_max_pool3d(
    input: Array, output_size: OutputSize, return_indices: bool = False
) -> Array | tuple[Array, Array]:
    """The maximum of each of output_size near-equal, perhaps overlapping, blocks."""
    return _adaptive_max(3, input, output_size, return_indices)


def adaptive_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each block's gradient goes to its largest voxel alone."""
    return _scatter(grad_output, indices, input_shape, 3)


def global_avg_pool3d(input: Array) -> Array:
    """The mean of every volume: (N, C, 1, 1, 1)."""
    return input.mean(axis=(-3, -2, -1), keepdims=True)


def global_avg_pool3d_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """Every voxel receives its volume's gradient over the volume's size."""
    share = grad_output / grad_output.dtype.type(prod(input_shape[-3:]))
    return np.broadcast_to(share, tuple(input_shape)).copy()


def global_max_pool3d(input: Array, return_indices: bool = False) -> Array | tuple[Array, Array]:
    """The maximum of every volume: (N, C, 1, 1, 1)."""
    return _adaptive_max(3, input, 1, return_indices)


def global_max_pool3d_backward(
    grad_output: Array, indices: Array, input_shape: Sequence[int]
) -> Array:
    """Each volume's gradient goes to its largest voxel alone."""
    return _scatter(grad_output, indices, input_shape, 3)


def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """(sum of x**p over every window)**(1/p)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d_backward(
    grad_output: Array,
    input: Array,
    norm_type: float,
    kernel_size: Pair,
    stride: Pair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The gradient times (x / y)**(p - 1), summed over windows; 0 where a window's y is."""
    options = norm_type, kernel_size, stride, ceil_mode
    return _lp_backward(3, grad_output, input, *options)


def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    output_size: Sequence[int] | None = None,
) -> Array:
    """Elements where their indices say, zeros elsewhere."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d_backward(grad_output: Array, indices: Array) -> Array:
    """Each element's gradient is that of its place."""
    return _unpool_backward(3, grad_output, indices)


# ------------------------------------------------------------- activations


def relu(input: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(input, 0)


def relu_backward(grad_output: Array, input: Array) -> Array:
    """g where x > 0, else 0; a NaN lets g through, as in PyTorch."""
    return np.where(input <= 0, 0, grad_output)


def add(input: Array, other: Array, *, activation: str | None = None) -> Array:
    """input + other, and its ReLU if asked for."""
    total = input + other
    return total if activation is None else relu(total)


def leaky_relu(input: Array, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope x."""
    return np.where(input > 0, input, input * negative_slope)


def leaky_relu_backward(grad_output: Array, input: Array, negative_slope: float = 0.01) -> Array:
    """g where x > 0, else negative_slope g."""
    return np.where(input > 0, grad_output, grad_output * negative_slope)


def sigmoid(input: Array) -> Array:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    small = np.exp(-np.abs(input))
    return np.where(input >= 0, 1, small) / (1 + small)


def sigmoid_backward(grad_output: Array, output: Array) -> Array:
    """g y (1 - y)."""
    return grad_output * output * (1 - output)


def tanh(input: Array) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(input)


def tanh_backward(grad_output: Array, output: Array) -> Array:
    """g (1 - y^2)."""
    return grad_output * (1 - output * output)


# (1 + 2x) exp(x^2) erfc(x) for x >= 0 as a Chebyshev series in (x - 3.75) / (x + 3.75): the form of
# Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < inf",
# Mathematics of Computation 36 (1981); coefficients computed anew in 60 digits.
_ERFC = (
    1.1775789345674017541, -4.5900545806464773309e-3, -8.4249133366517915584e-2,
    5.9209939998191890498e-2, -2.6658668435305752277e-2, 9.0749976707052650939e-3,
    -2.4131635404176081909e-3, 4.9077583652580862923e-4, -6.9169733025012063671e-5,
    4.1390279860730101675e-6, 7.7403830661984906686e-7, -2.1886401049234395661e-7,
    1.0764999465670910377e-8, 4.5219598112182868979e-9, -7.7544002088313511065e-10,
    -6.3180883408866844944e-11, 2.8687950109306698981e-11, 1.945586854577734723e-13,
    -9.6546967484334389059e-13, 3.2525481481487398415e-14, 3.3478119482868053878e-14,
    -1.8645628804193131015e-15, -1.2507950530688647085e-15, 7.418235256624043463e-17,
    5.0681489047961113168e-17,
)  # fmt: skip


def _erfc(x: Array) -> Array:
    """Complementary error function in float64, to about 1e-15 of its value."""
    x = np.asarray(x, np.float64)
    a = np.minimum(np.abs(x), 40.0)  # erfc(40) is 0 in float64; NaN stays NaN
    head = np.floor(a * 16) / 16  # head^2 is exact, so exp(-a^2) keeps its digits in the tail
    square = np.exp(-head * head) * np.exp(-(a - head) * (a + head))
    tail = square * chebval((a - 3.75) / (a + 3.75), _ERFC) / (1 + 2 * a)
    return np.where(x < 0, 2 - tail, tail)


def _normal_cdf(x: Array) -> Array:
    return (_erfc(-x / np.sqrt(2)) / 2).astype(x.dtype)


def gelu(input: Array, approximate: str = "none") -> Array:
    """x Phi(x), Phi the normal distribution function, or its tanh approximation.

    Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415.
    """
    if approximate == "none":
        return input * _normal_cdf(input)
    return input * sigmoid(_gelu_logit(input))  # (1 + tanh u) / 2 = sigmoid(2 u)


def gelu_backward(grad_output: Array, input: Array, approximate: str = "none") -> Array:
    """g (Phi(x) + x phi(x)), phi the normal density; or the derivative of the approximation."""
    x = input
    if approximate == "none":
        density = np.exp(-x * x / 2) / x.dtype.type(np.sqrt(2 * np.pi))
        return grad_output * (_normal_cdf(x) + x * density)
    s = sigmoid(_gelu_logit(x))
    slope = x.dtype.type(np.sqrt(8 / np.pi)) * (1 + 3 * 0.044715 * x * x)
    return grad_output * (s + x * s * (1 - s) * slope)


def _gelu_logit(x: Array) -> Array:
    return x.dtype.type(np.sqrt(8 / np.pi)) * (x + 0.044715 * x * x * x)


def silu(input: Array) -> Array:
    """x sigmoid(x)."""
    return input * sigmoid(input)


def silu_backward(grad_output: Array, input: Array) -> Array:
    """g s (1 + x (1 - s)), s = sigmoid(x)."""
    s = sigmoid(input)
    return grad_output * s * (1 + input * (1 - s))


def softplus(input: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""
    return np.maximum(input, 0) + np.log1p(np.exp(-np.abs(input)))


def softplus_backward(grad_output: Array, input: Array) -> Array:
    """g sigmoid(x)."""
    return grad_output * sigmoid(input)


def softmax(input: Array, axis: int = -1) -> Array:
    """exp(x) / sum exp(x), after taking the maximum away, which changes nothing but overflow."""
    e = np.exp(input - input.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softmax_backward(grad_output: Array, output: Array, axis: int = -1) -> Array:
    """y (g - sum g y)."""
    return output * (grad_output - (grad_output * output).sum(axis, keepdims=True))


def log_softmax(input: Array, axis: int = -1) -> Array:
    """x - log sum exp(x), stably."""
    shifted = input - input.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def log_softmax_backward(grad_output: Array, output: Array, axis: int = -1) -> Array:
    """g - softmax(x) sum g, where softmax(x) = exp(y)."""
    return grad_output - np.exp(output) * grad_output.sum(axis, keepdims=True)


# ------------------------------------------- linear, batch norm, dropout, flatten


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """x W^T + b, with input (..., I), weight (O, I), bias (O,)."""
    output = input @ weight.T
    return output if bias is None else output + bias


def linear_backward(grad_output: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    """(g W, g^T x, sum of g)."""
    g = grad_output.reshape(-1, weight.shape[0])
    x = input.reshape(-1, weight.shape[1])
    return grad_output @ weight, g.T @ x, g.sum(0)


def _over_channels(input: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the axes to reduce, a per-channel vector's shape) for an input (N, C, ...)."""
    axes = (0, *range(2, input.ndim))
    return axes, (-1, *[1] * (input.ndim - 2))


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str | None = None,
    return_statistics: bool = False,
) -> Array | tuple[Array, Array, Array]:
    """weight (x - mean) invstd + bias per channel, invstd = 1 / sqrt(var + eps).

    In training, mean and var are the batch's and the running arrays move towards them in place,
    running_var towards the unbiased variance; in evaluation they are the running arrays. With
    ``return_statistics``, (output, mean, invstd). Ioffe and Szegedy, arXiv:1502.03167.
    """
    axes, column = _over_channels(input)
    if training:
        mean, var = input.mean(axes), input.var(axes)
        n = input.size // input.shape[1]
        if running_mean is not None:
            running_mean += momentum * (mean - running_mean)
        if running_var is not None:
            running_var += momentum * (var * (n / (n - 1)) - running_var)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean.copy(), running_var
    invstd = 1 / np.sqrt(var + eps)
    output = (input - mean.reshape(column)) * invstd.reshape(column)
    if weight is not None:
        output = output * weight.reshape(column)
    if bias is not None:
        output = output + bias.reshape(column)
    if activation is not None:
        output = relu(output)
    return (output, mean, invstd) if return_statistics else output


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    weight: Array | None,
    mean: Array,
    invstd: Array,
    training: bool = True,
) -> tuple[Array, Array, Array]:
    """(grad_input, grad_weight, grad_bias); with u = (x - mean) invstd,

    grad_weight = sum g u, grad_bias = sum g, and grad_input = weight invstd g in evaluation; in
    training, where mean and var moved with the input, less what g shares with 1 and u:
    weight invstd (g - mean(g) - u mean(g u)).
    """
    axes, column = _over_channels(input)
    u = (input - mean.reshape(column)) * invstd.reshape(column)
    grad_weight, grad_bias = (grad_output * u).sum(axes), grad_output.sum(axes)
    grad_input = grad_output
    if training:
        n = input.dtype.type(input.size // input.shape[1])
        shared = (grad_bias / n).reshape(column) + u * (grad_weight / n).reshape(column)
        grad_input = grad_output - shared
    scale = invstd if weight is None else weight * invstd
    return grad_input * scale.reshape(column), grad_weight, grad_bias


def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    *,
    rng: np.random.Generator | None = None,
    return_mask: bool = False,
) -> Array | tuple[Array, Array]:
    """In training, zero each element with probability p and scale the rest by 1 / (1 - p).

    The mask is True where an element was kept. Srivastava et al., JMLR 15 (2014).
    """
    if not training:
        output, mask = input.copy(), np.ones(input.shape, bool)
    else:
        mask = (rng or np.random.default_rng()).random(input.shape) >= p
        output = dropout_backward(input, mask, p)  # forward and backward are the same scaling
    return (output, mask) if return_mask else output


def dropout_backward(grad_output: Array, mask: Array, p: float = 0.5) -> Array:
    """g mask / (1 - p)."""
    return grad_output * (1 / (1 - p) if p < 1 else 0.0) * mask


def flatten(input: Array, start_dim: int = 1, end_dim: int = -1) -> Array:
    """Merge axes start_dim to end_dim, both included."""
    start, end = start_dim % input.ndim, end_dim % input.ndim
    merged = prod(input.shape[start : end + 1])
    return input.reshape(*input.shape[:start], merged, *input.shape[end + 1 :])


def flatten_backward(grad_output: Array, input_shape: Sequence[int]) -> Array:
    """The gradient in the input's shape."""
    return grad_output.reshape(tuple(input_shape))


# ------------------------------------------------------------------ losses


def _reduce(losses: Array, normaliser: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / normaliser


def _grad_scale(grad_output: ArrayLike, normaliser: Any, reduction: str, dtype: Any) -> Array:
    grad = np.asarray(grad_output, dtype)
    # nothing to average over has gradient 0, though its mean is NaN
    return np.asarray(grad / (normaliser or 1) if reduction == "mean" else grad, dtype)


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Any:
    """(x - t)^2, reduced over all elements."""
    return _reduce((input - target) ** 2, input.dtype.type(input.size), reduction)


def mse_loss_backward(
    grad_output: ArrayLike, input: Array, target: Array, reduction: str = "mean"
) -> Array:
    """2 g (x - t), over the number of elements for the mean."""
    return 2 * _grad_scale(grad_output, input.size, reduction, input.dtype) * (input - target)


def _class_weights(
    input: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Any]:
    """(q, normaliser) such that cross-entropy is -sum over classes of q log softmax(input).

    q is the smoothed target distribution times the class weights, and 0 where ignored; the mean
    divides by the weights of the true classes, or by the count where targets are probabilities.
    """
    axis = min(1, input.ndim - 1)
    classes = input.shape[axis]
    column = (-1, *[1] * (input.ndim - 1 - axis))
    weight = np.ones(classes, input.dtype) if weight is None else weight
    weight = weight.reshape(column)
    if np.issubdtype(target.dtype, np.floating):
        distribution, counted = target, np.ones((), bool)
        normaliser: Any = input.size // classes
    else:
        counted = np.expand_dims(target != ignore_index, axis)
        distribution = np.arange(classes).reshape(column) == np.expand_dims(target, axis)
        normaliser = (distribution * counted * weight).sum()
    smoothed = (1 - label_smoothing) * distribution + label_smoothing / classes
    return (smoothed * weight * counted).astype(input.dtype), input.dtype.type(normaliser)


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-sum over classes of q log softmax(x): see `_class_weights` for q."""
    axis = min(1, input.ndim - 1)
    q, normaliser = _class_weights(input, target, weight, ignore_index, label_smoothing)
    log_p = log_softmax(input, axis)
    losses = -np.multiply(q, log_p, where=q != 0, out=np.zeros_like(q)).sum(axis)
    return _reduce(losses, normaliser, reduction)


def cross_entropy_backward(
    grad_output: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """g (softmax(x) sum q - q)."""
    axis = min(1, input.ndim - 1)
    q, normaliser = _class_weights(input, target, weight, ignore_index, label_smoothing)
    scale = _grad_scale(grad_output, normaliser, reduction, input.dtype)
    if reduction == "none":
        scale = np.expand_dims(scale, axis)
    return scale * (softmax(input, axis) * q.sum(axis, keepdims=True) - q)


def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Any:
    """w ((1 - t) x + (1 + (pos_weight - 1) t) log(1 + exp(-x))), the logarithm kept from overflow.

    For pos_weight 1 that is -w (t log s + (1 - t) log(1 - s)), s = sigmoid(x).
    """
    softplus = np.log1p(np.exp(-np.abs(input))) + np.maximum(-input, 0)  # log(1 + exp(-x))
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    losses = (1 - target) * input + positive * softplus
    losses = losses if weight is None else losses * weight
    return _reduce(losses, input.dtype.type(input.size), reduction)


def binary_cross_entropy_with_logits_backward(
    grad_output: ArrayLike,
    input: Array,
    target: Array,
    weight: Array | None = None,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """g w ((1 - t) - (1 + (pos_weight - 1) t) sigmoid(-x))."""
    scale = _grad_scale(grad_output, input.size, reduction, input.dtype)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    grad = scale * ((1 - target) - positive * sigmoid(-input))
    return grad if weight is None else grad * weight
