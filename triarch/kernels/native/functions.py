"""Activations of vectors, for intrinsics: within two units in the last place of the exact value.

Everything comes from `exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1)` with `x = n log 2 + r`, which loses nothing near 0. A
NaN stays one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from triarch.kernels.native.vectors import Emitter

Vector = Any


class Activation(NamedTuple):
    """A function of a vector, and its derivative where it gave a value, from that value."""

    apply: Callable[[Emitter, Vector], Vector]
    slope: Callable[[Emitter, Vector], Vector]


class _Format(NamedTuple):
    """Of floating-point numbers: bits, terms of the series of exp that they need, and exponents that they have."""

    bits: int
    mantissa: int
    bias: int
    terms: int
    largest: float  # argument of exp
    saturation: float  # from where on tanh is 1


_FORMATS = {4: _Format(32, 23, 127, 7, 87.0, 10.0), 8: _Format(64, 52, 1023, 13, 708.0, 20.0)}


def _unary(emitter: Emitter, name: str, vector: Vector) -> Vector:
    kind = f"llvm.{name}.v{emitter.lanes}f{8 * emitter.size}"
    function = cgutils.get_or_insert_function(
        emitter.builder.module, ir.FunctionType(emitter.type, [emitter.type]), kind
    )
    return emitter.builder.call(function, [vector])


def _exponential(emitter: Emitter, x: Vector) -> tuple[Vector, Vector]:
    """`2^n` and `exp(r) - 1`."""
    builder, form = emitter.builder, _FORMATS[emitter.size]
    n = _unary(emitter, "rint", builder.fmul(x, emitter.constant(1 / math.log(2))))
    # log 2 in two parts, the first with so few digits that n times it is exact.
    high = math.ldexp(math.floor(math.ldexp(math.log(2), form.mantissa // 2)), -(form.mantissa // 2))
    r = emitter.multiply_add(n, emitter.constant(-high), x)
    r = emitter.multiply_add(n, emitter.constant(-_log_2_beyond(high)), r)
    total = emitter.constant(1 / math.factorial(form.terms))
    for term in range(form.terms - 1, 1, -1):
        total = emitter.multiply_add(total, r, emitter.constant(1 / math.factorial(term)))
    less_one = emitter.multiply_add(builder.fmul(total, r), r, r)
    integers = ir.VectorType(ir.IntType(form.bits), emitter.lanes)
    exponent = builder.add(builder.fptosi(n, integers), ir.Constant(integers, [form.bias] * emitter.lanes))
    shift = ir.Constant(integers, [form.mantissa] * emitter.lanes)
    return builder.bitcast(builder.shl(exponent, shift), emitter.type), less_one


def _log_2_beyond(high: float) -> float:
    """What `log 2` has beyond its first digits."""
    return (0.693147180559945309417232 - high) + 2.319046813846299558e-17  # the double nearest to log 2, and the rest


def _at_most(emitter: Emitter, x: Vector, limit: float) -> Vector:
    bound = emitter.constant(limit)
    return emitter.builder.select(emitter.builder.fcmp_ordered(">", x, bound), bound, x)


def _at_least(emitter: Emitter, x: Vector, limit: float) -> Vector:
    bound = emitter.constant(limit)
    return emitter.builder.select(emitter.builder.fcmp_ordered("<", x, bound), bound, x)


def _tanh(emitter: Emitter, x: Vector) -> Vector:
    builder, limit = emitter.builder, _FORMATS[emitter.size].saturation
    size = _at_most(emitter, _unary(emitter, "fabs", x), limit)
    power, less_one = _exponential(emitter, builder.fadd(size, size))
    grown = emitter.multiply_add(power, less_one, builder.fsub(power, emitter.constant(1.0)))
    half = builder.fmul(grown, emitter.constant(0.5))
    quotient = builder.fdiv(half, builder.fadd(half, emitter.constant(1.0)))
    # h/(h + 1) = h - h h/(h + 1): near 0 the second form hides the rounding errors of the quotient.
    small = emitter.multiply_add(builder.fneg(half), quotient, half)
    is_small = builder.fcmp_ordered("<", half, emitter.constant(0.5))
    positive = builder.select(is_small, small, quotient)
    sign = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(emitter.type, [emitter.type] * 2),
        f"llvm.copysign.v{emitter.lanes}f{8 * emitter.size}",
    )
    return builder.call(sign, [positive, x])


def _sigmoid(emitter: Emitter, x: Vector) -> Vector:
    builder, limit = emitter.builder, _FORMATS[emitter.size].largest
    bounded = _at_most(emitter, _at_least(emitter, builder.fneg(x), -limit), limit)
    power, less_one = _exponential(emitter, bounded)
    one = emitter.constant(1.0)
    return builder.fdiv(one, builder.fadd(emitter.multiply_add(power, less_one, power), one))


def _inside(emitter: Emitter, y: Vector, low: float, high: float | None, slope: float) -> Vector:
    """The slope where `low < y < high`, else 0."""
    builder = emitter.builder
    is_inside = builder.fcmp_ordered(">", y, emitter.constant(low))
    if high is not None:
        is_inside = builder.and_(is_inside, builder.fcmp_ordered("<", y, emitter.constant(high)))
    return builder.select(is_inside, emitter.constant(slope), emitter.constant(0.0))


def _hard_sigmoid(emitter: Emitter, x: Vector) -> Vector:
    scaled = emitter.multiply_add(x, emitter.constant(1 / 6), emitter.constant(0.5))
    return _at_most(emitter, _at_least(emitter, scaled, 0.0), 1.0)


def _clamped(low: float, high: float) -> Activation:
    """What is below or above the limits is at them."""
    return Activation(
        lambda emitter, x: _at_most(emitter, _at_least(emitter, x, low), high),
        lambda emitter, y: _inside(emitter, y, low, high, 1.0),
    )


def _bent(emitter: Emitter, by: Vector, above: Vector, below: Vector) -> Vector:
    """One of two vectors, by the sign of a third; a NaN there takes the second."""
    return emitter.builder.select(emitter.builder.fcmp_ordered(">", by, emitter.constant(0.0)), above, below)


def _exponential_below_zero(scale: float, alpha: float) -> Activation:
    """`scale x`, and `scale alpha (exp(x) - 1)` below 0."""

    def apply(emitter: Emitter, x: Vector) -> Vector:
        builder, factor = emitter.builder, emitter.constant(scale)
        bounded = _at_most(emitter, _at_least(emitter, x, -_FORMATS[emitter.size].largest), 0.0)
        power, less_one = _exponential(emitter, bounded)
        grown = emitter.multiply_add(power, less_one, builder.fsub(power, emitter.constant(1.0)))
        below = builder.fmul(grown, emitter.constant(scale * alpha))
        return _bent(emitter, x, builder.fmul(x, factor), below)

    def slope(emitter: Emitter, y: Vector) -> Vector:
        below = emitter.builder.fadd(y, emitter.constant(scale * alpha))
        return _bent(emitter, y, emitter.constant(scale), below)

    return Activation(apply, slope)


def _leaking(slope: float) -> Activation:
    def apply(emitter: Emitter, x: Vector) -> Vector:
        return _bent(emitter, x, x, emitter.builder.fmul(x, emitter.constant(slope)))

    return Activation(apply, lambda emitter, y: _bent(emitter, y, emitter.constant(1.0), emitter.constant(slope)))


def _softsign(emitter: Emitter, x: Vector) -> Vector:
    size = _unary(emitter, "fabs", x)
    return emitter.builder.fdiv(x, emitter.builder.fadd(size, emitter.constant(1.0)))


def _softsign_slope(emitter: Emitter, y: Vector) -> Vector:
    rest = emitter.builder.fsub(emitter.constant(1.0), _unary(emitter, "fabs", y))
    return emitter.builder.fmul(rest, rest)


ACTIVATIONS = {
    "elu": _exponential_below_zero(1.0, 1.0),
    "hard_sigmoid": Activation(_hard_sigmoid, lambda emitter, y: _inside(emitter, y, 0.0, 1.0, 1 / 6)),
    "hard_tanh": _clamped(-1.0, 1.0),
    "leaky_relu": _leaking(0.2),
    "linear": Activation(lambda emitter, x: x, lambda emitter, y: emitter.constant(1.0)),
    "relu": Activation(
        lambda emitter, x: _at_least(emitter, x, 0.0), lambda emitter, y: _inside(emitter, y, 0.0, None, 1.0)
    ),
    "relu6": _clamped(0.0, 6.0),
    "selu": _exponential_below_zero(1.0507009873554805, 1.6732632423543772),
    "sigmoid": Activation(
        _sigmoid, lambda emitter, y: emitter.builder.fmul(y, emitter.builder.fsub(emitter.constant(1.0), y))
    ),
    "softsign": Activation(_softsign, _softsign_slope),
    "tanh": Activation(
        _tanh, lambda emitter, y: emitter.multiply_add(emitter.builder.fneg(y), y, emitter.constant(1.0))
    ),
}
