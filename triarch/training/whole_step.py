"""Whole steps: what a small model does with a batch, as one call of compiled code where it is a stack of dense layers.

A step of a small model takes less time in its arithmetic than in the calls of its layers. Whether a model can be one
call is found out once for a loop. A batch of another kind, a label that is none and numbers that are not finite go
through the step layer by layer, which knows how to complain.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from triarch.kernels import expected_calls, method_in_use
from triarch.kernels.perceptron import Learning, Means, Pass, Perceptron, Rule, Target
from triarch.optimizers import SGD, Adam, Optimizer
from triarch.tensors import dtype_name
from triarch.training.batches import Batch
from triarch.training.stacks import (
    RefusalError,
    Stack,
    read_stack,
    target_for_prediction,
    target_of_loss,
    threshold_of_metric,
)

_START_SECONDS = 3.0  # what compiling takes, where the code is not kept
_SAVED_SECONDS = 3e-4  # by a step in one call
_MOST_PRODUCTS = 1 << 22  # multiplications forward; above, the vendor's threads are as fast


class WholeStep:
    """What a model does with the batches of one loop, each method as one call where that can be.

    Args:
        model: Something with `stack` (its layers, one after the other, or None), `input_shape`, `optimizer` and
            `sole_loss_and_metrics`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._perceptrons: dict[Pass, Perceptron | None] = {}  # by what they are for; None where it cannot be
        self._modules: list[torch.nn.Module] = []
        self._sample_shape: tuple[int | None, ...] = ()
        self._most_rows = 0

    def learn(self, batch: Batch) -> bool:
        """Loss, metrics, gradients and update; whether it was done."""
        found = self._ready(batch, learns=True)
        if found is None:
            return False
        perceptron, x, targets = found
        optimizer = self._model.optimizer
        if perceptron.learning is None:
            if not perceptron.differentiate(x, targets):
                return False
            self._show_gradients(perceptron)
            optimizer.apply(perceptron.gradients, perceptron.weights)
            return True
        lr, t = optimizer.next_update()
        rate, settings = _SETTINGS[perceptron.learning.rule](optimizer, lr, t)
        if not perceptron.learn(x, targets, rate, settings):
            return False
        self._show_gradients(perceptron)
        return True

    def evaluate(self, batch: Batch) -> bool:
        """Loss and metrics; whether it was done."""
        found = self._ready(batch, learns=False)
        return found is not None and found[0].evaluate(*found[1:])

    def predict(self, x: Any) -> Tensor | None:
        """The outputs; None where it cannot be done so."""
        perceptron = self._found(Pass.PREDICT, self._for_prediction)
        return perceptron.predict(x) if perceptron is not None and self._fits(x, perceptron) else None

    def explain(self) -> str:
        """How a training step is computed, and why."""
        try:
            is_known = self._for_learning() is not None
        except RefusalError as refusal:
            return f"layer by layer, because {refusal}"
        if not is_known:
            return "layer by layer, as the first step always is"
        return f"as one call of compiled code, for batches of up to {self._most_rows} samples"

    def _ready(self, batch: Batch, learns: bool) -> tuple[Perceptron, Tensor, Tensor] | None:
        """The call and its operands; None where the batch is of another kind."""
        x, y, sample_weight = batch
        kind = (Pass.LEARN, self._for_learning) if learns else (Pass.EVALUATE, self._for_evaluation)
        perceptron = self._found(*kind)
        if perceptron is None or sample_weight is not None or not self._fits(x, perceptron):
            return None
        if learns and not all(weight.requires_grad for weight in perceptron.weights):
            return None
        targets = _as_targets(y, perceptron, x.shape[0])
        return None if targets is None else (perceptron, x, targets)

    def _found(self, purpose: Pass, make: Callable[[], Perceptron | None]) -> Perceptron | None:
        """The call for this purpose; None where it cannot be, or cannot be known yet."""
        if purpose not in self._perceptrons:
            try:
                made = make()
            except RefusalError:
                self._perceptrons[purpose] = None
                return None
            if made is None:
                return None
            self._perceptrons[purpose] = made
        for module in self._modules:  # what listens to layers wants them to be called
            if (
                module._forward_hooks
                or module._forward_pre_hooks
                or module._backward_hooks
                or module._backward_pre_hooks
            ):
                return None
        return self._perceptrons[purpose]

    def _fits(self, x: Any, perceptron: Perceptron) -> bool:
        return (
            type(x) is Tensor
            and x.dtype is perceptron.dtype
            and x.shape[1:] == self._sample_shape
            and 0 < x.shape[0] <= self._most_rows
            and x.is_contiguous()
            and x.device.type == "cpu"
        )

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
        if expected_calls() * _SAVED_SECONDS < _START_SECONDS:
            raise RefusalError(f"{expected_calls()} steps save less than compiling takes")
        self._most_rows = _MOST_PRODUCTS // stack.products
        if not self._most_rows:
            raise RefusalError(f"{stack.products} multiplications for a sample are work for the vendor's threads")
        self._sample_shape = tuple(model.input_shape[1:])
        self._modules = [model, *layers]
        return stack

    def _for_prediction(self) -> Perceptron:
        stack = self._stack(learns=False)
        return Perceptron(stack.layers, target_for_prediction(stack.end))

    def _for_evaluation(self) -> Perceptron | None:
        return self._for_targets(self._stack(learns=False), None)

    def _for_learning(self) -> Perceptron | None:
        stack, optimizer = self._stack(learns=True), self._model.optimizer
        if not isinstance(optimizer, Optimizer):
            raise RefusalError("the optimizer is torch's")
        if not optimizer.built:
            return None
        weights = [weight for layer in stack.layers for weight in layer[:2] if weight is not None]
        if {id(weight) for weight in weights} != {id(weight) for weight in self._model.trainable_weights}:
            raise RefusalError("some weights are not learnt")
        rule = _rule_of(optimizer)
        learning = None if rule is None else Learning(rule, optimizer.slots_of(weights), optimizer._iterations)
        return self._for_targets(stack, learning)

    def _for_targets(self, stack: Stack, learning: Learning | None) -> Perceptron | None:
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
        return Perceptron(stack.layers, target, learning, means, threshold)

    def _show_gradients(self, perceptron: Perceptron) -> None:
        """Let the gradients be seen where a step layer by layer leaves them."""
        if perceptron.weights[0].grad is not perceptron.gradients[0]:
            for weight, gradient in zip(perceptron.weights, perceptron.gradients, strict=True):
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


def _rule_of(optimizer: Optimizer) -> Rule | None:
    """The kernel's rule that is the optimizer's; None where its own code has to update the weights."""
    is_plain = (
        optimizer.clip is None
        and optimizer.weight_decay is None
        and optimizer.loss_scale_factor is None
        and not optimizer.gradient_accumulation_steps
        and not optimizer.use_ema
    )
    if is_plain and type(optimizer) is Adam and not optimizer.amsgrad:
        return Rule.ADAM
    return Rule.SGD if is_plain and type(optimizer) is SGD else None


def _adam(optimizer: Adam, lr: float, t: int) -> tuple[float, dict[str, float]]:
    beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
    rate = lr * sqrt(1 - beta_2**t) / (1 - beta_1**t)
    return rate, {"beta_1": beta_1, "beta_2": beta_2, "epsilon": optimizer.epsilon}


def _sgd(optimizer: SGD, lr: float, t: int) -> tuple[float, dict[str, float]]:
    return lr, {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}


_SETTINGS: dict[Rule, Callable[[Any, float, int], tuple[float, dict[str, float]]]] = {
    Rule.ADAM: _adam,
    Rule.SGD: _sgd,
}
