"""Activations, softmax, and sums."""

# NumPy types arithmetic on arrays of any dtype as Any
# mypy: disable-error-code="no-any-return"

import numpy as np
from numpy.polynomial.chebyshev import chebval

from fastconv.reference.geometry import Array

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
