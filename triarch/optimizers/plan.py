"""Which variables an update treats together: decided once for a set of variables, then only looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Tensors: TypeAlias = list[Any]  # of tensors; torch's stubs refuse a list of a subclass of Tensor


@dataclass
class Group:
    """Variables of one number type on one device, with their slots: the lists that a rule takes."""

    positions: list[int]  # of the gradients, among those given
    weights: Tensors
    slots: dict[str, Tensors]
    is_fusible: bool  # floats on a CPU or CUDA device, every slot in memory exactly as its weight
    clocks: Tensors  # for kernels that want the number of the update on the device: one tensor, repeated


@dataclass
class Plan:
    """Everything that a step over certain variables needs to know."""

    weights: Tensors
    strides: list[tuple[int, ...]]
    layouts: list[tuple[Any, ...]]
    groups: list[Group]
    decayed: Tensors
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


def make_plan(weights: Tensors, slots: dict[str, Tensors], accumulators: Tensors, decayed: Tensors) -> Plan:
    """The plan for `weights`; slots and accumulators are given in the same order."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for position, weight in enumerate(weights):
        kinds.setdefault((weight.dtype, weight.device), []).append(position)
    return Plan(
        weights=weights,
        strides=[weight.stride() for weight in weights],
        layouts=list(map(layout, weights)),
        groups=[_make_group(positions, weights, slots) for positions in kinds.values()],
        decayed=decayed,
        constrained=[weight for weight in weights if getattr(weight, "constraint", None) is not None],
        accumulators=accumulators,
    )


def _make_group(positions: list[int], weights: Tensors, slots: dict[str, Tensors]) -> Group:
    members = [weights[position] for position in positions]
    chosen = {name: [made[position] for position in positions] for name, made in slots.items()}
    first = members[0]
    is_fusible = (
        first.is_floating_point()
        and first.device.type in ("cpu", "cuda")
        and all(list(map(layout, made)) == list(map(layout, members)) for made in chosen.values())
    )
    clock = torch.zeros((), dtype=torch.float32, device=first.device)
    return Group(positions, members, chosen, is_fusible, [clock] * len(members))
