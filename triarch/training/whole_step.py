"""Whole steps: what a small model does with a batch, by a few calls of compiled code.

A stack of dense layers is one call; recurrent layers before it are some more, without a graph of gradients between. A
step of a small model takes less time in its arithmetic than in the calls of its layers. Whether a model can go this way
is found out once for a loop. A batch of another kind, a label that is none and numbers that are not finite go
through the step layer by layer, which knows how to complain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from triarch import config
from triarch.kernels import expected_calls, method_in_use
from triarch.kernels.perceptron import Descent, Means, Pass, Perceptron, Target
from triarch.kernels.recurrent import Advance, Recurrences
from triarch.optimizers import Optimizer
from triarch.tensors import dtype_name
from triarch.training.batches import Batch
from triarch.training.prepared_prediction import PreparedPrediction, Way, lies_plainly
from triarch.training.rules import SETTINGS, learning_of
from triarch.training.stacks import (
    RefusalError,
    Stack,
    direction_of,
    read_stack,
    target_for_prediction,
    target_of_loss,
    threshold_of_metric,
)
from triarch.watching import (
    GLOBAL_HOOKS,
    are_gradients_watched,
    hooks,
    is_overridden,
    is_watched,
    listeners_of,
)

# What compiling takes, where the code is not kept, and what is saved by a step.
_START_SECONDS, _SAVED_SECONDS = 3.0, 3e-4
_START_SECONDS_OF_SERIES, _SAVED_SECONDS_OF_SERIES = 10.0, 1.5e-3
_KEPT_SHAPES = 4
_MOST_PRODUCTS = 1 << 22  # multiplications forward; above, the vendor's threads are as fast


class _Network(NamedTuple):
    """The calls for one purpose: recurrent layers, if there are any, and then dense ones."""

    recurrences: Recurrences | None
    ways: list[Way]
    perceptron: Perceptron
    weights: list[Tensor]
    gradients: list[Tensor]
    descent: Descent | None  # of the recurrent layers' weights, where it is compiled

    def features(self, x: Tensor) -> tuple[Tensor, Any]:
        """What the dense layers take, and the states that the recurrent layers end with."""
        return (x, ()) if self.recurrences is None else self.recurrences.infer(x, self.states())

    def states(self) -> list[Any]:
        """Those that stateful layers begin with."""
        return [tuple(own["states"]) if own["stateful"] else None for own, _ in self.ways]

    def has_states_for(self, rows: int) -> bool:
        """Whether the states of stateful layers are those of so many series, lying as kernels read them."""
        return all(way.has_states_for(rows, self.perceptron.dtype) for way in self.ways)

    def keep(self, states: Any) -> None:
        """Let stateful layers go on from here."""
        for (own, _), found in zip(self.ways, states, strict=True):
            if own["stateful"]:
                own["states"] = [state.clone() for state in found]  # no layers, which would have to be found


class WholeStep:
    """What a model does with the batches of one loop, each method as one call where that can be.

    Args:
        model: Something with `stack` (its layers, one after the other, or None), `input_shape`, `optimizer` and
            `sole_loss_and_metrics`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._networks: dict[Pass, _Network | None] = {}  # by what they are for; None where it cannot be
        self._placed: dict[Pass, list[int]] = {}  # where the weights lay when they were looked at last
        self._modules: list[torch.nn.Module] = []
        self._listeners: list[dict[int, Any]] = []  # of these modules; they want them to be called
        self._hooks_seen = -1  # on variables, when none of these weights had one
        self._sample_shape: tuple[int | None, ...] = ()
        self._most_rows = 0
        self._prepared: dict[torch.Size, PreparedPrediction] = {}
        self._is_free = threading.Lock()  # a call has one place for its numbers

    def learn(self, batch: Batch) -> bool:
        """Loss, metrics, gradients and update; whether it was done."""
        return bool(self._alone(self._learn, batch))

    def evaluate(self, batch: Batch) -> bool:
        """Loss and metrics; whether it was done."""
        return bool(self._alone(self._evaluate, batch))

    def predict(self, x: Any) -> Tensor | None:
        """The outputs; None where it cannot be done so."""
        outputs = self.predict_array(x)
        return None if outputs is None else torch.from_numpy(outputs)

    def predict_array(self, x: Any) -> np.ndarray[Any, Any] | None:
        """The same as an array."""
        found: np.ndarray[Any, Any] | None = self._alone(self._predict, x)
        return found

    def _alone(self, work: Callable[[Any], Any], operand: Any) -> Any:
        """Do it, unless another thread of the program is about it: None then."""
        if not self._is_free.acquire(blocking=False):
            return None
        try:
            return work(operand)
        finally:
            self._is_free.release()

    def _learn(self, batch: Batch) -> bool:
        found = self._ready(batch, learns=True)
        if found is None:
            return False
        network, x, targets = found
        optimizer, perceptron, recurrences = self._model.optimizer, network.perceptron, network.recurrences
        rate, settings, rows = 0.0, dict[str, float](), x.shape[0]
        states: Any = ()
        if recurrences is not None:
            x, states = recurrences.forward(x, network.states())
        if perceptron.learning is None:
            is_done = perceptron.differentiate(x, targets)
        else:
            lr, t = optimizer.next_update()
            rate, settings = SETTINGS[perceptron.learning.rule](optimizer, lr, t)
            is_done = perceptron.learn(x, targets, rate, settings)
        if not is_done:
            return False
        if recurrences is not None:
            recurrences.backward(perceptron.inputs_gradient[:rows])
            network.keep(states)
        _show_gradients(network.weights, network.gradients)
        if perceptron.learning is None:
            optimizer.apply(network.gradients, network.weights)
        elif network.descent is not None:
            network.descent.update(rate, settings)
        return True

    def _evaluate(self, batch: Batch) -> bool:
        found = self._ready(batch, learns=False)
        if found is None:
            return False
        network, x, targets = found
        features, states = network.features(x)
        is_done = network.perceptron.evaluate(features, targets)
        if is_done:
            network.keep(states)
        return is_done

    def _predict(self, x: Any) -> np.ndarray[Any, Any] | None:
        prepared = self._prepared.get(x.shape) if isinstance(x, Tensor) else None
        outputs = None if prepared is None else prepared.predict(x)
        return self._predict_first(x) if outputs is None else outputs

    def _predict_first(self, x: Any) -> np.ndarray[Any, Any] | None:
        """The outputs for a batch that nothing is known of; next time there will."""
        network = self._found(Pass.PREDICT, self._for_prediction)
        if network is None or not self._fits(x, network):
            return None
        features, states = network.features(x)
        outputs = network.perceptron.predict(features)
        if outputs is None:
            return None
        network.keep(states)
        self._prepare(network, x)
        return outputs.numpy()

    def _prepare(self, network: _Network, x: Tensor) -> None:
        """Write down what is known of predictions of this shape, where layers have one direction."""
        inferences, zeros = list[Advance](), list[tuple[Tensor, ...]]()
        if network.recurrences is not None:
            line = network.recurrences.in_line(*x.shape[:2])
            if line is None:
                return
            inferences, zeros = line
        if len(self._prepared) >= _KEPT_SHAPES:
            self._prepared.clear()
        self._prepared[x.shape] = PreparedPrediction(
            x, network.ways, inferences, zeros, network.perceptron, network.weights, self._listeners
        )

    def explain(self) -> str:
        """How a training step is computed, and why."""
        try:
            known = self._for_learning()
        except RefusalError as refusal:
            return f"layer by layer, because {refusal}"
        if known is None:
            return "layer by layer, as the first step always is"
        calls = "as one call" if known.recurrences is None else "by calls"
        return f"{calls} of compiled code, for batches of up to {self._most_rows} samples"

    @property
    def layers(self) -> Sequence[torch.nn.Module]:
        """Those that are not called any more, with the layers and cells inside."""
        return self._modules[1:]

    def _ready(self, batch: Batch, learns: bool) -> tuple[_Network, Tensor, Tensor] | None:
        """The call and its operands; None where the batch is of another kind."""
        x, y, sample_weight = batch
        kind = (Pass.LEARN, self._for_learning) if learns else (Pass.EVALUATE, self._for_evaluation)
        network = self._found(*kind)
        if network is None or sample_weight is not None or not self._fits(x, network):
            return None
        if learns and (are_gradients_watched() or self._has_hooks(network)):
            return None
        if learns and not all(weight.requires_grad for weight in network.weights):
            return None
        targets = _as_targets(y, network.perceptron, x.shape[0])
        return None if targets is None else (network, x, targets)

    def _has_hooks(self, network: _Network) -> bool:
        """Whether hooks want to see gradients of weights."""
        if hooks.count != self._hooks_seen:
            if any(weight._backward_hooks or weight._post_accumulate_grad_hooks for weight in network.weights):
                return True
            self._hooks_seen = hooks.count
        return False

    def _found(self, purpose: Pass, make: Callable[[], _Network | None]) -> _Network | None:
        """The call for this purpose; None where it cannot be, or cannot be known yet."""
        if purpose not in self._networks:
            try:
                made = make()
            except RefusalError:
                self._networks[purpose] = None
                return None
            if made is None:
                return None
            self._networks[purpose] = made
        network = self._networks[purpose]
        if network is None or any(self._listeners) or is_watched():
            return None
        placed = [weight.data_ptr() for weight in network.weights]
        if placed != self._placed.get(purpose):
            if not all(lies_plainly(weight, network.perceptron.dtype) for weight in network.weights):
                return None  # as after `model.double()`
            self._placed[purpose] = placed
        return network

    def _fits(self, x: Any, network: _Network) -> bool:
        return (
            type(x) is Tensor
            and lies_plainly(x, network.perceptron.dtype)
            and (x.shape[1:] == self._sample_shape or self._are_series(x, network))
            and 0 < x.shape[0] <= self._most_rows
            and (not network.ways or network.has_states_for(x.shape[0]))
        )

    def _are_series(self, x: Tensor, network: _Network) -> bool:
        """Whether these are series of any length, where the model takes such."""
        if network.recurrences is None or x.ndim != 3:
            return False
        length, features = self._sample_shape
        return length is None and x.shape[1] > 0 and x.shape[2] == features

    def _stack(self, learns: bool) -> Stack:
        """The model's layers, if it is worth while."""
        model = self._model
        layers = model.stack
        if layers is None:
            raise RefusalError("the model is no plain Sequential")
        if model.run_eagerly or model.jit_compile:
            raise RefusalError("`compile` asked for another way")
        if method_in_use() != "auto":
            raise RefusalError("`kernels.use` asks for a method for each layer")
        if not model.built:
            raise RefusalError("the model is not built")
        stack = read_stack(layers, learns)
        for layer in (*layers, *stack.ways, *(way.cell for way in stack.ways)):
            if is_overridden(layer):
                raise RefusalError(f"layer {layer.name!r} has a method of its own")
        saved, needed = _SAVED_SECONDS, _START_SECONDS
        if stack.recurrent:
            saved, needed = _SAVED_SECONDS_OF_SERIES, _START_SECONDS_OF_SERIES
        is_stream = any(way.stateful for way in stack.ways)
        if expected_calls() * saved < needed and (learns or not is_stream):
            raise RefusalError(f"{expected_calls()} steps save less than compiling takes")
        self._most_rows = _MOST_PRODUCTS // stack.products
        if not self._most_rows:
            raise RefusalError(f"{stack.products} multiplications for a sample are work for the vendor's threads")
        self._sample_shape = tuple(model.input_shape[1:])
        self._modules = [model, *layers, *stack.ways, *(way.cell for way in stack.ways)]
        self._listeners = [*GLOBAL_HOOKS, *(own for module in self._modules for own in listeners_of(module))]
        return stack

    def _for_prediction(self) -> _Network:
        stack = self._stack(learns=False)
        return _network(stack, Perceptron(stack.layers, target_for_prediction(stack.end)))

    def _for_evaluation(self) -> _Network | None:
        return self._for_targets(self._stack(learns=False), None)

    def _for_learning(self) -> _Network | None:
        stack, optimizer = self._stack(learns=True), self._model.optimizer
        if stack.recurrent and config.recomputes_gates():
            raise RefusalError("the gates of its recurrent layers are to be computed again")
        if not isinstance(optimizer, Optimizer):
            raise RefusalError("the optimizer is torch's")
        if not optimizer.built:
            return None
        weights = [*(weight for way in stack.ways for weight in way.cell.weights), *stack.weights]
        if {id(weight) for weight in weights} != {id(weight) for weight in self._model.trainable_weights}:
            raise RefusalError("some weights are not learnt")
        return self._for_targets(stack, optimizer)

    def _for_targets(self, stack: Stack, optimizer: Optimizer | None) -> _Network | None:
        parts = self._model.sole_loss_and_metrics()
        if parts is None:
            return None  # laid out when the first batch has shown what there is
        loss, mean, metrics = parts
        dtype = dtype_name(stack.layers[0].kernel.dtype)
        target = target_of_loss(loss, stack.end, dtype)
        if len(metrics) > 1 or mean.dtype != dtype or mean.total.device.type != "cpu":
            raise RefusalError("there is more than one metric, or the loss is counted in another type or place")
        threshold = threshold_of_metric(metrics[0], target, stack.end, dtype) if metrics else 0.5
        hits = (metrics[0].total, metrics[0].count) if metrics else None
        means = Means((mean.total, mean.count), hits)
        learning = learning_of(optimizer, stack.weights)
        perceptron = Perceptron(stack.layers, target, learning, means, threshold, bool(stack.recurrent))
        return _network(stack, perceptron, optimizer)


def _network(stack: Stack, perceptron: Perceptron, optimizer: Optimizer | None = None) -> _Network:
    if not stack.recurrent:
        return _Network(None, [], perceptron, perceptron.weights, perceptron.gradients, None)
    made = Recurrences([list(map(direction_of, ways)) for ways in stack.recurrent])
    ways = [Way(vars(way), way.units) for way in stack.ways]
    learning = learning_of(optimizer, made.weights)
    descent = None if learning is None else Descent(made.weights, made.gradients, learning)
    weights, gradients = [*made.weights, *perceptron.weights], [*made.gradients, *perceptron.gradients]
    return _Network(made, ways, perceptron, weights, gradients, descent)


def _show_gradients(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Let the gradients be seen where a step layer by layer leaves them."""
    if weights[0].grad is not gradients[0]:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient


def _as_targets(y: Any, perceptron: Perceptron, rows: int) -> Tensor | None:
    """The labels as the kernel reads them; None where they have another form."""
    if type(y) is not Tensor or y.device.type != "cpu":
        return None
    units = 1 if perceptron.target is Target.CLASSES else perceptron.units
    if y.shape != (rows, units) and not (units == 1 and y.shape == (rows,)):
        return None
    if perceptron.target is not Target.CLASSES:
        return (y if y.dtype is perceptron.dtype else y.to(perceptron.dtype)).contiguous()
    if y.dtype is not torch.int64:
        if y.is_floating_point() or y.is_complex():
            return None
        y = y.to(torch.int64)
    return y.contiguous()
