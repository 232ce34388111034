"""`triarch convolve`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from triarch import convolution
from triarch.cli.convolution_pictures import check_drawable, check_format, draw_convolution
from triarch.cli.operands import as_text, check_output, check_place, is_image, read_operand, write_result
from triarch.cli.output import CommandError, console, one_line, say, short_path

_SECONDS_WITHOUT_BAR = 0.5
_LONGEST_NAME = 22


def convolve(
    a: Annotated[str, typer.Argument(help="Numbers ('1,2,3', or '1,2;3,4' with rows), or a .npy, .csv or image file.")],
    b: Annotated[str, typer.Argument(help="The same; put -- before numbers that begin with a minus.")],
    mode: Annotated[str, typer.Option(help="full, same or valid.")] = "full",
    method: Annotated[
        str, typer.Option(help="auto, direct, fft, overlap_add, winograd, separable or kronecker.")
    ] = "auto",
    boundary: Annotated[
        str, typer.Option(help="What lies beyond the edges of A: zero, wrap, reflect, symmetric or nearest.")
    ] = "zero",
    fill_value: Annotated[float, typer.Option(help="With the boundary zero: this number instead.")] = 0,
    axes: Annotated[
        str | None, typer.Option(help="Axes to convolve, such as 0,1; all without it, of a colour image the first two.")
    ] = None,
    correlate: Annotated[bool, typer.Option("--correlate", help="Correlate instead of convolve.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the methods with their predicted times, and why one is taken.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="A picture of both operands and the result, such as out.png.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where the result goes: a .npy, .csv or image file.")] = None,
) -> None:
    """Convolve two arrays: numbers, files or images."""
    if output is not None:
        check_output(output, (a, b))
    if plot is not None:
        check_place(plot, "--plot", (a, b))
        check_format(plot)
    first, second = read_operand(a), read_operand(b)
    if {first.dtype.kind, second.dtype.kind} & set("fc") or is_image(a) or is_image(b):
        first, second = _as_floats(first), _as_floats(second)
    convolved = _axes(axes)
    if convolved is None and {first.ndim, second.ndim} == {2, 3}:  # a colour image: each channel meets the kernel
        convolved = (0, 1)
        first, second = (x if x.ndim == 3 else x[:, :, None] for x in (first, second))
    if plot is not None:
        check_drawable(first, second)
    arguments: Any = {"mode": mode, "axes": convolved, "boundary": boundary, "fill_value": _whole(fill_value)}
    operation = convolution.correlate if correlate else convolution.convolve
    try:
        if explain:
            say(str(convolution.explain(first, second, **arguments)))
        with _bar() as progress:
            try:
                result = operation(first, second, method=method, progress=progress, **arguments)
            except OverflowError:  # of integers that their files' types do not hold
                first, second = first.astype(object), second.astype(object)
                result = operation(first, second, method=method, progress=progress, **arguments)
    except (ValueError, TypeError, OverflowError) as error:
        raise CommandError(str(error)) from error
    except MemoryError as error:
        raise CommandError(f"There is not enough memory for operands of {first.shape} and {second.shape}") from error
    rows = [] if output is None else [f"result {result.shape} in {write_result(output, result)}"]
    if plot is not None:
        names = (
            _name(a, first),
            _name(b, second),
            f"A {'correlated with' if correlate else '*'} B  ({_shape(result)})",
        )
        draw_convolution(plot, (first, second, result), names)
        rows.append(f"picture in {short_path(plot)}")
    for line in as_text(result) if output is None else []:
        say(line)
    for row in rows:
        say(row)


def _as_floats(x: np.ndarray) -> np.ndarray:
    """Exact numbers that meet floats become floats, and fractions that meet the many pixels of an image."""
    try:
        return x.astype(np.float64) if x.dtype == object else x
    except OverflowError as error:
        raise CommandError(f"Expected integers that floats hold, where they meet floats. Received: {error}") from None


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _axes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(axis) for axis in text.split(","))
    except ValueError:
        raise CommandError(f"--axes expects integers such as 0,1. Received: {text!r}") from None


def _name(given: str, x: np.ndarray) -> str:
    """An operand's title: its file or, while they are few, its numbers; and its shape."""
    text = one_line(Path(given).name if os.path.isfile(given) else given)
    return f"{text if len(text) <= _LONGEST_NAME else f'{text[: _LONGEST_NAME - 1]}…'}  ({_shape(x)})"


def _shape(x: np.ndarray) -> str:
    return "×".join(map(str, x.shape)) or "one number"


@contextmanager
def _bar() -> Iterator[Callable[[int, int], object] | None]:
    """A bar on a terminal, for work that takes long enough to see one."""
    out = console()
    if not out.is_terminal:
        yield None
        return
    began = time.monotonic()
    columns = (TextColumn("convolving"), BarColumn(bar_width=None), TextColumn("{task.percentage:3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=out, expand=True, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=time.monotonic() - began > _SECONDS_WITHOUT_BAR)

        yield advance
