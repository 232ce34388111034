"""What a method takes for a layer: counted operations times fitted constants, corrected by what measured layers showed.

Counts do not know of caches, nor of the several implementations among which the vendor's library changes. So layers
that were measured leave what they took beyond their counts, and a layer like them is expected to do the same; one that
is unlike all of them is expected to do as its counts say. Constants and corrections are data: `costs.json`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triarch.kernels.conv.methods import METHODS
from triarch.kernels.conv.spec import ConvSpec

PATH = Path(__file__).with_name("costs.json")
FITTED = (torch.float32, torch.float64)
Constants = dict[str, dict[str, float]]  # method -> count -> seconds for one of it, in float32

_REACH = 4.0  # to how many doublings of one size a measured layer's correction reaches, about
_KINDS_APART = 3.0  # doublings between layers that learn and others, of one axis and of two, in groups and not


def likeness(spec: ConvSpec) -> list[float]:
    """The layer as a point in a space where layers that behave alike are close: an octave of a size is 1 apart."""
    octaves = (
        spec.batch,
        math.prod(spec.output_sizes),
        spec.channels // spec.groups,
        spec.filters,
        math.prod(spec.window.sizes),
        spec.window.strides[0] ** 2,
    )
    kinds = (spec.learns, spec.gradients == 1, spec.rank == 1, spec.rank == 3, spec.groups > 1)
    return [round(math.log2(max(number, 1)), 2) for number in octaves] + [_KINDS_APART * kind for kind in kinds]


def closeness(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Between 0 and 1 for every pair: a Gaussian of the distance."""
    squares = np.square(points[:, None] - others[None]).sum(-1)
    return np.exp(-squares / (2 * _REACH**2))


@dataclass(frozen=True)
class Costs:
    """The file's content."""

    constants: Constants
    points: np.ndarray  # (layers measured, coordinates)
    weights: dict[str, np.ndarray]  # method -> of each layer in the logarithm of the method's correction

    @classmethod
    def from_file(cls, content: dict[str, Any]) -> Costs:
        """From the file as JSON has it."""
        layers = content["layers"]
        weights = {
            method: np.array([layer["weights"].get(method, 0.0) for layer in layers]) for method in content["constants"]
        }
        return cls(content["constants"], np.array([layer["at"] for layer in layers]), weights)

    def predict_seconds(self, spec: ConvSpec) -> dict[str, float]:
        """The predicted time of one call, with its gradients where the layer learns, by every method that can do it.

        Empty where no constants were fitted for the device and the type of numbers.
        """
        if spec.device != "cpu" or spec.dtype not in FITTED:
            return {}
        near = closeness(np.array([likeness(spec)]), self.points)[0]
        able = [name for name, method in METHODS.items() if method.refuse(spec) is None]
        return {
            name: counted_seconds(name, spec, self.constants) * math.exp(near @ self.weights[name]) for name in able
        }


def counted_seconds(method: str, spec: ConvSpec, constants: Constants) -> float:
    """The time as the counts alone predict it."""
    counts = METHODS[method].count(spec).items()
    # A vector holds half as many numbers of twice the size.
    return spec.dtype.itemsize / 4 * sum(number * constants[method][name] for name, number in counts if number)


@cache
def shipped() -> Costs:
    """What is in the file."""
    return Costs.from_file(json.loads(PATH.read_text()))
