"""What a convolution is before its numbers are known: sizes, the window of the result that is wanted, types."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

Sizes = tuple[int, ...]
Progress = Callable[[int, int], object]  # called with what is done and the whole

MODES = ("full", "same", "valid")

# What an error is bounded by: at each place a multiple of the direct sum's own bound there, or the operands' norms.
ACCURACIES = ("sum", "norm")


class Way(NamedTuple):
    """How a convolution is computed: a method, or `"auto"`, and an accuracy."""

    method: str
    accuracy: str


# Types in which convolutions are computed. "integer" stands for Python integers of any size, "object" for whatever can
# be added and multiplied.
FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
EXACT = ("int64", "integer", "object")
EXTENDED = ("longdouble", "clongdouble")


@dataclass(frozen=True)
class ConvolutionSpec:
    """One convolution `out[i] = Σ_j a[j] b[start + i - j]`, in every axis, for batches that broadcast.

    Args:
        a_sizes, b_sizes: Of the operands along the convolved axes, which come last; none is zero.
        start, length: Of the wanted window within the full convolution, which has `a + b - 1` places.
        a_batch, b_batch: Shapes of the axes before.
        dtype: In which numbers are computed.
        device: `"cpu"`, `"cuda"`, ...
        bits: Of the largest magnitudes in both operands, for exact integers; elsewhere (0, 0).
    """

    a_sizes: Sizes
    b_sizes: Sizes
    start: Sizes
    length: Sizes
    a_batch: Sizes = ()
    b_batch: Sizes = ()
    dtype: str = "float64"
    device: str = "cpu"
    bits: tuple[int, int] = (0, 0)

    @classmethod
    def of_mode(cls, mode: str, a_sizes: Sizes, b_sizes: Sizes, **rest: object) -> ConvolutionSpec:
        """The convolution of a mode; see `window_of_mode`."""
        start, length = window_of_mode(mode, a_sizes, b_sizes)
        return cls(a_sizes, b_sizes, start, length, **rest)  # type: ignore[arg-type]

    @property
    def rank(self) -> int:
        """The number of convolved axes."""
        return len(self.a_sizes)

    @property
    def is_complex(self) -> bool:
        """Whether the numbers are complex."""
        return self.dtype in COMPLEX

    @property
    def reals(self) -> int:
        """How many real numbers make a number."""
        return 2 if self.is_complex else 1

    @cached_property
    def full(self) -> Sizes:
        """The sizes of the full convolution."""
        return tuple(n + k - 1 for n, k in zip(self.a_sizes, self.b_sizes, strict=True))

    @cached_property
    def batch(self) -> Sizes:
        """The shape of the batch axes of the result."""
        longest = max(len(self.a_batch), len(self.b_batch))
        a, b = ((1,) * (longest - len(batch)) + batch for batch in (self.a_batch, self.b_batch))
        return tuple(n if k == 1 else k for n, k in zip(a, b, strict=True))

    @property
    def shape(self) -> Sizes:
        """The shape of the result."""
        return self.batch + self.length

    @property
    def description(self) -> str:
        """The convolution in words."""
        a, b, result = (
            "×".join(map(str, shape))
            for shape in (self.a_batch + self.a_sizes, self.b_batch + self.b_sizes, self.shape)
        )
        return f"{a} * {b} -> {result}, computed in {self.dtype} on {self.device}"

    @cached_property
    def is_a_signal(self) -> bool:
        """Whether `a` is the larger operand, the signal; the other is the kernel."""
        return math.prod(self.a_sizes) >= math.prod(self.b_sizes)

    @property
    def signal_sizes(self) -> Sizes:
        """The sizes of the larger operand."""
        return self.a_sizes if self.is_a_signal else self.b_sizes

    @property
    def kernel_sizes(self) -> Sizes:
        """The sizes of the smaller operand."""
        return self.b_sizes if self.is_a_signal else self.a_sizes

    @property
    def kernel_batch(self) -> Sizes:
        """The batch axes of the smaller operand."""
        return self.b_batch if self.is_a_signal else self.a_batch

    @property
    def signal_batch(self) -> Sizes:
        """The batch axes of the larger operand."""
        return self.a_batch if self.is_a_signal else self.b_batch

    @cached_property
    def outputs(self) -> int:
        """How many numbers the result has, all batches together."""
        return math.prod(self.shape)

    @property
    def result_bits(self) -> int:
        """How many bits, without the sign, hold every coefficient of exact integers for certain."""
        terms = math.prod(min(n, k) for n, k in zip(self.a_sizes, self.b_sizes, strict=True))
        return sum(self.bits) + (terms - 1).bit_length()


def window_of_mode(mode: str, a_sizes: Sizes, b_sizes: Sizes) -> tuple[Sizes, Sizes]:
    """The start and length, in the full convolution, of what a mode returns.

    Raises:
        ValueError: `"valid"`, and neither operand contains the other.
    """
    if mode == "full":
        return (0,) * len(a_sizes), tuple(n + k - 1 for n, k in zip(a_sizes, b_sizes, strict=True))
    if mode == "same":
        return tuple((k - 1) // 2 for k in b_sizes), a_sizes
    pairs = list(zip(a_sizes, b_sizes, strict=True))
    if not (all(n >= k for n, k in pairs) or all(n <= k for n, k in pairs)):
        raise ValueError(
            "mode='valid' expects one operand to be at least as large as the other in every convolved axis. "
            f"Received: sizes {a_sizes} and {b_sizes}"
        )
    return tuple(min(n, k) - 1 for n, k in pairs), tuple(abs(n - k) + 1 for n, k in pairs)
