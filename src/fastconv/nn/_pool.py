"""What pooling layers share."""

from typing import Any, ClassVar

from fastconv import functional as F
from fastconv.nn.module import Array, Module, is_grad_enabled


class PoolNd(Module):
    """What poolings over any number of axes share; a subclass says how many, and which op."""

    #: how many axes a window has, and the op's name
    _ndim: ClassVar[int]
    _op: ClassVar[str]

    def _options(self) -> tuple[Any, ...]:
        """What the op takes after its input."""
        return ()


class Maximum(PoolNd):
    """The passes of a pooling whose gradient goes to where the maxima were."""

    #: whether forward returns the indices too
    return_indices = False

    def forward(self, input: Array) -> Any:
        if not (is_grad_enabled() or self.return_indices):
            self._remember()
            return getattr(F, self._op)(input, *self._options())
        output, indices = getattr(F, self._op)(input, *self._options(), return_indices=True)
        self._remember(indices, input.shape)
        return (output, indices) if self.return_indices else output

    def backward(self, grad_output: Array) -> Array:
        grad_input: Array = getattr(F, f"{self._op}_backward")(grad_output, *self._recall())
        return grad_input


class Mean(PoolNd):
    """The passes of a pooling whose gradient is shared out over the window."""

    def forward(self, input: Array) -> Array:
        output: Array = getattr(F, self._op)(input, *self._options())
        self._remember(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        (input_shape,) = self._recall()
        options = self._backward_options()
        grad_input: Array = getattr(F, f"{self._op}_backward")(grad_output, input_shape, *options)
        return grad_input

    def _backward_options(self) -> tuple[Any, ...]:
        """What the gradient takes after the input's shape: nothing, if the output's says it all."""
        return ()
