"""`Compilation`: what `compile` sets up, and the loss and metrics that follow from it."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from triarch import optimizers
from triarch.callbacks import LazyLogs
from triarch.callbacks.logs import as_floats
from triarch.layers import Layer
from triarch.layers.running import modules_of
from triarch.losses import Loss
from triarch.metrics import Mean, Metric
from triarch.optimizers import Optimizer, TorchOptimizer
from triarch.serialization import deserialize_keras_object, plain_setting, serialize_keras_object
from triarch.tensors import whole_number
from triarch.training import step
from triarch.training.compiled_loss import CompiledLoss
from triarch.training.compiled_metrics import CompiledMetrics
from triarch.training.sources import Source
from triarch.training.torch_compile import compiled_call
from triarch.training.whole_step import WholeStep


class InLoop(threading.local):
    """What a loop of this thread keeps of a model; other threads may be in loops of their own."""

    learning_plan: step.LearningPlan | None = None
    whole_step: WholeStep | None = None
    source: Source | None = None  # of its batches


class Compilation(Layer):
    """The part of `Model` that knows its optimizer, loss and metrics; an interface, never made by itself."""

    untracked = Layer.untracked | {"_compile_arguments"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.optimizer: Any = None
        self.loss: Any = None
        self.compiled = False
        self.run_eagerly = False
        self.jit_compile = False
        self.steps_per_execution = 1
        self._compile_arguments: dict[str, Any] | None = None
        self._compiled_loss: CompiledLoss | None = None
        self._compiled_metrics: CompiledMetrics | None = None
        self._loss_tracker = Mean(name="loss")
        self._loop = InLoop()
        self._loss_takes_training = "training" in inspect.signature(self.compute_loss).parameters

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to learn: by which optimizer, towards which loss, reporting which metrics.

        Args:
            optimizer: A name, an `Optimizer`, or a `torch.optim` optimizer made from `model.parameters()`.
            loss: A name, a `Loss`, a function `(y_true, y_pred)`; a list or dict of them for several outputs.
            loss_weights: A factor for the loss of each output.
            metrics: Names, metrics or functions; for several outputs a list of lists or a dict.
            weighted_metrics: The same, counted with sample and class weights.
            run_eagerly: Never compile the model's call, whatever `jit_compile` says.
            steps_per_execution: Batches between two calls of the batch hooks of callbacks.
            jit_compile: True runs the model's call through `torch.compile` (needs a C++ compiler); `"auto"` is False.
            auto_scale_loss: Without effect: a loss scale is the optimizer's `loss_scale_factor`.
        """
        steps_per_execution = whole_number(steps_per_execution, "steps_per_execution", least=1)
        run_eagerly, jit_compile = bool(run_eagerly), plain_setting(jit_compile)
        loss_weights = pytree.tree_map(plain_setting, loss_weights)
        if jit_compile not in (True, False, "auto"):
            raise ValueError(f"jit_compile must be True, False or 'auto'. Received: {jit_compile!r}")
        output_names = getattr(self, "output_names", None)
        compiled_loss = None if loss is None else CompiledLoss(loss, loss_weights, output_names)
        has_metrics = metrics is not None or weighted_metrics is not None
        compiled_metrics = CompiledMetrics(metrics, weighted_metrics, output_names) if has_metrics else None
        chosen = optimizers.get(optimizer)
        self._check_loss_scale(chosen)
        self.optimizer = TorchOptimizer(chosen) if isinstance(chosen, torch.optim.Optimizer) else chosen
        object.__setattr__(self, "loss", loss)  # a loss that is a torch module is no part of the model
        self._compiled_loss, self._compiled_metrics = compiled_loss, compiled_metrics
        self.run_eagerly = run_eagerly
        self.jit_compile = jit_compile is True and not run_eagerly
        self._loss_tracker.reset_state()
        self.steps_per_execution = steps_per_execution
        self.compile_call()
        self.forget_functions()
        self._compile_arguments = {
            "optimizer": optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile is True,
        }
        self.compiled = True

    def _check_loss_scale(self, optimizer: Any) -> None:
        layers = [module for module in self.modules() if isinstance(module, Layer)]
        in_float16 = [layer.name for layer in layers if layer.dtype_policy.name == "mixed_float16"]
        if in_float16 and getattr(optimizer, "loss_scale_factor", None) is None:
            raise ValueError(
                "Gradients in float16 vanish without a loss scale. Give the optimizer a `loss_scale_factor` such as "
                f"1024.0, or use 'mixed_bfloat16', which needs none. Received: 'mixed_float16' in layers {in_float16}"
            )

    def compile_call(self) -> None:
        """Put `torch.compile` around the model's call, or take it away, as `jit_compile` says."""
        vars(self).pop("call", None)
        if self.jit_compile:
            vars(self)["call"] = compiled_call(self.call)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile` as plain data, for files; None for a model that was not compiled."""
        if not self.compiled or self._compile_arguments is None:
            return None
        if isinstance(self.optimizer, TorchOptimizer):
            warnings.warn("torch's optimizers have no config: the file will hold no compile settings", stacklevel=3)
            return None
        arguments = self._compile_arguments | {"optimizer": self.optimizer}
        return {name: serialize_keras_object(value) for name, value in arguments.items()}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compile as `get_compile_config` described."""
        self.compile(**{name: deserialize_keras_object(value) for name, value in config.items()})
        if self.built and isinstance(self.optimizer, Optimizer):
            self.optimizer.build(self.trainable_weights)

    # Loss and metrics.

    @property
    def learning_plan(self) -> step.LearningPlan:
        """What the steps need to know of the model; kept during `fit`, looked up anew outside."""
        return self._loop.learning_plan or step.LearningPlan.of(self)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> torch.Tensor:
        """The scalar to minimise: the compiled loss, `add_loss` terms and regularisation; may be overridden."""
        terms = self.learning_plan.losses()
        if self._compiled_loss is not None:
            loss = self._compiled_loss(y, y_pred, sample_weight)
            return loss + sum(terms) if terms else loss
        if not terms:
            raise ValueError(
                "There is no loss to compute. Set `loss` in `compile`, call `add_loss` in a layer, or override "
                "`compute_loss`."
            )
        return sum(terms)  # type: ignore[return-value]

    def loss_of(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> torch.Tensor:
        """`compute_loss`, which may have been overridden without its argument `training`."""
        if self._loss_takes_training:
            return self.compute_loss(x, y, y_pred, sample_weight, training=training)
        return self.compute_loss(x, y, y_pred, sample_weight)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch in and give the values so far, read only when looked at; may be overridden."""
        if self._compiled_metrics is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return self.logs_so_far()

    def logs_so_far(self) -> LazyLogs:
        """The value of every metric since the last reset, read only when looked at."""
        return LazyLogs(lambda: as_floats(self.get_metrics_result()), {"loss": self._loss_so_far})

    def sole_loss_and_metrics(self) -> tuple[Loss, Mean, list[Metric]] | None:
        """The one loss of the model, its running mean, and the metrics; None before a batch has shown what there is.

        None as well where there are several outputs or loss weights, which the first batch shows.
        """
        loss = None if self._compiled_loss is None else self._compiled_loss.sole
        metrics = self._compiled_metrics
        if loss is None or (metrics is not None and not metrics.is_laid_out):
            return None
        return loss, self._loss_tracker, [] if metrics is None else metrics.metrics

    def _loss_so_far(self) -> torch.Tensor | None:
        return next((metric.result() for metric in self.metrics if metric.name == "loss"), None)

    def track_loss(self, loss: torch.Tensor, x: Any) -> None:
        """Count the loss of a batch in."""
        leaves = [x] if isinstance(x, torch.Tensor) else pytree.tree_leaves(x)
        self._loss_tracker.update_state(loss.detach(), sample_weight=len(leaves[0]))

    def get_metrics_result(self) -> dict[str, Any]:
        """The value of every metric since the last reset, by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.result()
            results.update(value if isinstance(value, dict) else {metric.name: value})
        return results

    @property
    def metrics(self) -> list[Metric]:
        """The running loss, the metrics of `compile` as one, the outputs' losses, then metrics kept as attributes.

        Attributes of the model and of the layers inside count, those of models inside do not.
        """
        found: list[Metric] = [self._loss_tracker] if self.compiled else []
        if self._compiled_metrics is not None:
            found.append(self._compiled_metrics)
        if self._compiled_loss is not None:
            found.extend(self._compiled_loss.metrics)
        for module in modules_of(self):
            if module is self or not isinstance(module, Compilation):
                for name, value in list(vars(module).items()):
                    if isinstance(value, (Metric, list, tuple, dict)) and name not in _KEPT_BY_COMPILE:
                        found.extend(_metrics_in(value))
        return list({id(metric): metric for metric in found}.values())

    @property
    def metrics_names(self) -> list[str]:
        """The names under which values are reported, in the order of `evaluate`'s list."""
        return self.in_order(self.get_metrics_result())

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Names of reported values in Keras's order: names of metrics as they come, then the rest by the alphabet."""
        single = [part for metric in self.metrics for part in getattr(metric, "metrics", [metric])]
        known = [name for name in dict.fromkeys(metric.name for metric in single) if name in names]
        return known + sorted(set(names) - set(known))

    def reset_metrics(self) -> None:
        """Start counting anew."""
        for metric in self.metrics:
            metric.reset_state()

    def report(self, last_logs: Any) -> dict[str, float]:
        """The values to report for a whole pass: the metrics', or what an overridden step returned."""
        if isinstance(last_logs, Mapping) and (not isinstance(last_logs, LazyLogs) or last_logs.changed):
            results = self.get_metrics_result() if self.metrics else {}
            if set(results) != set(last_logs):
                return as_floats(last_logs)
        return as_floats(self.get_metrics_result())

    def forget_functions(self) -> None:
        """Let the functions of the loops be made anew at the next use."""
        raise NotImplementedError


_KEPT_BY_COMPILE = frozenset({"_loss_tracker", "_compiled_loss", "_compiled_metrics", "_compile_arguments"})


def _metrics_in(value: Any) -> Iterator[Metric]:
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _metrics_in(item)
    elif isinstance(value, dict):
        yield from _metrics_in(list(value.values()))
