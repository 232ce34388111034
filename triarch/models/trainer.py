"""`Trainer`: compile, fit, evaluate, predict and their parts; each hands its work to `triarch.training`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from triarch import config, mixed_precision, optimizers
from triarch.callbacks import CallbackList, History, LazyLogs
from triarch.layers import Layer
from triarch.metrics import Mean, Metric
from triarch.optimizers import Optimizer
from triarch.serialization import deserialize_keras_object, serialize_keras_object
from triarch.training import loop, step
from triarch.training.batches import Batch
from triarch.training.compiled import compiled_call
from triarch.training.objective import CompiledLoss, CompiledMetrics
from triarch.training.sources import ArraySource, Source, limited, make_source, prepared

Verbosity = int | str


class Trainer(Layer):
    """The part of `Model` that learns; an interface, never made by itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.optimizer: Any = None
        self.loss: Any = None
        self.compiled = False
        self.stop_training = False
        self.stop_evaluating = False
        self.stop_predicting = False
        self.history: History | None = None
        self.train_function: loop.Step | None = None
        self.test_function: loop.Step | None = None
        self.predict_function: loop.Step | None = None
        self.run_eagerly = False
        self.jit_compile = False
        self.steps_per_execution = 1
        self._compile_arguments: dict[str, Any] | None = None
        self._compiled_loss: CompiledLoss | None = None
        self._compiled_metrics: CompiledMetrics | None = None
        self._loss_tracker = Mean(name="loss")
        self._learning_plan: step.LearningPlan | None = None

    # Compile.

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
            auto_scale_loss: Kept for Keras's sake; float16 needs the optimizer's `loss_scale_factor`.
        """
        if int(steps_per_execution) < 1:
            raise ValueError(f"steps_per_execution must be a positive integer. Received: {steps_per_execution!r}")
        if jit_compile not in (True, False, "auto"):
            raise ValueError(f"jit_compile must be True, False or 'auto'. Received: {jit_compile!r}")
        if self.dtype_policy == mixed_precision.DTypePolicy("mixed_float16"):
            raise ValueError(
                "mixed_float16 needs a loss scale that adapts itself, which triarch does not have. Use "
                "'mixed_bfloat16', which needs none. Received: a model with dtype policy 'mixed_float16'"
            )
        output_names = getattr(self, "output_names", None)
        compiled_loss = None if loss is None else CompiledLoss(loss, loss_weights, output_names)
        compiled_metrics = CompiledMetrics(metrics, weighted_metrics, output_names)
        chosen = optimizers.get(optimizer)
        self.optimizer = step.TorchOptimizer(chosen) if isinstance(chosen, torch.optim.Optimizer) else chosen
        self.loss = loss
        self._compiled_loss, self._compiled_metrics = compiled_loss, compiled_metrics
        self.run_eagerly = bool(run_eagerly)
        self.jit_compile = jit_compile is True and not run_eagerly
        self.steps_per_execution = int(steps_per_execution)
        vars(self).pop("call", None)
        if self.jit_compile:
            vars(self)["call"] = compiled_call(self.call)
        self.train_function = self.test_function = self.predict_function = None
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

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile` as plain data, for files; None for a model that was not compiled."""
        if not self.compiled or self._compile_arguments is None:
            return None
        if isinstance(self.optimizer, step.TorchOptimizer):
            return None  # torch's optimizers have no config: such a model is saved like one that was not compiled
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
        return self._learning_plan or step.LearningPlan.of(self)

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

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch in and give the values so far, read only when looked at; may be overridden."""
        if self._compiled_metrics is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return LazyLogs(lambda: as_floats(self.get_metrics_result()))

    def track_loss(self, loss: torch.Tensor, x: Any) -> None:
        """Count the loss of a batch in."""
        leaves = [x] if isinstance(x, torch.Tensor) else torch.utils._pytree.tree_leaves(x)
        self._loss_tracker.update_state(loss.detach(), sample_weight=len(leaves[0]))

    def get_metrics_result(self) -> dict[str, Any]:
        """The value of every metric since the last reset, by name."""
        results: dict[str, Any] = {}
        compiled = self._compiled_metrics.metrics if self._compiled_metrics else []
        for metric in self.metrics:
            if not any(metric is other for other in compiled):
                value = metric.result()
                results.update(value if isinstance(value, dict) else {metric.name: value})
        if self._compiled_metrics is not None:
            results.update(self._compiled_metrics.result())
        return results

    @property
    def metrics(self) -> list[Metric]:
        """The running loss, metrics kept as attributes of the model or its layers, those of `compile`."""
        found: list[Metric] = [self._loss_tracker] if self.compiled else []
        for module in self.modules():
            for name, value in vars(module).items():
                if not name.startswith("_"):
                    found.extend(_metrics_in(value))
        for compiled in (self._compiled_loss, self._compiled_metrics):
            if compiled is not None:
                found.extend(compiled.metrics)
        return list({id(metric): metric for metric in found}.values())

    @property
    def metrics_names(self) -> list[str]:
        """The names under which values are reported, in the order of `evaluate`'s list."""
        return list(self.get_metrics_result())

    def reset_metrics(self) -> None:
        """Start counting anew."""
        for metric in self.metrics:
            metric.reset_state()

    def report(self, last_logs: Any) -> dict[str, float]:
        """The values to report for a whole pass: the metrics', or what an overridden step returned."""
        if isinstance(last_logs, Mapping) and not isinstance(last_logs, LazyLogs):
            results = self.get_metrics_result() if self.metrics else {}
            if set(results) != set(last_logs):
                return as_floats(last_logs)
        return as_floats(self.get_metrics_result())

    # Steps, to be overridden where another way of learning is wanted.

    def train_step(self, data: Any) -> Any:
        """Learn from one batch; returns the logs."""
        return step.train_step(self, data)

    def test_step(self, data: Any) -> Any:
        """Evaluate one batch; returns the logs."""
        return step.test_step(self, data)

    def predict_step(self, data: Any) -> Any:
        """The outputs for one batch."""
        return step.predict_step(self, data)

    def make_train_function(self, force: bool = False) -> loop.Step:
        """The function that `fit` runs on each list of batches."""
        if self.train_function is None or force:
            self.train_function = _last_of(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> loop.Step:
        """The function that `evaluate` runs on each list of batches."""
        if self.test_function is None or force:
            self.test_function = _last_of(self.test_step)
        return self.test_function

    def make_predict_function(self, force: bool = False) -> loop.Step:
        """The function that `predict` runs on each list of batches; it joins their outputs."""
        if self.predict_function is None or force:

            def predict_batches(batches: list[Batch]) -> Any:
                outputs = [self.predict_step(batch) for batch in batches]
                return outputs[0] if len(outputs) == 1 else step.concatenated(outputs)

            self.predict_function = predict_batches
        return self.predict_function

    # The loops.

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbosity = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> History:
        """Learn from data for a number of epochs; arguments as in Keras.

        Args:
            x: Arrays or tensors (one, or a list, tuple or dict), a `PyDataset`, a torch `DataLoader`, a generator or
                another iterable of `(x, y)` or `(x, y, sample_weight)`.
            validation_split: The last part of the samples, set aside before shuffling.

        Returns:
            The history: `history.history["loss"]` is a list with a value for each epoch.
        """
        self._assert_compiled("fit")
        if validation_split and validation_data is None:
            whole = make_source(x, y, sample_weight, batch_size)
            if not isinstance(whole, ArraySource):
                raise ValueError(
                    "validation_split needs arrays or tensors, which can be cut; pass `validation_data` instead. "
                    f"Received: x of type {type(x).__name__}"
                )
            (x, y, sample_weight), validation_data = whole.split(validation_split)
        source = make_source(x, y, sample_weight, batch_size, shuffle, class_weight)
        if isinstance(source, ArraySource):
            source.check_finite()
        validation = self._validation(validation_data, validation_batch_size or source.batch_size, validation_steps)
        steps = steps_per_epoch or source.num_batches
        listeners = self._callback_list(callbacks, verbose, epochs=epochs, steps=steps)

        def validate() -> dict[str, float]:
            assert validation is not None
            return self._run_evaluation(validation, listeners, validation_steps)

        self._prepare_steps(source)
        step_function = self.make_train_function()
        self._learning_plan = step.LearningPlan.of(self) if self.built else None
        try:
            loop.run_training(
                self,
                step_function,
                _with_epoch_hooks(source, steps_per_epoch),
                listeners,
                epochs=range(initial_epoch, epochs),
                steps_per_epoch=steps_per_epoch,
                steps_per_execution=self.steps_per_execution,
                validate=validate if validation is not None else None,
                validate_at=_epochs_to_validate(validation_freq),
            )
        finally:
            self._learning_plan = None
            self.train(False)
        if isinstance(self.optimizer, Optimizer) and epochs > initial_epoch:
            self.optimizer.finalize_variable_values(self.trainable_weights)
        assert self.history is not None
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data: a list `[loss, metric, ...]`, the loss alone without metrics, or a dict."""
        self._assert_compiled("evaluate")
        source = make_source(x, y, sample_weight, batch_size)
        if isinstance(source, ArraySource):
            source.check_finite()
        listeners = self._callback_list(callbacks, verbose, history=False, epochs=1, steps=steps or source.num_batches)
        logs = self._run_evaluation(source, listeners, steps)
        return logs if return_dict else self._as_list(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, as arrays."""
        source = make_source(x, batch_size=batch_size)
        listeners = self._callback_list(callbacks, verbose, history=False, epochs=1, steps=steps or source.num_batches)
        self._prepare_steps(source)
        return loop.run_prediction(
            self, self.make_predict_function(), limited(source, steps), listeners, steps, self.steps_per_execution
        )

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Learn from one batch; the values are running means since the last `reset_metrics`."""
        self._assert_compiled("train_on_batch")
        batch = prepared((x, y, sample_weight), class_weight)
        with self.mode(True):
            last_logs = self.make_train_function()([batch])
        logs = self.report(last_logs)
        return logs if return_dict else self._as_list(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Evaluate one batch; the values are running means since the last `reset_metrics`."""
        self._assert_compiled("test_on_batch")
        batch = prepared((x, y, sample_weight))
        with self.mode(False), torch.no_grad():
            last_logs = self.make_test_function()([batch])
        logs = self.report(last_logs)
        return logs if return_dict else self._as_list(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays."""
        x, _, _ = next(make_source(x, batch_size=2**62).batches())
        with self.mode(False), torch.no_grad():
            return loop.joined([self.make_predict_function()([(x, None, None)])])

    # Their parts.

    def _assert_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(f"Call `model.compile(optimizer=..., loss=...)` before `model.{method}`.")

    def _prepare_steps(self, source: Source) -> None:
        """Build the model from the first sample, where that can be had without using it up."""
        if not self.built and isinstance(source, ArraySource):
            x, _, _ = next(source.batches())
            with torch.no_grad(), self.mode(False):
                self(torch.utils._pytree.tree_map(lambda leaf: leaf[:1], x))

    def _validation(self, data: Any, batch_size: int | None, steps: int | None) -> Source | None:
        if data is None:
            return None
        if isinstance(data, (tuple, list)) and len(data) in (2, 3):
            source = make_source(data[0], data[1], data[2] if len(data) == 3 else None, batch_size)
        else:
            source = make_source(data, batch_size=batch_size)
        if isinstance(source, ArraySource):
            source.check_finite()
        return source

    def _run_evaluation(self, source: Source, listeners: CallbackList, steps: int | None) -> dict[str, float]:
        self._prepare_steps(source)
        return loop.run_evaluation(
            self,
            self.make_test_function(),
            _with_epoch_hooks(source, steps),
            listeners,
            steps,
            self.steps_per_execution,
        )

    def _callback_list(
        self, callbacks: Any, verbose: Verbosity, history: bool = True, **params: Any
    ) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            return callbacks
        if verbose == "auto":
            verbose = 1 if config.is_interactive_logging_enabled() else 2
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2. Received: {verbose!r}")
        return CallbackList(
            callbacks, add_history=history, add_progbar=verbose != 0, model=self, verbose=verbose, **params
        )

    def _as_list(self, logs: Mapping[str, float]) -> Any:
        values = [logs[name] for name in self.metrics_names if name in logs]
        values += [value for name, value in logs.items() if name not in self.metrics_names]
        return values[0] if len(values) == 1 else values


def as_floats(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Logs sorted by name, their scalars as Python floats: the one place where training waits for the device."""
    floats: dict[str, Any] = {}
    for name in sorted(logs):
        value = logs[name]
        if isinstance(value, torch.Tensor):
            value = value.detach().float().cpu().numpy()
        floats[name] = float(value) if np.ndim(value) == 0 else value
    return floats


def _last_of(one_step: Any) -> loop.Step:
    def run(batches: list[Batch]) -> Any:
        logs = None
        for batch in batches:
            logs = one_step(batch)
        return logs

    return run


def _with_epoch_hooks(source: Source, steps: int | None) -> Any:
    next_epoch = limited(source, steps)

    def batches() -> Iterator[Batch]:
        source.on_epoch_begin()
        yield from next_epoch()
        source.on_epoch_end()

    return batches


def _epochs_to_validate(frequency: int | Iterable[int]) -> Any:
    if isinstance(frequency, int):
        if frequency < 1:
            raise ValueError(f"validation_freq must be a positive integer or a list of epochs. Received: {frequency}")
        return lambda epoch: (epoch + 1) % frequency == 0
    wanted = set(frequency)
    return lambda epoch: epoch + 1 in wanted


def _metrics_in(value: Any) -> Iterator[Metric]:
    if isinstance(value, Metric):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _metrics_in(item)
    elif isinstance(value, dict):
        yield from _metrics_in(list(value.values()))
