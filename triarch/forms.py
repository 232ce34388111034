"""Data in the forms that people have them -> tensors: arrays of all kinds, lists, tables, sparse matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from triarch import config
from triarch.tensors import as_array, native, torch_dtype

_SINGLE = np.dtype(np.float32)
# Types with which torch hardly computes, and the ones that hold their numbers.
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64}
_KINDS_OF_DATA = {
    "O": "which are rows of unequal length, text, None or numbers of several types. Make them numbers of one shape and"
    " type first, as by `np.stack`, `utils.pad_sequences` or `astype`",
    "U": "text. Make it numbers first, as by `layers.StringLookup` or `layers.TextVectorization`",
    "S": "text. Make it numbers first, as by `layers.StringLookup` or `layers.TextVectorization`",
    "T": "text. Make it numbers first, as by `layers.StringLookup` or `layers.TextVectorization`",
    "c": "complex numbers. Give their absolute values, or their real and imaginary parts as two features",
    "M": "dates. Make them numbers first, such as the days since one of them",
    "m": "durations. Make them numbers first, such as seconds",
    "V": "records. Give their fields as a dict of arrays",
}


def to_tensors(data: Any, name: str = "x") -> Any:
    """Arrays, lists of numbers, tables and the like as tensors on the host, without a copy where possible.

    Floats of other types become `config.floatx()`, as in Keras; other types stay, if torch computes with them. Columns
    of a table that stand alone (a pandas Series) become an array with a second axis of 1, as in Keras.

    Args:
        name: What the data are called where they are refused: `"x"`, `"y"` or `"sample_weight"`.

    Raises:
        ValueError: these are no numbers, or numbers that the type to be computed with cannot hold.
    """
    if data is None:
        return None
    if isinstance(data, (torch.Tensor, np.ndarray)):
        return _tensor(data, name)
    if isinstance(data, Mapping):
        return {key: to_tensors(value, f"{name}[{key!r}]") for key, value in data.items()}
    if isinstance(data, (list, tuple)) and not is_plain_list(data):
        parts = [to_tensors(value, f"{name}[{index}]") for index, value in enumerate(data)]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    return _tensor(array_of(data, name), name)


def array_of(data: Any, name: str) -> np.ndarray:
    """One array, tensor, list or table of numbers as an array, in a native type that holds them.

    Raises:
        ValueError: these are no numbers, or a masked array hides some.
    """
    if isinstance(data, torch.Tensor):
        data = as_array(data.to_dense())
    elif isinstance(data, (list, tuple)):
        data = _array_of_list(data, name)
    elif is_sparse(data):
        data = data.toarray()
    elif is_table(data):
        data = _array_of_table(data, name)
    array = np.asanyarray(data)
    if array.dtype.kind not in "biuf":
        what = _KINDS_OF_DATA.get(array.dtype.kind, "something else")
        raise ValueError(
            f"{name} must be numbers. Received: an array of shape {array.shape}, type {array.dtype}: {what}."
        )
    try:
        return native(array)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def is_array_like(value: Any) -> bool:
    """Whether this is one array, in whatever form, or an entry of a list that is one."""
    kinds = (np.ndarray, torch.Tensor, np.generic, int, float, complex, str, bytes)
    return isinstance(value, kinds) or hasattr(value, "__array__") or is_sparse(value)


def is_sparse(value: Any) -> bool:
    """Whether this is one of SciPy's sparse arrays."""
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "toarray")


def is_table(value: Any) -> bool:
    """Whether this is a table, or a column of one, such as pandas has."""
    return hasattr(value, "to_numpy") and (hasattr(value, "dtypes") or hasattr(value, "dtype"))


def is_plain_list(data: Any) -> bool:
    """Whether nested lists end in numbers or texts (an array written out) rather than in arrays (several arrays)."""
    while isinstance(data, (list, tuple)) and len(data):
        data = next((entry for entry in data if not isinstance(entry, (list, tuple)) or len(entry)), data[0])
    is_number = isinstance(data, (int, float, complex, str, bytes, np.generic))
    return is_number or (isinstance(data, (np.ndarray, torch.Tensor)) and data.ndim == 0)


def _array_of_list(data: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(data)
    except (ValueError, TypeError) as error:
        lengths = sorted({len(row) if isinstance(row, (list, tuple)) else 0 for row in data})
        raise ValueError(
            f"{name} is a list of rows of unequal length, which is no array. Bring them to one length first, as by "
            f"`utils.pad_sequences`. Received: {len(data)} rows of the lengths {lengths}"
        ) from error


def _array_of_table(data: Any, name: str) -> np.ndarray:
    """The numbers of a table, whose columns may be of several types, with NaN where there are none."""
    array = data.to_numpy()
    if array.dtype.kind not in "biuf":
        types = dict(data.dtypes.items()) if hasattr(data, "columns") else {data.name: data.dtype}
        if other := {str(column): str(dtype) for column, dtype in types.items() if dtype.kind not in "biuf"}:
            raise ValueError(
                f"{name} is a table with columns that are no numbers: leave them out, or make them numbers first, as "
                f"by `layers.StringLookup`. Received: {other}"
            )
        array = data.to_numpy(dtype="float64", na_value=np.nan)
    return array[:, None] if array.ndim == 1 else array


def _tensor(array: Any, name: str) -> torch.Tensor:
    if type(array) is np.ndarray and array.dtype is _SINGLE and config.floatx() == "float32":
        flags = array.flags
        # As batches of a stream are; an axis of size 1 may run backwards in what NumPy calls contiguous.
        if flags.c_contiguous and flags.writeable and min(array.strides, default=0) >= 0:
            return torch.from_numpy(array)
    tensor = array
    if not isinstance(array, torch.Tensor):
        array = array_of(array, name)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    if tensor.is_complex():
        raise ValueError(f"{name} must be numbers. Received: a tensor of {_KINDS_OF_DATA['c']}.")
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype in _WIDER:
        tensor = tensor.to(_WIDER[tensor.dtype])
    elif tensor.dtype is torch.uint64:
        fits = bool((tensor.view(torch.int64) >= 0).all())
        tensor = tensor.to(torch.int64 if fits else torch.float64)
    if tensor.is_floating_point():
        tensor = _of_floatx(tensor.detach(), name)
    return tensor.detach()


def _of_floatx(tensor: torch.Tensor, name: str) -> torch.Tensor:
    dtype = torch_dtype(config.floatx())
    assert dtype is not None
    if tensor.dtype is dtype:
        return tensor
    cast = tensor.to(dtype)
    can_lose = tensor.device.type == "cpu" and torch.finfo(tensor.dtype).max > torch.finfo(dtype).max
    if can_lose and not torch.isfinite(cast.sum()):  # only a suspicious sum makes a second pass
        lost = cast.isinf() & ~tensor.isinf()
        if bool(lost.any()):
            raise ValueError(
                f"{name} holds numbers that are too large for {config.floatx()}, in which is computed: scale them, or "
                f"call `config.set_floatx('float64')`. Received: {int(lost.sum())} such numbers, the first "
                f"{float(tensor[lost][0]):.6g}"
            )
    return cast
