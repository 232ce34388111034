"""What all optimizers share: from gradients to one update of the weights, and the state that belongs to it.

An optimizer is a rule over lists of tensors (`Optimizer.rule`). What the rule works on - which weights go together,
with which slots - is decided once for a set of variables, in a `Plan`; a step then has no work per variable in Python.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from numbers import Real
from operator import is_
from typing import Any

import numpy as np
import torch

from triarch import registry
from triarch.optimizers.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from triarch.optimizers.plan import Group, Plan, Tensors, layout, like, make_plan
from triarch.optimizers.schedules import LearningRateSchedule
from triarch.optimizers.state import State
from triarch.serialization import Configurable, serialize_keras_object
from triarch.variable import Variable

_TENSORS = {torch.Tensor}
_CONFIG_HEAD = ("name", "learning_rate", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue")


@registry.register("keras.optimizers")
class Optimizer(State, Configurable):
    """Base class of the optimizers.

    An optimizer of your own names its state in `slot_names` and writes `rule`, over lists of tensors; or, as in Keras,
    makes its state in `build` with `add_variable_from_reference` and writes `update_step`, for one variable.

    Args:
        learning_rate: A number, a `LearningRateSchedule`, or a function without arguments.
        weight_decay: Before each update weights shrink by the factor `1 - weight_decay * learning_rate`.
        clipnorm: Largest norm of each single gradient. At most one of the three clippings can be set.
        clipvalue: Largest size of each element of a gradient.
        global_clipnorm: Largest norm of all gradients taken together.
        use_ema: Keep moving averages of the weights; they replace the weights every `ema_overwrite_frequency` steps
            and in `finalize_variable_values`, which `fit` calls at its end.
        loss_scale_factor: `scale_loss` multiplies by it, `apply` divides the gradients by it.
        gradient_accumulation_steps: Update once in so many steps, with the mean of their gradients.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[[], Any],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise ValueError(f"Argument(s) not recognized by {type(self).__name__}: {kwargs}")
        clippings = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        if sum(value is not None for value in clippings.values()) > 1:
            raise ValueError(f"Only one of {', '.join(clippings)} can be set. Received: {clippings}")
        if use_ema and not 0 <= ema_momentum <= 1:
            raise ValueError(f"ema_momentum must lie in [0, 1]. Received: {ema_momentum!r}")
        _check_count("ema_overwrite_frequency", ema_overwrite_frequency if use_ema else None, 1)
        _check_count("gradient_accumulation_steps", gradient_accumulation_steps, 2)

        super().__init__(name or registry.unique_name(registry.to_snake_case(type(self).__name__)))
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps

        self.averages: Tensors = []
        self._averages_are_in_place = False  # whether `swap_averages` has been called an odd number of times
        self._trainable_variables: Tensors = []
        self._positions: dict[int, int] = {}  # id of a variable -> its place
        self._slots: dict[str, Tensors] = {}
        self._accumulators: Tensors = []
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._all: tuple[int, ...] = ()
        self._not_decayed: Tensors = []
        self._not_decayed_names: re.Pattern[str] | None = None

        self._iterations = self._track(torch.zeros((), dtype=torch.int32), "iteration")
        self._learning_rate: Variable | LearningRateSchedule | Callable[[], Any]
        if callable(learning_rate) and not isinstance(learning_rate, torch.Tensor):
            self._learning_rate = learning_rate
        else:
            self._learning_rate = self._track(torch.tensor(_rate(learning_rate)), "learning_rate")

    def slot_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of the state kept for each weight; names in one tuple are stored weight by weight."""
        return ()

    def initial_value(self, slot: str) -> float:
        """What a slot is filled with at first."""
        return 0.0

    def advance(self, t: int) -> None:
        """Bring state that is not kept per weight to update `t` (from 1); called once before `rule`."""

    def rule(self, w: Tensors, g: Tensors, lr: float, t: int, slots: dict[str, Tensors]) -> None:
        """Update the weights `w` in place for gradients `g`, in update number `t` (from 1)."""
        raise NotImplementedError(f"{type(self).__name__} must override `rule` or `update_step`.")

    def update_step(self, gradient: torch.Tensor, variable: torch.Tensor, learning_rate: Any) -> None:
        """The rule for one variable: what an optimizer written for Keras overrides."""
        place = self._get_variable_index(variable)
        slots = {name: [variables[place]] for name, variables in self._slots.items()}
        self.rule([variable], [gradient], float(learning_rate), self._updates_done() + 1, slots)

    def _execute(self, group: Group, g: Tensors, lr: float, t: int) -> None:
        if type(self).update_step is Optimizer.update_step:
            self.rule(group.weights, g, lr, t, group.slots)
        else:
            for weight, gradient in zip(group.weights, g, strict=True):
                self.update_step(gradient, weight, self.learning_rate)

    def build(self, variables: Iterable[torch.Tensor]) -> None:
        """Make the state for `variables`, the only ones that this optimizer will then update."""
        if self.built:
            return
        self._trainable_variables = list(variables)
        self._positions = {id(variable): place for place, variable in enumerate(self._trainable_variables)}
        self._all = tuple(range(len(self._trainable_variables)))
        if self.use_ema:
            self.averages = self.add_optimizer_variables(self._trainable_variables, "average")
        if self.gradient_accumulation_steps:
            self._accumulators = self.add_optimizer_variables(self._trainable_variables, "gradient_accumulator")
        for names in self.slot_names():
            made = self.add_optimizer_variables(
                self._trainable_variables, names, [self.initial_value(name) for name in names]
            )
            self._slots.update(zip(names, made, strict=True))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        rate = self._learning_rate
        arguments = super().get_config()
        arguments["learning_rate"] = float(rate) if isinstance(rate, Variable) else serialize_keras_object(rate)
        return {key: arguments.pop(key) for key in _CONFIG_HEAD} | arguments

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a copy or unpickling: the copied variables have new ids."""
        self.__dict__.update(state)
        self._positions = {id(variable): place for place, variable in enumerate(self._trainable_variables)}

    @property
    def iterations(self) -> torch.Tensor:
        """How many updates were made: a 0-d integer on the CPU."""
        steps = self.gradient_accumulation_steps
        return self._iterations // steps if steps else self._iterations

    def _updates_done(self) -> int:
        return int(self._iterations) // (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> torch.Tensor:
        """The present learning rate: a variable on the CPU, or the present value of the schedule."""
        return self._learning_rate if isinstance(self._learning_rate, Variable) else torch.tensor(self._current_rate())

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value) and not isinstance(value, torch.Tensor):
            self._variables = [variable for variable in self._variables if variable is not self._learning_rate]
            self._learning_rate = value
        elif isinstance(self._learning_rate, Variable):
            self._learning_rate.assign(_rate(value))
        else:
            raise TypeError(
                f"The learning rate of optimizer {self.name!r} is a schedule, so it cannot be set to a number. "
                f"Make the optimizer with a number as `learning_rate` to set it later. Received: {value!r}"
            )

    def _current_rate(self) -> float:
        rate = self._learning_rate
        if isinstance(rate, Variable):
            return rate.item()
        return rate.value_at(self._iterations) if isinstance(rate, LearningRateSchedule) else float(rate())

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """`loss` times `loss_scale_factor`, where there is one."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, torch.Tensor]]) -> torch.Tensor:
        """Like `apply`, for pairs of a gradient and its variable; gives the number of steps made."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._iterations

    def apply(self, grads: Iterable[Any], trainable_variables: Iterable[torch.Tensor] | None = None) -> None:
        """Update the variables for their gradients, given in the order of `trainable_variables` or that of `build`.

        Variables whose gradient is None stay as they are, with a warning.

        Raises:
            ValueError: no gradient at all, another number of gradients than of variables, unknown variables.
        """
        grads = list(grads)
        if not grads:
            return
        chosen = self._chosen(len(grads), trainable_variables)
        plan = self._plans.get(chosen)
        if plan is None or set(map(type, grads)) != _TENSORS or not plan.fits(grads):
            plan, grads = self._prepare(grads, chosen)
        with torch.no_grad():
            if self.loss_scale_factor is not None:
                grads = list(torch._foreach_div(grads, self.loss_scale_factor))
            if self.gradient_accumulation_steps:
                self._accumulate(plan, grads)
            else:
                self._update(plan, grads)
            if self.use_ema:
                self._update_averages()
            for variable in plan.constrained:
                variable.copy_(variable.constraint(variable))
            self._iterations.add_(1)

    def _accumulate(self, plan: Plan, grads: Tensors) -> None:
        steps: int = self.gradient_accumulation_steps  # type: ignore[assignment]
        if (int(self._iterations) + 1) % steps:
            torch._foreach_add_(plan.accumulators, grads)
        else:
            mean = list(torch._foreach_add(grads, plan.accumulators))
            torch._foreach_div_(mean, steps)
            self._update(plan, mean)
            torch._foreach_zero_(self._accumulators)

    def _update(self, plan: Plan, grads: Tensors) -> None:
        if self.clipnorm:
            grads = clip_by_norm(grads, self.clipnorm)
        elif self.global_clipnorm:
            grads = clip_by_global_norm(grads, self.global_clipnorm)
        elif self.clipvalue:
            grads = clip_by_value(grads, self.clipvalue)
        lr = self._current_rate()
        t = self._updates_done() + 1
        if self.weight_decay is not None and plan.decayed:
            torch._foreach_mul_(plan.decayed, 1 - self.weight_decay * lr)
        self.advance(t)
        for group in plan.groups:
            whole = len(plan.groups) == 1
            self._execute(group, grads if whole else [grads[place] for place in group.positions], lr, t)

    def _update_averages(self) -> None:
        """a ← a + (1 - momentum)(w - a); the first averages are the weights themselves."""
        done = self._updates_done()
        weights = self._trainable_variables
        torch._foreach_lerp_(self.averages, weights, 1 - self.ema_momentum if done else 1.0)
        if self.ema_overwrite_frequency and (done + 1) % self.ema_overwrite_frequency == 0:
            torch._foreach_copy_(weights, self.averages)

    def finalize_variable_values(self, var_list: Iterable[torch.Tensor]) -> None:
        """Where `use_ema` is set, give the variables their moving averages as values, unless they have them."""
        variables = list(var_list)
        if not (self.use_ema and variables):
            return
        if self._averages_are_in_place:
            self.restart_averages()
            return
        averages = [self.averages[self._get_variable_index(variable)] for variable in variables]
        with torch.no_grad():
            torch._foreach_copy_(variables, averages)

    def swap_averages(self) -> None:
        """Exchange the weights and their moving averages; done twice, all is as before."""
        if not self.averages:
            raise ValueError(
                f"Optimizer {self.name!r} has no moving averages: it needs `use_ema=True`, and must be built."
            )
        with torch.no_grad():
            weights = [weight.clone() for weight in self._trainable_variables]
            torch._foreach_copy_(self._trainable_variables, self.averages)
            torch._foreach_copy_(self.averages, weights)
        self._averages_are_in_place = not self._averages_are_in_place

    def restart_averages(self) -> None:
        """Let the moving averages be the weights as they are now."""
        with torch.no_grad():
            torch._foreach_copy_(self.averages, self._trainable_variables)
        self._averages_are_in_place = False

    def exclude_from_weight_decay(
        self, var_list: Iterable[torch.Tensor] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave these variables, and those with one of `var_names` (regular expressions) in their name, undecayed."""
        self._not_decayed = list(var_list or ())
        names = list(var_names or ())
        self._not_decayed_names = re.compile("|".join(names)) if names else None
        self._plans.clear()

    def _is_decayed(self, variable: torch.Tensor) -> bool:
        names, name = self._not_decayed_names, getattr(variable, "name", None) or ""
        return not any(variable is other for other in self._not_decayed) and not (names and names.search(name))

    def _chosen(self, count: int, variables: Iterable[torch.Tensor] | None) -> tuple[int, ...]:
        """The places of the variables that `count` gradients are for."""
        if variables is None:
            if not self.built:
                raise ValueError(
                    f"Optimizer {self.name!r} has no variables yet: call `optimizer.build(variables)` first, or "
                    "`optimizer.apply(grads, variables)`."
                )
            expected, chosen = len(self._all), self._all
        else:
            variables = list(variables)
            self.build(variables)
            expected = len(variables)
            if expected == len(self._all) and all(map(is_, variables, self._trainable_variables)):
                chosen = self._all
            else:
                chosen = tuple(map(self._get_variable_index, variables))
        if count != expected:
            raise ValueError(
                f"Expected one gradient for each of {expected} variables (None where there is none). "
                f"Received: {count} gradients"
            )
        return chosen

    def _get_variable_index(self, variable: torch.Tensor) -> int:
        place = self._positions.get(id(variable))
        if place is None:
            name = getattr(variable, "path", None) or f"of shape {tuple(variable.shape)}"
            raise ValueError(
                f"Optimizer {self.name!r} was built for other variables, not for {name!r}. Use a new optimizer for new "
                "variables, or compile the model again."
            )
        return place

    def _prepare(self, grads: list[Any], chosen: tuple[int, ...]) -> tuple[Plan, list[torch.Tensor]]:
        """The plan for the variables that have a gradient, and these gradients laid out as it expects them."""
        present = [(place, gradient) for place, gradient in zip(chosen, grads, strict=True) if gradient is not None]
        if not present:
            raise ValueError(
                "No gradients provided for any variable. Does the loss depend on the model's weights, and was "
                "`backward` called? With `model.compile()`, a `loss` is needed."
            )
        if len(present) < len(grads):
            missing = [place for place, gradient in zip(chosen, grads, strict=True) if gradient is None]
            names = [getattr(self._trainable_variables[place], "path", str(place)) for place in missing]
            warnings.warn(
                f"Gradients do not exist for variables {names}: the loss does not depend on them. They are left as "
                "they are.",
                stacklevel=3,
            )
        key = tuple(place for place, _ in present)
        weights = [self._trainable_variables[place] for place in key]
        if key not in self._plans or not self._plans[key].fits(weights):
            self._follow_weights()
            self._plans[key] = make_plan(
                weights,
                {name: [made[place] for place in key] for name, made in self._slots.items()},
                [self._accumulators[place] for place in key] if self._accumulators else [],
                [weight for weight in weights if self._is_decayed(weight)],
            )
        return self._plans[key], [
            like(gradient, weight) for (_, gradient), weight in zip(present, weights, strict=True)
        ]

    def _follow_weights(self) -> None:
        """Bring the slots to the device, number type and memory layout of weights that were moved (`model.to`)."""
        for made in (*self._slots.values(), self.averages, self._accumulators):
            for slot, weight in zip(made, self._trainable_variables, strict=False):
                if layout(slot) != layout(weight):
                    slot.data = torch.empty_like(weight, requires_grad=False).copy_(slot)


def _rate(value: Any) -> float:
    if isinstance(value, (bool, str)) or not isinstance(value, (Real, np.generic, np.ndarray, torch.Tensor)):
        raise ValueError(
            "learning_rate must be a number, a LearningRateSchedule or a function without arguments. "
            f"Received: {value!r}"
        )
    if float(value) < 0:
        raise ValueError(f"learning_rate must not be negative. Received: {value!r}")
    return float(value)


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (not isinstance(value, int) or value < least):
        raise ValueError(f"{name} must be an integer of at least {least} or None. Received: {value!r}")
