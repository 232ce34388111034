"""The automatic choice of a method, an ordinary member of the family that can be asked for its reasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from triarch.convolution import cost
from triarch.convolution.methods import METHODS, overlap, separable
from triarch.convolution.spec import ConvolutionSpec

# Looking for factors of a kernel is harmless where it is a small part of the time and the stages save much of it.
_LEAST_SECONDS_TO_SEPARATE = 3e-4
_GAIN_OF_SEPARATION = 0.6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method, what it is predicted to take, and why it was taken or not.

    Args:
        method: Its name.
        seconds: Predicted; None where the method cannot do it.
        reason: In words.
    """

    method: str
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The candidates for a convolution, the best first; printed, a table.

    Args:
        spec: What is convolved, with a `description`: operands here, the convolution of a layer in `triarch.kernels`.
        method: The chosen one.
    """

    spec: Any
    method: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        lines = [f"{self.spec.description}: {self.method}"]
        for candidate in self.candidates:
            seconds = "" if candidate.seconds is None else _duration(candidate.seconds)
            lines.append(f"  {candidate.method:<12} {seconds:>9}  {candidate.reason}".rstrip())
        return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def predictions(spec: ConvolutionSpec, constants: cost.Constants | None = None) -> dict[str, float]:
    """The predicted seconds of every method that can do it, whatever the values of the kernel."""
    return {
        name: cost.predict_seconds(costed_as(name, spec), spec.dtype, method.count(spec), constants)
        for name, method in METHODS.items()
        if method.refuse(spec) is None
    }


def costed_as(name: str, spec: ConvolutionSpec) -> str:
    """The method that it really is: one block of a signal is one transform."""
    return "fft" if name == "overlap_add" and overlap.is_one_block(spec) else name


def choose(spec: ConvolutionSpec, constants: cost.Constants | None = None) -> tuple[str, bool]:
    """The method for kernels of any values, and whether a kernel of rank 1 is worth looking for."""
    seconds = predictions(spec, constants)
    stages = seconds.pop("separable", math.inf)
    best = min(seconds, key=seconds.__getitem__)
    is_worth = (
        spec.device == "cpu"
        and seconds[best] > _LEAST_SECONDS_TO_SEPARATE
        and stages < _GAIN_OF_SEPARATION * seconds[best]
    )
    return best, is_worth


@lru_cache(maxsize=512)
def find_plan(spec: ConvolutionSpec, method: str) -> Callable[..., Any]:
    """What computes it; plans are kept for the convolutions that come again.

    Raises:
        ValueError: No method has that name, or it cannot do it.
    """
    if method == "auto":
        best, is_worth = choose(spec)
        chosen = find_plan(spec, best)
        return separable.plan_if_separable(spec, chosen) if is_worth else chosen
    reason = METHODS[method].refuse(spec)
    if reason is not None:
        raise ValueError(
            f"method={method!r} cannot do this convolution: {reason}. "
            f"Received: {spec.dtype} operands of sizes {spec.a_sizes} and {spec.b_sizes}"
        )
    plan: Callable[..., Any] = METHODS[method].plan(spec)
    return plan


def explain_choice(spec: ConvolutionSpec, kernel: Any) -> Explanation:
    """The table of candidates for these operands."""
    seconds = predictions(spec)
    best, is_worth = choose(spec)
    reasons: dict[str, str] = {}
    if "separable" in seconds:
        if separable.separate(kernel.reshape(spec.kernel_sizes)) is None:
            reasons["separable"] = "the kernel has not rank 1"
            del seconds["separable"]
        elif is_worth:
            best = "separable"
        else:
            reasons["separable"] = "the kernel has rank 1, but looking for that is not worth it unless asked"
    for name, method in METHODS.items():
        refusal = method.refuse(spec)
        if refusal is not None:
            reasons[name] = f"cannot: {refusal}"
    reasons[best] = "chosen"
    for name, value in seconds.items():
        reasons.setdefault(name, f"{value / seconds[best]:.3g} times as long")
    ordered = sorted(METHODS, key=lambda name: (name != best, seconds.get(name, math.inf)))
    return Explanation(spec, best, tuple(Candidate(name, seconds.get(name), reasons[name]) for name in ordered))
