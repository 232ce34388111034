"""Which variables an update treats together, and how: decided once for a set of variables, then only looked up."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import is_
from typing import Any, TypeAlias

import torch

Tensors: TypeAlias = list[Any]  # of tensors; torch's stubs refuse a list of a subclass of Tensor

# (optimizer, group, gradients, learning rate, number of the update). A function, no bound method, so that plans do not
# hold their optimizer.
Step: TypeAlias = Callable[[Any, "Group", Tensors, float, int], None]

_TENSORS = {torch.Tensor}


@dataclass
class Group:
    """Variables of one number type on one device, with their slots: the lists that a rule takes."""

    positions: list[int] | None  # of the gradients, among those given; None for all of them
    weights: Tensors
    slots: dict[str, Tensors]
    step: Step
    clocks: Tensors  # for kernels that want the number of the update on the device: one tensor, repeated
    factor: float  # of the learning rate
    decayed: Tensors

    def own(self, grads: Tensors) -> Tensors:
        """The gradients of this group's variables."""
        return grads if self.positions is None else [grads[position] for position in self.positions]


@dataclass
class Plan:
    """Everything that a step over certain variables needs to know."""

    weights: Tensors
    strides: list[tuple[int, ...]]
    layouts: list[tuple[Any, ...]]
    groups: list[Group]
    constrained: Tensors
    accumulators: Tensors

    def fits(self, grads: Tensors) -> bool:
        """Whether the weights still lie in memory as they did, and these gradients as the weights do."""
        return list(map(layout, grads)) == self.layouts and [w.stride() for w in self.weights] == self.strides


def layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What must be the same for a weight and its gradient: shape, strides, number type, device."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def like(gradient: Any, weight: torch.Tensor) -> torch.Tensor:
    """`gradient` as a tensor laid out as `weight` is (fused kernels take that for granted)."""
    gradient = torch.as_tensor(gradient).detach()
    if gradient.shape != weight.shape:
        raise ValueError(
            f"A gradient must have the shape of its variable {getattr(weight, 'path', '')!r}, {tuple(weight.shape)}. "
            f"Received: {tuple(gradient.shape)}"
        )
    if layout(gradient) == layout(weight):
        return gradient
    return torch.empty_like(weight, requires_grad=False).copy_(gradient)


class Planner:
    """Finds the plan for the variables of a step, and makes it where there is none that fits.

    Args:
        name: The optimizer's, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._weights: Tensors = []
        self._slots: dict[str, Tensors] = {}
        self._accumulators: Tensors = []
        self._averages: Tensors = []
        self._all: tuple[int, ...] = ()
        self._places: dict[int, int] = {}  # id of a variable -> its place
        self._plans: dict[tuple[int, ...], Plan] = {}
        self._not_decayed: Tensors = []
        self._not_decayed_names: re.Pattern[str] | None = None

    def start(self, weights: Tensors, slots: dict[str, Tensors], accumulators: Tensors, averages: Tensors) -> None:
        """Take the variables to plan for, with the state made for them in the same order."""
        self._weights, self._slots, self._accumulators, self._averages = weights, slots, accumulators, averages
        self._all = tuple(range(len(weights)))
        self._places = {id(weight): place for place, weight in enumerate(weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After a copy or unpickling: the copied variables have new ids."""
        self.__dict__.update(state)
        self._places = {id(weight): place for place, weight in enumerate(self._weights)}

    def exclude_from_decay(self, variables: Iterable[torch.Tensor], names: Iterable[str]) -> None:
        """Plan no weight decay for these variables, nor for those with one of the regular expressions in their name."""
        self._not_decayed = list(variables)
        names = list(names)
        self._not_decayed_names = re.compile("|".join(names)) if names else None
        self._plans.clear()

    def place_of(self, variable: torch.Tensor) -> int:
        """The place of a variable among those of `start`."""
        place = self._places.get(id(variable))
        if place is None:
            name = getattr(variable, "path", None) or f"of shape {tuple(variable.shape)}"
            raise ValueError(
                f"Optimizer {self.name!r} was built for other variables, not for {name!r}. Use a new optimizer for new "
                "variables, or compile the model again."
            )
        return place

    def find(
        self, grads: Tensors, variables: Tensors | None, step_for: Callable[[bool], Step]
    ) -> tuple[Plan, list[torch.Tensor]]:
        """The plan for the variables (None for all) that have a gradient, and these gradients as it expects them.

        `step_for(is_fusible)` gives the step of a group; fusible are floats on a CPU or CUDA device, with every slot in
        memory exactly as its weight.
        """
        chosen = self._chosen(len(grads), variables)
        plan = self._plans.get(chosen)
        if plan is None or set(map(type, grads)) != _TENSORS or not plan.fits(grads):
            return self._prepare(grads, chosen, step_for)
        return plan, grads

    def _chosen(self, count: int, variables: Tensors | None) -> tuple[int, ...]:
        """The places of the variables that `count` gradients are for."""
        if variables is None or (len(variables) == len(self._all) and all(map(is_, variables, self._weights))):
            chosen = self._all
        else:
            chosen = tuple(map(self.place_of, variables))
        if count != len(chosen):
            raise ValueError(
                f"Expected one gradient for each of {len(chosen)} variables (None where there is none). "
                f"Received: {count} gradients"
            )
        return chosen

    def _prepare(
        self, grads: Tensors, chosen: tuple[int, ...], step_for: Callable[[bool], Step]
    ) -> tuple[Plan, list[torch.Tensor]]:
        present = [(place, gradient) for place, gradient in zip(chosen, grads, strict=True) if gradient is not None]
        if not present:
            raise ValueError(
                "No gradients provided for any variable. Does the loss depend on the model's weights, and was "
                "`backward` called? With `model.compile()`, a `loss` is needed."
            )
        if len(present) < len(grads):
            missing = [place for place, gradient in zip(chosen, grads, strict=True) if gradient is None]
            names = [getattr(self._weights[place], "path", str(place)) for place in missing]
            warnings.warn(
                f"Gradients do not exist for variables {names}: the loss does not depend on them. They are left as "
                "they are.",
                stacklevel=4,
            )
        key = tuple(place for place, _ in present)
        weights = [self._weights[place] for place in key]
        if key not in self._plans or not self._plans[key].fits(weights):
            self._follow_weights()
            self._plans[key] = self._make_plan(key, step_for)
        return self._plans[key], [
            like(gradient, weight) for (_, gradient), weight in zip(present, weights, strict=True)
        ]

    def _follow_weights(self) -> None:
        """Bring the state to the device, number type and memory layout of weights that were moved (`model.to`)."""
        for made in (*self._slots.values(), self._averages, self._accumulators):
            for slot, weight in zip(made, self._weights, strict=False):
                if layout(slot) != layout(weight):
                    slot.data = torch.empty_like(weight, requires_grad=False).copy_(slot)

    def _make_plan(self, key: tuple[int, ...], step_for: Callable[[bool], Step]) -> Plan:
        weights = [self._weights[place] for place in key]
        slots = {name: [made[place] for place in key] for name, made in self._slots.items()}
        kinds: dict[tuple[torch.dtype, torch.device, float], list[int]] = {}
        for position, weight in enumerate(weights):
            kinds.setdefault((weight.dtype, weight.device, rate_factor(weight)), []).append(position)
        return Plan(
            weights=weights,
            strides=[weight.stride() for weight in weights],
            layouts=list(map(layout, weights)),
            groups=[self._make_group(positions, weights, slots, step_for) for positions in kinds.values()],
            constrained=[weight for weight in weights if getattr(weight, "constraint", None) is not None],
            accumulators=[self._accumulators[place] for place in key] if self._accumulators else [],
        )

    def _is_decayed(self, variable: torch.Tensor) -> bool:
        names, name = self._not_decayed_names, getattr(variable, "name", None) or ""
        return not any(variable is other for other in self._not_decayed) and not (names and names.search(name))

    def _make_group(
        self, positions: list[int], weights: Tensors, slots: dict[str, Tensors], step_for: Callable[[bool], Step]
    ) -> Group:
        members = [weights[position] for position in positions]
        chosen = {name: [made[position] for position in positions] for name, made in slots.items()}
        first = members[0]
        is_fusible = (
            first.is_floating_point()
            and first.device.type in ("cpu", "cuda")
            and all(list(map(layout, made)) == list(map(layout, members)) for made in chosen.values())
        )
        clock = torch.zeros((), dtype=torch.float32, device=first.device)
        return Group(
            positions=positions if len(members) < len(weights) else None,
            weights=members,
            slots=chosen,
            step=step_for(is_fusible),
            clocks=[clock] * len(members),
            factor=rate_factor(first),
            decayed=[weight for weight in members if self._is_decayed(weight)],
        )


def rate_factor(variable: torch.Tensor) -> float:
    """What the learning rate of a variable is multiplied with; layers set it."""
    return getattr(variable, "learning_rate_factor", 1.0)
