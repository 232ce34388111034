"""`Stepping`: what a model does with one batch; the work is `triarch.training`'s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils import _pytree as pytree

from triarch.forms import to_tensors
from triarch.layers.texts import with_texts_encoded
from triarch.models.compilation import Compilation, InLoop
from triarch.training import loop, step
from triarch.training.batches import Batch, moved, pack_x_y_sample_weight
from triarch.training.class_weights import ClassWeights
from triarch.training.nesting import as_loop
from triarch.training.repeated_prediction import RepeatedPrediction
from triarch.training.sources import IterableSource, Source
from triarch.training.turns import Turn, in_turn
from triarch.training.whole_step import WholeStep


class Stepping(Compilation):
    """The part of `Model` that knows single batches; an interface, never made by itself."""

    loop_state: ClassVar[tuple[str, ...]] = ()  # what a loop sets: a loop inside it puts this back

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.turn = Turn()
        self.train_function: loop.Step | None = None
        self.test_function: loop.Step | None = None
        self.predict_function: loop.Step | None = None
        self._repeated_prediction: RepeatedPrediction | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Functions made for this model would go on training it from within a copy.
        made_anew = {"train_function": None, "test_function": None, "predict_function": None}
        made_anew |= {"_loop": None, "_repeated_prediction": None}
        state = {**super().__getstate__(), **made_anew}
        state.pop("call", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_loop": InLoop()})
        self.compile_call()

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
                outputs = [self.predict_step(pack_x_y_sample_weight(*batch)) for batch in batches]
                return outputs[0] if len(outputs) == 1 else step.concatenated(outputs)

            self.predict_function = predict_batches
        return self.predict_function

    def forget_functions(self) -> None:
        """Let the functions of the loops be made anew at the next use, as well as what a running loop knows."""
        self.train_function = self.test_function = self.predict_function = None
        self._repeated_prediction = None
        if self._loop.whole_step is not None:
            self._loop.whole_step = WholeStep(self)
        if self._loop.learning_plan is not None:
            self._loop.learning_plan = step.LearningPlan.of(self)

    # Single batches.

    @in_turn
    @as_loop
    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Learn from one batch; the values are those of this batch."""
        self._assert_compiled("train_on_batch")
        source = IterableSource([(self._readable(x), y, sample_weight)], self._class_weights(class_weight))
        batch = moved(_sole_batch(source), self.device)
        self.reset_metrics()
        with self.mode(True), torch.enable_grad(), self._reading(source):
            last_logs = self.make_train_function()([batch])
        logs = self.report(last_logs)
        return logs if return_dict else self._as_list(logs)

    @in_turn
    @as_loop
    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Evaluate one batch; the values are those of this batch."""
        self._assert_compiled("test_on_batch")
        source = IterableSource([(self._readable(x), y, sample_weight)])
        batch = moved(_sole_batch(source), self.device)
        self.reset_metrics()
        with self.mode(False), torch.no_grad(), self._reading(source):
            last_logs = self.make_test_function()([batch])
        logs = self.report(last_logs)
        return logs if return_dict else self._as_list(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays."""
        is_plain = type(x) is np.ndarray and x.dtype.kind == "f"  # as in every step of a stream
        x = to_tensors(x if is_plain else self._readable(x))
        if self._repeated_prediction is None:
            self._repeated_prediction = RepeatedPrediction(self)
        outputs = self._repeated_prediction.predict(x)
        if outputs is not None:
            return outputs
        batch = moved((x, None, None), self.device)
        with self.mode(False), torch.no_grad():
            return pytree.tree_map(loop.as_array, self.make_predict_function()([batch]))

    # Their parts.

    def _readable(self, x: Any) -> Any:
        """Data as batches can be cut of them: with texts as tensors, where the model takes texts."""
        if isinstance(x, torch.Tensor) or (isinstance(x, np.ndarray) and x.dtype.kind in "biufc"):
            return x
        return with_texts_encoded(x) if self.reads_texts() else x

    @property
    def whole_step(self) -> WholeStep | None:
        """Of the loop that runs in this thread."""
        return self._loop.whole_step

    @contextmanager
    def _reading(self, source: Source) -> Iterator[None]:
        """While batches come from `source`."""
        outer, self._loop.source = self._loop.source, source
        try:
            yield
        finally:
            self._loop.source = outer

    @property
    def data_doubts(self) -> str | None:
        """What is not finite in the data that are gone through, in words; None where nothing is."""
        return None if self._loop.source is None else self._loop.source.doubts

    def _class_weights(self, class_weight: Mapping[int, float] | None) -> ClassWeights | None:
        if class_weight is None:
            return None
        outputs: Any = getattr(self, "outputs", None) or ()
        return ClassWeights(class_weight, self.loss, len(outputs[0].shape) if len(outputs) == 1 else None)

    def _assert_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(f"Call `model.compile(optimizer=..., loss=...)` before `model.{method}`.")
        if self.optimizer is None and method in ("fit", "train_on_batch"):
            raise ValueError(f"`model.{method}` needs an optimizer. Received: a model compiled with optimizer=None")

    def _as_list(self, logs: Mapping[str, float]) -> Any:
        values = [logs[name] for name in self.in_order(logs)]
        return values[0] if len(values) == 1 else values


def _last_of(one_step: Any) -> loop.Step:
    def run(batches: list[Batch]) -> Any:
        logs = None
        for batch in batches:
            logs = one_step(pack_x_y_sample_weight(*batch))  # an own step may start with `x, y = data`
        return logs

    return run


def _sole_batch(source: IterableSource) -> Batch:
    batch = next(source.batches(), None)
    if batch is None:
        raise ValueError("There are no samples to work on. Received: a batch of length 0")
    return batch
