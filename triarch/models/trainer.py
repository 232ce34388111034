"""`Trainer`: fit, evaluate, predict and their parts; each hands its work to `triarch.training`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch import config
from triarch.callbacks import CallbackList, History
from triarch.kernels import expecting, keep_memory
from triarch.models.compilation import Compilation
from triarch.models.stepping import Stepping
from triarch.optimizers import Optimizer
from triarch.tensors import whole_number
from triarch.training import loop, step
from triarch.training.batches import Batch, moved, unpack_x_y_sample_weight
from triarch.training.nesting import as_loop
from triarch.training.sources import ArraySource, IterableSource, Source, limited, make_source
from triarch.training.turns import in_turn
from triarch.training.whole_step import WholeStep

Verbosity = int | str


class Trainer(Stepping):
    """The part of `Model` that goes through data in loops; an interface, never made by itself."""

    loop_state: ClassVar = ("history", "stop_training", "stop_evaluating", "stop_predicting")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stop_training = False
        self.stop_evaluating = False
        self.stop_predicting = False
        self.history: History | None = None

    # The loops.

    @in_turn
    @as_loop
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
        epochs = whole_number(epochs, "epochs", least=0)
        initial_epoch = whole_number(initial_epoch, "initial_epoch", least=0)
        steps_per_epoch = _steps(steps_per_epoch, "steps_per_epoch")
        validation_steps = _steps(validation_steps, "validation_steps")
        validate_at = _epochs_to_validate(validation_freq)
        if validation_split not in (None, 0) and validation_data is None:
            whole = make_source(self._readable(x), y, sample_weight, batch_size)
            if not isinstance(whole, ArraySource):
                raise ValueError(
                    "validation_split needs arrays or tensors, which can be cut; pass `validation_data` instead. "
                    f"Received: x of type {type(x).__name__}"
                )
            (x, y, sample_weight), validation_data = whole.split(validation_split)
        source = make_source(
            self._readable(x), y, sample_weight, batch_size, shuffle, self._class_weights(class_weight)
        )
        if isinstance(source, ArraySource):
            source.look_through()
        if validation_batch_size is None:
            validation_batch_size = source.batch_size
        validation = self._validation(validation_data, validation_batch_size, validation_steps)
        if isinstance(validation, IterableSource) and validation_steps is None and validation.is_used_up:
            _check_validated_once([epoch for epoch in range(initial_epoch, epochs) if validate_at(epoch)])
        steps = steps_per_epoch or source.num_batches
        listeners = self._callback_list(callbacks, verbose, epochs=epochs, steps=steps)

        def validate() -> dict[str, float]:
            assert validation is not None
            return self._run_evaluation(validation, listeners, validation_steps)

        self._prepare_steps(source)
        if type(self).train_step is Trainer.train_step:
            self._try_doubtful(source)
        if type(self).test_step is Trainer.test_step and validation is not None:
            self._try_doubtful(validation)
        step_function = self.make_train_function()
        outer, self._loop.learning_plan = self._loop.learning_plan, step.LearningPlan.of(self) if self.built else None
        try:
            with self._in_loop(source, steps, epochs - initial_epoch):
                loop.run_training(
                    self,
                    step_function,
                    self._next_epoch(source, steps_per_epoch),
                    listeners,
                    epochs=range(initial_epoch, epochs),
                    steps_per_epoch=steps_per_epoch,
                    steps_per_execution=self.steps_per_execution,
                    validate=validate if validation is not None else None,
                    validate_at=validate_at,
                )
        finally:
            self._loop.learning_plan = outer
        assert self.history is not None
        return self.history

    @in_turn
    @as_loop
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
        steps = _steps(steps, "steps")
        source = make_source(self._readable(x), y, sample_weight, batch_size)
        if isinstance(source, ArraySource):
            source.look_through()
        listeners = self._callback_list(callbacks, verbose, history=False, epochs=1, steps=steps or source.num_batches)
        logs = self._run_evaluation(source, listeners, steps)
        return logs if return_dict else self._as_list(logs)

    @as_loop
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, as arrays."""
        steps = _steps(steps, "steps")
        source = make_source(self._readable(x), batch_size=batch_size)
        listeners = self._callback_list(callbacks, verbose, history=False, epochs=1, steps=steps or source.num_batches)
        self._prepare_steps(source)
        with self._in_loop(source, steps or source.num_batches):
            return loop.run_prediction(
                self,
                self.make_predict_function(),
                self._next_epoch(source, steps),
                listeners,
                steps,
                self.steps_per_execution,
            )

    # Their parts.

    def finish_training(self) -> None:
        """Called by `fit` after the last epoch: put averages of the weights in place, where the optimizer has them."""
        if isinstance(self.optimizer, Optimizer) and self.optimizer.built:
            self.optimizer.finalize_variable_values(self.trainable_weights)

    def explain_step(self, steps: int = 10_000) -> str:
        """How `fit` computes a training step when it has so many to do: as one call or layer by layer, and why."""
        self._assert_compiled("explain_step")
        with expecting(steps):
            return WholeStep(self).explain()

    @property
    def stack(self) -> Sequence[torch.nn.Module] | None:
        """The layers, where the model is nothing but these one after the other; None where it is more."""
        return None

    @contextmanager
    def _in_loop(self, source: Source, steps: int | None, epochs: int = 1) -> Iterator[None]:
        """Around a loop: memory is kept, and kernels are told how often they will be called, where that is known."""
        keep_memory()
        outer, self._loop.whole_step = self._loop.whole_step, WholeStep(self)
        try:
            with self._reading(source), nullcontext() if steps is None else expecting(steps * epochs):
                yield
        finally:
            self._loop.whole_step = outer

    def _prepare_steps(self, source: Source) -> None:
        """Build the model from the first sample, where that can be had without using it up."""
        if not self.built and isinstance(source, ArraySource):
            x, _, _ = moved(next(source.batches()), self.device)
            with torch.no_grad(), self.mode(False):
                self(pytree.tree_map(lambda leaf: leaf[:1], x))

    def _try_doubtful(self, source: Source) -> None:
        """Raise ValueError where samples that are not finite make the loss so, before anything is learnt."""
        is_stream = any(getattr(module, "stateful", False) for module in self.modules())
        if source.doubts is None or not isinstance(source, ArraySource) or is_stream:
            return
        x, y, sample_weight = moved(source.doubtful_batch(), self.device)
        try:
            with torch.no_grad(), self.mode(False):
                loss = self.loss_of(x, y, self(x, training=False), sample_weight, training=False)
        except ValueError as error:
            raise ValueError(f"{error} ({source.doubts})") from error
        step.check_loss(loss, source.doubts)

    def _validation(self, data: Any, batch_size: int | None, steps: int | None) -> Source | None:
        if data is None:
            return None
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        try:
            source = make_source(self._readable(x), y, sample_weight, batch_size=batch_size)
            if isinstance(source, ArraySource):
                source.look_through()
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from error
        if isinstance(source, ArraySource):
            needs_targets = self._compiled_loss is not None and type(self).compute_loss is Compilation.compute_loss
            if y is None and needs_targets:
                raise ValueError(
                    "validation_data must be `(x, y)` or `(x, y, sample_weight)` for the compiled loss to be computed. "
                    f"Received: {type(data).__name__} without y"
                )
        return source

    def _run_evaluation(self, source: Source, listeners: CallbackList, steps: int | None) -> dict[str, float]:
        self._prepare_steps(source)
        with self._in_loop(source, steps or source.num_batches):
            return loop.run_evaluation(
                self,
                self.make_test_function(),
                self._next_epoch(source, steps),
                listeners,
                steps,
                self.steps_per_execution,
            )

    def _next_epoch(self, source: Source, steps: int | None) -> Callable[[], Iterator[Batch]]:
        """A function that gives the batches of the next epoch, on the model's device."""
        next_epoch, device = limited(source, steps), self.device

        def batches() -> Iterator[Batch]:
            source.on_epoch_begin()
            yield from next_epoch() if source.device == device else (moved(batch, device) for batch in next_epoch())
            source.on_epoch_end()

        return batches

    def _callback_list(self, callbacks: Any, verbose: Verbosity, history: bool = True, **params: Any) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            return callbacks
        if verbose == "auto":
            verbose = 1 if config.is_interactive_logging_enabled() else 2
        if isinstance(verbose, str) or verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2. Received: verbose={verbose!r}")
        verbose = int(verbose)
        return CallbackList(
            callbacks, add_history=history, add_progbar=verbose != 0, model=self, verbose=verbose, **params
        )


def _steps(value: int | None, name: str) -> int | None:
    return None if value is None else whole_number(value, name, least=1, instead="None")


def _epochs_to_validate(frequency: Any) -> Callable[[int], bool]:
    if isinstance(frequency, (list, tuple, set, frozenset, range)) or np.ndim(frequency) > 0:
        wanted = {whole_number(epoch, "an epoch of validation_freq", least=1) for epoch in frequency}
        return lambda epoch: epoch + 1 in wanted
    every = whole_number(frequency, "validation_freq", least=1, instead="a list of epochs")
    return lambda epoch: (epoch + 1) % every == 0


def _check_validated_once(epochs: Sequence[int]) -> None:
    if len(epochs) > 1:
        raise ValueError(
            "validation_data is a generator, which can be gone through only once. Give something that can be gone "
            "through again, such as a DataLoader, a PyDataset or arrays, or say by `validation_steps` how many batches "
            f"of it each validation takes. Received: a generator for {len(epochs)} validations"
        )
