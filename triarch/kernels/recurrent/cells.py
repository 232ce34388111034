"""One step of each cell for a vector of units of one series, forward and backward, for kernels.

Legend: φ and σ the activations, P the projected input and U h the recurrent product of each gate, ′ for gradients.
Blocks of gates lie `held` numbers apart, in Keras's order.

    simple   h_t = φ(P + U h)
    lstm     i, f, o = σ(P + U h)    C̃ = φ(P + U h)    C_t = f C + i C̃    h_t = o φ(C_t)
    gru      z, r = σ(P + U h)       h̃ = φ(P + r (U h + b))               h_t = z h + (1 - z) h̃
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from triarch.kernels.native.functions import ACTIVATIONS, Activation
from triarch.kernels.native.vectors import INTEGER, Emitter, emitting

Pointer = Any
Vector = Any


class _Step:
    """Where the numbers of a step lie, and the instructions that its equations are made of."""

    def __init__(self, emitter: Emitter, phi: str, sigma: str, held: Any, **places: Pointer) -> None:
        self.emitter, self.held, self.places = emitter, held, places
        self.phi: Activation = ACTIVATIONS[phi]
        self.sigma: Activation = ACTIVATIONS[sigma]
        self.add, self.subtract = emitter.builder.fadd, emitter.builder.fsub
        self.one = emitter.constant(1.0)

    def multiply(self, *factors: Vector) -> Vector:
        product, *others = factors
        for factor in others:
            product = self.emitter.builder.fmul(product, factor)
        return product

    def load(self, name: str, gate: int = 0) -> Vector:
        return self.emitter.load(self._place(name, gate))

    def store(self, vector: Vector, name: str, gate: int = 0) -> None:
        self.emitter.store(vector, self._place(name, gate))

    def _place(self, name: str, gate: int) -> Pointer:
        place = self.places[name]
        return self.emitter.moved(place, self.emitter.builder.mul(self.held, INTEGER(gate))) if gate else place

    def open(self, gate: int, activation: Activation) -> Vector:
        """A gate, which is written down."""
        value = activation.apply(self.emitter, self.load("products", gate))
        self.store(value, "gates", gate)
        return value

    def show(self, h: Vector) -> None:
        self.store(h, "h")
        self.store(h, "outputs")

    def slope(self, activation: Activation, value: Vector) -> Vector:
        return activation.slope(self.emitter, value)

    def arriving(self) -> Vector:
        """The gradient of the output: from the step after it, and from those who saw the output."""
        return self.add(self.load("h_gradient"), self.load("output_gradient"))

    def leave(self, gradient: Vector, gate: int, recurrent: Vector | None = None) -> None:
        """Write the gradient of a gate's projected input, and that of its recurrent product if it is another."""
        self.store(gradient, "gate_gradient", gate)
        self.store(gradient if recurrent is None else recurrent, "product_gradient", gate)


def _simple(step: _Step) -> None:
    step.show(step.open(0, step.phi))


def _simple_gradient(step: _Step) -> None:
    y = step.load("gates")
    step.leave(step.multiply(step.arriving(), step.slope(step.phi, y)), 0)
    step.store(step.emitter.constant(0.0), "h_gradient")


def _lstm(step: _Step) -> None:
    i, f = step.open(0, step.sigma), step.open(1, step.sigma)
    candidate = step.open(2, step.phi)
    step.open(3, step.sigma)
    c = step.emitter.multiply_add(f, step.load("c"), step.multiply(i, candidate))
    step.store(c, "c")
    step.store(c, "memory")


def _lstm_output(step: _Step) -> None:
    step.show(step.multiply(step.load("gates", 3), step.phi.apply(step.emitter, step.load("c"))))


def _lstm_gradient(step: _Step) -> None:
    i, f, candidate, o = (step.load("gates", gate) for gate in range(4))
    h_gradient, shown = step.arriving(), step.phi.apply(step.emitter, step.load("memory"))
    c_gradient = step.add(step.load("c_gradient"), step.multiply(h_gradient, o, step.slope(step.phi, shown)))
    step.leave(step.multiply(c_gradient, candidate, step.slope(step.sigma, i)), 0)
    step.leave(step.multiply(c_gradient, step.load("previous"), step.slope(step.sigma, f)), 1)
    step.leave(step.multiply(c_gradient, i, step.slope(step.phi, candidate)), 2)
    step.leave(step.multiply(h_gradient, shown, step.slope(step.sigma, o)), 3)
    step.store(step.multiply(c_gradient, f), "c_gradient")
    step.store(step.emitter.constant(0.0), "h_gradient")


def _gru(step: _Step) -> None:
    step.open(0, step.sigma)
    step.open(1, step.sigma)


def _gru_output(step: _Step) -> None:
    z, r, product = step.load("gates", 0), step.load("gates", 1), step.load("products", 3)
    step.store(product, "memory")
    candidate = step.phi.apply(step.emitter, step.emitter.multiply_add(r, product, step.load("products", 2)))
    step.store(candidate, "gates", 2)
    step.show(step.emitter.multiply_add(z, step.subtract(step.load("h"), candidate), candidate))


def _gru_gradient(step: _Step) -> None:
    z, r, candidate = (step.load("gates", gate) for gate in range(3))
    h_gradient = step.arriving()
    inner = step.multiply(h_gradient, step.subtract(step.one, z), step.slope(step.phi, candidate))
    change = step.subtract(step.load("previous"), candidate)
    step.leave(step.multiply(h_gradient, change, step.slope(step.sigma, z)), 0)
    step.leave(step.multiply(inner, step.load("memory"), step.slope(step.sigma, r)), 1)
    recurrent = step.multiply(inner, r)
    step.leave(inner, 2, recurrent)
    step.store(recurrent, "extra_gradient")
    step.store(step.multiply(h_gradient, z), "h_gradient")


class Equations(NamedTuple):
    """Of a cell: forward in phases, and backward.

    An activation is a long chain of instructions, each of which waits for the one before it. A phase has no activation
    of another's value: so a processor can have the chains of several vectors under way.
    """

    forward: tuple[Callable[[_Step], None], ...]
    backward: Callable[[_Step], None]


_EQUATIONS = {
    "simple": Equations((_simple,), _simple_gradient),
    "lstm": Equations((_lstm, _lstm_output), _lstm_gradient),
    "gru": Equations((_gru, _gru_output), _gru_gradient),
}
PHASES = {kind: len(equations.forward) for kind, equations in _EQUATIONS.items()}


def _emitting_step(
    equations: Callable[[_Step], None], dtype: Any, phi: Any, sigma: Any, names: Sequence[str]
) -> Callable[..., Any]:
    """What writes the instructions of a step whose arguments, behind what is constant and `held`, have these names."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        held, *pointers = arguments[-len(names) - 1 :]
        places = dict(zip(names, pointers, strict=True))
        equations(_Step(Emitter(builder, dtype), phi.literal_value, sigma.literal_value, held, **places))
        return context.get_dummy_value()

    return emit


@emitting
def advance(
    typing_context, cell, phase, phi, sigma, held, gates, products, h, c, outputs, memory
):  # fmt: skip
    """Take a step, or a phase of it.

    Args:
        gates: Gets the gates; may be the products.
        products: P + U h of each gate; of a GRU's candidate P, and then U h + b.
        h, c: The states before the step, then those after it.
        outputs: Gets h.
        memory: Gets what the backward step needs beside the gates: C_t; of a GRU the product for the candidate.
    """
    pointers = (gates, products, h, c, outputs, memory)
    signature = types.void(cell, phase, phi, sigma, types.int64, *pointers)
    names = ("gates", "products", "h", "c", "outputs", "memory")
    return signature, _emitting_step(
        _EQUATIONS[cell.literal_value].forward[phase.literal_value], gates.dtype, phi, sigma, names
    )


@emitting
def retreat(
    typing_context, cell, phi, sigma, held, gates, memory, previous, output_gradient,
    h_gradient, c_gradient, gate_gradient, product_gradient, extra_gradient,
):  # fmt: skip
    """Take a step back.

    Args:
        gates, memory: As the step forward left them.
        previous: The state before that step: C of an LSTM, h of a GRU.
        output_gradient: Of the output of this step.
        h_gradient, c_gradient: Of the states after the step, then of those before it; what comes by way of the products
            U h is not in it yet.
        gate_gradient: Gets the gradients of the projected inputs.
        product_gradient: Gets those of the products U h.
        extra_gradient: Of a GRU gets that of the product for the candidate once more.
    """
    pointers = (
        gates, memory, previous, output_gradient, h_gradient, c_gradient, gate_gradient, product_gradient,
        extra_gradient,
    )  # fmt: skip
    signature = types.void(cell, phi, sigma, types.int64, *pointers)
    names = (
        *("gates", "memory", "previous", "output_gradient", "h_gradient", "c_gradient"),
        *("gate_gradient", "product_gradient", "extra_gradient"),
    )
    return signature, _emitting_step(_EQUATIONS[cell.literal_value].backward, gates.dtype, phi, sigma, names)
