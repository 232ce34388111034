"""What all optimizers share: from gradients to one update of the weights, and the state that belongs to it.

An optimizer is a rule over lists of tensors (`Optimizer.rule`). What the rule works on - which weights go together,
with which slots - is decided once for a set of variables, in a `Plan`; a step then has no work per variable in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from triarch import registry
from triarch.optimizers.averages import Averages
from triarch.optimizers.clipping import ClippingLimit
from triarch.optimizers.constrained import apply_constraints
from triarch.optimizers.plan import Group, Plan, Planner, Step, Tensors
from triarch.optimizers.rates import Rate, checked_number, is_function
from triarch.optimizers.schedules import LearningRateSchedule
from triarch.optimizers.state import State
from triarch.serialization import Configurable, config_names, serialize_keras_object
from triarch.variable import Variable

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

    clipnorm = ClippingLimit()
    clipvalue = ClippingLimit()
    global_clipnorm = ClippingLimit()
    clip: Callable[[Tensors], Tensors] | None

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

        self.averages: Averages | None = None
        self._trainable_variables: Tensors = []
        self._slots: dict[str, Tensors] = {}
        self._accumulators: Tensors = []
        self._planner = Planner(self.name)
        self._iterations = self._track(torch.zeros((), dtype=torch.int32), "iteration")
        self._rate = Rate(
            learning_rate
            if is_function(learning_rate)
            else self._track(torch.tensor(checked_number(learning_rate)), "learning_rate")
        )

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
        place = self._planner.place_of(variable)
        slots = {name: [variables[place]] for name, variables in self._slots.items()}
        self.rule([variable], [gradient], float(learning_rate), self._updates_done() + 1, slots)

    def _step_for(self, is_fusible: bool) -> Step:
        """The way in which a group is updated, asked for when a plan is made; `is_fusible` see `Planner.find`."""
        is_own = type(self).update_step is not Optimizer.update_step
        return Optimizer._update_one_by_one if is_own else Optimizer._follow_rule

    def _follow_rule(self, group: Group, g: Tensors, lr: float, t: int) -> None:
        self.rule(group.weights, g, lr, t, group.slots)

    def _update_one_by_one(self, group: Group, g: Tensors, lr: float, t: int) -> None:
        for weight, gradient in zip(group.weights, g, strict=True):
            self.update_step(gradient, weight, self.learning_rate)

    def build(self, variables: Iterable[torch.Tensor]) -> None:
        """Make the state for `variables`, the only ones that this optimizer will then update."""
        if self.built:
            return
        weights = self._trainable_variables = list(variables)
        if self.use_ema:
            self.averages = Averages(weights, self.add_optimizer_variables(weights, "average"))
        if self.gradient_accumulation_steps:
            self._accumulators = self.add_optimizer_variables(weights, "gradient_accumulator")
        for names in self.slot_names():
            made = self.add_optimizer_variables(weights, names, [self.initial_value(name) for name in names])
            self._slots.update(zip(names, made, strict=True))
        averages = self.averages.values if self.averages else []
        self._planner.start(weights, self._slots, self._accumulators, averages)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        arguments = super().get_config() | {"learning_rate": serialize_keras_object(self._rate.argument)}
        return {key: arguments.pop(key) for key in _CONFIG_HEAD} | arguments

    def __repr__(self) -> str:
        cls: type = type(self)
        names = dict.fromkeys((*_CONFIG_HEAD, *config_names(cls)))
        arguments = {name: getattr(self, name) for name in names if hasattr(self, name)} | {
            "learning_rate": self._rate.argument
        }
        shown = (f"{name}={getattr(value, '__name__', repr(value))}" for name, value in arguments.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def iterations(self) -> torch.Tensor:
        """How many updates were made: a 0-d integer on the CPU."""
        steps = self.gradient_accumulation_steps
        return self._iterations // steps if steps else self._iterations

    def next_update(self) -> tuple[float, int]:
        """The learning rate and the number, from 1, of the update that comes next."""
        return self._rate.at(self._iterations), self._updates_done() + 1

    def slots_of(self, variables: Iterable[torch.Tensor]) -> dict[str, Tensors]:
        """The state that is kept for each of these variables, by the names of `slot_names`."""
        places = [self._planner.place_of(variable) for variable in variables]
        return {name: [made[place] for place in places] for name, made in self._slots.items()}

    def _updates_done(self) -> int:
        return int(self._iterations) // (self.gradient_accumulation_steps or 1)

    @property
    def learning_rate(self) -> torch.Tensor:
        """The present learning rate: a variable on the CPU, or the present value of the schedule."""
        source = self._learning_rate
        return source if isinstance(source, Variable) else torch.tensor(self._rate.at(self._iterations))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if is_function(value):
            self._variables = [variable for variable in self._variables if variable is not self._learning_rate]
            self._rate = Rate(value)
        else:
            self._rate.assign(value)

    @property
    def _learning_rate(self) -> Variable | LearningRateSchedule | Callable[[], Any]:
        """Where Keras's users look whether there is a schedule."""
        return self._rate.source

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
        variables = None if trainable_variables is None else list(trainable_variables)
        if variables is not None:
            self.build(variables)
        elif not self.built:
            raise ValueError(
                f"Optimizer {self.name!r} has no variables yet: call `optimizer.build(variables)` first, or "
                "`optimizer.apply(grads, variables)`."
            )
        plan, grads = self._planner.find(grads, variables, self._step_for)
        with torch.no_grad():
            if self.loss_scale_factor is not None:
                grads = list(torch._foreach_div(grads, self.loss_scale_factor))
            if self.gradient_accumulation_steps:
                self._accumulate(plan, grads)
            else:
                self._update(plan, grads)
            if self.averages is not None:
                self.averages.update(self._updates_done(), self.ema_momentum, self.ema_overwrite_frequency)
            if plan.constrained:
                apply_constraints(plan.constrained)
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
        if self.clip is not None:
            grads = self.clip(grads)
        lr, t = self.next_update()
        self.advance(t)
        for group in plan.groups:
            rate = lr * group.factor
            if self.weight_decay is not None and group.decayed:
                torch._foreach_mul_(group.decayed, 1 - self.weight_decay * rate)
            group.step(self, group, group.own(grads), rate, t)

    def finalize_variable_values(self, var_list: Iterable[torch.Tensor]) -> None:
        """Where `use_ema` is set, give the variables their moving averages as values, unless they have them."""
        places = [self._planner.place_of(variable) for variable in var_list] if self.use_ema else []
        if places and self.averages is not None:
            self.averages.finalize(places)

    @property
    def averages_are_in_place(self) -> bool:
        """Whether the weights are exchanged for their moving averages at present."""
        return self.averages is not None and self.averages.are_in_place

    def swap_averages(self) -> None:
        """Exchange the weights and their moving averages; done twice, all is as before."""
        if self.averages is None:
            raise ValueError(
                f"Optimizer {self.name!r} has no moving averages: it needs `use_ema=True`, and must be built."
            )
        self.averages.swap()

    def exclude_from_weight_decay(
        self, var_list: Iterable[torch.Tensor] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave these variables, and those with one of `var_names` (regular expressions) in their name, undecayed."""
        self._planner.exclude_from_decay(var_list or (), var_names or ())

    def _get_variable_index(self, variable: torch.Tensor) -> int:
        """The place of a variable: what optimizers written for Keras ask."""
        return self._planner.place_of(variable)


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (not isinstance(value, int) or value < least):
        raise ValueError(f"{name} must be an integer of at least {least} or None. Received: {value!r}")
