"""Where triarch and real Keras differ on a program."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import triarch
from differential.programs import Program
from differential.runs import run

FLOOR = 2e-5  # times the numbers' size: another order of the same additions; Keras multiplies float64 in float32
AMPLIFICATION = 8  # how much larger our error may be than that of Keras in float32


def differences(program: Program, keras: Any) -> list[str]:
    """Where triarch gives another number than Keras in float64, or an error where Keras gives a number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = run(program, keras, "float64", triarch)
        peer = run(program, keras, "float32", triarch)
        ours = run(program, triarch, program.dtype, keras)
    if not truth.outputs():
        return []  # Keras takes the symbols, but not the numbers
    found = [
        f"{stage}: {error}" for stage, error in ours.errors.items() if stage not in truth.errors or stage == "files"
    ]
    for (stage, name), right in truth.values.items():
        if stage in ours.errors or (stage, name) not in peer.values:
            continue
        mine = ours.values.get((stage, name))
        fault = "missing" if mine is None else _fault(mine, peer.values[stage, name], right)
        if fault:
            found.append(f"{stage}: {name}: {fault}")
    more = [key for key in ours.values if key not in truth.values and key[0] not in truth.errors]
    return found + [f"{stage}: {name}: Keras has no such value" for stage, name in more]


def _fault(mine: np.ndarray, peer: np.ndarray, right: np.ndarray) -> str | None:
    """What is wrong with our numbers, given Keras's in float32 and in float64."""
    if mine.shape != right.shape:
        return f"shape {mine.shape}, Keras's {right.shape}"
    finite = np.isfinite(right)  # Keras has NaN where a definition has none, as in gradients at vectors of zeros
    if not np.isfinite(mine[finite]).all():
        return f"not finite: {mine.ravel()[:4]}, Keras's {right.ravel()[:4]}"
    if not finite.any() or not np.isfinite(peer[finite]).all():
        return None
    size = max(float(np.abs(right[finite]).max()), 1.0)
    error, allowed = (float(np.abs(numbers - right)[finite].max()) for numbers in (mine, peer))
    if error <= AMPLIFICATION * allowed + FLOOR * size:
        return None
    at = np.unravel_index(np.where(finite, np.abs(mine - right), -1).argmax(), mine.shape)
    return f"{mine[at]:.6g} where Keras has {right[at]:.6g}, at {tuple(map(int, at))} of {mine.shape}"
