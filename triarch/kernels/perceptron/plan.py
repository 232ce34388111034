"""A multilayer perceptron as one call: its weights, its working memory and its job."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch.kernels.native import registers
from triarch.kernels.native.call import integers_of
from triarch.kernels.native.machine_code import compiled
from triarch.kernels.native.source import Source
from triarch.kernels.native.team import alone
from triarch.kernels.perceptron.job import DEPTH, JOB, UPDATE, Pass, Rule, Target
from triarch.kernels.rectifier import Rectifier, kernel_numbers
from triarch.tensors import dtype_name

_PARTS = ("kernel", "bias")
_PREDICT = int(Pass.PREDICT)
_PASSES, _ROWS, _INPUTS, _OUTPUTS, _IS_DONE = (
    (JOB.names or ()).index(name) for name in ("passes", "rows", "inputs", "outputs", "is_done")
)


class Affine(NamedTuple):
    """A dense layer: `rectifier(inputs @ kernel + bias)`."""

    kernel: Tensor  # (features, units)
    bias: Tensor | None
    rectifier: Rectifier | None


class Learning(NamedTuple):
    """How the weights follow their gradients.

    Args:
        slots: `"momentum"` and `"velocity"`, as far as the rule has them: a tensor for each weight, the bias after its
            kernel.
        updates: How many were made, int32.
    """

    rule: Rule
    slots: Mapping[str, Sequence[Tensor]]
    updates: Tensor


class Means(NamedTuple):
    """Running means that the loss and the hits of a batch are added to, as totals and counts of the weights' type."""

    loss: tuple[Tensor, Tensor]
    hits: tuple[Tensor, Tensor] | None


def source(dtype: str) -> Source:
    """The kernel for numbers of a type."""
    return Source("triarch.kernels.perceptron.compiled", "step", (dtype,), JOB)


class Descent:
    """The update of weights that a perceptron's call does not know, by a rule like its own."""

    def __init__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor], learning: Learning) -> None:
        self.weights, self.gradients, self._learning = list(weights), list(gradients), learning
        self._job = np.zeros(1, UPDATE)
        self._job["rule"], self._job["count"] = learning.rule, len(self.weights)
        self._parts = np.zeros((len(self.weights), 5), np.int64)
        self._job["parts"] = self._parts.ctypes.data
        self._run: Callable[[], None] | None = None

    def update(self, rate: float, settings: Mapping[str, float]) -> None:
        """Let the weights follow their gradients; the updates are not counted here."""
        if self._run is None:
            constants = (dtype_name(self.weights[0].dtype),)
            update = Source("triarch.kernels.perceptron.descent", "update", constants, UPDATE)
            self._run = alone(compiled(update), self._job)
            slots = [self._learning.slots.get(name) for name in ("momentum", "velocity")]
            for place, gradient in enumerate(self.gradients):
                made = [0 if slot is None else slot[place].data_ptr() for slot in slots]
                self._parts[place, 1:] = (gradient.data_ptr(), *made, gradient.numel())
        self._parts[:, 0] = [weight.data_ptr() for weight in self.weights]
        self._job["rate"] = rate
        for name, value in settings.items():
            self._job[name] = value
        self._run()


class Perceptron:
    """Dense layers one after the other, for one kind of targets.

    Every call tells whether it was done: a label that is none, or a number that is not finite, leaves all as it was.

    Args:
        threshold: Of decisions: above it a probability means 1.
        differentiates_inputs: Whether what gives gradients gives `inputs_gradient` as well.
    """

    def __init__(
        self,
        layers: Sequence[Affine],
        target: Target,
        learning: Learning | None = None,
        means: Means | None = None,
        threshold: float = 0.5,
        differentiates_inputs: bool = False,
    ) -> None:
        self.layers = tuple(layers)
        self.target = target
        self.learning = learning
        self.means = means
        first = self.layers[0].kernel
        self.dtype, self.units = first.dtype, self.layers[-1].kernel.shape[1]
        self.weights = [part for layer in self.layers for part in (layer.kernel, layer.bias) if part is not None]
        self.gradients = [torch.zeros_like(weight, requires_grad=False) for weight in self.weights]
        self.inputs_gradient = torch.empty(0)  # its first rows, as many as the last batch has
        self._differentiates_inputs = differentiates_inputs
        self._placed: list[int] = []
        self._memory = torch.empty(0)
        self._capacity = 0
        self.job = self._job(threshold)
        self._fields = {name: self.job[name] for name in JOB.names or ()}
        self._integers = integers_of(self.job)
        self._run: Callable[[], None] | None = None  # the code is loaded when it is called first

    def predict(self, inputs: Tensor) -> Tensor | None:
        """What the model gives; None where a number is not finite."""
        outputs = inputs.new_empty(inputs.shape[0], self.units)
        self._fields["outputs"][0] = outputs.data_ptr()
        return outputs if self._call(Pass.PREDICT, inputs) else None

    def predict_at(self, rows: int, inputs: int, outputs: int) -> bool:
        """The same from and to these addresses, once `predict` was called with so many rows; weights lie as then."""
        integers = self._integers
        integers[_PASSES], integers[_ROWS], integers[_INPUTS], integers[_OUTPUTS] = _PREDICT, rows, inputs, outputs
        assert self._run is not None
        self._run()
        return integers[_IS_DONE] != 0

    def evaluate(self, inputs: Tensor, targets: Tensor) -> bool:
        """Count the loss and the hits of a batch in."""
        return self._call(Pass.EVALUATE, inputs, targets)

    def differentiate(self, inputs: Tensor, targets: Tensor) -> bool:
        """The same; and the gradients of the mean loss are written to `gradients`."""
        return self._call(Pass.DIFFERENTIATE, inputs, targets)

    def learn(self, inputs: Tensor, targets: Tensor, rate: float, settings: Mapping[str, float]) -> bool:
        """The same; and the weights are updated by the rule with this rate and these settings."""
        self._fields["rate"][0] = rate
        for name, value in settings.items():
            self._fields[name][0] = value
        return self._call(Pass.LEARN, inputs, targets)

    def _call(self, passes: Pass, inputs: Tensor, targets: Tensor | None = None) -> bool:
        fields, rows = self._fields, inputs.shape[0]
        if rows > self._capacity:
            self._make_room(rows)
        addresses = [weight.data_ptr() for weight in self.weights]
        if addresses != self._placed:  # weights may be moved
            self._place()
            self._placed = addresses
        fields["passes"][0], fields["rows"][0], fields["inputs"][0] = passes, rows, inputs.data_ptr()
        if targets is not None:
            fields["targets"][0], fields["outputs"][0] = targets.data_ptr(), self._found.data_ptr()
        assert self._run is not None
        self._run()
        return bool(fields["is_done"][0])

    def _job(self, threshold: float) -> np.ndarray:
        job = np.zeros(1, JOB)
        job["target"], job["layers"], job["threshold"] = self.target, len(self.layers), threshold
        job["rule"] = -1 if self.learning is None else self.learning.rule
        for place, layer in enumerate(self.layers):
            job["features"][0, place], job["units"][0, place] = layer.kernel.shape
            job["slope"][0, place], job["cap"][0, place] = kernel_numbers(layer.rectifier)
        return job

    def _place(self) -> None:
        """Write where weights, gradients, slots, means and the number of updates lie."""
        job = self.job
        owners = [
            (name, place)
            for place, layer in enumerate(self.layers)
            for name in _PARTS
            if getattr(layer, name) is not None
        ]
        slots = {} if self.learning is None else self.learning.slots
        kinds = {"": self.weights, "_gradient": self.gradients} | {f"_{name}": made for name, made in slots.items()}
        for kind, tensors in kinds.items():
            for (name, place), tensor in zip(owners, tensors, strict=True):
                job[name + kind][0, place] = tensor.data_ptr()
        if self.learning is not None:
            job["updates"] = self.learning.updates.data_ptr()
        for name, mean in zip(("loss", "hits"), self.means or (), strict=False):
            if mean is not None:
                job[f"{name}_total"], job[f"{name}_count"] = (part.data_ptr() for part in mean)

    def _make_room(self, rows: int) -> None:
        """Load the code, and take working memory for so many rows."""
        self._run = alone(compiled(source(dtype_name(self.dtype))), self.job)
        sizes = [tuple(layer.kernel.shape) for layer in self.layers]
        widths = [units for _, units in sizes]
        products = [  # rows, columns and depth of Y = X W, W' = Xᵀ Y' and X' = Y' Wᵀ
            product
            for features, units in sizes
            for product in ((rows, units, features), (features, units, rows), (rows, features, units))
        ]
        tile, panel = registers.ROWS, registers.columns(self.dtype)
        small = [(max(m, tile) * max(n, panel), depth) for m, n, depth in products if m < tile or n < panel]
        result, depth = max((size for size, _ in small), default=0), max((depth for _, depth in small), default=0)
        pieces = {
            "transposed": max(layer.kernel.numel() for layer in self.layers),
            "scratch_a": depth * tile,
            "scratch_b": depth * panel,
            "scratch_c": result,
        }
        spaces = [*pieces.values(), *(rows * width for width in widths for _ in range(2))]
        # Each piece begins at a multiple of a vector's length.
        starts = np.cumsum([0, *(math.ceil(space / panel) * panel for space in spaces)]).tolist()
        self._memory = torch.empty(starts[-1], dtype=self.dtype)
        self._found = torch.empty(rows, self.units, dtype=self.dtype)
        addresses = [self._memory.data_ptr() + start * self.dtype.itemsize for start in starts]
        for name, address in zip(pieces, addresses, strict=False):
            self.job[name] = address
        for place in range(len(widths)):
            self.job["outputs_of"][0, place] = addresses[len(pieces) + 2 * place]
            self.job["gradient_of"][0, place] = addresses[len(pieces) + 2 * place + 1]
        if self._differentiates_inputs:
            self.inputs_gradient = torch.empty(rows, sizes[0][0], dtype=self.dtype)
            self.job["inputs_gradient"] = self.inputs_gradient.data_ptr()
        self._capacity = rows


def refuse(layers: Sequence[Affine]) -> str | None:
    """Why these layers cannot be one call; None where they can."""
    first = layers[0].kernel
    if len(layers) > DEPTH:
        return f"it has {len(layers)} dense layers, more than {DEPTH}"
    weights = [weight for layer in layers for weight in layer[:2] if weight is not None]
    if any(weight.device.type != "cpu" for weight in weights):
        return "its weights do not lie on the CPU"
    if any(weight.dtype != first.dtype for weight in weights) or first.dtype not in (torch.float32, torch.float64):
        return f"there are no kernels for weights of type {dtype_name(first.dtype)}, or of several types"
    if not all(weight.is_contiguous() for weight in weights):
        return "the numbers of a weight do not lie one after the other"
    return None
