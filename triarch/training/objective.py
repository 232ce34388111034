"""What `compile` was told about losses and metrics, laid out for the outputs that a model really has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from triarch import losses, metrics
from triarch.losses import Loss, LossFunctionWrapper
from triarch.metrics import Mean, MeanMetricWrapper, Metric

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


def make_loss(identifier: Any) -> Callable[[Tensor, Tensor, Tensor | None], Tensor] | None:
    """A loss from whatever names or is one; a plain function is averaged over the batch."""
    loss = losses.get(identifier)
    if loss is None or isinstance(loss, Loss):
        return loss
    return LossFunctionWrapper(loss, name=getattr(loss, "__name__", type(loss).__name__))


class CompiledLoss:
    """The sum of the outputs' weighted losses; with several outputs also a running mean of each (`metrics`)."""

    def __init__(self, loss: Any, loss_weights: Any = None, output_names: Sequence[str] | None = None) -> None:
        self._loss = loss
        self._weights = loss_weights
        self._output_names = output_names
        self._single: Any = None  # the one loss of a model with one output, which is the common case
        self._terms: list[tuple[str, Any, float, Mean | None]] | None = None
        if isinstance(loss, (str, Loss)) or callable(loss):
            self._loss = make_loss(loss)  # an unknown name is an error of `compile`

    @property
    def metrics(self) -> list[Metric]:
        """The running means of the single outputs' losses."""
        return [tracker for *_, tracker in self._terms or () if tracker is not None]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """The loss of a batch, a scalar."""
        if self._single is not None and isinstance(y_pred, torch.Tensor):
            if y_true is None:
                raise ValueError("The compiled loss needs targets, but the data have no y. Received: y=None")
            return self._single(y_true, y_pred, sample_weight)
        if self._terms is None:
            self._lay_out(y_pred)
            return self(y_true, y_pred, sample_weight)
        targets = named_outputs(y_true, self._output_names)
        predictions = named_outputs(y_pred, self._output_names)
        weights = per_output(sample_weight, list(predictions), "sample_weight", shared=True)
        total: Any = 0.0
        for name, loss, weight, tracker in self._terms:
            if name not in targets:
                raise ValueError(f"The data have no target for output {name!r}. Received: targets {sorted(targets)}")
            value = loss(targets[name], predictions[name], weights[name])
            if tracker is not None:
                tracker.update_state(value.detach(), sample_weight=len(predictions[name]))
            total = total + (value if weight == 1 else weight * value)
        return total

    def _lay_out(self, y_pred: Any) -> None:
        outputs = list(named_outputs(y_pred, self._output_names))
        chosen = per_output(self._loss, outputs, "loss", shared=isinstance(self._loss, Loss))
        weights = per_output(1.0 if self._weights is None else self._weights, outputs, "loss_weights", shared=True)
        used = [name for name in outputs if chosen[name] is not None]
        self._terms = [
            (
                name,
                make_loss(chosen[name]),
                1.0 if weights[name] is None else float(weights[name]),
                Mean(name=f"{name}_loss") if len(used) > 1 else None,
            )
            for name in used
        ]
        if not self._terms:
            raise ValueError("No loss was given for any output of the model: set `loss` in `compile`.")
        if not isinstance(y_pred, (dict, list, tuple)) and self._terms[0][2] == 1:
            self._single = self._terms[0][1]


class CompiledMetrics:
    """The metrics of `compile` for each output; made when the first batch shows the outputs' shapes."""

    def __init__(self, plain: Any, weighted: Any = None, output_names: Sequence[str] | None = None) -> None:
        self._settings = (plain, weighted)
        self._output_names = output_names
        self._plan: list[tuple[str, Metric, bool]] | None = None  # (output, metric, weighted)
        self.metrics: list[Metric] = []
        self._names: list[str] = []
        for setting in self._settings:
            _check_names(setting)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count in a batch."""
        if self._plan is None:
            self._lay_out(y_true, y_pred)
        assert self._plan is not None
        if not self._plan:
            return
        if isinstance(y_pred, torch.Tensor):
            for _, metric, is_weighted in self._plan:
                metric.update_state(y_true, y_pred, sample_weight if is_weighted else None)
            return
        targets = named_outputs(y_true, self._output_names)
        predictions = named_outputs(y_pred, self._output_names)
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

    def _lay_out(self, y_true: Any, y_pred: Any) -> None:
        targets = named_outputs(y_true, self._output_names)
        predictions = named_outputs(y_pred, self._output_names)
        outputs = list(predictions)
        self._plan = []
        for setting, is_weighted in zip(self._settings, (False, True), strict=True):
            for output, chosen in _metrics_per_output(setting, outputs).items():
                for identifier in chosen:
                    if targets.get(output) is None:
                        raise ValueError(f"A metric needs targets, but the data have none for output {output!r}.")
                    metric = make_metric(identifier, targets[output], predictions[output])
                    self._plan.append((output, metric, is_weighted))
                    name = metric.name if len(outputs) == 1 else f"{output}_{metric.name}"
                    self._names.append(f"weighted_{name}" if is_weighted and name in self._names else name)
        self.metrics = [metric for _, metric, _ in self._plan]


def _metrics_per_output(setting: Any, outputs: Sequence[str]) -> dict[str, list[Any]]:
    """Keras's rule: one list serves a single output; several outputs take a list of lists or a dict."""
    if setting is None:
        return {}
    if len(outputs) == 1 and not isinstance(setting, dict):
        entries = setting if isinstance(setting, (list, tuple)) else [setting]
        if len(entries) == 1 and isinstance(entries[0], (list, tuple)):
            entries = entries[0]
        return {outputs[0]: list(entries)}
    by_output = per_output(setting, outputs, "metrics")
    return {
        output: list(chosen) if isinstance(chosen, (list, tuple)) else [chosen]
        for output, chosen in by_output.items()
        if chosen is not None
    }


_BY_SHAPE = {  # name -> metrics for (binary, integer labels, one-hot) targets
    ("accuracy", "acc"): ("binary_accuracy", "sparse_categorical_accuracy", "categorical_accuracy"),
    ("crossentropy", "ce"): ("binary_crossentropy", "sparse_categorical_crossentropy", "categorical_crossentropy"),
}


def make_metric(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Metric:
    """A metric from whatever names or is one; `"accuracy"` and `"crossentropy"` are chosen by the shapes."""
    if isinstance(identifier, Metric):
        return identifier
    for names, candidates in _BY_SHAPE.items():
        if isinstance(identifier, str) and identifier.lower() in names:
            metric = metrics.get(candidates[_kind_of_target(y_true, y_pred)])
            return _as_metric(metric, identifier)
    return _as_metric(metrics.get(identifier), identifier if isinstance(identifier, str) else None)


def _as_metric(metric: Any, name: str | None) -> Metric:
    if isinstance(metric, Metric):
        if name is not None:
            metric.name = name
        return metric
    return MeanMetricWrapper(metric, name=name or getattr(metric, "__name__", type(metric).__name__))


def _kind_of_target(y_true: Tensor, y_pred: Tensor) -> int:
    if y_pred.shape[-1] == 1:
        return 0
    is_sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return 1 if is_sparse else 2


def _check_names(setting: Any) -> None:
    """Raise on an unknown name at once, rather than at the first batch."""
    if isinstance(setting, dict):
        setting = list(setting.values())
    if isinstance(setting, (list, tuple)):
        for entry in setting:
            _check_names(entry)
    elif isinstance(setting, str) and not any(setting.lower() in names for names in _BY_SHAPE):
        metrics.get(setting)
