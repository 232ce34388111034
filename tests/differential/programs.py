"""A random model as data: drawn once, built by any library that has Keras's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from differential import layer_table
from differential.forms import FORMS
from differential.heads import OF_A_BATCH, Head, draw_head
from differential.layer_table import LayerSpec

MOST_NUMBERS = 3000  # of a sample's tensor, so that nothing takes long


@dataclass(frozen=True)
class Step:
    """A layer or function of earlier tensors, which are known by their number; the last one is the step's output."""

    spec: LayerSpec
    inputs: tuple[int, ...]
    layer: int | None = None  # the step whose layer is taken once more, instead of a new one


@dataclass(frozen=True)
class InputSpec:
    """An input: a sample's shape (None: any length), and for ids how many there are."""

    shape: tuple[int | None, ...]
    ids: int | None = None


@dataclass(frozen=True)
class Program:
    """A model, its data and how it is trained; everything follows from the seed."""

    seed: int
    inputs: tuple[InputSpec, ...]
    steps: tuple[Step, ...]
    heads: tuple[Head, ...]
    is_sequential: bool
    samples: int
    batch_size: int
    dtype: str
    optimizer: str
    form: str  # how the data are handed over
    length: int  # of inputs of any length

    @property
    def is_random(self) -> bool:
        """Whether training draws numbers, so that it differs from library to library."""
        return any(step.spec.is_random for step in self.steps)

    @property
    def class_weight(self) -> dict[int, float] | None:
        """Weights of the classes, of models with one output."""
        return self.heads[0].class_weight() if len(self.heads) == 1 else None

    def compile_arguments(self) -> dict[str, Any]:
        """Loss and metrics as `compile` takes them: those of one output, or lists."""
        rows = [
            {"loss": h.loss, "metrics": list(h.metrics), "weighted_metrics": list(h.weighted_metrics)}
            for h in self.heads
        ]
        return rows[0] if len(rows) == 1 else {name: [row[name] for row in rows] for name in rows[0]}

    def is_saturated(self, outputs: list[np.ndarray]) -> bool:
        """Whether probabilities are so small that Keras on torch cuts their logarithms, which logits would give."""
        shares = [o for o, head in zip(outputs, self.heads, strict=True) if head.gives_probabilities]
        return any(o.size and (o.min() < 1e-6 or o.max() > 1 - 1e-6) for o in shares)

    def build(self, k: Any, dtype: str) -> Any:
        """The model, in library `k`, computing in `dtype`."""
        k.utils.clear_session()  # so that automatic names count from the start
        k.config.set_floatx("float64" if dtype == "float64" else "float32")
        k.mixed_precision.set_dtype_policy(dtype)
        made: list[Any] = []
        if self.is_sequential:
            layers = [self._input(k, 0, k.layers.Input)]
            layers += [step.spec.make(k) for step in self.steps]
            return k.Sequential([*layers, *self.heads[0].layers(k)])
        inputs = [self._input(k, number, k.Input) for number in range(len(self.inputs))]
        tensors = list(inputs)
        for step in self.steps:
            layer = step.spec.make(k) if step.layer is None else made[step.layer]
            made.append(layer)
            given = [tensors[number] for number in step.inputs]
            tensors.append(step.spec.apply(layer, given))
        outputs = []
        for head in self.heads:
            tensor = tensors[head.of]
            for layer in head.layers(k):
                tensor = layer(tensor)
            outputs.append(tensor)
        return k.Model(inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0])

    def _input(self, k: Any, number: int, make: Callable[..., Any]) -> Any:
        spec = self.inputs[number]
        return make(spec.shape, dtype="int32" if spec.ids else k.config.floatx(), name=f"input_{number}")

    def data(self, rng: np.random.Generator) -> Any:
        """Samples for the inputs; ids are 0, which masks, a third of the time."""
        arrays = []
        for spec in self.inputs:
            shape = (self.samples, *(self.length if size is None else size for size in spec.shape))
            if spec.ids:
                ids = rng.integers(1, spec.ids, size=shape)
                arrays.append(np.where(rng.random(shape) < 0.3, 0, ids).astype("int32"))
            else:
                series = rng.normal(size=shape)
                if len(shape) > 2 and rng.random() < 0.3:  # whole steps of zeros, which `Masking` leaves out
                    series[rng.random(shape[:2]) < 0.3] = 0
                arrays.append(series)
        return arrays if len(arrays) > 1 else arrays[0]

    def __str__(self) -> str:
        lines = [
            f"program {self.seed}: {self.dtype}, {self.optimizer}, {'Sequential' if self.is_sequential else 'graph'}, "
            f"{self.samples} samples of length {self.length} as {self.form} in batches of {self.batch_size}"
        ]
        for number, spec in enumerate(self.inputs):
            lines.append(f"  t{number} = Input({spec.shape}{', ids' if spec.ids else ''})")
        for number, step in enumerate(self.steps, len(self.inputs)):
            again = "" if step.layer is None else f"  # the layer of t{step.layer + len(self.inputs)}"
            lines.append(f"  t{number} = {step.spec}({', '.join(f't{i}' for i in step.inputs)}){again}")
        return "\n".join([*lines, *(f"  {head}" for head in self.heads)])


def draw(seed: int, keras: Any) -> Program:
    """The program of this seed; real Keras tells which shapes come out, and which layers fit."""
    rng = np.random.default_rng(seed)
    keras.config.set_floatx("float32")
    keras.mixed_precision.set_dtype_policy("float32")
    is_sequential = rng.random() < 0.4
    specs = tuple(_draw_input(rng) for _ in range(1 if is_sequential else rng.choice([1, 1, 2])))
    tensors = [keras.Input(s.shape, dtype="int32") if s.ids else keras.Input(s.shape) for s in specs]
    steps: list[Step] = []
    layers: list[Any] = []
    for number, spec in enumerate(specs):
        if spec.ids:
            embedding = LayerSpec(
                "Embedding",
                {"input_dim": spec.ids, "output_dim": int(rng.integers(2, 6)), "mask_zero": bool(rng.random() < 0.7)},
            )
            _append(keras, steps, layers, tensors, Step(embedding, (number,)))
    for _ in range(200):
        if len(steps) >= rng.integers(2, 8):
            break
        step = _draw_step(rng, specs, steps, tensors, is_sequential)
        if step is not None:
            _append(keras, steps, layers, tensors, step)
    last = len(tensors) - 1
    if is_sequential:
        of = [last]
    else:
        floats = list(range(len(specs), len(tensors))) or [last]
        of = [last, *(int(rng.choice(floats)) for _ in range(rng.choice([0, 0, 1])))]
    is_masked = any(step.spec.makes_masks for step in steps)
    heads = tuple(draw_head(rng, tensors[number].shape, number, is_masked) for number in of)
    if any(head.loss in OF_A_BATCH for head in heads):
        heads = tuple(replace(head, weights="none") for head in heads)
    return Program(
        seed=seed,
        inputs=specs,
        steps=tuple(steps),
        heads=heads,
        is_sequential=is_sequential,
        samples=int(rng.choice([1, 5, 6, 7])),
        batch_size=int(rng.choice([1, 3, 4, 32])),
        dtype=str(rng.choice(["float64", "float32"])),
        optimizer=str(rng.choice(["sgd", "adam", "rmsprop"])),
        form=str(rng.choice(["arrays", *FORMS])),
        length=int(rng.integers(3, 7)),
    )


def _draw_input(rng: np.random.Generator) -> InputSpec:
    sizes = [int(size) for size in rng.integers(3, 7, size=4)]
    kind = rng.choice(["ids", "vector", "series", "image", "volume", "hierarchy"], p=[0.25, 0.15, 0.25, 0.2, 0.1, 0.05])
    any_length = rng.random() < 0.3
    if kind == "ids":
        return InputSpec((None if any_length else sizes[0],), ids=int(rng.integers(3, 9)))
    if kind == "hierarchy":
        return InputSpec((sizes[0], sizes[1]), ids=int(rng.integers(3, 9)))
    rank = {"vector": 1, "series": 2, "image": 3, "volume": 4}[str(kind)]
    shape: tuple[int | None, ...] = tuple(sizes[:rank])
    return InputSpec((None, *shape[1:]) if any_length and kind == "series" else shape)


def _draw_step(
    rng: np.random.Generator, inputs: tuple[InputSpec, ...], steps: list[Step], tensors: list[Any], is_sequential: bool
) -> Step | None:
    usable = [number for number in range(len(tensors)) if number >= len(inputs) or not inputs[number].ids]
    if not usable:
        return None
    number = usable[-1] if is_sequential or rng.random() < 0.7 else int(rng.choice(usable))
    shape = tuple(tensors[number].shape)
    if not is_sequential and rng.random() < 0.25:
        partners = [other for other in usable if len(tensors[other].shape) == len(shape)]
        spec = layer_table.draw_merging(rng, len(shape))
        return Step(spec, (number, int(rng.choice(partners))))
    if not is_sequential and steps and rng.random() < 0.1:
        index = int(rng.integers(len(steps)))
        if (
            len(steps[index].inputs) == 1
            and tensors[steps[index].inputs[0]].shape == shape
            and steps[index].layer is None
        ):
            return Step(steps[index].spec, (number,), layer=index)
        return None
    spec = layer_table.draw_layer(rng, shape, with_functions=not is_sequential)
    return None if spec is None else Step(spec, (number,))


def _append(keras: Any, steps: list[Step], layers: list[Any], tensors: list[Any], step: Step) -> None:
    """The step, where Keras takes it and it gives a tensor of a size that is quick to compute."""
    try:
        layer = step.spec.make(keras) if step.layer is None else layers[step.layer]
        output = step.spec.apply(layer, [tensors[number] for number in step.inputs])
    except Exception:  # whatever Keras refuses is no program
        return
    sizes = [size for size in output.shape[1:] if size is not None]
    of_both = [*(step.spec for step in steps), step.spec]
    if any(spec.makes_masks for spec in of_both) and any(spec.takes_padding_in for spec in of_both):
        return
    if 0 in sizes or math.prod(sizes) > MOST_NUMBERS or len(output.shape) < 2:
        return
    steps.append(step)
    layers.append(layer)
    tensors.append(output)
