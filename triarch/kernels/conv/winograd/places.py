"""Where the places of tiles lie in memory: inside their images, beyond them, and in patches that stand for them."""

from __future__ import annotations

from triarch.kernels.native.runs import copy, zero
from triarch.kernels.native.vectors import inlined, shifted


@inlined
def whole_tile(
    source, row_step, column_step, first_row, first_column, height, width, channels, held, patch, rows, columns
):
    """Where a tile of the output can be read whole, with its steps: in its place, or copied into `patch`.

    It is copied where it reaches beyond the image, whose numbers there are zeros, and where channels are fewer than are
    held.
    """
    is_inside = first_row >= 0 and first_column >= 0 and first_row + rows <= height and first_column + columns <= width
    if is_inside and channels == held:
        return shifted(source, first_row * row_step + first_column * column_step), row_step, column_step
    _copy_tile(
        source, row_step, column_step, first_row, first_column, height, width, channels, held, patch, rows, columns
    )
    return patch, columns * held, held


@inlined
def _copy_tile(
    source, row_step, column_step, first_row, first_column, height, width, channels, held, patch, rows, columns
):
    """Copy a tile of an image: zeros beyond it, and for the channels that are held without being there."""
    for row in range(rows):
        for column in range(columns):
            target = shifted(patch, (row * columns + column) * held)
            y, x = first_row + row, first_column + column
            filled = 0
            if 0 <= y < height and 0 <= x < width:
                copy(shifted(source, y * row_step + x * column_step), target, channels)
                filled = channels
            zero(shifted(target, filled), held - filled)


@inlined
def _lay(table, rows, columns, row_step, column_step):
    """Offsets of the places of a tile that lies whole in memory."""
    for row in range(rows):
        for column in range(columns):
            table[row * columns + column] = row * row_step + column * column_step


@inlined
def lay_tables(job, tables, rows, columns, held):
    """Offsets of the places of tiles of the input, of patches, of tiles at a border, of tiles of the gradient."""
    points = rows * columns
    _lay(tables, rows, columns, job.inputs_row, job.inputs_column)
    _lay(shifted(tables, points), rows, columns, columns * held, held)
    _lay(shifted(tables, 3 * points), rows, columns, job.input_gradient_row, job.input_gradient_column)


@inlined
def lay_at_border(job, table, rows, columns, row_step, column_step, first_row, first_column, outside):
    """Offsets of the places of a tile that reaches beyond its image; one for all that lie there."""
    for row in range(rows):
        is_inside = 0 <= first_row + row < job.height
        for column in range(columns):
            offset = row * row_step + column * column_step
            table[row * columns + column] = offset if is_inside and 0 <= first_column + column < job.width else outside


@inlined
def is_inside(job, first_row, first_column, rows, columns):
    """Whether a tile of the input lies inside its image."""
    is_after = first_row >= 0 and first_column >= 0
    return is_after and first_row + rows <= job.height and first_column + columns <= job.width


@inlined
def input_tile(job, inputs, image, first_row, first_column, rows, columns, held, patch, tables, zeros, size):
    """Where to read a tile of the input: a pointer, and the offsets from it of the tile's places.

    Tiles are read where they lie; what is beyond the image, from `zeros`, an address. They are copied into `patch`
    where channels are fewer than are held.
    """
    row_step, column_step = job.inputs_row, job.inputs_column
    first = image * job.inputs_image + first_row * row_step + first_column * column_step
    if job.channels < held:
        _copy_tile(
            shifted(inputs, image * job.inputs_image), row_step, column_step, first_row, first_column,
            job.height, job.width, job.channels, held, patch, rows, columns,
        )  # fmt: skip
        return patch, shifted(tables, rows * columns)
    if is_inside(job, first_row, first_column, rows, columns):
        return shifted(inputs, first), tables
    table = shifted(tables, 2 * rows * columns)
    outside = (zeros - job.inputs) // size - first
    lay_at_border(job, table, rows, columns, row_step, column_step, first_row, first_column, outside)
    return shifted(inputs, first), table


@inlined
def write_patch(patch, columns, held, channels, rows_inside, columns_inside, target, row_step, column_step):
    """Copy the part of a patch that lies inside the image."""
    for row in range(rows_inside):
        for column in range(columns_inside):
            source = shifted(patch, (row * columns + column) * held)
            place = shifted(target, row * row_step + column * column_step)
            copy(source, place, channels)
