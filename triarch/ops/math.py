"""Segments, the largest ones, Fourier transforms, windows of series and special functions."""

from __future__ import annotations

from typing import Any

import torch

from triarch.ops.table import as_float, axes_of, op, tensor

__all__ = [
    "erf",
    "erfinv",
    "extract_sequences",
    "fft",
    "fft2",
    "ifft2",
    "in_top_k",
    "irfft",
    "logsumexp",
    "rfft",
    "rsqrt",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "top_k",
]


def _by_segment(data: Any, segment_ids: Any, num_segments: int | None, reduce: str) -> torch.Tensor:
    data, segment_ids = tensor(data), tensor(segment_ids).long()
    if segment_ids.ndim != 1 or len(segment_ids) != len(data):
        raise ValueError(
            f"`segment_ids` holds a number for each entry of `data`. Received: shapes {tuple(segment_ids.shape)} and "
            f"{tuple(data.shape)}"
        )
    if num_segments is None:
        num_segments = int(segment_ids.max()) + 1 if len(segment_ids) else 0
    shape = (num_segments, *data.shape[1:])
    made = torch.full(shape, _neutral(data.dtype, reduce), dtype=data.dtype, device=data.device)
    if reduce == "sum":
        return made.index_add(0, segment_ids, data)
    places = segment_ids.reshape(-1, *(1,) * (data.ndim - 1)).expand_as(data)
    return made.scatter_reduce(0, places, data, reduce)


def _neutral(dtype: torch.dtype, reduce: str) -> float:
    if reduce in ("sum", "prod"):
        return float(reduce == "prod")
    if dtype.is_floating_point:
        return -float("inf") if reduce == "amax" else float("inf")
    return torch.iinfo(dtype).min if reduce == "amax" else torch.iinfo(dtype).max


@op("math")
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The sum of the entries with each number; how many numbers there are is `num_segments`, found by default."""
    return _by_segment(data, segment_ids, num_segments, "sum")


@op("math")
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The product of the entries with each number."""
    return _by_segment(data, segment_ids, num_segments, "prod")


@op("math")
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The largest of the entries with each number; minus infinity where there is none."""
    return _by_segment(data, segment_ids, num_segments, "amax")


@op("math")
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The smallest of the entries with each number; infinity where there is none."""
    return _by_segment(data, segment_ids, num_segments, "amin")


@op("math", config=("k", "sorted"))
def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Any, Any]:
    """The `k` largest along the last axis, and where they are."""
    values, indices = torch.topk(tensor(x), k, sorted=sorted)
    return values, indices.int()


@op("math", config=("k",))
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether the prediction for each target is among the `k` largest, equals counted as smaller."""
    predictions, targets = tensor(predictions), tensor(targets).long()
    own = torch.take_along_dim(predictions, targets[..., None], -1)
    return (predictions > own).sum(-1) < k


def _complex(x: Any) -> torch.Tensor:
    real, imaginary = x
    return torch.complex(as_float(real), as_float(imaginary))


def _parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.real.contiguous(), x.imag.contiguous()


@op("math", class_name="FFT")
def fft(x: Any) -> tuple[Any, Any]:
    """The Fourier transform along the last axis of (real part, imaginary part), as such a pair."""
    return _parts(torch.fft.fft(_complex(x)))


@op("math", class_name="FFT2")
def fft2(x: Any) -> tuple[Any, Any]:
    """The Fourier transform along the last two axes of (real part, imaginary part), as such a pair."""
    return _parts(torch.fft.fft2(_complex(x)))


@op("math", class_name="IFFT2")
def ifft2(x: Any) -> tuple[Any, Any]:
    """The inverse of `fft2`."""
    return _parts(torch.fft.ifft2(_complex(x)))


@op("math", class_name="RFFT")
def rfft(x: Any, fft_length: int | None = None) -> tuple[Any, Any]:
    """The Fourier transform of real numbers along the last axis, without the half that mirrors the other."""
    return _parts(torch.fft.rfft(as_float(x), fft_length))


@op("math", class_name="IRFFT")
def irfft(x: Any, fft_length: int | None = None) -> Any:
    """The inverse of `rfft`."""
    return torch.fft.irfft(_complex(x), fft_length)


@op("math", config=("sequence_length", "sequence_stride"))
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Windows of this length along the last axis, each this far behind the last: `(..., windows, length)`."""
    return tensor(x).unfold(-1, sequence_length, sequence_stride)


@op("math")
def rsqrt(x: Any) -> Any:
    """`1 / sqrt(x)`."""
    return torch.rsqrt(as_float(x))


@op("math")
def erf(x: Any) -> Any:
    """The error function."""
    return torch.erf(as_float(x))


@op("math")
def erfinv(x: Any) -> Any:
    """The inverse of the error function."""
    return torch.erfinv(as_float(x))


@op("math")
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` over the axes, without overflow."""
    x = as_float(x)
    return torch.logsumexp(x, axes_of(axis, x.ndim), keepdims)
