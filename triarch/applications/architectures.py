"""The family of residual networks as a table, and one builder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triarch import config, layers, ops
from triarch.applications.shapes import input_of
from triarch.models import Functional
from triarch.registry import unique_name

_DATA_AXIS = {"channels_last": -1, "channels_first": 1}


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Args:
        block: `"basic"`, two convolutions 3×3, or `"bottleneck"`, 1×1, 3×3 and 1×1 with four times the channels.
        depths: How many blocks each stage has.
        widths: The channels of each stage.
        is_for_small: Whether it begins as the paper's networks for CIFAR-10 do, with one 3×3 convolution, and its
            shortcuts add zeros; otherwise as those for ImageNet.
        preactivates: Whether normalisation and rectifier come before each convolution (version 2).
        has_shortcuts: False makes the plain network of the same depth.
        use_bias: Whether convolutions that a normalisation follows have a bias, as Keras's have.
    """

    name: str
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    is_for_small: bool = False
    preactivates: bool = False
    has_shortcuts: bool = True
    use_bias: bool = False

    @property
    def is_in_keras(self) -> bool:
        """Whether Keras has it; then every layer is called as there."""
        return self.block == "bottleneck"


def _small(name: str, depth: int, has_shortcuts: bool = True) -> Architecture:
    """6 n + 2 layers, in three stages of n blocks."""
    return Architecture(name, "basic", ((depth - 2) // 6,) * 3, (16, 32, 64), True, has_shortcuts=has_shortcuts)


_BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_SMALL_DEPTHS = (20, 32, 44, 56, 110, 1202)

ARCHITECTURES = {
    row.name: row
    for row in (
        *(Architecture(f"ResNet{depth}", "basic", depths) for depth, depths in _BASIC.items()),
        *(Architecture(f"ResNet{depth}", "bottleneck", depths, use_bias=True) for depth, depths in _BOTTLENECK.items()),
        *(Architecture(f"ResNet{depth}V2", "basic", depths, preactivates=True) for depth, depths in _BASIC.items()),
        *(
            Architecture(f"ResNet{depth}V2", "bottleneck", depths, preactivates=True, use_bias=True)
            for depth, depths in _BOTTLENECK.items()
        ),
        *(_small(f"ResNet{depth}", depth) for depth in _SMALL_DEPTHS),
        *(_small(f"PlainNet{depth}", depth, has_shortcuts=False) for depth in _SMALL_DEPTHS[:-1]),
    )
}


@dataclass(frozen=True)
class Variant:
    """What differs between libraries' networks of one name: defaults are Keras's."""

    strides_in_middle: bool = False  # a bottleneck's stride is in its 3×3 convolution, not in the first 1×1
    epsilon: float = 1.001e-5  # of the normalisations


def build(
    row: Architecture,
    include_top: bool,
    input_tensor: Any,
    input_shape: Sequence[int | None] | None,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
    name: str | None,
    variant: Variant = Variant(),
) -> Functional:
    """The network, with fresh weights.

    Raises:
        ValueError: An argument does not fit.
    """
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"`pooling` is None, 'avg' or 'max'. Received: pooling={pooling!r}")
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` is a positive integer. Received: classes={classes!r}")
    inputs = input_of(input_tensor, input_shape, 32 if row.is_for_small else 224, 8 if row.is_for_small else 32)
    builder = _Builder(row, variant)
    x = builder.stem(inputs)
    for stage, (depth, width) in enumerate(zip(row.depths, row.widths, strict=True)):
        for block in range(depth):
            x = builder.block(x, stage, block, depth, width)
    if row.preactivates:
        x = builder.activated(builder.normalized(x, "post_bn"), "post_relu")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling is not None:
        kind = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
        x = kind(name=f"{pooling}_pool")(x)
    return Functional(inputs, x, name=name or unique_name(row.name.lower()))


class _Builder:
    """The parts of a network; layers are called as Keras calls them."""

    def __init__(self, row: Architecture, variant: Variant) -> None:
        self.row = row
        self.variant = variant
        self.axis = _DATA_AXIS[config.image_data_format()]
        self.initializer = "glorot_uniform" if row.is_in_keras else "he_normal"

    def convolved(
        self, x: Any, filters: int, size: int, name: str, stride: int = 1, use_bias: bool | None = None
    ) -> Any:
        """A convolution; where it has strides, its margins are the same on both sides."""
        use_bias = self.row.use_bias if use_bias is None else use_bias
        padding = "same"
        if stride > 1 and size > 1:
            margin = size // 2
            x = layers.ZeroPadding2D(((margin, margin), (margin, margin)), name=name.replace("_conv", "_pad"))(x)
            padding = "valid"
        elif size == 1:
            padding = "valid"
        options: dict[str, Any] = {"use_bias": use_bias, "kernel_initializer": self.initializer}
        return layers.Conv2D(filters, size, strides=stride, padding=padding, name=name, **options)(x)

    def normalized(self, x: Any, name: str) -> Any:
        """Batch normalisation."""
        return layers.BatchNormalization(axis=self.axis, epsilon=self.variant.epsilon, name=name)(x)

    def activated(self, x: Any, name: str) -> Any:
        """The rectifier."""
        return layers.Activation("relu", name=name)(x)

    def stem(self, x: Any) -> Any:
        """What comes before the blocks."""
        row = self.row
        if row.is_for_small:
            x = self.convolved(x, row.widths[0], 3, "conv1_conv")
            return self.activated(self.normalized(x, "conv1_bn"), "conv1_relu")
        # In Keras's version 2, this one convolution has a bias though no normalisation follows.
        x = self.convolved(x, 64, 7, "conv1_conv", stride=2)
        if not row.preactivates:
            x = self.activated(self.normalized(x, "conv1_bn"), "conv1_relu")
        x = layers.ZeroPadding2D(((1, 1), (1, 1)), name="pool1_pad")(x)
        return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)

    def block(self, x: Any, stage: int, number: int, depth: int, width: int) -> Any:
        """The `number`-th of a stage's `depth` blocks."""
        name = f"conv{stage + 2}_block{number + 1}"
        if self.row.preactivates:
            # Keras's strides stand in a stage's last block, before the next stage.
            has_stride = number == depth - 1 and stage < len(self.row.depths) - 1
            if self.row.block == "basic":
                has_stride = number == 0 and stage > 0
            return self._preactivating_block(x, width, 2 if has_stride else 1, number == 0, name)
        return self._block(x, width, 2 if number == 0 and stage > 0 else 1, stage, number == 0, name)

    def _block(self, x: Any, width: int, stride: int, stage: int, is_first: bool, name: str) -> Any:
        shortcut = x
        if self.row.block == "bottleneck":
            if is_first:
                shortcut = self.normalized(self.convolved(x, 4 * width, 1, f"{name}_0_conv", stride), f"{name}_0_bn")
            early, late = (1, stride) if self.variant.strides_in_middle else (stride, 1)
            x = self.normalized(self.convolved(x, width, 1, f"{name}_1_conv", early), f"{name}_1_bn")
            x = self.activated(x, f"{name}_1_relu")
            x = self.normalized(self.convolved(x, width, 3, f"{name}_2_conv", late), f"{name}_2_bn")
            x = self.activated(x, f"{name}_2_relu")
            x = self.normalized(self.convolved(x, 4 * width, 1, f"{name}_3_conv"), f"{name}_3_bn")
        else:
            if stride > 1 and self.row.is_for_small:
                shortcut = self._with_zeros(x, width, stride)
            elif stride > 1:
                shortcut = self.normalized(self.convolved(x, width, 1, f"{name}_0_conv", stride), f"{name}_0_bn")
            x = self.normalized(self.convolved(x, width, 3, f"{name}_1_conv", stride), f"{name}_1_bn")
            x = self.activated(x, f"{name}_1_relu")
            x = self.normalized(self.convolved(x, width, 3, f"{name}_2_conv"), f"{name}_2_bn")
        if self.row.has_shortcuts:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        return self.activated(x, f"{name}_out")

    def _preactivating_block(self, x: Any, width: int, stride: int, is_first: bool, name: str) -> Any:
        before = self.activated(self.normalized(x, f"{name}_preact_bn"), f"{name}_preact_relu")
        filters = width * (4 if self.row.block == "bottleneck" else 1)
        needs_projection = is_first and (self.row.block == "bottleneck" or stride > 1)
        if needs_projection:
            shortcut = self.convolved(before, filters, 1, f"{name}_0_conv", stride)
        else:
            shortcut = layers.MaxPooling2D(1, strides=stride)(x) if stride > 1 else x
        if self.row.block == "bottleneck":
            y = self.convolved(before, width, 1, f"{name}_1_conv", use_bias=False)
            y = self.activated(self.normalized(y, f"{name}_1_bn"), f"{name}_1_relu")
            y = layers.ZeroPadding2D(((1, 1), (1, 1)), name=f"{name}_2_pad")(y)
            y = layers.Conv2D(width, 3, strides=stride, use_bias=False, name=f"{name}_2_conv")(y)
            y = self.activated(self.normalized(y, f"{name}_2_bn"), f"{name}_2_relu")
            y = self.convolved(y, filters, 1, f"{name}_3_conv")
        else:
            y = self.convolved(before, width, 3, f"{name}_1_conv", stride)
            y = self.activated(self.normalized(y, f"{name}_1_bn"), f"{name}_1_relu")
            y = self.convolved(y, width, 3, f"{name}_2_conv")
        return layers.Add(name=f"{name}_out")([shortcut, y])

    def _with_zeros(self, x: Any, width: int, stride: int) -> Any:
        """The paper's shortcut of option A: every so-manyth place, and channels of zeros."""
        if self.axis == -1:
            x = x[:, ::stride, ::stride]
            return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))
        x = x[:, :, ::stride, ::stride]
        return ops.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0), (0, 0)))
