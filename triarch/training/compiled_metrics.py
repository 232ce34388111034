"""The metrics of `compile`, laid out for the outputs that a model really has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from triarch import metrics
from triarch.losses.alignment import as_columns, is_own
from triarch.metrics import MeanMetricWrapper, Metric
from triarch.training.naming import NAMES_BY_SHAPE, by_shape, check_names, numbered, object_name
from triarch.training.outputs import (
    flat,
    flat_settings,
    is_nested,
    matched,
    named_outputs,
    output_keys,
    per_output,
    report_prefixes,
    sole,
    target_of,
)
from triarch.variable import Variable


class CompiledMetrics(Metric):
    """The metrics of `compile` for each output, as one; made when the first batch shows the outputs' shapes."""

    def __init__(self, plain: Any, weighted: Any = None, output_names: Sequence[str] | None = None) -> None:
        super().__init__(name="compile_metrics")
        self.plain = plain
        self.weighted = weighted
        self._output_names = output_keys(output_names)
        self._plan: list[tuple[str, Metric, bool]] | None = None  # (output, metric, weighted)
        self.metrics: list[Metric] = []
        self._names: list[str] = []
        for setting in (plain, weighted):
            check_names(setting, NAMES_BY_SHAPE, metrics.get)

    @property
    def is_laid_out(self) -> bool:
        """Whether a batch was seen."""
        return self._plan is not None

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
        if is_nested(y_pred):
            if self._plan is None:
                self.plain, self.weighted = flat_settings(self.plain, y_pred), flat_settings(self.weighted, y_pred)
            y_true, y_pred, sample_weight = flat(y_true), flat(y_pred), flat(sample_weight)
        if self._plan is None:
            self._lay_out(y_true, y_pred)
        assert self._plan is not None
        if not self._plan:
            return
        if isinstance(y_pred, torch.Tensor):
            y_true, sample_weight = sole(y_true), sole(sample_weight)
            for _, metric, is_weighted in self._plan:
                _count(metric, y_true, y_pred, sample_weight if is_weighted else None)
            return
        predictions = named_outputs(y_pred, self._output_names)
        targets = matched(y_true, list(predictions), self._outputs_used())
        weights = per_output(sample_weight, list(predictions), "sample_weight", shared=True)
        for name, metric, is_weighted in self._plan:
            _count(metric, targets[name], predictions[name], weights[name] if is_weighted else None)

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
            (output, make_metric(identifier, target_of(targets, output), predictions[output]), is_weighted)
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


def _count(metric: Metric, y_true: Any, y_pred: Tensor, sample_weight: Any) -> None:
    """Count a batch in; one number a sample, `(batch,)`, is a sample and not a class."""
    if getattr(y_pred, "ndim", None) == 1 and is_own(type(metric)) and is_own(getattr(metric, "fn", metric)):
        y_true, y_pred = as_columns(y_true, y_pred)
    metric.update_state(y_true, y_pred, sample_weight)


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


def make_metric(identifier: Any, y_true: Tensor, y_pred: Tensor) -> Metric:
    """A metric from whatever names or is one; a name stays the name under which it reports."""
    metric = metrics.get(by_shape(identifier, y_true, y_pred))
    name = identifier if isinstance(identifier, str) else object_name(metric)
    if not isinstance(metric, Metric):
        return MeanMetricWrapper(metric, name=name)
    metric.name = name
    return metric
