"""The networks that the benchmarks train: each for Keras's API, which triarch shares, and by hand in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TASKS = ("training", "inference")


@dataclass(frozen=True)
class Case:
    """A network and the size of its data.

    Args:
        shape: Of one sample.
        steps: Batches in a run.
        build: Keras's module -> the model, not compiled.
        build_torch: The same network by hand, channels first where they are an axis of convolutions.
        is_convolutional: Whether PyTorch's network wants the channels before the other axes.
        shortest: Steps of the shortest series: series are of random lengths, with zeros behind them.
    """

    shape: tuple[int, ...]
    batch_size: int
    steps: int
    build: Callable[[Any], Any]
    build_torch: Callable[[], Any]
    is_convolutional: bool = True
    shortest: int | None = None
    tasks: tuple[str, ...] = TASKS

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Random samples for a run, and classes."""
        rng = np.random.default_rng(0)
        x = rng.random((self.steps * self.batch_size, *self.shape), dtype=np.float32)
        y = rng.integers(0, 10, len(x))
        if self.shortest is not None:
            lengths = rng.integers(self.shortest, self.shape[0] + 1, len(x))
            x *= (np.arange(self.shape[0]) < lengths[:, None])[..., None]
        return x, y


def sequential(shape: tuple[int, ...], layers_of: Callable[[Any], list[Any]]) -> Callable[[Any], Any]:
    return lambda keras: keras.Sequential([keras.layers.Input(shape=shape), *layers_of(keras.layers)])


def _cnn(layers: Any) -> list[Any]:
    return [
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
        layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]


def _torch_cnn() -> Any:
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Conv2d(128, 128, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 10)),
    )


def _mlp(layers: Any) -> list[Any]:
    return [layers.Dense(64, activation="relu"), layers.Dense(10, activation="softmax")]


def _torch_mlp() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


_VGG_FILTERS = ((64, 64), (128, 128), (256, 256))


def _vgg(layers: Any) -> list[Any]:
    stack: list[Any] = []
    for filters in _VGG_FILTERS:
        stack += [layers.Conv2D(number, 3, padding="same", activation="relu") for number in filters]
        stack.append(layers.MaxPooling2D())
    return [*stack, layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]


def _torch_vgg() -> Any:
    from torch import nn

    stack: list[Any] = []
    channels = 3
    for filters in _VGG_FILTERS:
        for number in filters:
            stack += [nn.Conv2d(channels, number, 3, padding=1), nn.ReLU()]
            channels = number
        stack.append(nn.MaxPool2d(2))
    return nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


_RESNET_BLOCKS = tuple(
    (filters, 2 if filters > 16 and block == 0 else 1) for filters in (16, 32, 64) for block in range(3)
)


def _resnet20(keras: Any) -> Any:
    """ResNet-20 of the paper, as `applications.ResNet20` builds it: shortcuts add zeros."""
    layers, ops = keras.layers, keras.ops

    def convolved(x: Any, filters: int, stride: int = 1) -> Any:
        if stride > 1:
            x = layers.ZeroPadding2D(1)(x)
        padding = "valid" if stride > 1 else "same"
        x = layers.Conv2D(filters, 3, strides=stride, padding=padding, use_bias=False)(x)
        return layers.BatchNormalization(epsilon=1e-5)(x)

    inputs = keras.Input((32, 32, 3))
    x, channels = layers.Activation("relu")(convolved(inputs, 16)), 16
    for filters, stride in _RESNET_BLOCKS:
        shortcut = x
        if stride > 1:
            shortcut = ops.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, filters - channels)))
        x = convolved(layers.Activation("relu")(convolved(x, filters, stride)), filters)
        x, channels = layers.Activation("relu")(layers.Add()([shortcut, x])), filters
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _torch_resnet20() -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.a = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
            self.b = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.norm_a, self.norm_b = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
            self.stride, self.added = stride, filters - channels

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm_b(self.b(torch.relu(self.norm_a(self.a(x)))))
            if self.added:
                x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
            return torch.relu(x + y)

    blocks, channels = [], 16
    for filters, stride in _RESNET_BLOCKS:
        blocks.append(Block(channels, filters, stride))
        channels = filters
    first = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _resnet50(keras: Any) -> Any:
    return keras.applications.ResNet50(weights=None, classes=10)


def _torch_resnet50() -> Any:
    """ResNet-50 as Keras has it: strides in the first convolutions of blocks, and biases."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, width: int, stride: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                *(nn.Conv2d(channels, width, 1, stride), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
                *(nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
                *(nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width)),
            )
            self.shortcut = nn.Identity()
            if stride > 1 or channels != 4 * width:
                self.shortcut = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.main(x) + self.shortcut(x))

    blocks, channels = [], 64
    for width, depth, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(depth):
            blocks.append(Block(channels, width, 1 if number else first_stride))
            channels = 4 * width
    first = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 10))


def _depthwise(keras: Any) -> Any:
    layers = keras.layers
    if hasattr(layers, "DepthwiseConv2D"):
        large = layers.DepthwiseConv2D(31, padding="same")
    else:
        large = layers.Conv2D(32, 31, padding="same", groups=32)
    last = [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
    return keras.Sequential([layers.Input(shape=(64, 64, 32)), large, *last])


def _torch_depthwise() -> Any:
    from torch import nn

    large = nn.Conv2d(32, 32, 31, padding=15, groups=32)
    return nn.Sequential(large, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def _series(layers: Any) -> list[Any]:
    long = layers.Conv1D(64, 512, padding="same", activation="relu")
    return [long, layers.GlobalAveragePooling1D(), layers.Dense(10, activation="softmax")]


def _torch_series() -> Any:
    from torch import nn

    long = nn.Conv1d(64, 64, 512, padding="same")
    return nn.Sequential(long, nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10))


CASES = {
    "cnn": Case((28, 28, 1), 128, 4, sequential((28, 28, 1), _cnn), _torch_cnn),
    "vgg": Case((32, 32, 3), 64, 3, sequential((32, 32, 3), _vgg), _torch_vgg),
    "resnet20": Case((32, 32, 3), 128, 3, _resnet20, _torch_resnet20),
    "resnet50": Case((224, 224, 3), 8, 1, _resnet50, _torch_resnet50),
    "depthwise": Case((64, 64, 32), 16, 2, _depthwise, _torch_depthwise),
    "series": Case((16_000, 64), 2, 1, sequential((16_000, 64), _series), _torch_series),
    "mlp": Case((64,), 32, 1000, sequential((64,), _mlp), _torch_mlp),
}
