"""Bicubic sampling of up to four channels of a place, from four pixels on each axis."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from triarch.kernels.native.vectors import emitting
from triarch.kernels.sampling.four import Four


@emitting
def sample_four(typing_context, channels, first, pitch, across, down, target):
    """The numbers at a place.

    Args:
        channels: Up to four, a constant.
        first: The first pixel that is read.
        pitch: Numbers from row to row.
        across, down: The weights of the four columns, and of the four rows.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        four = Four(builder, first.dtype)
        start, step, columns, rows, found = arguments[1:]
        weights = four.scalars(columns)
        lines = [four.weighted(weights, list(map(four.load, four.row(start, number, step)))) for number in range(4)]
        four.store_some(channels.literal_value, four.weighted(four.scalars(rows), lines), found)
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, across, down, target), emit


@emitting
def slope_four(typing_context, channels, first, pitch, across, down, x_slopes, y_slopes, given, along_x, along_y):
    """The slopes of `sample_four` along both axes, weighted with gradients and added up."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        four = Four(builder, first.dtype)
        start, step, columns, rows, column_slopes, row_slopes, gradients, *targets = arguments[1:]
        pixels = [list(map(four.load, four.row(start, number, step))) for number in range(4)]
        own = four.load_some(channels.literal_value, gradients)
        for of_columns, of_rows, target in ((column_slopes, rows, targets[0]), (columns, row_slopes, targets[1])):
            weights = four.scalars(of_columns)
            lines = [four.weighted(weights, line) for line in pixels]
            slope = four.weighted(four.scalars(of_rows), lines)
            builder.store(four.total(builder.fmul(own, slope)), target)
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, across, down, x_slopes, y_slopes, given, along_x, along_y), emit


@emitting
def spread_four(typing_context, channels, first, pitch, across, down, given):
    """Add gradients to the pixels around a place: the adjoint of `sample_four`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        four = Four(builder, first.dtype)
        start, step, columns, rows, gradients = arguments[1:]
        own, weights = four.load_some(channels.literal_value, gradients), four.scalars(columns)
        for number, weight in enumerate(four.scalars(rows)):
            line = four.product(weight, own)
            for pointer, factor in zip(four.row(start, number, step), weights, strict=True):
                four.store(builder.fadd(four.load(pointer), four.product(factor, line)), pointer)
        return context.get_dummy_value()

    return types.void(channels, first, types.int64, across, down, given), emit
