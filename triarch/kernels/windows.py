"""The window that a convolution or pooling slides over its input: what fits, and how large the output is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SPATIAL_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}

Sizes = tuple[int, ...]
PartialSizes = tuple[int | None, ...]


class Window(NamedTuple):
    """The constants of a sliding window; hashable, so that plans are cached by it.

    Args:
        sizes: Of the window, one for each spatial axis; so are `strides` and `dilation`.
        padding: `"valid"`, `"same"` (the output has `ceil(size / stride)` places, any odd zero goes to the end),
            `"causal"` (all zeros go to the start), or how many zeros go before and after each spatial axis.
        channels: How many the input has; None where any number will do.
    """

    sizes: Sizes
    strides: Sizes
    dilation: Sizes
    padding: str | tuple[tuple[int, int], ...]
    data_format: str
    channels: int | None = None

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.sizes)

    def spans(self) -> Sizes:
        """How many input places the window covers along each axis."""
        return tuple((size - 1) * rate + 1 for size, rate in zip(self.sizes, self.dilation, strict=True))

    def margins(self, sizes: Sizes) -> tuple[tuple[int, int], ...]:
        """How many places are added before and after each spatial axis of an input of these sizes."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return ((0, 0),) * self.rank
        if self.padding == "causal":
            return tuple((span - 1, 0) for span in self.spans())
        totals = [
            max((-(-size // stride) - 1) * stride + span - size, 0)
            for size, stride, span in zip(sizes, self.strides, self.spans(), strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)

    def output_sizes(self, sizes: PartialSizes) -> PartialSizes:
        """The spatial sizes of the output; zero or less where the window does not fit."""
        if self.padding in ("same", "causal"):
            return tuple(
                None if size is None else -(-size // stride) for size, stride in zip(sizes, self.strides, strict=True)
            )
        margins = ((0, 0),) * self.rank if isinstance(self.padding, str) else self.padding
        return tuple(
            None if size is None else (size + sum(added) - span) // stride + 1
            for size, added, stride, span in zip(sizes, margins, self.strides, self.spans(), strict=True)
        )

    def output_shape(self, shape: Sequence[int | None], filters: int | None = None) -> PartialSizes:
        """The shape of the output for inputs of `shape`, the batch axis included.

        Raises:
            ValueError: an input of this shape does not fit.
        """
        spatial, channels = split_shape(shape, self.rank, self.data_format)
        if None not in (self.channels, channels) and channels != self.channels:
            raise ValueError(
                f"expects {self.channels} channels: shape "
                f"{example_shape(self.rank, self.data_format, self.channels)}. Received: shape {tuple(shape)}"
            )
        sizes = self.output_sizes(spatial)
        if any(size is not None and size <= 0 for size in sizes):
            raise ValueError(
                f"has a window of {self.spans()} places with padding={self.padding!r}, which does not fit into the "
                f"input. Received: shape {tuple(shape)}"
            )
        return joined_shape(shape[0], sizes, filters or channels, self.data_format)


def axis_names(rank: int, data_format: str) -> tuple[str, ...]:
    """What the axes of an input are called, in their order."""
    return joined_shape("batch", SPATIAL_AXES[rank], "channels", data_format)


def example_shape(rank: int, data_format: str, channels: int | None) -> str:
    """A shape in words, such as `(batch, height, width, 3)`."""
    words = joined_shape("batch", SPATIAL_AXES[rank], channels or "channels", data_format)
    return f"({', '.join(map(str, words))})"


def split_shape(shape: Sequence[int | None], rank: int, data_format: str) -> tuple[PartialSizes, int | None]:
    """The spatial sizes and the number of channels in the shape of a batch; ValueError for another number of axes."""
    if len(shape) != rank + 2:
        raise ValueError(
            f"expects {rank + 2} axes ({', '.join(axis_names(rank, data_format))}). Received: shape {tuple(shape)}"
        )
    if data_format == "channels_last":
        return tuple(shape[1:-1]), shape[-1]
    return tuple(shape[2:]), shape[1]


def joined_shape(batch: Any, spatial: Iterable[Any], channels: Any, data_format: str) -> tuple[Any, ...]:
    """The shape of a batch from its parts."""
    if data_format == "channels_last":
        return (batch, *spatial, channels)
    return (batch, channels, *spatial)
