"""Activations, softmax and their gradients, and sums, for arrays of any rank and layout.

Results are laid out in memory as the argument is: channels-last in, channels-last out; gradients as
what forward saw. An argument laid out otherwise, or whose elements do not fill one block of memory,
costs a copy.
"""

from operator import index
from typing import Literal

from fastconv import _ops
from fastconv.functional._check import Array, as_array, check_shape, empty_like, is_relu, same_dtype
from fastconv.functional._op import op
from fastconv.functional._options import check_approximate, check_negative_slope

__all__ = [
    "add",
    "gelu",
    "gelu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "log_softmax",
    "log_softmax_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
]


def _forward(op: int, input: Array, param: float = 0.0) -> Array:
    x = as_array("input", input)
    out = empty_like(x)
    _ops.activation(op, x, out, param)
    return out


def _gradient_operands(grad_output: Array, name: str, saved: Array) -> tuple[Array, Array]:
    g, x = as_array("grad_output", grad_output), as_array(name, saved)
    if g.dtype != x.dtype:
        same_dtype(**{"grad_output": g, name: x})
    check_shape("grad_output", g, x.shape)
    return g, x


def _backward(op: int, grad_output: Array, name: str, saved: Array, param: float = 0.0) -> Array:
    g, x = _gradient_operands(grad_output, name, saved)
    out = empty_like(x)
    _ops.activation_backward(op, g, x, out, param)
    return out


@op
def relu(input: Array) -> Array:
    """Rectified linear unit, max(x, 0). NaN stays NaN.

    Parameters
    ----------
    input : ndarray of float32 or float64

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Notes
    -----
    Section "Activations" of docs/derivation.md, as for every function here.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return _forward(_ops.RELU, input)


def relu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of :func:`relu`: g where x > 0, else 0; where x is NaN, g.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    input : ndarray
        What forward was given, of ``grad_output``'s shape and dtype.

    Returns
    -------
    ndarray
        Gradient of ``input``, in its memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    return _backward(_ops.RELU, grad_output, "input", input)


@op
def add(input: Array, other: Array, *, activation: Literal["relu"] | None = None) -> Array:
    """Sum of two arrays of one shape, and its ReLU if asked for, in one pass.

    Parameters
    ----------
    input, other : ndarray of float32 or float64
    activation : {None, "relu"}

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ, or ``activation`` is something else.

    Examples
    --------
    >>> import numpy as np
    >>> add(np.array([-3.0, 2.0]), np.array([1.0, 1.0]), activation="relu")
    array([0., 3.])
    """
    a, b = as_array("input", input), as_array("other", other)
    same_dtype(input=a, other=b)
    check_shape("other", b, a.shape)
    relu = is_relu(activation)
    out = empty_like(a)
    _ops.add(a, b, out, relu=relu)
    return out


@op
def leaky_relu(input: Array, negative_slope: float = 0.01) -> Array:
    """Leaky rectified linear unit: x where x > 0, else ``negative_slope`` x.

    Parameters
    ----------
    input : ndarray of float32 or float64
    negative_slope : float

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 0.0, 2.0]), 0.5)
    array([-0.5,  0. ,  2. ])
    """
    return _forward(_ops.LEAKY_RELU, input, check_negative_slope(negative_slope))


def leaky_relu_backward(grad_output: Array, input: Array, negative_slope: float = 0.01) -> Array:
    """Gradient of :func:`leaky_relu`: g where x > 0, else ``negative_slope`` g.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    input : ndarray
        What forward was given, of ``grad_output``'s shape and dtype.
    negative_slope : float

    Returns
    -------
    ndarray
        Gradient of ``input``, in its memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu_backward(np.array([4.0, 4.0]), np.array([-1.0, 2.0]), 0.5)
    array([2., 4.])
    """
    slope = check_negative_slope(negative_slope)
    return _backward(_ops.LEAKY_RELU, grad_output, "input", input, slope)


@op
def sigmoid(input: Array) -> Array:
    """Logistic function, 1 / (1 + exp(-x)); it never overflows.

    Parameters
    ----------
    input : ndarray of float32 or float64

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout; values in [0, 1].

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return _forward(_ops.SIGMOID, input)


def sigmoid_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of :func:`sigmoid` from its output: g y (1 - y).

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    output : ndarray
        What forward returned, of ``grad_output``'s shape and dtype.

    Returns
    -------
    ndarray
        Gradient of forward's input, in ``output``'s memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_backward(np.array([4.0]), np.array([0.5]))
    array([1.])
    """
    return _backward(_ops.SIGMOID, grad_output, "output", output)


@op
def tanh(input: Array) -> Array:
    """Hyperbolic tangent.

    Parameters
    ----------
    input : ndarray of float32 or float64

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout; values in [-1, 1].

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.array([-1000.0, 0.0, 1000.0]))
    array([-1.,  0.,  1.])
    """
    return _forward(_ops.TANH, input)


def tanh_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of :func:`tanh` from its output: g (1 - y²).

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    output : ndarray
        What forward returned, of ``grad_output``'s shape and dtype.

    Returns
    -------
    ndarray
        Gradient of forward's input, in ``output``'s memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> tanh_backward(np.array([4.0]), np.array([0.5]))
    array([3.])
    """
    return _backward(_ops.TANH, grad_output, "output", output)


def _gelu(approximate: str) -> int:
    return _ops.GELU_TANH if check_approximate(approximate) == "tanh" else _ops.GELU


@op
def gelu(input: Array, approximate: str = "none") -> Array:
    """Gaussian error linear unit: x Φ(x), Φ the standard normal's distribution function.

    Parameters
    ----------
    input : ndarray of float32 or float64
    approximate : {"none", "tanh"}
        ``"tanh"``: x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, off by up to 5e-4.

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout. At -∞ it is the limit, 0.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.
    ValueError
        If ``approximate`` is something else.

    Notes
    -----
    Hendrycks and Gimpel, "Gaussian error linear units", arXiv:1606.08415.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    return _forward(_gelu(approximate), input)


def gelu_backward(grad_output: Array, input: Array, approximate: str = "none") -> Array:
    """Gradient of :func:`gelu`: g (Φ(x) + x φ(x)), or that of the approximation.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    input : ndarray
        What forward was given, of ``grad_output``'s shape and dtype.
    approximate : {"none", "tanh"}

    Returns
    -------
    ndarray
        Gradient of ``input``, in its memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ, or ``approximate`` is something else.

    Examples
    --------
    >>> import numpy as np
    >>> gelu_backward(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    return _backward(_gelu(approximate), grad_output, "input", input)


@op
def silu(input: Array) -> Array:
    """Sigmoid linear unit: x sigmoid(x).

    Parameters
    ----------
    input : ndarray of float32 or float64

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout. At -∞ it is the limit, 0.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """
    return _forward(_ops.SILU, input)


def silu_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of :func:`silu`: g s (1 + x (1 - s)), s = sigmoid(x).

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    input : ndarray
        What forward was given, of ``grad_output``'s shape and dtype.

    Returns
    -------
    ndarray
        Gradient of ``input``, in its memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> silu_backward(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    return _backward(_ops.SILU, grad_output, "input", input)


def _checked_axis(axis: int, array: Array) -> int:
    try:
        axis = index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {axis!r}") from None
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} is out of range for an array of shape {array.shape}")
    return axis % array.ndim


def _softmax(input: Array, axis: int, log: bool) -> Array:
    x = as_array("input", input)
    axis = _checked_axis(axis, x)
    out = empty_like(x)
    _ops.softmax(x, out, axis, log)
    return out


def _softmax_backward(grad_output: Array, output: Array, axis: int, log: bool) -> Array:
    g, y = _gradient_operands(grad_output, "output", output)
    axis = _checked_axis(axis, g)
    out = empty_like(y)
    _ops.softmax_backward(g, y, out, axis, log)
    return out


@op
def softplus(input: Array) -> Array:
    """Softplus, log(1 + exp(x)): a smooth ReLU, without overflow.

    Parameters
    ----------
    input : ndarray
        Of any shape, float32 or float64.

    Returns
    -------
    ndarray
        Of the shape, dtype and memory format of ``input``.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64.

    Notes
    -----
    Dugas et al., Incorporating second-order functional knowledge for better option pricing,
    NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    return _forward(_ops.SOFTPLUS, input)


def softplus_backward(grad_output: Array, input: Array) -> Array:
    """Gradient of :func:`softplus`: g sigmoid(x).

    Parameters
    ----------
    grad_output : ndarray
        Gradient with respect to the output.
    input : ndarray
        As in the forward pass.

    Returns
    -------
    ndarray
        Gradient of ``input``, in its memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, or the dtypes differ.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> softplus_backward(np.array([2.0]), np.array([0.0]))
    array([1.])
    """
    return _backward(_ops.SOFTPLUS, grad_output, "input", input)


@op
def softmax(input: Array, axis: int = -1) -> Array:
    """Exponentials that sum to 1 along an axis: exp(x) / Σ exp(x); it never overflows.

    Parameters
    ----------
    input : ndarray of float32 or float64
    axis : int

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout. A NaN or +∞ makes NaN of all that it shares
        a sum with, and so does an axis of nothing but -∞.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64, or ``axis`` no integer.
    ValueError
        If there is no such axis.

    Notes
    -----
    Section "Softmax with cross-entropy" of docs/derivation.md.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    return _softmax(input, axis, False)


def softmax_backward(grad_output: Array, output: Array, axis: int = -1) -> Array:
    """Gradient of :func:`softmax` from its output: y (g - Σ g y).

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    output : ndarray
        What forward returned, of ``grad_output``'s shape and dtype.
    axis : int

    Returns
    -------
    ndarray
        Gradient of forward's input, in ``output``'s memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, the dtypes differ, or ``axis`` is no integer.
    ValueError
        If the shapes differ, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_backward(np.array([4.0, 0.0]), np.array([0.5, 0.5]))
    array([ 1., -1.])
    """
    return _softmax_backward(grad_output, output, axis, False)


@op
def log_softmax(input: Array, axis: int = -1) -> Array:
    """Logarithm of :func:`softmax`, x - log Σ exp(x), with no loss where softmax is tiny.

    Parameters
    ----------
    input : ndarray of float32 or float64
    axis : int

    Returns
    -------
    ndarray
        Of ``input``'s shape, dtype and memory layout; NaN where softmax is.

    Raises
    ------
    TypeError
        If ``input`` is neither float32 nor float64, or ``axis`` no integer.
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return _softmax(input, axis, True)


def log_softmax_backward(grad_output: Array, output: Array, axis: int = -1) -> Array:
    """Gradient of :func:`log_softmax` from its output: g - exp(y) Σ g.

    Parameters
    ----------
    grad_output : ndarray of float32 or float64
    output : ndarray
        What forward returned, of ``grad_output``'s shape and dtype.
    axis : int

    Returns
    -------
    ndarray
        Gradient of forward's input, in ``output``'s memory layout.

    Raises
    ------
    TypeError
        If an array is neither float32 nor float64, the dtypes differ, or ``axis`` is no integer.
    ValueError
        If the shapes differ, or there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax_backward(np.array([4.0, 0.0]), np.log(np.array([0.5, 0.5]))).round(12)
    array([ 2., -2.])
    """
    return _softmax_backward(grad_output, output, axis, True)
