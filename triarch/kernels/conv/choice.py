"""The automatic choice of a method for a layer, an ordinary member of the family that can be asked for its reasons."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from triarch.convolution import Candidate
from triarch.kernels.conv.methods import METHODS, Convolve
from triarch.kernels.conv.spec import ConvSpec

COSTS = Path(__file__).with_name("costs.json")
Constants = dict[str, dict[str, dict[str, float]]]  # method -> type -> count -> seconds

# Compiled code has to save this much in all the calls that are expected before the vendor's, which is there already, is
# left: Numba's start, and what a compilation takes where nothing was kept yet.
_START_SECONDS = 1.0

_method: ContextVar[str] = ContextVar("method", default="auto")
_calls: ContextVar[int] = ContextVar("calls", default=100)


@contextmanager
def use(method: str) -> Iterator[None]:
    """Convolve by this method in every layer that is called inside the block: one of `METHODS`, or `"auto"`.

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
    """Inside the block, layers are about to be called so many times: what compiled code can earn its start in."""
    token = _calls.set(calls)
    try:
        yield
    finally:
        _calls.reset(token)


def method_in_use() -> str:
    """What `use` asks for; `"auto"` outside."""
    return _method.get()


def expected_calls() -> int:
    """What `expecting` says, as a power of ten: plans differ by it."""
    return 10 ** round(math.log10(max(_calls.get(), 1)))


@cache
def shipped() -> dict[str, Any]:
    """The file of constants as it is."""
    return json.loads(COSTS.read_text())


def predict_seconds(method: str, spec: ConvSpec, constants: Constants | None = None) -> float:
    """The predicted time of one call, with its gradients where the layer learns."""
    of_type = (constants or shipped()["constants"])[method][str(spec.dtype).removeprefix("torch.")]
    return sum(number * of_type[name] for name, number in METHODS[method].count(spec).items())


def predictions(spec: ConvSpec, constants: Constants | None = None) -> dict[str, float]:
    """The predicted seconds of every method that can do it."""
    return {
        name: predict_seconds(name, spec, constants)
        for name, method in METHODS.items()
        if method.refuse(spec) is None and (name != "direct" or spec.device == "cpu")
    }


def choose(spec: ConvSpec) -> str:
    """The method with the smallest prediction, if it saves enough to earn its start."""
    if all(method.refuse(spec) is not None for name, method in METHODS.items() if name != "direct"):
        return "direct"
    seconds = predictions(spec)
    best = min(seconds, key=seconds.__getitem__)
    return best if (seconds["direct"] - seconds[best]) * spec.calls > _START_SECONDS else "direct"


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


def candidates(spec: ConvSpec) -> tuple[Candidate, ...]:
    """All methods, the one that is chosen first, with predictions and reasons."""
    chosen, seconds = choose(spec), predictions(spec)
    rows = []
    for name, method in METHODS.items():
        refusal = method.refuse(spec)
        if name == chosen:
            reason = "chosen"
        elif refusal is not None:
            reason = f"cannot: {refusal}"
        elif seconds[name] < seconds[chosen]:
            reason = f"would not earn its start in {spec.calls} calls"
        else:
            reason = f"{seconds[name] / seconds[chosen]:.3g} times as long"
        rows.append(Candidate(name, seconds.get(name), reason))
    return tuple(sorted(rows, key=lambda row: (row.method != chosen, row.seconds or math.inf)))
