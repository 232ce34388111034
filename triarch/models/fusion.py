"""The steps of a graph with layers put together."""

from __future__ import annotations

from collections import Counter

from triarch.graph import Network, Slot, Step, leaves
from triarch.layers import Add, BatchNormalization
from triarch.layers.fusion import FusedNormalization, folds, is_rectifier, pads


def fused(network: Network) -> list[Step]:
    """The steps of a graph, with layers put together where nobody else reads what lies between them."""
    readers = Counter(slot for step in network.steps for slot in step.reads)
    readers.update(slot.number for slot in leaves(network.outputs))
    reader_of = {slot: place for place, step in enumerate(network.steps) for slot in step.reads}
    maker_of = {step.outputs[0]: place for place, step in enumerate(network.steps) if step.is_plain}
    steps: list[Step | None] = list(network.steps)

    def sole_reader(place: int) -> int | None:
        """The place of the only step that reads what a step gives, unless it is a part of another operation already."""
        slot = network.steps[place].outputs[0]
        following = reader_of.get(slot) if readers[slot] == 1 else None
        return following if following is not None and steps[following] is network.steps[following] else None

    for place, step in enumerate(network.steps):
        if type(step.operation) is not BatchNormalization or not step.is_plain:
            continue
        members, last, source = [place], place, step.args[0]
        convolution, addition, rectifier, padding = None, None, None, None
        other: tuple[Slot, ...] = ()
        before = maker_of.get(source.number)
        if (
            before is not None
            and sole_reader(before) == place
            and folds(network.steps[before].operation, step.operation)
        ):
            convolution, source = network.steps[before].operation, network.steps[before].args[0]
            members.append(before)
            first = maker_of.get(source.number)
            if first is not None and sole_reader(first) == before and pads(network.steps[first].operation, convolution):
                padding, source = network.steps[first].operation, network.steps[first].args[0]
                members.append(first)
        following = sole_reader(place)
        if following is not None and type(network.steps[following].operation) is Add:
            between, final = network.steps[following], sole_reader(following)
            others = [Slot(slot) for slot in between.reads if slot != step.outputs[0]]
            if len(between.reads) == 2 and len(others) == 1 and final is not None and _rectifies(network.steps[final]):
                addition, rectifier, other = between.operation, network.steps[final].operation, tuple(others)
                members, last = [*members, following, final], final
        elif following is not None and _rectifies(network.steps[following]):
            rectifier, last = network.steps[following].operation, following
            members.append(following)
        if len(members) > 1:
            for each in members:
                steps[each] = None
            operation = FusedNormalization(step.operation, convolution, addition, rectifier, padding)
            steps[last] = Step(operation, (source, *other), {}, network.steps[last].outputs, ())
    return network.freeing(step for step in steps if step is not None)


def _rectifies(step: Step) -> bool:
    return step.is_plain and is_rectifier(step.operation)
