"""What every method promises whatever the numbers are, and what the direct sum promises beyond.

Numbers that are not finite stand where the sum has them, and scales of any size neither overflow nor vanish: operands
are brought near one by powers of two, without what is not finite, whose places are counted by exact convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triarch.convolution.arrays import Array, like, tensor_of
from triarch.convolution.cells import SECONDS_PER_PRODUCT, Cells, Look
from triarch.convolution.mending import mend, windows
from triarch.convolution.spec import ConvolutionSpec, Progress

Plan = Callable[..., Any]

# Squares of norms with which no product of spectra overflows, and none of a size that matters vanishes.
_TAME = {"float32": (1e-24, 1e24), "float64": (1e-200, 1e200)}
_LONGEST_STEP = {torch.float32: 100, torch.float64: 1000}  # powers of two that the type holds


def reports(plan: Plan) -> bool:
    """Whether calls take a progress callback."""
    return bool(getattr(plan, "reports", False))


def call(plan: Plan, a: Any, b: Any, progress: Progress | None) -> Any:
    """The plan's result, with a report at its end where there is none on the way."""
    if progress is None:
        return plan(a, b)
    if reports(plan):
        return plan(a, b, progress)
    result = plan(a, b)
    progress(1, 1)
    return result


@dataclass(frozen=True)
class BySum:
    """A method's result where it is as good as the direct sum's, and the direct sum elsewhere.

    Args:
        plan: The method's.
        direct: The direct sum's, for all places.
        seconds: What that is predicted to take.
        direct_of: The direct sum's, for a part of the places.
    """

    cells: Cells
    plan: Plan
    direct: Plan | None
    seconds: float
    direct_of: Callable[[ConvolutionSpec], Plan]
    reports = True

    def takes_all(self, look: Look) -> bool:
        """Whether the sum of all places is faster than that of those which need it."""
        return SECONDS_PER_PRODUCT * look.products > self.seconds / 2

    def __call__(self, a: Array, b: Array, progress: Progress | None = None) -> Array:
        look = self.cells.look(a, b)
        if self.direct is not None and self.takes_all(look):
            return call(self.direct, a, b, progress)
        result: Array = call(self.plan, a, b, progress)
        if not look.is_clear:
            self._mend(look, a, b, result)
        return result

    def _mend(self, look: Look, a: Array, b: Array, result: Array) -> None:
        """Write the places that the direct sum is to compute: as convolutions of a few parts, or cell by cell."""
        parts = None if self.direct is None or self.cells.spec.device != "cpu" else windows(self.cells, look)
        if parts is None:
            mend(self.cells, look, a, b, result)
            return
        for spec, read, written in parts:
            operands = (a[read], b) if self.cells.spec.is_a_signal else (a, b[read])
            result[written] = self.direct_of(spec)(*map(np.ascontiguousarray, operands))


@dataclass(frozen=True)
class Sound:
    """A plan for numbers of every size, finite or not.

    Args:
        plan: For operands whose norms are neither huge nor tiny; of the direct sum, for finite kernels.
        counts: Finds the plan of the same convolution of integers 0 and 1.
        direct: The direct sum, where bringing the operands near one would lose their small numbers; None where a method
            was asked for by name.
        is_direct: Whether the plan is the direct sum's, which needs no scales and says by None that it needs this.
    """

    spec: ConvolutionSpec
    plan: Plan
    counts: Callable[[], Plan]
    direct: Plan | None = None
    is_direct: bool = False

    @cached_property
    def reports(self) -> bool:
        """Whether calls take a progress callback."""
        return reports(self.plan)

    def __call__(self, a: Any, b: Any, progress: Progress | None = None) -> Any:
        if self.is_direct:
            result = self.plan(a, b)
            return self._of_any(a, b, None) if result is None else result
        if is_tame(a, b):
            return self.plan(a, b) if progress is None else call(self.plan, a, b, progress)
        return self._of_any(a, b, progress)

    def _of_any(self, a: Any, b: Any, progress: Progress | None) -> Any:
        x, y = tensor_of(a), tensor_of(b)
        x_finite, y_finite = _without_others(x), _without_others(y)
        result = self._of_finite(x_finite, y_finite, progress)
        if x_finite is not x or y_finite is not y:
            self._place(x, y, _reals(result), [_reals(operand) for operand in (x, y)])
        return like(result, a)

    def _of_finite(self, x: Tensor, y: Tensor, progress: Progress | None) -> Tensor:
        if self.is_direct:
            return self._run(self.plan, x, y, progress)
        x_exponent, y_exponent = _exponent(x), _exponent(y)
        x_near, y_near = _scaled(x, -x_exponent), _scaled(y, -y_exponent)
        if self.direct is not None and (_loses(x, x_near) or _loses(y, y_near)):
            return self._run(self.direct, x, y, progress)
        return _scaled(self._run(self.plan, x_near, y_near, progress), x_exponent + y_exponent)

    def _run(self, plan: Plan, x: Tensor, y: Tensor, progress: Progress | None) -> Tensor:
        if self.spec.device == "cpu":
            return tensor_of(call(plan, x.numpy(), y.numpy(), progress))
        return call(plan, x, y, progress)

    def _place(self, x: Tensor, y: Tensor, result: Tensor, parts: list[Tensor]) -> None:
        """Write what is not finite: products with a NaN, or of zero and an infinity, and infinities of either sign."""
        is_complex = result.ndim > len(self.spec.shape)
        for number, terms in enumerate(_TERMS[is_complex]):
            nan: Tensor | bool = False
            positive: Tensor | bool = False
            negative: Tensor | bool = False
            for i, j, sign in terms:
                p = parts[0][..., i] if parts[0].ndim > x.ndim else parts[0]
                q = parts[1][..., j] if parts[1].ndim > y.ndim else parts[1]
                nan = nan | self._met(p.isnan(), torch.ones_like(q)) | self._met(torch.ones_like(p), q.isnan())
                nan = nan | self._met(p.isinf(), q == 0) | self._met(p == 0, q.isinf())
                positive = positive | self._infinite(p, sign * q)
                negative = negative | self._infinite(p, -sign * q)
            target = result[..., number] if is_complex else result
            # A sum that overflowed to the other infinity meets this one.
            nan = nan | ((positive | (target == torch.inf)) & (negative | (target == -torch.inf)))
            for mask, value in ((positive, torch.inf), (negative, -torch.inf), (nan, torch.nan)):
                if isinstance(mask, Tensor):
                    target[mask] = value

    def _infinite(self, p: Tensor, q: Tensor) -> Tensor | bool:
        """Where a product is positive and infinite because a factor is."""
        met: Tensor | bool = False
        for p_side, q_side in ((p > 0, q > 0), (p < 0, q < 0)):
            met = met | self._met(p_side & p.isinf(), q_side) | self._met(p_side, q_side & q.isinf())
        return met

    def _met(self, p: Tensor, q: Tensor) -> Tensor | bool:
        """Where a place marked in one operand meets one marked in the other."""
        if not (bool(p.any()) and bool(q.any())):
            return False
        return self._run(self.counts(), p.to(torch.int64).contiguous(), q.to(torch.int64).contiguous(), None) > 0


# Which parts of both operands make each part of a product, and with which sign: of real numbers and of complex ones.
_TERMS: tuple[tuple[tuple[tuple[int, int, int], ...], ...], ...] = (
    (((0, 0, 1),),),
    (((0, 0, 1), (1, 1, -1)), ((0, 1, 1), (1, 0, 1))),
)


def _reals(x: Tensor) -> Tensor:
    """The numbers, or pairs of reals in the same memory."""
    return torch.view_as_real(x) if x.is_complex() else x


def is_tame(a: Any, b: Any) -> bool:
    """Whether all numbers are finite and their norms of a usual size."""
    return _is_usual(a) and _is_usual(b)


def _is_usual(x: Any) -> bool:
    if isinstance(x, Tensor):
        flat = _reals(x).reshape(-1)
        low, high = _TAME[str(flat.dtype).removeprefix("torch.")]
        return low < float(flat.dot(flat)) < high
    flat = x.reshape(-1)
    if flat.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    low, high = _TAME[flat.dtype.name]
    with np.errstate(all="ignore"):
        return low < float(flat.dot(flat)) < high


def _without_others(x: Tensor) -> Tensor:
    """The same numbers, zeros where they are not finite: `x` itself where all are."""
    reals = _reals(x)
    is_finite = reals.isfinite()
    if bool(is_finite.all()):
        return x
    kept = torch.where(is_finite, reals, torch.zeros_like(reals))
    return torch.view_as_complex(kept) if x.is_complex() else kept


def _exponent(x: Tensor) -> int:
    """That of the largest magnitude; 0 of zeros."""
    return int(np.frexp(float(_reals(x).abs().max()))[1])


def _scaled(x: Tensor, exponent: int) -> Tensor:
    """Times a power of two, in steps that the type holds."""
    reals = _reals(x)
    longest = _LONGEST_STEP[reals.dtype]
    while exponent:
        step = max(-longest, min(longest, exponent))
        reals = reals * 2.0**step
        exponent -= step
    return torch.view_as_complex(reals) if x.is_complex() else reals


def _loses(x: Tensor, near: Tensor) -> bool:
    """Whether a number has become so small that it lost digits."""
    reals, scaled = _reals(x), _reals(near)
    return bool(((scaled.abs() < torch.finfo(scaled.dtype).tiny) & (reals != 0)).any())
