"""The spatial transformer: a layer that learns how its input has to be moved for the layers behind it.

Pooling makes a network indifferent to shifts of a pixel or two, everywhere the same; a spatial transformer looks at an
input and takes out its shift, rotation, scale or distortion, whatever the extent. Source: Jaderberg, Simonyan,
Zisserman and Kavukcuoglu, "Spatial Transformer Networks" (2015), https://arxiv.org/abs/1506.02025.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from triarch import regularizers
from triarch.kernels.sampling import sample
from triarch.kernels.sampling.method import Method
from triarch.layers.arguments import describe, require_axes, standardize_tuple
from triarch.layers.base import Layer
from triarch.layers.spatial.localization import NETWORKS, Localization
from triarch.layers.spatial.transformations import NAMES, transformation
from triarch.registry import register

_TRIAL_SIZE = 32  # in the place of sizes that are unknown


@register("triarch.layers")
class SpatialTransformer(Layer):
    """Images or feature maps `(batch, height, width, channels)`, each moved as its localisation network says.

    The network gives the parameters of a transformation from the output's places to the input's, as differences from
    the identity. Its last weights begin at 0, so that the layer begins by handing its inputs on, to the last bit.

    Args:
        localization: A layer or model whose output for an image is one number for each parameter; or `"cnn"` (two
            convolutions and a hidden layer) or `"dense"` (two hidden layers).
        transform: `"affine"` (6 parameters), `"similarity"` (rotation, scale and shift: 4), `"translation"` (2),
            `"attention"` (scale and shift: 3), `"projective"` (8) or `"tps"`, thin-plate splines (2 for each control
            point).
        output_size: Height and width of the outputs, or one number for both; default: those of the inputs.
        control_points: Rows and columns of the lattice of control points, for `"tps"`.
        interpolation: `"bilinear"`, `"nearest"` (through which nothing is learnt) or `"bicubic"`.
        padding: What lies outside of the inputs: `"zeros"`, the nearest pixel of the `"border"`, the image in
            `"reflection"` or again (`"wrap"`).
        regularization: A regularizer of the parameters, or the factor of an L2 one: how much a transformation costs.
        learning_rate_factor: What the learning rate of the localisation network is multiplied with; often less than 1,
            as a wrong move of the whole image costs more than a wrong weight of the layers behind.
    """

    computes_in_floats = True

    def __init__(
        self,
        localization: Any = "cnn",
        transform: str = "affine",
        output_size: Any = None,
        control_points: Any = (4, 4),
        interpolation: str = "bilinear",
        padding: str = "zeros",
        regularization: Any = None,
        learning_rate_factor: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(localization, Layer) and localization not in NETWORKS:
            raise ValueError(
                f"`localization` is a layer, a model, or one of {', '.join(map(repr, NETWORKS))}. "
                f"Received: localization={localization!r}"
            )
        if transform not in NAMES:
            raise ValueError(f"`transform` is one of {', '.join(map(repr, NAMES))}. Received: transform={transform!r}")
        Method(interpolation, padding).check()
        self.localization = localization
        self.transform = transform
        self.output_size = None if output_size is None else standardize_tuple(output_size, 2, "output_size")
        self.control_points = standardize_tuple(control_points, 2, "control_points")
        if min(self.control_points) < 2:
            raise ValueError(f"There are at least 2 x 2 control points. Received: control_points={control_points!r}")
        self.interpolation, self.padding = interpolation, padding
        is_factor = isinstance(regularization, (int, float))
        self.regularization = regularizers.L2(regularization) if is_factor else regularizers.get(regularization)
        self.learning_rate_factor = learning_rate_factor
        self._family = transformation(transform, _pair(self.control_points))

    def build(self, input_shape: Any) -> None:
        require_axes(self, input_shape, ("batch", "height", "width", "channels"))
        if isinstance(self.localization, str):
            self._network = Localization(NETWORKS[self.localization](), self._family.count, dtype=self.dtype_policy)
        network = self.network
        if not network.built:
            network.build(input_shape)
        network.learning_rate_factor = self.learning_rate_factor
        found = tuple(network.compute_output_shape(input_shape))
        if found[1:] != (self._family.count,):
            raise ValueError(
                f"{describe(self)} needs a localisation that gives {self._family.count} numbers for an image, the "
                f"parameters of transform={self.transform!r}. Received: one of shape {found}"
            )
        self._begin_as_identity(input_shape)

    @property
    def network(self) -> Layer:
        """The localisation network."""
        return self._network if isinstance(self.localization, str) else self.localization

    def _begin_as_identity(self, input_shape: Any) -> None:
        """Let the last layer of the localisation give zeros.

        Raises:
            ValueError: It cannot.
        """
        holders = [module for module in self.network.modules() if module._parameters]
        if holders:
            with torch.no_grad():
                for weight in holders[-1]._parameters.values():
                    if weight is not None:
                        weight.zero_()
        sizes = [_TRIAL_SIZE if size is None else size for size in input_shape[1:]]
        with torch.no_grad():
            trial = self.network(torch.ones(1, *sizes, dtype=self._compute_torch_dtype, device=self.device))
        if trial.any():
            raise ValueError(
                f"{describe(self)} begins as the identity, so its localisation must end in a layer that gives zeros "
                "where its weights are 0, such as `Dense` without an activation. "
                f"Received: localization={self.localization!r}, which gives {trial[0].tolist()}"
            )

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        parameters = self.parameters_of(inputs)
        if self.regularization is not None:
            self.add_loss(self.regularization(parameters) / max(len(parameters), 1))
        places = self._places(parameters, inputs)
        images = inputs.to(places.dtype)
        return sample(images, places, self.interpolation, self.padding).to(inputs.dtype)

    def parameters_of(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the localisation network says of each image, `(batch, parameters)`: differences from the identity."""
        return self.network(inputs)

    def theta(self, inputs: torch.Tensor) -> torch.Tensor:
        """The transformation of each image.

        Returns:
            `(batch, 2, 3)`; `(batch, 3, 3)` for projective ones; of thin-plate splines the places of the control
            points, `(batch, points, 2)`, row by row. All from places in the output to places in the input, x and y
            from -1 to 1.
        """
        return self._family.matrix(self.parameters_of(inputs), (inputs.shape[1], inputs.shape[2]))

    def frames(self, inputs: torch.Tensor) -> torch.Tensor:
        """The part of each image that its output shows: the outline `(batch, points, 2)`, x and y in pixels."""
        places = self._places(self.parameters_of(inputs), inputs)
        sides = (places[:, 0], places[:, 1:, -1], places[:, -1].flip(1)[:, 1:], places[:, 1:-1, 0].flip(1))
        return torch.cat(sides, 1)

    def _places(self, parameters: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """The places in the inputs, in pixels, that the outputs show."""
        if parameters.dtype.itemsize < 4:
            parameters = parameters.float()  # half precision does not know the pixels of a large image apart
        size = (inputs.shape[1], inputs.shape[2])
        out_size = _pair(self.output_size or size)
        extent = torch.tensor([size[1], size[0]], dtype=parameters.dtype, device=parameters.device)
        own = [_stretched(own, out, parameters) for own, out in zip(size, out_size, strict=True)]
        plain = torch.stack(torch.meshgrid(own[1], own[0], indexing="xy"), -1)
        return plain + self._family.displace(parameters, size, out_size) * (extent / 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        require_axes(self, input_shape, ("batch", "height", "width", "channels"))
        return (input_shape[0], *(self.output_size or input_shape[1:3]), input_shape[3])


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    rows, columns = sizes
    return rows, columns


def _stretched(size: int, out_size: int, like: torch.Tensor) -> torch.Tensor:
    """Where the pixels of an axis of the outputs lie in the inputs, in pixels."""
    numbers = torch.arange(out_size, dtype=like.dtype, device=like.device)
    return numbers if size == out_size else (numbers + 0.5) * (size / out_size) - 0.5
