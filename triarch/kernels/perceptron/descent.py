"""How weights follow their gradients, for kernels."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numba import carray

from triarch.kernels.native.vectors import at, inlined, shifted
from triarch.kernels.perceptron.job import Rule

_ADAM = int(Rule.ADAM)


@inlined
def _descend(weights, gradient, momentum, count, has_momentum, rate, decay, is_nesterov):
    """SGD: m ← momentum·m - lr·g, w ← w + m; with Nesterov's look ahead w ← w + momentum·m - lr·g."""
    if not has_momentum:
        for number in range(count):
            weights[number] -= rate * gradient[number]
        return
    for number in range(count):
        change = rate * gradient[number]
        moved = decay * momentum[number] - change
        momentum[number] = moved
        weights[number] += decay * moved - change if is_nesterov else moved


@inlined
def _follow_adam(weights, gradient, momentum, velocity, count, rate, keep_1, add_1, keep_2, add_2, epsilon):
    """Adam: m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g², w ← w - rate · m/(√v + ε)."""
    for number in range(count):
        g = gradient[number]
        m = keep_1 * momentum[number] + add_1 * g
        v = keep_2 * velocity[number] + add_2 * g * g
        momentum[number] = m
        velocity[number] = v
        weights[number] -= rate * m / (sqrt(v) + epsilon)


@inlined
def follow(dtype, real, job, weights, found, m, v, count):
    """Update weights, by their addresses, by the job's rule; those of momentum and velocity may be 0 with SGD."""
    if job.rule == _ADAM:
        _follow_adam(
            at(dtype, weights), at(dtype, found), at(dtype, m), at(dtype, v), count, real(job.rate),
            real(job.beta_1), real(1 - job.beta_1), real(job.beta_2), real(1 - job.beta_2), real(job.epsilon),
        )  # fmt: skip
    else:
        _descend(
            at(dtype, weights), at(dtype, found), at(dtype, m), count, m != 0, real(job.rate), real(job.momentum),
            job.nesterov != 0,
        )  # fmt: skip


def update(dtype: str) -> Callable[..., None]:
    """The update of several weights; one thread carries it all."""
    real: Any = getattr(np, dtype)

    def kernel(jobs: Any, thread: int, threads: int) -> None:
        job = carray(jobs, 1)[0]
        parts = at("int64", job.parts)
        for number in range(job.count):
            part = shifted(parts, 5 * number)
            follow(dtype, real, job, part[0], part[1], part[2], part[3], part[4])

    return kernel
