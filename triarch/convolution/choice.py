"""The automatic choice of a method, an ordinary member of the family that can be asked for its reasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from triarch.convolution import cost, trust
from triarch.convolution.cells import Cells, can_look, is_worth_a_look
from triarch.convolution.methods import METHODS, overlap, separable
from triarch.convolution.spec import COMPLEX, FLOATS, ConvolutionSpec

# Looking for factors of a kernel is harmless where it is a small part of the time and the stages save much of it.
_LEAST_SECONDS_TO_SEPARATE = 3e-4
_GAIN_OF_SEPARATION = 0.6
_TRANSFORMS = ("fft", "overlap_add")
_SECONDS_TO_LOOK, _SECONDS_OF_NUMBER, _SECONDS_OF_CELL = 1.2e-4, 4e-10, 4e-8


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


def _trusted(spec: ConvolutionSpec, seconds: dict[str, float]) -> dict[str, float]:
    """The predictions of methods that keep the promise of the direct sum."""
    kept = {name: value for name, value in seconds.items() if name in ("direct", "separable")}
    if is_worth_a_look(spec):
        numbers = math.prod((*spec.signal_batch, *spec.signal_sizes))
        cells = numbers / math.prod(Cells(spec, "fft").cell)
        look = _SECONDS_TO_LOOK + _SECONDS_OF_NUMBER * spec.reals * numbers + _SECONDS_OF_CELL * cells
        kept |= {name: seconds[name] + look for name in _TRANSFORMS if name in seconds}
    return kept or seconds


def costed_as(name: str, spec: ConvolutionSpec) -> str:
    """The method that it really is: one block of a signal is one transform."""
    return "fft" if name == "overlap_add" and overlap.is_one_block(spec) else name


def choose(spec: ConvolutionSpec, constants: cost.Constants | None = None, accuracy: str = "norm") -> tuple[str, bool]:
    """The method for kernels of any values, and whether a kernel of rank 1 is worth looking for.

    Args:
        accuracy: With `"sum"`, what cannot be seen to be as good as the direct sum is left, and the look has its price.
    """
    seconds = predictions(spec, constants)
    if accuracy == "sum" and spec.dtype in (*FLOATS, *COMPLEX):
        seconds = _trusted(spec, seconds)
    stages = seconds.pop("separable", math.inf)
    best = min(seconds, key=seconds.__getitem__)
    is_worth = (
        spec.device == "cpu"
        and seconds[best] > _LEAST_SECONDS_TO_SEPARATE
        and stages < _GAIN_OF_SEPARATION * seconds[best]
    )
    return best, is_worth


@lru_cache(maxsize=512)
def find_plan(spec: ConvolutionSpec, method: str, accuracy: str = "sum") -> Callable[..., Any]:
    """What computes it; plans are kept for the convolutions that come again.

    Args:
        accuracy: `"sum"` or `"norm"`.

    Raises:
        ValueError: No method has that name, or it cannot do it.
    """
    if spec.dtype not in (*FLOATS, *COMPLEX):
        return _exact_plan(spec, method)
    if method == "auto":
        best, is_worth = choose(spec, accuracy=accuracy)
        chosen = find_plan(spec, best, accuracy)
        return _sound(spec, separable.plan_if_separable(spec, chosen), accuracy) if is_worth else chosen
    plan = _plan(spec, method)
    if method == "direct":
        return trust.Sound(spec, plan, _counts_of(spec), is_direct=True)
    if accuracy == "sum" and method in _TRANSFORMS and can_look(spec):
        plan = by_sum(spec, method)
    return _sound(spec, plan, accuracy)


def by_sum(spec: ConvolutionSpec, method: str) -> Any:
    """A transform where it is as good as the direct sum, which does the rest."""
    direct, seconds = None, math.inf
    if METHODS["direct"].refuse(spec) is None:
        direct = find_plan(spec, "direct")
        seconds = cost.predict_seconds("direct", spec.dtype, METHODS["direct"].count(spec))
    return trust.BySum(Cells(spec, method), _plan(spec, method), direct, seconds, partial(find_plan, method="direct"))


def _plan(spec: ConvolutionSpec, method: str) -> Any:
    reason = METHODS[method].refuse(spec)
    if reason is not None:
        raise ValueError(
            f"method={method!r} cannot do this convolution: {reason}. "
            f"Received: {spec.dtype} operands of sizes {spec.a_sizes} and {spec.b_sizes}"
        )
    return METHODS[method].plan(spec)


def _exact_plan(spec: ConvolutionSpec, method: str) -> Any:
    if method != "auto":
        return _plan(spec, method)
    best, is_worth = choose(spec)
    chosen = _plan(spec, best)
    return separable.plan_if_separable(spec, chosen) if is_worth else chosen


def _sound(spec: ConvolutionSpec, plan: Callable[..., Any], accuracy: str) -> trust.Sound:
    direct = find_plan(spec, "direct") if accuracy == "sum" and METHODS["direct"].refuse(spec) is None else None
    return trust.Sound(spec, plan, _counts_of(spec), direct)


def _counts_of(spec: ConvolutionSpec) -> Callable[[], Callable[..., Any]]:
    return partial(find_plan, replace(spec, dtype="int64", bits=(1, 1)), "auto")


def explain_choice(spec: ConvolutionSpec, a: Any, b: Any, accuracy: str) -> Explanation:
    """The table of candidates for these operands."""
    seconds = predictions(spec)
    best, is_worth = choose(spec, accuracy=accuracy)
    reasons: dict[str, str] = {}
    if "separable" in seconds:
        kernel = b if spec.is_a_signal else a
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
    chosen = "chosen"
    if accuracy == "sum" and spec.dtype in (*FLOATS, *COMPLEX):
        for name in seconds.keys() - _trusted(spec, seconds).keys():
            reasons.setdefault(name, "rounds more coarsely than the direct sum; accuracy='norm' allows it")
        if best in _TRANSFORMS:
            best, chosen = _explain_look(spec, best, a, b, reasons)
    reasons[best] = chosen
    for name, value in seconds.items():
        reasons.setdefault(name, f"{value / seconds[best]:.3g} times as long")
    ordered = sorted(METHODS, key=lambda name: (name != best, seconds.get(name, math.inf)))
    return Explanation(spec, best, tuple(Candidate(name, seconds.get(name), reasons[name]) for name in ordered))


def _explain_look(spec: ConvolutionSpec, method: str, a: Any, b: Any, reasons: dict[str, str]) -> tuple[str, str]:
    """What computes these numbers, and why; sets the reason of a transform that is left."""
    if not trust.is_tame(a, b):
        return method, "chosen; numbers that are not finite or of unusual size are brought near one before"
    plan = by_sum(spec, method)
    look = plan.cells.look(a, b)
    if plan.takes_all(look):
        places = f"{look.places:,} of {spec.outputs:,} places"
        reasons[method] = f"would round {places} more coarsely than the direct sum; accuracy='norm' allows it"
        return "direct", "chosen for its accuracy"
    if look.places:
        return method, f"chosen; {look.places:,} of {spec.outputs:,} places by the direct sum, for its accuracy"
    return method, "chosen"
