"""Random numbers that depend on a seed and on what they are for, not on how many are drawn at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Series of random numbers; the n-th attempt at one takes the stream 8 n further on.
PLACING, STRETCHING, MIXING, CHOOSING, CLUTTERING = range(5)


def uniforms(seed: int, stream: int, first: int, count: int, width: int) -> Array:
    """Random numbers `(count, width)` from 0 to 1, whose rows depend on their own number, from `first` on, only."""
    blocks = -(-width // 4)  # the generator makes four numbers of each value of its counter
    generator = np.random.Philox(key=np.array([seed, stream], np.uint64), counter=first * blocks)
    words = generator.random_raw(count * blocks * 4).reshape(count, -1)[:, :width]
    uniforms: Array = (words >> np.uint64(11)) * 2.0**-53
    return uniforms


def normals(uniforms: Array) -> Array:
    """Standard normal numbers `(n, width / 2)` of uniform ones, by the polar form of a normal pair."""
    half = uniforms.shape[1] // 2
    return np.sqrt(-2 * np.log1p(-uniforms[:, :half])) * np.cos(2 * np.pi * uniforms[:, half:])


def below(uniforms: Array, count: int) -> Array:
    """Whole numbers from 0 to `count - 1`."""
    return (uniforms * count).astype(np.int64)
