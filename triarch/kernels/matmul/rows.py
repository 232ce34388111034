"""Products of a few rows, for kernels that carry rows of a batch through many small products."""

from __future__ import annotations

from triarch.kernels.matmul.tile import multiply_tile_from
from triarch.kernels.native.registers import ROWS
from triarch.kernels.native.vectors import inlined, shifted

_LOW = 4  # rows of a tile that fills what whole tiles leave


@inlined
def multiply_rows(panel, begun, begun_row, a, a_row, b, height, c, c_row, rows, columns, depth):
    """`c[i * c_row + j] = begun[i * begun_row + j] + Σ_s a[i * a_row + s] B[s, j]`: no tile goes below the last row.

    Args:
        panel: Columns of a tile.
        begun: What the sums begin with: `c` with `c_row`, or a row for all with 0.
        b: `(columns / panel, height, panel)`, of which the first `depth` rows count: so a tile reads on and on.
    """
    # As many whole tiles as leave a number of rows that low ones divide, if there is such a number.
    whole, low = rows // ROWS, 0
    for count in range(whole, -1, -1):
        left = rows - count * ROWS
        if left % _LOW == 0 and left < ROWS * _LOW:
            whole, low = count, left // _LOW
            break
    if low == 0:
        low = (rows - whole * ROWS) // _LOW
    for j in range(0, columns, panel):
        first, own, target = shifted(begun, j), shifted(b, j * height), shifted(c, j)
        row = 0
        for _ in range(whole):
            multiply_tile_from(
                ROWS, shifted(first, row * begun_row), begun_row, shifted(a, row * a_row), a_row, 1, own, panel,
                shifted(target, row * c_row), c_row, depth,
            )  # fmt: skip
            row += ROWS
        for _ in range(low):
            multiply_tile_from(
                _LOW, shifted(first, row * begun_row), begun_row, shifted(a, row * a_row), a_row, 1, own, panel,
                shifted(target, row * c_row), c_row, depth,
            )  # fmt: skip
            row += _LOW
        while row < rows:
            multiply_tile_from(
                1, shifted(first, row * begun_row), begun_row, shifted(a, row * a_row), a_row, 1, own, panel,
                shifted(target, row * c_row), c_row, depth,
            )  # fmt: skip
            row += 1


@inlined
def add_row_product(a, b, b_row, c, columns, depth):
    """`c[j] += Σ_s a[s] b[s * b_row + j]` for a single row: `b` is read once, from its beginning to its end."""
    steps = depth // 4 * 4
    for s in range(0, steps, 4):
        line = shifted(b, s * b_row)
        a_0, a_1, a_2, a_3 = a[s], a[s + 1], a[s + 2], a[s + 3]
        for j in range(columns):
            c[j] += a_0 * line[j] + a_1 * line[b_row + j] + a_2 * line[2 * b_row + j] + a_3 * line[3 * b_row + j]
    for s in range(steps, depth):
        line, factor = shifted(b, s * b_row), a[s]
        for j in range(columns):
            c[j] += factor * line[j]
