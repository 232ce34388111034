"""Which variables an update treats together: decided once for a set of variables, then only looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from triarch.variable import Variable

Tensors = Sequence[torch.Tensor]


@dataclass
class Group:
    """Variables of one number type on one device, with their slots: the lists that a rule takes."""

    positions: list[int]  # of the gradients, among those given
    weights: list[torch.Tensor]
    slots: dict[str, list[Variable]]
    is_fusible: bool  # floats on a CPU or CUDA device, every slot in memory exactly as its weight
    clocks: list[torch.Tensor]  # for kernels that want the number of the update on the device: one tensor, repeated


@dataclass
class Plan:
    """Everything that a step over certain variables needs to know."""

    layouts: list[tuple[Any, ...]]
    groups: list[Group]
    decayed: list[torch.Tensor]
    constrained: list[torch.Tensor]
    accumulators: list[Variable]


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


def make_plan(
    weights: list[torch.Tensor],
    slots: dict[str, list[Variable]],
    accumulators: list[Variable],
    decayed: list[torch.Tensor],
) -> Plan:
    """The plan for `weights`; slots and accumulators are given in the same order."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for position, weight in enumerate(weights):
        kinds.setdefault((weight.dtype, weight.device), []).append(position)
    return Plan(
        layouts=list(map(layout, weights)),
        groups=[_make_group(positions, weights, slots) for positions in kinds.values()],
        decayed=decayed,
        constrained=[weight for weight in weights if getattr(weight, "constraint", None) is not None],
        accumulators=accumulators,
    )


def _make_group(positions: list[int], weights: list[torch.Tensor], slots: dict[str, list[Variable]]) -> Group:
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
