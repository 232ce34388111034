"""The automatic choice of a method for a layer, an ordinary member of the family that can be asked for its reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

from triarch.convolution import Candidate, Explanation
from triarch.kernels.conv import cost
from triarch.kernels.conv.methods import METHODS, Convolve
from triarch.kernels.conv.spec import ConvSpec
from triarch.tensors import dtype_name

# Compiled code has to save this much in all the calls that are expected before the vendor's, which is there already, is
# left: a job of seconds should not begin with a compilation of seconds. Whether the code is kept already is not asked:
# what is chosen should be the same the next time.
START_SECONDS = 10.0
# Tiles of a second size are compiled for a gain that is more than the predictions' error.
_USUAL_SIZE = {"winograd_2": "winograd_4"}
_WORTH_ANOTHER_SIZE = 1.1
_LEAST_GAIN = 1.03  # predictions are not exact, and the vendor's is the method that surprises least

_method: ContextVar[str] = ContextVar("method", default="auto")
_calls: ContextVar[int] = ContextVar("calls", default=0)
_CALLS_UNTOLD = 100


@contextmanager
def use(method: str) -> Iterator[None]:
    """Convolve by this method in every layer that is called inside the block: one of `METHODS`, or `"auto"`.

    With another one than `"auto"` steps go layer by layer, small models' too.

    Raises:
        ValueError: There is no such method; or, when a layer is called, it cannot do that layer's convolution.
    """
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method must be 'auto' or one of {', '.join(map(repr, METHODS))}. Received: {method!r}")
    token = _method.set(method)
    try:
        yield
    finally:
        _method.reset(token)


@contextmanager
def expecting(calls: int) -> Iterator[None]:
    """Inside the block, layers are about to be called so many times: what compiled code can earn its start in.

    In an inner block the larger number holds: validation is a part of its training.
    """
    token = _calls.set(max(calls, _calls.get()))
    try:
        yield
    finally:
        _calls.reset(token)


def method_in_use() -> str:
    """What `use` asks for; `"auto"` outside."""
    return _method.get()


def expected_calls() -> int:
    """What `expecting` says, as a power of two: plans differ by it."""
    return 1 << (_calls.get() or _CALLS_UNTOLD).bit_length()


def choose(spec: ConvSpec) -> str:
    """The method with the smallest prediction, if it saves enough to earn its start."""
    seconds = cost.shipped().predict_seconds(spec)
    if len(seconds) < 2:
        return "direct"
    best = min(seconds, key=seconds.__getitem__)
    usual = _USUAL_SIZE.get(best, best)
    if seconds.get(usual, math.inf) < _WORTH_ANOTHER_SIZE * seconds[best]:
        best = usual
    is_earned = (seconds["direct"] - seconds[best]) * spec.calls > START_SECONDS
    return best if is_earned and seconds["direct"] > _LEAST_GAIN * seconds[best] else "direct"


@lru_cache(maxsize=4096)
def find_plan(spec: ConvSpec, method: str) -> Convolve:
    """What computes it; plans are kept for the convolutions that come again.

    Raises:
        ValueError: An input of this shape does not fit, or the method cannot do it.
    """
    spec.window.output_shape(spec.shape)
    if method == "auto":
        method = choose(spec)
    reason = METHODS[method].refuse(spec)
    if reason is not None:
        raise ValueError(f"cannot be computed by method {method!r}: {reason}. Received: shape {spec.shape}")
    return METHODS[method].plan(spec)


def explain(spec: ConvSpec) -> Explanation:
    """All methods, the one that is chosen first, with predictions and reasons; printed, a table."""
    chosen, seconds = choose(spec), cost.shipped().predict_seconds(spec)
    rows = []
    for name, method in METHODS.items():
        refusal = method.refuse(spec)
        if name == chosen:
            reason = "chosen"
        elif refusal is not None:
            reason = f"cannot: {refusal}"
        elif not seconds:
            reason = f"has no constants for numbers of type {dtype_name(spec.dtype)} on {spec.device}"
        elif seconds[name] < seconds[chosen]:
            reason = f"gains too little to earn its start in {spec.calls} calls"
        else:
            reason = f"{seconds[name] / seconds[chosen]:.3g} times as long"
        rows.append(Candidate(name, seconds.get(name), reason))
    rows.sort(key=lambda row: (row.method != chosen, row.seconds or math.inf))
    return Explanation(spec, chosen, tuple(rows))
