"""The networks that the benchmarks train: each for Keras's API, which triarch shares, and by hand in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A network and the size of its data.

    Args:
        shape: Of one sample.
        steps: Batches in a run.
        build: Keras's module -> the model, not compiled.
        build_torch: The same network by hand, channels first.
    """

    shape: tuple[int, ...]
    batch_size: int
    steps: int
    build: Callable[[Any], Any]
    build_torch: Callable[[], Any]


def _sequential(shape: tuple[int, ...], layers_of: Callable[[Any], list[Any]]) -> Callable[[Any], Any]:
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


def _resnet(keras: Any) -> Any:
    """ResNet-20 without normalisation: residual blocks of two convolutions, 1×1 projections where sizes change."""
    layers = keras.layers

    class ResNet(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Conv2D(16, 3, padding="same", activation="relu")
            self.a = [layers.Conv2D(n, 3, strides=s, padding="same", activation="relu") for n, s in _RESNET_BLOCKS]
            self.b = [layers.Conv2D(n, 3, padding="same") for n, _ in _RESNET_BLOCKS]
            self.shortcuts = [layers.Conv2D(n, 1, strides=s) for n, s in _RESNET_BLOCKS if s > 1]
            self.relu = layers.ReLU()
            self.pool = layers.GlobalAveragePooling2D()
            self.last = layers.Dense(10, activation="softmax")

        def call(self, inputs: Any) -> Any:
            x = self.first(inputs)
            shortcuts = iter(self.shortcuts)
            for (_, stride), a, b in zip(_RESNET_BLOCKS, self.a, self.b, strict=True):
                x = self.relu(b(a(x)) + (next(shortcuts)(x) if stride > 1 else x))
            return self.last(self.pool(x))

    return ResNet()


def _torch_resnet() -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, filters: int, stride: int) -> None:
            super().__init__()
            self.a = nn.Conv2d(channels, filters, 3, stride, 1)
            self.b = nn.Conv2d(filters, filters, 3, 1, 1)
            self.shortcut = nn.Conv2d(channels, filters, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.b(torch.relu(self.a(x))) + self.shortcut(x))

    blocks, channels = [], 16
    for filters, stride in _RESNET_BLOCKS:
        blocks.append(Block(channels, filters, stride))
        channels = filters
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


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
    "cnn": Case((28, 28, 1), 128, 4, _sequential((28, 28, 1), _cnn), _torch_cnn),
    "vgg": Case((32, 32, 3), 64, 3, _sequential((32, 32, 3), _vgg), _torch_vgg),
    "resnet20": Case((32, 32, 3), 128, 3, _resnet, _torch_resnet),
    "depthwise": Case((64, 64, 32), 16, 2, _depthwise, _torch_depthwise),
    "series": Case((16_000, 64), 2, 1, _sequential((16_000, 64), _series), _torch_series),
    "mlp": Case((64,), 32, 1000, _sequential((64,), _mlp), _torch_mlp),
}
