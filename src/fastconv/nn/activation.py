"""Activations, softmax and its logarithm."""

from collections.abc import Callable

from fastconv import functional as F
from fastconv.functional._options import check_approximate, check_axis, check_negative_slope
from fastconv.nn.module import Array, Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class ReLU(Module):
    """max(x, 0).

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, input: Array) -> Array:
        return self.follow(F.relu, input)

    def follow(self, forward_relu: Callable[[Array], Array], input: Array) -> Array:
        """What ``forward_relu`` makes of ``input``, remembered as this layer's output."""
        output = forward_relu(input)
        # Positive exactly where the input is. The next layer remembers it as well, so the input,
        # such as a convolution's output, is freed.
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.relu_backward(grad_output, output)


class LeakyReLU(Module):
    """x where positive, ``negative_slope`` times x elsewhere.

    Parameters
    ----------
    negative_slope : float
        Slope left of zero.

    Raises
    ------
    ValueError, TypeError
        If ``negative_slope`` is NaN or no number.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([-1.0, 2.0]))
    array([-0.5,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check_negative_slope(negative_slope)

    def forward(self, input: Array) -> Array:
        output = F.leaky_relu(input, self.negative_slope)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.leaky_relu_backward(grad_output, input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Sigmoid(Module):
    """1 / (1 + exp(−x)).

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([0.0, 100.0]))
    array([0.5, 1. ])
    """

    def forward(self, input: Array) -> Array:
        output = F.sigmoid(input)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.sigmoid_backward(grad_output, output)


class Tanh(Module):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([0.0, 100.0]))
    array([0., 1.])
    """

    def forward(self, input: Array) -> Array:
        output = F.tanh(input)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.tanh_backward(grad_output, output)


class GELU(Module):
    """x Φ(x), with Φ the normal distribution's cumulative function.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Exact, or by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is something else.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_approximate(approximate)

    def forward(self, input: Array) -> Array:
        output = F.gelu(input, self.approximate)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.gelu_backward(grad_output, input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x / (1 + exp(−x)), also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.7311])
    """

    def forward(self, input: Array) -> Array:
        output = F.silu(input)
        self._remember(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input,) = self._recall()
        return F.silu_backward(grad_output, input)


class Softmax(Module):
    """exp(x) divided by its sum along ``dim``.

    A classifier trained with :class:`CrossEntropyLoss` has no use for it: that loss takes logits.

    Parameters
    ----------
    dim : int
        Axis that sums to one.

    Raises
    ------
    ValueError, TypeError
        If ``dim`` is no axis that an array can have.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.array([[1.0, 1.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_axis("dim", dim)

    def forward(self, input: Array) -> Array:
        output = F.softmax(input, self.dim)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.softmax_backward(grad_output, output, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of :class:`Softmax`, computed without overflow.

    Parameters
    ----------
    dim : int
        Axis whose exponentials sum to one.

    Raises
    ------
    ValueError, TypeError
        If ``dim`` is no axis that an array can have.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(LogSoftmax()(np.array([[1.0, 1.0]]))).round(6)
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_axis("dim", dim)

    def forward(self, input: Array) -> Array:
        output = F.log_softmax(input, self.dim)
        self._remember(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        (output,) = self._recall()
        return F.log_softmax_backward(grad_output, output, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
