"""What pooling layers share."""

from typing import Any, ClassVar

from fastconv import functional as F
from fastconv.nn.module import Module


class PoolNd(Module):
    """What poolings over any number of axes share; a subclass says how many, and which op."""

    #: how many axes a window has, and the op's name
    _ndim: ClassVar[int]
    _op: ClassVar[str]

    def _options(self) -> tuple[Any, ...]:
        """What the op takes after its input."""
        return ()

    def forward(self, input: Any) -> Any:
        return getattr(F, self._op)(input, *self._options())
