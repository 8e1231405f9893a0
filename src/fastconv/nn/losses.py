"""Losses: ``loss = criterion(output, target)``, then ``loss.backward()``."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastconv import functional as F
from fastconv._arguments import to_array
from fastconv.functional._options import check_ignore_index, check_label_smoothing, check_reduction
from fastconv.nn.module import Array, Module

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "Loss", "MSELoss"]


class Loss(Module):
    """Base of the losses: called with a model's output and a target, each returns a Tensor.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the elements' losses.

    Raises
    ------
    ValueError
        If ``reduction`` is something else.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)


class MSELoss(Loss):
    """Mean of (input − target)²: see :func:`fastconv.functional.mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the elements' losses.

    Raises
    ------
    ValueError
        If ``reduction`` is something else.

    Examples
    --------
    >>> import numpy as np
    >>> criterion = MSELoss()
    >>> criterion(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    Tensor(2.)
    """

    def forward(self, input: Any, target: Any) -> Any:
        return F.mse_loss(input, target, self.reduction)


class CrossEntropyLoss(Loss):
    """−log softmax(input)[target]: see :func:`fastconv.functional.cross_entropy`.

    Parameters
    ----------
    weight : array_like, optional
        One number per class; taken in the precision of ``input``.
    ignore_index : int
        Label of the elements that do not count.
    reduction : {"mean", "sum", "none"}
        What becomes of the elements' losses.
    label_smoothing : float
        Share of the target that is spread over all classes, in [0, 1].

    Raises
    ------
    ValueError, TypeError
        Naming the argument and its value, if it is none of the above.

    Examples
    --------
    >>> import numpy as np
    >>> criterion = CrossEntropyLoss()
    >>> round(criterion(np.zeros((2, 4)), np.array([0, 3])).item(), 6)
    1.386294
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.weight = _weights("weight", weight)
        if self.weight is not None and (self.weight.ndim != 1 or self.weight.size == 0):
            raise ValueError(
                f"weight must be one number for each class, got shape {self.weight.shape}"
            )
        self.ignore_index = check_ignore_index(ignore_index)
        self.label_smoothing = check_label_smoothing(label_smoothing)

    def forward(self, input: Any, target: Any) -> Any:
        return F.cross_entropy(input, target, *self._options(input))

    def _options(self, input: Any) -> tuple[Array | None, int, str, float]:
        weight = _in_precision_of(input, self.weight)
        return weight, self.ignore_index, self.reduction, self.label_smoothing


class BCEWithLogitsLoss(Loss):
    """Cross-entropy of independent yes-or-no targets with sigmoid(input).

    See :func:`fastconv.functional.binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight : array_like, optional
        Factor of each element's loss; broadcast to ``input``, taken in its precision.
    reduction : {"mean", "sum", "none"}
        What becomes of the elements' losses.
    pos_weight : array_like, optional
        Factor of the positive part; broadcast to ``input``, taken in its precision.

    Raises
    ------
    ValueError, TypeError
        If ``reduction`` is something else, or the weights are no real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> criterion = BCEWithLogitsLoss()
    >>> round(criterion(np.zeros(2), np.array([0.0, 1.0])).item(), 6)
    0.693147
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        reduction: str = "mean",
        pos_weight: ArrayLike | None = None,
    ) -> None:
        super().__init__(reduction)
        self.weight = _weights("weight", weight)
        self.pos_weight = _weights("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(input, target, *self._options(input))

    def _options(self, input: Any) -> tuple[Array | None, str, Array | None]:
        weight = _in_precision_of(input, self.weight)
        return weight, self.reduction, _in_precision_of(input, self.pos_weight)


def _weights(name: str, weight: ArrayLike | None) -> Array | None:
    if weight is None:
        return None
    weights = to_array(name, weight)
    if weights.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {weights.dtype}")
    return weights


def _in_precision_of(input: Any, weights: Array | None) -> Array | None:
    if weights is None:
        return None
    with np.errstate(over="ignore"):
        return weights.astype(input.dtype)
