"""A graph between symbolic inputs and outputs as a list of steps, without symbols: this is computed and saved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from triarch.graph.structures import leaves, map_structure
from triarch.graph.symbolic import Node, SymbolicTensor


@dataclass(frozen=True)
class Slot:
    """Stands in a step's arguments for a tensor: the input or output of this number."""

    number: int


class Step(NamedTuple):
    """One call of an operation."""

    operation: Any
    args: tuple[Any, ...]  # nested, with slots
    kwargs: dict[str, Any]
    outputs: tuple[int, ...]  # their slots
    done_with: tuple[int, ...]  # slots that nobody reads afterwards

    @property
    def reads(self) -> list[int]:
        """The slots that it takes."""
        return [leaf.number for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Slot)]

    @property
    def is_plain(self) -> bool:
        """Whether it takes one tensor and gives one."""
        return len(self.args) == 1 and isinstance(self.args[0], Slot) and not self.kwargs and len(self.outputs) == 1


class Network:
    """A graph, laid out once: `run` computes it.

    Args:
        inputs: Nested symbolic tensors; what made them is no part of the graph.
        outputs: Nested symbolic tensors.

    Raises:
        ValueError: An output does not follow from the inputs alone, or two operations share a name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        entrances = leaves(inputs)
        nodes, operations = _arranged(entrances, leaves(outputs))
        self.operations = operations  # in Keras's order
        slot_of: dict[int, int] = {id(symbol): number for number, symbol in enumerate(entrances)}
        for symbol in (symbol for node in nodes for symbol in leaves(node.outputs)):
            slot_of.setdefault(id(symbol), len(slot_of))

        def slotted(leaf: Any) -> Any:
            return Slot(slot_of[id(leaf)]) if isinstance(leaf, SymbolicTensor) else leaf

        symbols = {id(symbol): symbol for symbol in entrances}
        symbols |= {id(symbol): symbol for node in nodes for symbol in leaves(node.outputs)}
        self.tensors = [(symbols[key].shape, symbols[key].dtype) for key in slot_of]  # of every slot
        self.inputs = map_structure(slotted, inputs)
        self.outputs = map_structure(slotted, outputs)
        given = {id(symbol) for symbol in entrances}
        spare = len(slot_of)  # for outputs of a call whose value is given
        self.steps = self.freeing(
            Step(
                node.operation,
                map_structure(slotted, node.args),
                map_structure(slotted, node.kwargs),
                tuple(spare if id(symbol) in given else slot_of[id(symbol)] for symbol in leaves(node.outputs)),
                (),
            )
            for node in nodes
        )

    def freeing(self, steps: Iterable[Step]) -> list[Step]:
        """The steps, each with the slots that nobody reads after it."""
        ordered = list(steps)
        last = {slot: place for place, step in enumerate(ordered) for slot in step.reads}
        for slot in leaves(self.outputs):
            last.pop(slot.number, None)
        done: defaultdict[int, list[int]] = defaultdict(list)
        for slot, place in last.items():
            done[place].append(slot)
        return [step._replace(done_with=tuple(done[place])) for place, step in enumerate(ordered)]

    def run(
        self, inputs: list[Any], call: Callable[..., Any] | None = None, steps: Sequence[Step] | None = None
    ) -> Any:
        """The nested outputs for tensors, or symbolic tensors, in the order of the leaves of the inputs.

        Args:
            call: Called as `call(operation, *args, **kwargs)` in the place of the operation.
            steps: Others that compute the same.
        """
        values: list[Any] = [*inputs, *(None,) * (len(self.tensors) + 1 - len(inputs))]
        for step in self.steps if steps is None else steps:
            if step.is_plain and call is None:
                values[step.outputs[0]] = step.operation(values[step.args[0].number])
            else:
                filled = [map_structure(_from(values), part) for part in (step.args, step.kwargs)]
                made = (call or _called)(step.operation, *filled[0], **filled[1])
                results = leaves(made)
                for number, result in zip(step.outputs, results, strict=True):
                    values[number] = result
            for number in step.done_with:
                values[number] = None
        return map_structure(_from(values), self.outputs)


def _called(operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return operation(*args, **kwargs)


def _from(values: list[Any]) -> Callable[[Any], Any]:
    return lambda leaf: values[leaf.number] if isinstance(leaf, Slot) else leaf


def _arranged(inputs: list[SymbolicTensor], outputs: list[SymbolicTensor]) -> tuple[list[Node], list[Any]]:
    """The nodes between, in an order of computation; and the operations, those of the inputs among them, in Keras's.

    Keras orders operations by their largest distance from the outputs, then by when a walk back from the outputs first
    meets them. Files count layers in this order.
    """
    found, between = _walk_back({id(symbol) for symbol in inputs}, outputs)
    first_met: dict[int, int] = {}
    for number, node in enumerate(found.values()):
        first_met.setdefault(id(node.operation), number)
    depth_of_node: dict[int, int] = {}
    depth_of_operation: dict[int, int] = {}
    for node in sorted(found.values(), key=lambda node: node.number, reverse=True):
        depth = max(depth_of_node.get(id(node), 0), depth_of_operation.get(id(node.operation), 0))
        depth_of_node[id(node)] = depth_of_operation[id(node.operation)] = depth
        if id(node) in between:
            for symbol in node.inputs:
                depth_of_node[id(symbol.node)] = max(depth_of_node.get(id(symbol.node), 0), depth + 1)
    operations = {id(node.operation): node.operation for node in found.values()}
    for symbol in inputs:  # those that no output needs may serve losses and metrics
        operation = symbol.node.operation  # type: ignore[union-attr]
        operations.setdefault(id(operation), operation)
    ordered = sorted(operations, key=lambda key: (-depth_of_operation.get(key, 0), first_met.get(key, -1)))
    counts = Counter(operations[key].name for key in ordered)
    for name, count in counts.items():
        if count > 1:
            raise ValueError(f"All layers of a model need names of their own. Received: {name!r} {count} times")
    return sorted(between.values(), key=lambda node: node.number), [operations[key] for key in ordered]


def _walk_back(entrances: set[int], outputs: list[SymbolicTensor]) -> tuple[dict[int, Node], dict[int, Node]]:
    """All nodes from the outputs back to the inputs, as a walk into the depth meets them; those that are computed."""
    found: dict[int, Node] = {}
    between: dict[int, Node] = {}
    pending = list(reversed(outputs))
    while pending:
        symbol = pending.pop()
        node, is_entrance = symbol.node, id(symbol) in entrances
        if node is None or not (node.inputs or is_entrance):
            raise ValueError(
                f"The outputs do not follow from the inputs alone: they need {symbol!r}, which is not one of them. "
                "Give it as an input of the model, too."
            )
        found.setdefault(id(node), node)
        if not is_entrance and id(node) not in between:
            between[id(node)] = node
            pending.extend(reversed(node.inputs))
    return found, between
