"""Bilinear sampling in vector registers: of as many places as a register has lanes, or of four channels of a place.

Two neighbouring pixels are one load. Between them: `a + t (b - a)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.native.vectors import INTEGER, Emitter, emitting
from triarch.kernels.sampling.four import INDEX, Four, lanes


class _Places:
    """What lies around as many places as there are lanes: the upper two pixels, and the lower two."""

    def __init__(self, builder: ir.IRBuilder, arguments: Sequence[Any], dtype: types.Float) -> None:
        plane, pitch, offsets, t_x, t_y = arguments
        self.builder, self.emitter = builder, Emitter(builder, dtype)
        self.pair = ir.VectorType(self.emitter.real, 2)
        upper, lower = [], []
        for lane in range(self.emitter.lanes):
            offset = builder.sext(builder.load(builder.gep(offsets, [INTEGER(lane)])), INTEGER)
            first = self.emitter.moved(plane, offset)
            upper.append(self._pair_at(first))
            lower.append(self._pair_at(self.emitter.moved(first, pitch)))
        self.upper_left, self.upper_right = self._split(upper)
        self.lower_left, self.lower_right = self._split(lower)
        self.t_x, self.t_y = self.emitter.load(t_x), self.emitter.load(t_y)

    def _pair_at(self, pointer: Any) -> Any:
        return self.builder.load(self.builder.bitcast(pointer, self.pair.as_pointer()), align=self.emitter.size)

    def _split(self, pairs: list[Any]) -> tuple[Any, Any]:
        """The first numbers of pairs, and the second ones."""
        while len(pairs) > 2:
            both = lanes(range(2 * pairs[0].type.count))
            pairs = [self.builder.shuffle_vector(*pairs[at : at + 2], both) for at in range(0, len(pairs), 2)]
        first, second = (
            self.builder.shuffle_vector(*pairs, lanes(range(side, 2 * self.emitter.lanes, 2))) for side in (0, 1)
        )
        return first, second

    def between(self, first: Any, second: Any, part: Any) -> Any:
        return self.emitter.multiply_add(part, self.builder.fsub(second, first), first)


@emitting
def sample_lanes(typing_context, plane, pitch, offsets, t_x, t_y, target):
    """The numbers of a plane with single channels at a vector of places.

    Args:
        pitch: Numbers from row to row.
        offsets: Of the pixel before each place, int32.
        t_x, t_y: The parts of the way to the next pixels.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Places(builder, arguments[:5], plane.dtype)
        upper = own.between(own.upper_left, own.upper_right, own.t_x)
        lower = own.between(own.lower_left, own.lower_right, own.t_x)
        own.emitter.store(own.between(upper, lower, own.t_y), arguments[5])
        return context.get_dummy_value()

    return types.void(plane, types.int64, offsets, t_x, t_y, target), emit


@emitting
def slope_lanes(typing_context, plane, pitch, offsets, t_x, t_y, along_x, along_y):
    """The slopes of `sample_lanes` along both axes."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Places(builder, arguments[:5], plane.dtype)
        across = [
            builder.fsub(own.upper_right, own.upper_left), builder.fsub(own.lower_right, own.lower_left)
        ]  # fmt: skip
        down = [
            builder.fsub(own.lower_left, own.upper_left), builder.fsub(own.lower_right, own.upper_right)
        ]  # fmt: skip
        own.emitter.store(own.between(across[0], across[1], own.t_y), arguments[5])
        own.emitter.store(own.between(down[0], down[1], own.t_x), arguments[6])
        return context.get_dummy_value()

    return types.void(plane, types.int64, offsets, t_x, t_y, along_x, along_y), emit


@emitting
def spread_lanes(typing_context, pairs, pitch, offsets, t_x, t_y, given):
    """Add gradients at a vector of places to a plane of pairs: the adjoint of `sample_lanes`.

    A pair is what two neighbouring pixels are given, and lies where the left one does: so places next to each other
    write to different pairs, and none waits for another's sum. Places that are not finite give nothing.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, given.dtype)
        pairs, pitch, offsets = arguments[:3]
        across, down, own = map(emitter.load, arguments[3:])
        both = builder.fadd(across, down)
        is_place, nothing = builder.fcmp_ordered("ord", both, both), emitter.constant(0.0)
        across, down, own = (builder.select(is_place, vector, nothing) for vector in (across, down, own))
        lower = builder.fmul(own, down)
        below = builder.mul(pitch, INTEGER(2))
        rows = []
        for half in (builder.fsub(own, lower), lower):
            right = builder.fmul(half, across)
            rows.append((builder.fsub(half, right), right))
        for lane in range(emitter.lanes):
            offset = builder.sext(builder.load(builder.gep(offsets, [INTEGER(lane)])), INTEGER)
            target = emitter.moved(pairs, builder.mul(offset, INTEGER(2)))
            for (left, right), pointer in zip(rows, (target, emitter.moved(target, below)), strict=True):
                own_pair = builder.shuffle_vector(left, right, lanes([lane, emitter.lanes + lane]))
                place = builder.bitcast(pointer, own_pair.type.as_pointer())
                total = builder.fadd(builder.load(place, align=emitter.size), own_pair)
                builder.store(total, place, align=emitter.size)
        return context.get_dummy_value()

    return types.void(pairs, types.int64, offsets, t_x, t_y, given), emit


class _Around(Four):
    """Four channels of the pixels around a place."""

    def __init__(self, builder: ir.IRBuilder, arguments: Sequence[Any], dtype: types.Float) -> None:
        first, pitch, t_x, t_y = arguments
        super().__init__(builder, dtype)
        below = self.emitter.moved(first, pitch)
        self.pointers = [first, self.emitter.moved(first, 4), below, self.emitter.moved(below, 4)]
        self.t_x, self.t_y = self.spread(t_x), self.spread(t_y)


@emitting
def sample_four(typing_context, channels, first, pitch, t_x, t_y, target):
    """Up to four channels, a constant, at a place, from the pixel before it on."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Around(builder, arguments[1:5], first.dtype)
        a, b, c, d = map(own.load, own.pointers)
        found = own.between(own.between(a, b, own.t_x), own.between(c, d, own.t_x), own.t_y)
        own.store_some(channels.literal_value, found, arguments[5])
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, t_x, t_y, target), emit


@emitting
def slope_four(typing_context, channels, first, pitch, t_x, t_y, given, along_x, along_y):
    """The slopes of `sample_four` along both axes, weighted with gradients and added up."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Around(builder, arguments[1:5], first.dtype)
        a, b, c, d = map(own.load, own.pointers)
        gradients = own.load_some(channels.literal_value, arguments[5])
        across = own.between(builder.fsub(b, a), builder.fsub(d, c), own.t_y)
        down = own.between(builder.fsub(c, a), builder.fsub(d, b), own.t_x)
        for slope, target in ((across, arguments[6]), (down, arguments[7])):
            builder.store(own.total(builder.fmul(gradients, slope)), target)
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, t_x, t_y, given, along_x, along_y), emit


@emitting
def spread_four(typing_context, channels, first, pitch, t_x, t_y, given):
    """Add gradients to the pixels around a place: the adjoint of `sample_four`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        own = _Around(builder, arguments[1:5], first.dtype)
        gradients = own.load_some(channels.literal_value, arguments[5])
        lower = builder.fmul(gradients, own.t_y)
        for half, pointers in ((builder.fsub(gradients, lower), own.pointers[:2]), (lower, own.pointers[2:])):
            right = builder.fmul(half, own.t_x)
            for part, pointer in ((builder.fsub(half, right), pointers[0]), (right, pointers[1])):
                own.store(builder.fadd(own.load(pointer), part), pointer)
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, t_x, t_y, given), emit


@emitting
def products(typing_context, given, a, b, c, d, vectors, found):
    """The four sums of products of gradients with the pixels around a place, for so many vectors of channels."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        emitter = Emitter(builder, given.dtype)
        pointers, (count, target) = arguments[:5], arguments[5:]

        def advance(*carried: Any) -> list[Any]:
            own, *others = carried[:5]
            gradients = emitter.load(own)
            sums = [
                emitter.multiply_add(gradients, emitter.load(other), total)
                for other, total in zip(others, carried[5:], strict=True)
            ]
            return [*(emitter.moved(pointer, emitter.lanes) for pointer in carried[:5]), *sums]

        start = [*pointers, *(emitter.constant(0.0) for _ in range(4))]
        for number, total in enumerate(emitter.loop(count, start, advance)[5:]):
            added = builder.extract_element(total, INDEX(0))
            for lane in range(1, emitter.lanes):
                added = builder.fadd(added, builder.extract_element(total, INDEX(lane)))
            builder.store(added, emitter.moved(target, number))
        return context.get_dummy_value()

    return types.void(given, a, b, c, d, types.int64, found), emit
