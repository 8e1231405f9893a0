"""Schedules: learning rates by the number of finished epochs."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from fastconv._arguments import real, whole
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.settings import checked, stored, stored_count

__all__ = ["CosineAnnealingLR", "LRScheduler", "StepLR"]


class LRScheduler:
    """Base of the schedules: each :meth:`step` ends an epoch and sets every group's ``lr``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set; what they are now is what the schedule works from.

    Attributes
    ----------
    base_lrs : list of float
        These, in the order of ``optimizer.param_groups``.
    last_epoch : int
        How many epochs have ended.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_epoch = 0

    def step(self) -> None:
        """Count one epoch and set the learning rates of the next."""
        self.last_epoch += 1
        self._set_rates()

    def state_dict(self) -> dict[str, Any]:
        """The epochs counted, and the learning rate of each group that the schedule works from."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, and set the optimiser's learning rates to match.

        Raises
        ------
        ValueError
            If ``state`` lacks an entry, or one is not what it must be; nothing is changed then.
        """
        missing = [name for name in ("last_epoch", "base_lrs") if name not in state]
        if missing:
            raise ValueError(f"state has no {', '.join(missing)}")
        last_epoch = stored_count("last_epoch", state["last_epoch"])
        rates = stored("base_lrs", state["base_lrs"])
        count = len(self.optimizer.param_groups)
        if not isinstance(rates, list) or len(rates) != count:
            raise ValueError(
                f"state['base_lrs'] must be {count} numbers, one for each parameter group, "
                f"got {rates!r}"
            )
        self.base_lrs = [checked("lr", rate) for rate in rates]
        self.last_epoch = last_epoch
        self._set_rates()

    def _set_rates(self) -> None:
        groups = self.optimizer.param_groups
        for group, base in zip(groups, self.base_lrs, strict=True):
            group["lr"] = self._lr(base, self.last_epoch)

    def _lr(self, base: float, epoch: int) -> float:
        """What a learning rate that began as ``base`` is after so many epochs."""
        raise NotImplementedError


class StepLR(LRScheduler):
    """Multiply every learning rate by ``gamma`` every ``step_size`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    step_size : int
        Epochs between changes, ≥ 1.
    gamma : float
        Factor, ≥ 0.

    Raises
    ------
    ValueError
        If ``step_size`` or ``gamma`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)
    >>> schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    ...     print(optimizer.lr)
    1.0
    0.5
    0.5
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = whole("step_size", step_size, 1)
        self.gamma = real("gamma", gamma, 0, sys.float_info.max)

    def _lr(self, base: float, epoch: int) -> float:
        try:
            return base * self.gamma ** (epoch // self.step_size)
        except OverflowError:
            return math.inf


class CosineAnnealingLR(LRScheduler):
    """Let every learning rate fall to ``eta_min`` along half a cosine of ``T_max`` epochs.

    After ``T_max`` epochs it climbs again, as torch's does. The formula is equation 5 of
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    T_max : int
        Epochs from the base learning rate down to ``eta_min``, ≥ 1.
    eta_min : float
        Lowest learning rate, ≥ 0.

    Raises
    ------
    ValueError
        If ``T_max`` or ``eta_min`` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)
    >>> schedule = optim.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(optimizer.lr, 12)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max = whole("T_max", T_max, 1)
        self.eta_min = real("eta_min", eta_min, 0, sys.float_info.max)

    def _lr(self, base: float, epoch: int) -> float:
        fall = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * fall
