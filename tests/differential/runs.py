"""A program run in one library: everything that comes out of it, stage by stage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from differential import forms
from differential.programs import Program


@dataclass
class Findings:
    """What a library made of a program: numbers by stage and name, or the error that stopped a stage."""

    values: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def note(self, stage: str, compute: Callable[[], dict[str, Any]]) -> None:
        """Run a stage; its error is a result, too."""
        try:
            found = compute()
        except Exception as error:
            self.errors[stage] = f"{type(error).__name__}: {error}"[:600]
            return
        for name, value in found.items():
            for path, leaf in pytree.tree_flatten_with_path(value)[0]:
                array = leaf.detach().cpu().numpy() if isinstance(leaf, torch.Tensor) else np.asarray(leaf)
                self.values[stage, f"{name}{pytree.keystr(path)}"] = array.astype(np.float64)

    def outputs(self) -> list[np.ndarray]:
        """The outputs of the model's call."""
        return [value for (stage, _), value in self.values.items() if stage == "call"]


def run(program: Program, k: Any, dtype: str, other: Any) -> Findings:
    """All stages of a program in library `k`; its files are read by library `other`, too."""
    findings = Findings()
    rng = np.random.default_rng(program.seed + 1)
    x = _in_type(program.data(rng), dtype)
    models: list[Any] = []

    def build() -> dict[str, Any]:
        model = program.build(k, dtype)
        model.set_weights(_values_for(model.weights, np.random.default_rng(program.seed + 2)))
        models.append(model)
        return {"shapes of weights": [np.asarray(weight.shape) for weight in model.weights]}

    findings.note("build", build)
    if not models:
        return findings
    (model,) = models
    tensors = pytree.tree_map(torch.from_numpy, x)
    findings.note("call", lambda: {"outputs": model(tensors, training=False)})
    findings.note("predict", lambda: {"outputs": model.predict(x, batch_size=program.batch_size, verbose=0)})
    findings.note("files", lambda: _through_files(model, x, k, other, dtype))
    if not program.is_random:
        findings.note("gradients", lambda: _gradients(model, tensors))
    outputs = findings.outputs()
    if len(outputs) == len(program.heads) and not program.is_saturated(outputs):
        _learn(program, k, model, (x, *_targets(program, [o.shape for o in outputs], rng, dtype)), findings)
    return findings


def _learn(program: Program, k: Any, model: Any, data: tuple[Any, Any, Any], findings: Findings) -> None:
    def compile_and_evaluate() -> dict[str, Any]:
        optimizer = k.optimizers.get({"class_name": program.optimizer, "config": {"learning_rate": 0.01}})
        model.compile(optimizer=optimizer, **program.compile_arguments())
        given = forms.arguments(program.form, k, data, program.batch_size)
        return model.evaluate(**given, verbose=0, return_dict=True)

    def fit() -> dict[str, Any]:
        given = forms.arguments(program.form, k, data, program.batch_size)
        if "steps" in given:
            given["steps_per_epoch"] = given.pop("steps")
        weights = program.class_weight
        history = model.fit(**given, epochs=2, shuffle=False, verbose=0, class_weight=weights)
        return {"history": history.history, "predictions after": model.predict(data[0], verbose=0)}

    findings.note("evaluate", compile_and_evaluate)
    if not program.is_random:
        findings.note("fit", fit)


def _in_type(arrays: Any, dtype: str) -> Any:
    numbers = "float64" if dtype == "float64" else "float32"
    return pytree.tree_map(lambda a: a if a is None or a.dtype.kind == "i" else a.astype(numbers), arrays)


def _targets(program: Program, shapes: list[tuple[int, ...]], rng: np.random.Generator, dtype: str) -> tuple[Any, Any]:
    """Labels and weights; an output without weights has ones where another has some."""
    labels = [head.labels(rng, shape) for head, shape in zip(program.heads, shapes, strict=True)]
    weights = [head.sample_weight(rng, shape) for head, shape in zip(program.heads, shapes, strict=True)]
    if all(weight is None for weight in weights):
        y, sample_weight = _in_type(labels, dtype), None
    else:
        ones = [np.ones((shape[0], *[1] * (len(shape) - 2))) for shape in shapes]
        filled = [one if weight is None else weight for one, weight in zip(ones, weights, strict=True)]
        y, sample_weight = _in_type((labels, filled), dtype)
    if len(shapes) > 1:
        return y, sample_weight
    return y[0], None if sample_weight is None else sample_weight[0]


def _values_for(weights: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Random values for all weights; spreads are positive."""
    values = [rng.normal(scale=0.4, size=tuple(weight.shape)) for weight in weights]
    spreads = [weight.name.endswith("variance") for weight in weights]
    return [np.abs(v) + 0.3 if is_spread else v for v, is_spread in zip(values, spreads, strict=True)]


def _gradients(model: Any, tensors: Any) -> dict[str, Any]:
    """Gradients of a weighted sum of the outputs in training."""
    rng = np.random.default_rng(3)
    outputs = pytree.tree_leaves(model(tensors, training=True))
    total = sum((out * torch.from_numpy(rng.normal(size=tuple(out.shape))).to(out.dtype)).sum() for out in outputs)
    sources = [w if isinstance(w, torch.Tensor) else w.value for w in model.trainable_weights]
    found = torch.autograd.grad(total, sources, allow_unused=True)
    return {"of weights": [torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True)]}


def _through_files(model: Any, x: Any, k: Any, other: Any, dtype: str) -> dict[str, Any]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        for name, reader in (("read again", k), ("read by the other", other)):
            reader.config.set_floatx("float64" if dtype == "float64" else "float32")
            found[name] = reader.models.load_model(path).predict(x, verbose=0)
    return found
