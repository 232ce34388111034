"""From one type of numbers to another without what NumPy does in silence: wrap round, cut off, show what is hidden."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def unhidden(values: Any, name: str) -> Any:
    """The values themselves, none of which is hidden by a mask.

    Args:
        name: The argument, for errors.

    Raises:
        ValueError: A masked array hides some, which would be taken as they are.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(
            f"`{name}` is a masked array that hides {np.ma.count_masked(values):,} of {values.size:,} values. "
            f"Fill them with `.filled(...)`, or leave them out. Received: shape {values.shape}, type {values.dtype}"
        )
    return values


def as_type(values: Any, dtype: Any, name: str) -> Array:
    """An array of another type with the same numbers; floats may be rounded to those of the type.

    Args:
        name: The argument, for errors.

    Raises:
        ValueError: The type has no room for a number: it is too large, or a fraction or no number where integers are
            wanted; or texts are longer.
    """
    kind = np.dtype(dtype)
    array = np.asarray(unhidden(values, name), kind if kind.kind == "O" else None)
    if array.dtype == kind:
        return array
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            wrong = _wrong(array, kind)
            if not wrong.any():
                return array.astype(kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` has values that the type {kind} has no room for: {error}") from error
    place = tuple(int(axis[0]) for axis in np.nonzero(wrong)) if wrong.ndim else ()
    raise ValueError(
        f"`{name}` has values that the type {kind} has no room for: give another `dtype`, or other values. Received: "
        f"{array[place]!s}" + (f" at place {', '.join(map(str, place))}" if place else "")
    )


def _wrong(array: Array, kind: np.dtype[Any]) -> Array:
    """Where numbers would become others."""
    nowhere = np.zeros(array.shape, bool)
    if array.dtype.kind == "c" and kind.kind != "c":
        return array.imag != 0
    if not array.size or np.can_cast(array.dtype, kind):
        return nowhere
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        if array.dtype.kind in "iu":
            if limits.min <= int(array.min()) and int(array.max()) <= limits.max:
                return nowhere
            is_wrong = np.vectorize(lambda x: not limits.min <= int(x) <= limits.max, otypes=[bool])
            return np.asarray(is_wrong(array))
        if array.dtype.kind == "f":
            wide = array.astype(np.float64)
            # The first number above the type's integers is a power of two, which floats hold exactly.
            return ~((wide == np.trunc(wide)) & (wide >= float(limits.min)) & (wide < 2.0 * (limits.max // 2 + 1)))
        if array.dtype.kind == "O":
            is_wrong = np.vectorize(lambda x: not limits.min <= x <= limits.max or x != int(x), otypes=[bool])
            return np.asarray(is_wrong(array))
    if kind.kind == "f" and array.dtype.kind in "iuf":
        return np.isinf(array.astype(kind)) & ~np.isinf(array)
    if kind.kind in "SU" and array.dtype.kind in "SU" and kind.itemsize:
        return np.char.str_len(array) > kind.itemsize // np.dtype((kind.char, 1)).itemsize
    return nowhere
