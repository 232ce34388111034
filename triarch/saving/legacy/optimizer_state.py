"""The state of an optimizer in files from before Keras 3, and in HDF5 files of Keras 3.

Keras 3, and Keras 2 from 2.11 on, keep an optimizer's variables weight by weight; before, they lay slot by slot: all
first moments, then all second ones.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from triarch.saving.hdf5 import read_array
from triarch.saving.legacy.layout import Arrays

_COUNTERS = re.compile(r"(^|/)(iter|iteration|iterations)(_\d+)?$")
_RATES = re.compile(r"(^|/)((current_)?learning_rate|lr)$")
# Ends of names by which the older optimizers are known, all of which keep slot after slot.
_SLOT_BY_SLOT = re.compile(
    r"/(m|v|vhat|momentum|rms|mg|accumulator|accum_grad|accum_var)$|(^|/)Variable(_\d+)?$|^training(_\d+)?/"
)


def load_state(optimizer: Any, found: Arrays, stacklevel: int) -> None:
    """Overwrite the state of a built optimizer; where the file's does not fit, it stays as it is, with a warning."""
    names = [name.removesuffix(":0") for name in found.names]
    targets = list(optimizer.variables)
    arranged = _arranged(optimizer, targets, names, found.arrays)
    if arranged is None:
        warnings.warn(
            f"The state of optimizer {optimizer.name!r} was not loaded, so it begins anew: the file's "
            f"{len(names)} arrays do not fit its {len(targets)} variables.",
            stacklevel=stacklevel,
        )
        return
    values = {place: read_array(array) for place, array in arranged.items()}
    for place, value in values.items():
        targets[place].assign(np.asarray(value, value.dtype.newbyteorder("=")))


def with_learning_rate(optimizer: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """The numbered state of an optimizer; Keras 2 left the learning rate out of it, which is in the config, too."""
    variables = optimizer.variables
    is_left_out = len(arrays) == len(variables) - 1 and variables[1].name == "learning_rate"
    if not is_left_out or set(arrays) != {str(place) for place in range(len(arrays))}:
        return arrays
    later = {str(place + 1): arrays[str(place)] for place in range(1, len(arrays))}
    return {"0": arrays["0"], "1": variables[1].numpy(), **later}


def _arranged(
    optimizer: Any, targets: Sequence[Any], names: Sequence[str], values: Sequence[Any]
) -> dict[int, Any] | None:
    """The arrays by the places of the optimizer's variables; None where they do not fit."""
    special = {place for place, variable in enumerate(targets) if variable.name in ("iteration", "learning_rate")}
    made: dict[int, Any] = {}
    rest: list[tuple[str, Any]] = []
    for name, value in zip(names, values, strict=True):
        counted = next((kind for kind, form in _SPECIAL.items() if form.search(name)), None)
        if counted is None or value.ndim:
            rest.append((name, value))
            continue
        made |= {place: value for place in special if targets[place].name == counted}
    wanted = [place for place in range(len(targets)) if place not in special]
    is_slot_by_slot = any(_SLOT_BY_SLOT.search(name) for name, _ in rest)
    for order in (_by_slot, _by_weight) if is_slot_by_slot else (_by_weight, _by_slot):
        arrays = order(optimizer, [value for _, value in rest], len(wanted))
        if arrays is not None and all(
            tuple(targets[place].shape) == value.shape for place, value in zip(wanted, arrays, strict=True)
        ):
            return made | dict(zip(wanted, arrays, strict=True))
    return None


_SPECIAL = {"iteration": _COUNTERS, "learning_rate": _RATES}


def _by_weight(optimizer: Any, values: list[Any], wanted: int) -> list[Any] | None:
    return values if len(values) == wanted else None


def _by_slot(optimizer: Any, values: list[Any], wanted: int) -> list[Any] | None:
    """Values that lie slot by slot, weight by weight; what follows them is of slots that are not in use."""
    groups = optimizer.slot_names()
    slots = sum(map(len, groups))
    if not slots or wanted % slots or len(values) < wanted:
        return None
    weights = wanted // slots
    of_slot = iter([values[start * weights : (start + 1) * weights] for start in range(slots)])
    made: list[Any] = []
    for group in groups:
        columns = [next(of_slot) for _ in group]
        made += [value for row in zip(*columns, strict=True) for value in row]
    return made
