"""Checkpoints: all that an interrupted run needs to end as if it had never been interrupted.

Randomness is not among it: every epoch draws from generators that are seeded by the run's seed
and the epoch's number, so the number of finished epochs says it all.
"""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastconv import io

History = list[dict[str, float]]

#: settings of what is yet to come, which a resumed run may change
FREE = frozenset({"epochs", "lr"})


class Stateful(Protocol):
    """A model, an optimiser or a schedule."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a finished epoch.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The entries of every part's ``state_dict()``, their names prefixed with the part's.
    settings : dict
        What the run was started with.
    history : list of dict
        One row for each finished epoch.
    """

    arrays: dict[str, NDArray[Any]]
    settings: dict[str, Any]
    history: History

    @classmethod
    def take(
        cls, parts: Mapping[str, Stateful], settings: Mapping[str, Any], history: History
    ) -> "Checkpoint":
        """Gather the state of ``parts``, such as ``{"model": …, "optimizer": …}``."""
        arrays = {
            f"{part}.{name}": np.asarray(value)
            for part, stateful in parts.items()
            for name, value in stateful.state_dict().items()
        }
        return cls(arrays, dict(settings), history)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a ``.safetensors`` or ``.npz`` file, replacing it at once or not at all."""
        io.save(path, self.arrays, {"settings": self.settings, "history": self.history})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Checkpoint":
        """Read what :meth:`save` wrote.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is damaged, or no checkpoint.
        """
        arrays, metadata = io.load(path)
        settings, history = metadata.get("settings"), metadata.get("history")
        if isinstance(settings, dict) and _is_history(history):
            return cls(arrays, settings, history)
        raise ValueError(f"{path}: not a training checkpoint")

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than those that the run was started with.

        Raises
        ------
        ValueError
            If one that is not :data:`FREE` differs; the message names it and both values.
        """
        wanted = json.loads(json.dumps(dict(settings)))
        for name in [name for name in {**self.settings, **wanted} if name not in FREE]:
            old, new = self.settings.get(name), wanted.get(name)
            if old != new:
                raise ValueError(f"resume: the run was started with {name}={old!r}, not {new!r}")

    def part(self, part: str) -> dict[str, NDArray[Any]]:
        """The state of one part, as its ``load_state_dict`` takes it."""
        start = f"{part}."
        return {
            key.removeprefix(start): array
            for key, array in self.arrays.items()
            if key.startswith(start)
        }

    def restore(self, parts: Mapping[str, Stateful]) -> None:
        """Load the state into ``parts``: into all of them or, on error, into none.

        Raises
        ------
        ValueError
            If a part is missing or does not fit.
        """
        for key in self.arrays:
            if key.partition(".")[0] not in parts:
                raise ValueError(f"checkpoint holds {key!r}, but the run has only {list(parts)}")
        before = {part: copy.deepcopy(parts[part].state_dict()) for part in parts}
        for part in parts:
            try:
                parts[part].load_state_dict(self.part(part))
            except (ValueError, TypeError) as error:
                for changed in parts:
                    parts[changed].load_state_dict(before[changed])
                raise ValueError(f"checkpoint does not fit the {part}: {error}") from error


def _is_history(history: Any) -> TypeGuard[History]:
    return isinstance(history, list) and all(
        isinstance(row, dict) and all(isinstance(value, float) for value in row.values())
        for row in history
    )
