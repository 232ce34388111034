"""The kernels of sampling on CUDA, in Triton.

Each program has a block of places or pixels along the first axis, and of channels along the second. Nothing is added to
memory that another program writes, and every sum has an order of its own, whatever the sizes of blocks: so results are
the same bits at every run.

A place lies in a *cell*: the pixel before it, or one that would be there, next to an edge. `taps` is the number of
pixels of an axis that count, `taps // 4` of them before the cell's.
"""

import triton
import triton.language as tl

from triarch.kernels.sampling.method import CUBIC

# The cubic kernel's polynomials, and those of its slope.
_NEAR_3, _NEAR_2 = tl.constexpr(CUBIC + 2), tl.constexpr(CUBIC + 3)
_FAR_3, _FAR_2, _FAR_1, _FAR_0 = (tl.constexpr(factor * CUBIC) for factor in (1, 5, 8, 4))
_NEAR_SLOPE_2, _NEAR_SLOPE_1 = tl.constexpr(3 * (CUBIC + 2)), tl.constexpr(2 * (CUBIC + 3))
_FAR_SLOPE_2, _FAR_SLOPE_1 = tl.constexpr(3 * CUBIC), tl.constexpr(10 * CUBIC)

_SIZES = ["count", "each", "height", "width", "margin", "cells"]  # no code of its own for each of their values


@triton.jit
def _numbers(block: tl.constexpr, is_wide: tl.constexpr):
    """The numbers along the first axis of this program's block; what is made of them has 64 bits, too, if they have."""
    program = tl.program_id(0)
    if is_wide:
        program = program.to(tl.int64)
    return program * block + tl.arange(0, block)


@triton.jit
def _held(x, low, high):
    return tl.minimum(tl.maximum(x, low), high)


@triton.jit
def _quotient(x, y):
    """`x / y`, rounded as everywhere else."""
    return tl.div_rn(x, y) if x.dtype == tl.float32 else x / y


@triton.jit
def _nearest(x):
    """The whole number next to `x`; halves become even."""
    before = tl.floor(x)
    half = before * 0.5
    is_odd = half != tl.floor(half)
    over = x - before
    return tl.where((over > 0.5) | ((over == 0.5) & is_odd), before + 1, before)


@triton.jit
def _brought_in(x, size, padding: tl.constexpr):
    """The place inside that a place outside stands for, and how far the one moves with the other; `size` is a float."""
    inside, slope, last = x, tl.full(x.shape, 1, x.dtype), size - 1
    if padding == "border":
        inside, slope = _held(x, 0, last), tl.where((x >= 0) & (x <= last), slope, 0)
    elif padding == "wrap":
        inside = x - tl.floor(_quotient(x, size)) * size
    elif padding == "reflection" or padding == "mirror":
        if padding == "reflection":
            edge, span = size * 0 + 0.5, size
        else:
            edge, span = size * 0, tl.maximum(last, 1)  # `_held` has only 0 to give where there is one pixel
        away = x + edge
        distance = tl.abs(away)
        over = distance - tl.floor(_quotient(distance, 2 * span)) * (2 * span)
        inside = tl.where(over > span, 2 * span - over, over) - edge
        slope = tl.where(over > span, -slope, slope)
        slope = tl.where(away > 0, slope, tl.where(away < 0, -slope, 0))
        slope = tl.where((inside >= 0) & (inside <= last), slope, 0)
        inside = _held(inside, 0, last)
    return inside, slope


@triton.jit
def _located(x, size, taps: tl.constexpr, padding: tl.constexpr):
    """Where an axis is read for places `x` in pixels, which are finite.

    Returns the cells, the part of the way from there to the next pixel, how far that moves with `x`, and whether any
    pixel is read.
    """
    size = size.to(x.dtype)
    if taps == 4:
        cell = tl.floor(x)
        part, slope = x - cell, tl.full(x.shape, 1, x.dtype)
        if padding == "reflection" or padding == "mirror":
            cell, direction = _brought_in(cell, size, padding)
            is_turned = direction < 0  # pixels count from right to left, and the place lies before its own
            cell, part = tl.where(is_turned, cell - 1, cell), tl.where(is_turned, 1 - part, part)
            slope = tl.where(is_turned, -slope, slope)
    else:
        inside, slope = _brought_in(x, size, padding)
        if taps == 2:
            cell = tl.floor(inside)
            part = inside - cell
        else:
            cell, part = _nearest(inside), inside * 0
    if padding == "wrap":
        cell, _ = _brought_in(cell, size, padding)  # rounding may have ended behind the last pixel
        cell = _held(cell, 0, size - 1)
    low, high = size * 0 - taps // 2, size - 1 + taps // 4
    is_read = cell == cell
    if padding == "zeros":
        is_read = (cell >= low) & (cell <= high)
    return _held(cell, low, high).to(tl.int32), part, slope, is_read


@triton.jit
def _weight(part, number, taps: tl.constexpr):
    """How much a tap counts."""
    if taps == 1:
        weight = part * 0 + 1
    elif taps == 2:
        weight = tl.where(number == 0, 1 - part, part)
    else:
        distance = tl.where(number < 2, part + (1 - number), (number - 1) - part)
        near = (distance * _NEAR_3 - _NEAR_2) * distance * distance + 1
        far = ((distance * _FAR_3 - _FAR_2) * distance + _FAR_1) * distance - _FAR_0
        weight = tl.where((number == 0) | (number == 3), far, near)
    return weight


@triton.jit
def _weight_slope(part, number, taps: tl.constexpr):
    """How much more it counts farther on the way."""
    if taps == 2:
        slope = tl.where(number == 0, part * 0 - 1, part * 0 + 1)
    else:
        distance = tl.where(number < 2, part + (1 - number), (number - 1) - part)
        near = (distance * _NEAR_SLOPE_2 - _NEAR_SLOPE_1) * distance
        far = (distance * _FAR_SLOPE_2 - _FAR_SLOPE_1) * distance + _FAR_1
        slope = tl.where((number == 0) | (number == 3), far, near)
        slope = tl.where(number < 2, slope, -slope)
    return slope


@triton.jit
def _pixel(number, size, padding: tl.constexpr):
    """The pixel that a number stands for, which is next to an edge at most, and whether it is any."""
    is_pixel = tl.full(number.shape, 1, tl.int1)
    if padding == "zeros":
        pixel, is_pixel = _held(number, 0, size - 1), (number >= 0) & (number < size)
    elif padding == "border":
        pixel = _held(number, 0, size - 1)
    elif padding == "reflection":
        pixel = (number + 4 * size) % (2 * size)
        pixel = tl.where(pixel < size, pixel, 2 * size - 1 - pixel)
    elif padding == "mirror":
        span = tl.maximum(2 * (size - 1), 1)
        pixel = (number + 3 * span) % span
        pixel = tl.where(pixel < size, pixel, span - pixel)
    else:
        pixel = (number + 3 * size) % size
    return pixel, is_pixel


@triton.jit
def _places(places, place, is_wanted, x_scale, x_shift, y_scale, y_shift):
    """x and y of places in pixels, 0 for what is no place, and whether it is one."""
    x = tl.load(places + 2 * place, mask=is_wanted, other=0)
    y = tl.load(places + 2 * place + 1, mask=is_wanted, other=0)
    x = x * x_scale + x_shift
    y = y * y_scale + y_shift
    is_place = (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
    return tl.where(is_place, x, 0), tl.where(is_place, y, 0), is_place


@triton.jit(do_not_specialize=_SIZES)
def read(
    images, places, outputs, count, each, height, width, channels, x_scale, x_shift, y_scale, y_shift,
    taps: tl.constexpr, padding: tl.constexpr, block: tl.constexpr, lanes: tl.constexpr, is_wide: tl.constexpr,
):  # fmt: skip
    """Write what images hold at `count` places, `each` of them for each image."""
    place, channel = _numbers(block, is_wide), tl.program_id(1) * lanes + tl.arange(0, lanes)
    x, y, is_place = _places(places, place, place < count, x_scale, x_shift, y_scale, y_shift)
    column, across, _, is_read_x = _located(x, width, taps, padding)
    row, down, _, is_read_y = _located(y, height, taps, padding)
    is_read = is_read_x & is_read_y
    is_wanted = (place < count)[:, None] & (channel < channels)[None, :]
    first_row = (place // each) * height
    total = tl.full((block, lanes), 0, x.dtype)
    for number_y in tl.static_range(taps):
        line, is_line = _pixel(row + (number_y - taps // 4), height, padding)
        weight_y = _weight(down, number_y, taps)
        for number_x in tl.static_range(taps):
            pixel, is_pixel = _pixel(column + (number_x - taps // 4), width, padding)
            weight = weight_y * _weight(across, number_x, taps)
            source = images + ((first_row + line) * width + pixel)[:, None] * channels + channel[None, :]
            value = tl.load(source, mask=is_wanted & (is_read & is_line & is_pixel)[:, None], other=0)
            total += value * weight[:, None]
    total = tl.where(is_place[:, None], total, float("nan"))
    tl.store(outputs + place[:, None] * channels + channel[None, :], total, mask=is_wanted)


@triton.jit(do_not_specialize=_SIZES)
def find_cells(
    places, cells_of_places, parts, count, each, height, width, cells, x_scale, x_shift, y_scale, y_shift,
    taps: tl.constexpr, padding: tl.constexpr, block: tl.constexpr, is_wide: tl.constexpr,
):  # fmt: skip
    """Write the number of each place's cell, `cells` for one at which no pixel is read, and its parts of the way."""
    place = _numbers(block, is_wide)
    x, y, is_place = _places(places, place, place < count, x_scale, x_shift, y_scale, y_shift)
    column, across, _, is_read_x = _located(x, width, taps, padding)
    row, down, _, is_read_y = _located(y, height, taps, padding)
    cell = _cell(place // each, row, column, height, width, taps)
    tl.store(cells_of_places + place, tl.where(is_place & is_read_x & is_read_y, cell, cells), mask=place < count)
    tl.store(parts + 2 * place, across, mask=place < count)
    tl.store(parts + 2 * place + 1, down, mask=place < count)


@triton.jit
def _cell(image, row, column, height, width, taps: tl.constexpr):
    """The number of a cell."""
    more: tl.constexpr = taps // 2 + taps // 4  # cells of an axis than pixels
    return (image * (height + more) + row + taps // 2) * (width + more) + column + taps // 2


@triton.jit(do_not_specialize=_SIZES)
def gather(
    output_gradient, parts, order, starts, planes, count, height, width, margin, channels,
    taps: tl.constexpr, block: tl.constexpr, lanes: tl.constexpr, is_wide: tl.constexpr,
):  # fmt: skip
    """Write what the gradients at places give to `count` pixels, those of the images and of margins around them.

    The places of cell `c` are `order[starts[c]]` to `order[starts[c + 1] - 1]`, and are added one after the other.
    """
    pixel, channel = _numbers(block, is_wide), tl.program_id(1) * lanes + tl.arange(0, lanes)
    line = pixel // (width + 2 * margin)
    column, row = pixel % (width + 2 * margin) - margin, line % (height + 2 * margin) - margin
    image = line // (height + 2 * margin)
    is_channel = (channel < channels)[None, :]
    total = tl.full((block, lanes), 0, output_gradient.dtype.element_ty)
    for tap in range(taps * taps):
        number_y, number_x = tap // taps, tap % taps
        above, left = row - (number_y - taps // 4), column - (number_x - taps // 4)
        is_cell = (pixel < count) & (above >= -(taps // 2)) & (above < height + taps // 4)
        is_cell = is_cell & (left >= -(taps // 2)) & (left < width + taps // 4)
        cell = _cell(image, above, left, height, width, taps)
        start = tl.load(starts + cell, mask=is_cell, other=0)
        end = tl.load(starts + cell + 1, mask=is_cell, other=0)
        for number in range(tl.max(end - start, 0)):
            is_here = start + number < end
            place = tl.load(order + start + number, mask=is_here, other=0)
            source = output_gradient + place[:, None] * channels + channel[None, :]
            value = tl.load(source, mask=is_here[:, None] & is_channel, other=0)
            if taps > 1:
                across = tl.load(parts + 2 * place, mask=is_here, other=0)
                down = tl.load(parts + 2 * place + 1, mask=is_here, other=0)
                value *= (_weight(down, number_y, taps) * _weight(across, number_x, taps))[:, None]
            total = tl.where(is_here[:, None], total + value, total)
    target = planes + pixel[:, None] * channels + channel[None, :]
    tl.store(target, total, mask=(pixel < count)[:, None] & is_channel)


@triton.jit(do_not_specialize=_SIZES)
def find_slopes(
    images, places, output_gradient, places_gradient, count, each, height, width, channels,
    x_scale, x_shift, y_scale, y_shift,
    taps: tl.constexpr, padding: tl.constexpr, block: tl.constexpr, lanes: tl.constexpr, is_wide: tl.constexpr,
):  # fmt: skip
    """Write the gradients of places, of x and y in turn: 0 for one that is not finite. `taps` is 2 or 4."""
    place = _numbers(block, is_wide)
    x, y, is_place = _places(places, place, place < count, x_scale, x_shift, y_scale, y_shift)
    column, across, slope_x, is_read_x = _located(x, width, taps, padding)
    row, down, slope_y, is_read_y = _located(y, height, taps, padding)
    is_read = is_read_x & is_read_y
    first_row = (place // each) * height
    along_x, along_y = tl.full((block, lanes), 0, x.dtype), tl.full((block, lanes), 0, x.dtype)
    for first in range(0, channels, lanes):
        channel = first + tl.arange(0, lanes)
        is_wanted = (place < count)[:, None] & (channel < channels)[None, :]
        given = tl.load(output_gradient + place[:, None] * channels + channel[None, :], mask=is_wanted, other=0)
        for number_y in tl.static_range(taps):
            line, is_line = _pixel(row + (number_y - taps // 4), height, padding)
            weight_y, change_y = _weight(down, number_y, taps), _weight_slope(down, number_y, taps)
            for number_x in tl.static_range(taps):
                pixel, is_pixel = _pixel(column + (number_x - taps // 4), width, padding)
                weight_x, change_x = _weight(across, number_x, taps), _weight_slope(across, number_x, taps)
                source = images + ((first_row + line) * width + pixel)[:, None] * channels + channel[None, :]
                value = given * tl.load(source, mask=is_wanted & (is_read & is_line & is_pixel)[:, None], other=0)
                along_x += value * (weight_y * change_x)[:, None]
                along_y += value * (change_y * weight_x)[:, None]
    found_x = tl.where(is_place, _over_lanes(along_x, block, lanes) * slope_x, 0) * x_scale
    found_y = tl.where(is_place, _over_lanes(along_y, block, lanes) * slope_y, 0) * y_scale
    tl.store(places_gradient + 2 * place, found_x, mask=place < count)
    tl.store(places_gradient + 2 * place + 1, found_y, mask=place < count)


@triton.jit
def _over_lanes(numbers, block: tl.constexpr, lanes: tl.constexpr):
    """The sums over the second axis, of neighbours first; `tl.sum` adds in an order that the block's size decides."""
    if lanes == 1:
        total = tl.reshape(numbers, (block,))
    else:
        left, right = tl.split(tl.reshape(numbers, (block, lanes // 2, 2)))
        total = _over_lanes(left + right, block, lanes // 2)
    return total
