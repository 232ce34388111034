"""Linear maps of tiles as straight-line vector code: one vector of channels of one tile at a time.

A tile lies anywhere in memory: its places are rows and columns apart by given strides, or where a table says. Its map
is a matrix on both axes, Winograd's; the code is made from the exact matrices, of which it uses that points come as ±p:
their rows share even and odd parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from triarch.kernels.native.vectors import INTEGER, Emitter

Rows = Sequence[Sequence[float]]


def _is_pair(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two rows differ in signs only."""
    return any(first) and all(abs(a) == abs(b) for a, b in zip(first, second, strict=True))


def _pairs(rows: Rows) -> list[tuple[int, int]]:
    """Places of rows that differ in signs only, each in one pair."""
    free = list(range(len(rows)))
    found = []
    while free:
        first = free.pop(0)
        second = next((other for other in free if _is_pair(rows[first], rows[other])), None)
        if second is not None:
            free.remove(second)
            found.append((first, second))
    return found


def multiply(emitter: Emitter, matrix: Rows, vectors: Sequence[Any]) -> list[Any]:
    """The matrix times vectors."""
    builder, vectors = emitter.builder, list(vectors)
    columns = [list(column) for column in zip(*matrix, strict=True)]
    column_pairs = _pairs(columns)
    if column_pairs and not _pairs(matrix):
        rows = [list(row) for row in matrix]
        for first, second in column_pairs:  # weights of the sum and of the difference
            for row in rows:
                a, b = row[first], row[second]
                row[first], row[second] = (a, 0.0) if a == b else (0.0, a)
            x, y = vectors[first], vectors[second]
            vectors[first], vectors[second] = builder.fadd(x, y), builder.fsub(x, y)
        return [emitter.weighted_sum(row, vectors) for row in rows]
    results: list[Any] = [None] * len(matrix)
    for first, second in _pairs(matrix):
        even = [a if a == b else 0.0 for a, b in zip(matrix[first], matrix[second], strict=True)]
        odd = [a if a != b else 0.0 for a, b in zip(matrix[first], matrix[second], strict=True)]
        x, y = emitter.weighted_sum(even, vectors), emitter.weighted_sum(odd, vectors)
        results[first], results[second] = builder.fadd(x, y), builder.fsub(x, y)
    return [
        emitter.weighted_sum(row, vectors) if result is None else result
        for row, result in zip(matrix, results, strict=True)
    ]


def emit_map(
    emitter: Emitter,
    matrices: tuple[Rows, Rows],
    load: Callable[[int, int], Any],
    store: Callable[[int, int, Any], None],
) -> None:
    """Load a tile, multiply by the matrices of its rows and of its columns, store what comes out."""
    vertical, horizontal = matrices
    tile = [[load(row, column) for column in range(len(horizontal[0]))] for row in range(len(vertical[0]))]
    columns = [multiply(emitter, vertical, column) for column in zip(*tile, strict=True)]
    for row, vectors in enumerate(zip(*columns, strict=True)):
        for column, vector in enumerate(multiply(emitter, horizontal, vectors)):
            store(row, column, vector)


class Tile:
    """Where the places of a tile lie: pointers are written once, as each costs time to compile."""

    def __init__(self, emitter: Emitter, pointer: Any, row: Any, column: Any) -> None:
        self.emitter, self.steps = emitter, (row, column)
        self.places = {(0, 0): pointer}

    def place(self, row: int, column: int) -> Any:
        """The pointer to a place: one step from the place to the left or above."""
        if (row, column) not in self.places:
            before, step = ((row, column - 1), 1) if column else ((row - 1, 0), 0)
            self.places[row, column] = self.emitter.moved(self.place(*before), self.steps[step])
        return self.places[row, column]

    def load(self, row: int, column: int) -> Any:
        """The vector at a place."""
        return self.emitter.load(self.place(row, column))

    def load_and_fetch(self, width: int) -> Any:
        """`load`, which fetches what the tile `width` columns further will load."""

        def load(row: int, column: int) -> Any:
            self.emitter.fetch(self.place(row, column + width))
            return self.load(row, column)

        return load

    def store(self, row: int, column: int, vector: Any) -> None:
        """Write the vector to a place."""
        self.emitter.store(vector, self.place(row, column))


class ScatteredTile(Tile):
    """A tile whose places lie where a table says: `(rows, columns)` offsets from the pointer, in memory."""

    def __init__(self, emitter: Emitter, pointer: Any, table: Any, columns: int, column_step: Any) -> None:
        super().__init__(emitter, pointer, None, column_step)
        self.pointer, self.table, self.columns = pointer, table, columns
        self.places = {}

    def place(self, row: int, column: int) -> Any:
        """The pointer to a place."""
        if column >= self.columns:  # of the next tile, should it lie beside this one
            last = self.place(row, self.columns - 1)
            return self.emitter.moved(last, self.emitter.builder.mul(self.steps[1], INTEGER(column - self.columns + 1)))
        if (row, column) not in self.places:
            entry = self.emitter.moved(self.table, row * self.columns + column)
            self.places[row, column] = self.emitter.moved(self.pointer, self.emitter.builder.load(entry))
        return self.places[row, column]


class Check:
    """Adds zero times every number to a vector in memory: NaN stands there as soon as one was not finite."""

    def __init__(self, emitter: Emitter, pointer: Any) -> None:
        self.emitter, self.pointer = emitter, pointer
        self.total = emitter.load(pointer)

    def see(self, vector: Any) -> None:
        """Look at a vector."""
        self.total = self.emitter.multiply_add(vector, self.emitter.constant(0.0), self.total)

    def close(self) -> None:
        """Write the outcome."""
        self.emitter.store(self.total, self.pointer)
