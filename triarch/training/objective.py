"""What `compile` was told about losses and metrics, laid out for the outputs that a model really has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch import losses, metrics
from triarch.losses import Loss, LossFunctionWrapper
from triarch.metrics import Mean, MeanMetricWrapper, Metric
from triarch.registry import to_snake_case
from triarch.variable import Variable

Tensor = torch.Tensor


def named_outputs(value: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The outputs of a model, or what belongs to them, by name: dict keys, else `names`, else `output_0`, ..."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        if names is None or len(names) != len(value):
            names = [f"output_{index}" for index in range(len(value))]
        return dict(zip(names, value, strict=True))
    return {names[0] if names and len(names) == 1 else "output": value}


def per_output(setting: Any, outputs: Sequence[str], what: str, shared: bool = False) -> dict[str, Any]:
    """A setting given as one value, a list in the order of the outputs, or a dict by their names -> a dict."""
    if isinstance(setting, dict):
        unknown = sorted(set(setting) - set(outputs))
        if unknown:
            raise ValueError(
                f"`{what}` names outputs that the model does not have: {unknown}. Outputs: {list(outputs)}"
            )
        return {name: setting.get(name) for name in outputs}
    if isinstance(setting, (list, tuple)):
        if len(setting) != len(outputs):
            raise ValueError(
                f"`{what}` needs an entry for each of the model's {len(outputs)} outputs {list(outputs)}. "
                f"Received: {len(setting)} entries"
            )
        return dict(zip(outputs, setting, strict=True))
    if shared or len(outputs) == 1:
        return dict.fromkeys(outputs, setting)
    raise ValueError(
        f"The model has {len(outputs)} outputs {list(outputs)}: give `{what}` as a list or dict. Received: {setting!r}"
    )


def report_prefixes(y_pred: Any, names: Sequence[str] | None) -> list[str | None]:
    """What stands before the names of each output's values: nothing for outputs that are a list without names."""
    outputs = named_outputs(y_pred, names)
    if isinstance(y_pred, dict) or (names is not None and len(names) == len(outputs)):
        return list(outputs)
    return [None] * len(outputs)


def matched(values: Any, outputs: Sequence[str], used: Sequence[str]) -> dict[str, Any]:
    """Targets by output: given for all outputs, or in the same order for those in `used` alone."""
    if isinstance(values, dict):
        return values
    parts = list(values) if isinstance(values, (list, tuple)) else [values]
    for names in (outputs, used):
        if len(parts) == len(names):
            return dict(zip(names, parts, strict=True))
    raise ValueError(f"The data have {len(parts)} targets, but the model has the outputs {list(outputs)}.")


def sole(value: Any) -> Any:
    """The only part of a list, tuple or dict of one; other values as they are."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return value[0]
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value


def numbered(names: Sequence[str]) -> list[str]:
    """The names, a repeated one with `_1`, `_2`, ... at its end."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return unique


def object_name(value: Any) -> str:
    """What a loss or metric is called: its own name, or that of its function or class in snake case."""
    return getattr(value, "name", None) or to_snake_case(getattr(value, "__name__", type(value).__name__))


def make_loss(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Loss:
    """A loss from whatever names or is one; a plain function is averaged over the batch."""
    loss = losses.get(by_shape(identifier, y_true, y_pred))
    if isinstance(loss, Loss):
        return loss
    return LossFunctionWrapper(loss, name=identifier if isinstance(identifier, str) else object_name(loss))


class CompiledLoss:
    """The sum of the outputs' weighted losses; with several outputs also a running mean of each (`metrics`)."""

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: Sequence[str] | None = None) -> None:
        self._loss = loss
        self._weights = loss_weights
        self._output_names = output_names
        self._single: Any = None  # the one loss of a model with one output, which is the common case
        self._terms: list[tuple[str, Any, float, Mean | None]] | None = None
        _check_names(loss, ("crossentropy", "ce"), losses.get)

    @property
    def metrics(self) -> list[Metric]:
        """The running means of the single outputs' losses."""
        return [tracker for *_, tracker in self._terms or () if tracker is not None]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch, a scalar."""
        if self._single is not None and isinstance(y_pred, torch.Tensor):
            if y_true is None:
                raise ValueError("The compiled loss needs targets, but the data have no y. Received: y=None")
            return self._single(sole(y_true), y_pred, sole(sample_weight))
        if self._terms is None:
            self._lay_out(y_true, y_pred)
            return self(y_true, y_pred, sample_weight)
        predictions = named_outputs(y_pred, self._output_names)
        targets = matched(y_true, list(predictions), [name for name, *_ in self._terms])
        weights = per_output(sample_weight, list(predictions), "sample_weight", shared=True)
        total: Any = 0.0
        for name, loss, weight, tracker in self._terms:
            value = loss(_target(targets, name), predictions[name], weights[name])
            if tracker is not None:
                tracker.update_state(value.detach(), sample_weight=len(predictions[name]))
            total = total + (value if weight == 1 else weight * value)
        return total

    def _lay_out(self, y_true: Any, y_pred: Any) -> None:
        predictions = named_outputs(y_pred, self._output_names)
        outputs = list(predictions)
        is_shared = not isinstance(self._loss, (dict, list, tuple))
        chosen = per_output(self._loss, outputs, "loss", shared=is_shared)
        weights = per_output(1.0 if self._weights is None else self._weights, outputs, "loss_weights", shared=True)
        prefixes = dict(zip(outputs, report_prefixes(y_pred, self._output_names), strict=True))
        order = self._loss if isinstance(self._loss, dict) else outputs
        used = [name for name in order if chosen[name] is not None]
        if not used:
            raise ValueError("No loss was given for any output of the model: set `loss` in `compile`.")
        targets = matched(y_true, outputs, used)
        made = {name: make_loss(chosen[name], _target(targets, name), predictions[name]) for name in used}
        labels = numbered([f"{prefixes[name] or made[name].name}_loss" for name in used])
        self._terms = [
            (
                name,
                made[name],
                1.0 if weights[name] is None else float(weights[name]),
                Mean(name=label) if len(used) > 1 else None,
            )
            for name, label in zip(used, labels, strict=True)
        ]
        if not isinstance(y_pred, (dict, list, tuple)) and self._terms[0][2] == 1:
            self._single = self._terms[0][1]


class CompiledMetrics(Metric):
    """The metrics of `compile` for each output, as one; made when the first batch shows the outputs' shapes."""

    def __init__(self, plain: Any, weighted: Any = None, output_names: Sequence[str] | None = None) -> None:
        super().__init__(name="compile_metrics")
        self.plain = plain
        self.weighted = weighted
        self._output_names = output_names
        self._plan: list[tuple[str, Metric, bool]] | None = None  # (output, metric, weighted)
        self.metrics: list[Metric] = []
        self._names: list[str] = []
        for setting in (plain, weighted):
            _check_names(setting, _NAMES_BY_SHAPE, metrics.get)

    @property
    def variables(self) -> list[Variable]:
        """Those of all the metrics."""
        return [variable for metric in self.metrics for variable in metric.variables]

    def reset_state(self) -> None:
        """Reset all the metrics."""
        for metric in self.metrics:
            metric.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count in a batch."""
        if self._plan is None:
            self._lay_out(y_true, y_pred)
        assert self._plan is not None
        if not self._plan:
            return
        if isinstance(y_pred, torch.Tensor):
            y_true, sample_weight = sole(y_true), sole(sample_weight)
            for _, metric, is_weighted in self._plan:
                metric.update_state(y_true, y_pred, sample_weight if is_weighted else None)
            return
        predictions = named_outputs(y_pred, self._output_names)
        targets = matched(y_true, list(predictions), self._outputs_used())
        weights = per_output(sample_weight, list(predictions), "sample_weight", shared=True)
        for name, metric, is_weighted in self._plan:
            metric.update_state(targets[name], predictions[name], weights[name] if is_weighted else None)

    def result(self) -> dict[str, Any]:
        """The values so far, by the names under which they are reported."""
        found: dict[str, Any] = {}
        for name, metric in zip(self._names, self.metrics, strict=True):
            value = metric.result()
            found.update(value if isinstance(value, dict) else {name: value})
        return found

    def _outputs_used(self) -> list[str]:
        return list(dict.fromkeys(output for output, *_ in self._plan or ()))

    def _lay_out(self, y_true: Any, y_pred: Any) -> None:
        predictions = named_outputs(y_pred, self._output_names)
        outputs = list(predictions)
        chosen = [
            (output, identifier, is_weighted)
            for setting, is_weighted in ((self.plain, False), (self.weighted, True))
            for output, identifiers in _metrics_per_output(setting, outputs).items()
            for identifier in identifiers
        ]
        targets = matched(y_true, outputs, list(dict.fromkeys(output for output, *_ in chosen))) if chosen else {}
        self._plan = [
            (output, make_metric(identifier, _target(targets, output), predictions[output]), is_weighted)
            for output, identifier, is_weighted in chosen
        ]
        self.metrics = [metric for _, metric, _ in self._plan]
        prefixes = dict(zip(outputs, report_prefixes(y_pred, self._output_names), strict=True))
        taken: set[str] = set()
        names = []
        for output, metric, is_weighted in self._plan:
            prefix = f"{prefixes[output]}_" if prefixes[output] and len(outputs) > 1 else ""
            is_taken = is_weighted and prefix + metric.name in taken
            names.append(f"{prefix}weighted_{metric.name}" if is_taken else prefix + metric.name)
            taken.add(names[-1])
        self._names = numbered(names)


def _target(targets: dict[str, Any], output: str) -> Any:
    if targets.get(output) is None:
        given = sorted(name for name, value in targets.items() if value is not None)
        raise ValueError(
            f"A loss or metric needs targets, but the data have none for output {output!r}. Received: targets {given}"
        )
    return targets[output]


def _metrics_per_output(setting: Any, outputs: Sequence[str]) -> dict[str, list[Any]]:
    """Keras's rule: one list serves a single output; several outputs take a list of lists or a dict."""
    if setting is None:
        return {}
    if len(outputs) == 1:
        return {outputs[0]: [entry for entry in pytree.tree_leaves(setting) if entry is not None]}
    by_output = per_output(setting, outputs, "metrics")
    return {
        output: list(chosen) if isinstance(chosen, (list, tuple)) else [chosen]
        for output, chosen in by_output.items()
        if chosen is not None
    }


_BY_SHAPE = {  # name -> what it stands for with (binary, integer labels, one-hot) targets
    ("accuracy", "acc"): ("binary_accuracy", "sparse_categorical_accuracy", "categorical_accuracy"),
    ("crossentropy", "ce"): ("binary_crossentropy", "sparse_categorical_crossentropy", "categorical_crossentropy"),
}
_NAMES_BY_SHAPE = tuple(name for names in _BY_SHAPE for name in names)


def by_shape(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Any:
    """`"accuracy"` and `"crossentropy"` as the one that fits the shapes; all else as it is."""
    if isinstance(identifier, str):
        for names, candidates in _BY_SHAPE.items():
            if identifier.lower() in names:
                return candidates[_kind_of_target(y_true, y_pred)]
    return identifier


def make_metric(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Metric:
    """A metric from whatever names or is one; a name stays the name under which it reports."""
    metric = metrics.get(by_shape(identifier, y_true, y_pred))
    name = identifier if isinstance(identifier, str) else object_name(metric)
    if not isinstance(metric, Metric):
        return MeanMetricWrapper(metric, name=name)
    metric.name = name
    return metric


def _kind_of_target(y_true: Tensor, y_pred: Tensor) -> int:
    if y_pred.shape[-1] == 1:
        return 0
    is_sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return 1 if is_sparse else 2


def _check_names(setting: Any, also: Sequence[str], get: Callable[[str], Any]) -> None:
    """Raise on an unknown name at once, rather than at the first batch."""
    for entry in pytree.tree_leaves(setting):
        if isinstance(entry, str) and entry.lower() not in also:
            get(entry)
