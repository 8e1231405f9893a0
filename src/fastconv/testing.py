"""Gradient checks and tolerances: what fastconv's own tests use, for your ops and layers too."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.autograd import Tensor

__all__ = ["assert_close", "assert_within", "gradcheck", "gradcheck_module", "rounding_bound"]

Array = NDArray[Any]

# torch.testing.assert_close's (rtol, atol)
_TOLERANCES = {np.dtype(np.float32): (1.3e-6, 1e-5), np.dtype(np.float64): (1e-7, 1e-7)}


class Module(Protocol):
    """What `gradcheck_module` asks of a module, as `fastconv.nn.Module` has it."""

    def __call__(self, input: Any, /) -> Any: ...
    def parameters(self) -> Iterable[Any]: ...
    def zero_grad(self) -> None: ...


def assert_within(
    actual: ArrayLike,
    expected: ArrayLike,
    bound: ArrayLike,
    *,
    equal_nan: bool = False,
    name: str = "array",
) -> None:
    """Assert that ``|actual - expected| <= bound``, element by element.

    Parameters
    ----------
    actual, expected : array_like
        Of one shape. Equal infinities agree.
    bound : array_like
        The largest error allowed; broadcast against ``expected``.
    equal_nan : bool, default False
        Whether two NaNs agree.
    name : str
        What to call the array in the message.

    Raises
    ------
    AssertionError
        Naming the shapes, or the element that exceeds its bound by most.

    Examples
    --------
    >>> assert_within([1.0, 2.0], [1.0, 2.5], 0.5)
    >>> assert_within([1.0, 2.0], [1.0, 2.5], 0.1)
    Traceback (most recent call last):
        ...
    AssertionError: array: 1 of 2 elements differ; worst at [1]: 2.0, expected 2.5, error 0.5 > 0.1
    """
    a, e = np.asarray(actual), np.asarray(expected)
    if a.shape != e.shape:
        raise AssertionError(f"{name}: shape {a.shape}, expected {e.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf where both are the same infinity
        error = np.where(a == e, 0.0, np.abs(a - e))
    if equal_nan:
        error[np.isnan(a) & np.isnan(e)] = 0.0
    limit = np.broadcast_to(np.asarray(bound), e.shape)
    wrong = ~(error <= limit)  # so that a NaN is wrong
    if not wrong.any():
        return
    excess = np.where(wrong, np.nan_to_num(error - limit, nan=np.inf), -1.0)
    at = np.unravel_index(int(excess.argmax()), e.shape)
    raise AssertionError(
        f"{name}: {wrong.sum()} of {e.size} elements differ; "
        f"worst at [{', '.join(str(i) for i in at)}]: {a[at]}, expected {e[at]}, "
        f"error {error[at]:.4g} > {limit[at]:.4g}"
    )


def assert_close(
    actual: ArrayLike,
    expected: ArrayLike,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    name: str = "array",
) -> None:
    """Assert equal shapes and dtypes and ``|actual - expected| <= atol + rtol |expected|``.

    Parameters
    ----------
    actual, expected : array_like
        Arrays or scalars of one shape and dtype.
    rtol, atol : float, optional
        Default to those of ``torch.testing.assert_close``: 1.3e-6 and 1e-5 for float32, 1e-7 and
        1e-7 for float64, exact for any other dtype.
    equal_nan : bool, default False
        Whether two NaNs agree.
    name : str
        What to call the array in the message.

    Raises
    ------
    AssertionError
        Naming the shapes, the dtypes, or the element that exceeds its tolerance by most.

    Examples
    --------
    >>> assert_close(np.float32(1.000001), np.float32(1))
    >>> assert_close(np.ones(2), np.ones(2, np.float32))
    Traceback (most recent call last):
        ...
    AssertionError: array: dtype float64, expected float32
    """
    a, e = np.asarray(actual), np.asarray(expected)
    if a.dtype != e.dtype:
        raise AssertionError(f"{name}: dtype {a.dtype}, expected {e.dtype}")
    default_rtol, default_atol = _TOLERANCES.get(e.dtype, (0.0, 0.0))
    rtol = default_rtol if rtol is None else rtol
    atol = default_atol if atol is None else atol
    size = np.abs(e)
    bound = atol + rtol * np.where(np.isfinite(size), size, 0)  # an infinity must match exactly
    assert_within(a, e, bound, equal_nan=equal_nan, name=name)


def rounding_bound(
    terms: int, magnitude: ArrayLike, dtype: Any = np.float32, *, c: float = 4.0
) -> Array:
    """The error to allow a sum of products that is rounded to ``dtype`` at every step.

    Whatever its order, a sum of K products a_i b_i rounded at every step is wrong by at most
    about K eps sum |a_i b_i|. The roundings mostly cancel, so that c sqrt(K) eps sum |a_i b_i|
    holds for all but a negligible share of sums: Higham and Mary, "A new approach to
    probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019).

    Parameters
    ----------
    terms : int
        K, the number of products in each sum.
    magnitude : array_like
        sum |a_i b_i|: the same op on absolute values.
    dtype : dtype, default float32
        The precision whose eps counts.
    c : float, default 4
        How much to allow: larger for algorithms that round more, such as Winograd's.

    Returns
    -------
    ndarray of float64
        The bound, in the shape of ``magnitude``.

    Examples
    --------
    >>> x = np.random.default_rng(0).random(100, dtype=np.float32)
    >>> exact = x.astype(np.float64)
    >>> assert_within(x @ x, exact @ exact, rounding_bound(100, exact @ exact))
    """
    return np.asarray(c * np.sqrt(terms) * np.finfo(dtype).eps * np.asarray(magnitude, np.float64))


def _numeric_gradient(loss: Callable[[], float], x: Array, eps: float) -> Array:
    """d loss / d x by central differences; x is changed in place and put back."""
    gradient = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        value = x[at]
        x[at] = value + eps
        above = loss()
        x[at] = value - eps
        below = loss()
        x[at] = value
        gradient[at] = (above - below) / (2 * eps)
    return gradient


def _check_gradient(
    analytic: Any, loss: Callable[[], float], x: Array, name: str, tolerance: dict[str, float]
) -> None:
    if not isinstance(analytic, np.ndarray) or analytic.dtype != np.float64:
        found = getattr(analytic, "dtype", type(analytic).__name__)
        raise AssertionError(f"gradient of {name}: expected a float64 array, found {found}")
    numeric = _numeric_gradient(loss, x, tolerance["eps"])
    assert_close(
        analytic,
        numeric,
        rtol=tolerance["rtol"],
        atol=tolerance["atol"],
        name=f"gradient of {name} (against central differences)",
    )


def _require_float64(x: Any, name: str) -> None:
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        found = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{name} must be a float64 array for central differences, got {found}")


def gradcheck(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    *inputs: Array,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    seed: int = 0,
) -> None:
    """Compare gradients with central differences of the forward pass, in float64.

    The loss differentiated is sum(g * forward(*inputs)) for one random g, so that every element of
    every gradient depends on every output it should.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs) -> output``, an array or a scalar; the same result for the same inputs.
    backward : callable or None
        ``backward(grad_output, *inputs)`` -> the gradient for each input: a tuple, or one array
        where there is one input. None in the tuple skips that input. None instead of it for the
        tape's gradients: ``forward`` then takes Tensors and returns one.
    *inputs : ndarray of float64
        Keep them away from kinks: ReLU inputs off 0, max-pool inputs further apart than ``eps``.
    eps, atol, rtol : float
        Step and tolerances.
    seed : int
        Of the random g.

    Raises
    ------
    AssertionError
        Naming the input and the element whose gradient is furthest off.
    TypeError
        If an input is not a float64 array.

    Examples
    --------
    >>> x = np.array([[0.5, -2.0], [1.0, 3.0]])
    >>> gradcheck(lambda x: x * x, lambda g, x: 2 * g * x, x)
    >>> gradcheck(lambda x: (x * x).sum(axis=0), None, x)
    >>> gradcheck(lambda x: x * x, lambda g, x: g * x, x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: gradient of input 0 (against central differences): 4 of 4 elements differ; ...
    """
    arrays = []
    for i, x in enumerate(inputs):
        _require_float64(x, f"input {i}")
        arrays.append(x.copy())
    operands: list[Any] = arrays if backward else [Tensor(x, requires_grad=True) for x in arrays]
    output = forward(*operands)
    g = _random_gradient(np.shape(output), seed)
    gradients: Any
    if backward is None:
        _go_back(output, g)
        gradients = tuple([operand.grad for operand in operands])
    else:
        gradients = backward(g, *arrays)
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    if len(gradients) != len(arrays):
        raise AssertionError(f"backward gave {len(gradients)} gradients for {len(arrays)} inputs")

    def loss() -> float:
        return float(np.sum(g * np.asarray(forward(*operands))))

    tolerance = {"eps": eps, "atol": atol, "rtol": rtol}
    for i, (gradient, x) in enumerate(zip(gradients, arrays, strict=True)):
        if gradient is not None or backward is None:
            _check_gradient(gradient, loss, x, f"input {i}", tolerance)


def _random_gradient(shape: tuple[int, ...], seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape))


def _go_back(output: Any, g: Array) -> None:
    if not isinstance(output, Tensor):
        raise AssertionError(f"expected a Tensor to go back from, got {type(output).__name__}")
    output.backward(g)


def gradcheck_module(
    module: Module,
    input: Array,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    seed: int = 0,
) -> None:
    """Compare the tape's gradients of a layer's input and parameters with central differences.

    Works for the layers of `fastconv.nn` and for your own: called with a Tensor, the module
    returns one, whose ``backward`` leaves gradients in the input and in every parameter.
    Those of the parameters are zeroed before and after.

    Parameters
    ----------
    module : Module
        With float64 parameters. It must give the same output twice: put Dropout in evaluation.
    input : ndarray of float64
        Kept away from kinks, as for `gradcheck`.
    eps, atol, rtol : float
        Step and tolerances.
    seed : int
        Of the random gradient that the output gets.

    Raises
    ------
    AssertionError
        Naming the input or parameter and the element whose gradient is furthest off.
    TypeError
        If the input or a parameter is not float64.

    Examples
    --------
    >>> from fastconv import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter(np.array([3.0]))
    ...     def forward(self, input):
    ...         return self.factor * input
    >>> gradcheck_module(Scale(), np.array([[1.0, 2.0]]))
    """
    _require_float64(input, "input")
    parameters = list(module.parameters())
    for i, parameter in enumerate(parameters):
        _require_float64(parameter.data, f"parameter {i} of shape {np.shape(parameter.data)}")
    module.zero_grad()
    array = input.copy()
    x = Tensor(array, requires_grad=True)
    output = module(x)
    if not np.array_equal(np.asarray(module(x)), np.asarray(output), equal_nan=True):
        raise AssertionError("module gave two outputs for one input")
    g = _random_gradient(np.shape(output), seed)
    _go_back(output, g)
    gradients = [parameter.grad for parameter in parameters]

    def loss() -> float:
        return float(np.sum(g * np.asarray(module(x))))

    tolerance = {"eps": eps, "atol": atol, "rtol": rtol}
    _check_gradient(x.grad, loss, array, "input", tolerance)
    for i, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        name = f"parameter {i} of shape {parameter.shape}"
        _check_gradient(gradient, loss, parameter.data, name, tolerance)
    module.zero_grad()
