"""Two recurrent layers, one of which goes backwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from triarch.layers.arguments import describe
from triarch.layers.base import Layer
from triarch.layers.recurrent.rnn import mask_of_outputs
from triarch.registry import register
from triarch.serialization import deserialize_keras_object, serialize_keras_object

_MERGES = {
    "concat": lambda forward, backward: torch.cat([forward, backward], -1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}


@register("keras.layers")
class Bidirectional(Layer):
    """A recurrent layer that goes through series in both directions; the second one's outputs are turned round.

    Args:
        layer: A recurrent layer, of which two new ones are made.
        merge_mode: How outputs become one: `"concat"`, `"sum"`, `"ave"`, `"mul"`, or None for two outputs.
        weights: To begin with: those of the first layer, then those of the second.
        backward_layer: The second layer, where it is not to be like the first.
    """

    computes_in_floats = True

    supports_masking = True
    makes_mask = False

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for given, name in ((layer, "layer"), (backward_layer, "backward_layer")):
            if not isinstance(given, Layer) and (given is not None or name == "layer"):
                raise ValueError(f"`{name}` is a recurrent layer. Received: {name}={given!r}")
        for name in ("go_backwards", "return_sequences", "return_state", "stateful"):
            if not hasattr(layer, name):
                raise ValueError(f"`layer` is a recurrent layer, with an attribute `{name}`. Received: {layer!r}")
        if merge_mode is not None and merge_mode not in _MERGES:
            raise ValueError(f"`merge_mode` is None or one of {tuple(_MERGES)}. Received: {merge_mode!r}")
        self.forward_layer = _made_again(layer, "forward")
        self.backward_layer = (
            _made_again(layer, "backward", go_backwards=not layer.go_backwards)
            if backward_layer is None
            else backward_layer
        )
        self._check_layers()
        for each in (self.forward_layer, self.backward_layer):
            if hasattr(each, "zero_output_for_mask"):
                each.zero_output_for_mask = each.return_sequences
        self.merge_mode = merge_mode
        self._initial_weights = None if weights is None else list(weights)
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state

    def _check_layers(self) -> None:
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "One of the layers goes backwards and the other does not. Received: go_backwards="
                f"{forward.go_backwards} in both"
            )
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, name) != getattr(backward, name):
                raise ValueError(
                    f"Both layers have the same `{name}`. Received: {getattr(forward, name)} in `layer` and "
                    f"{getattr(backward, name)} in `backward_layer`"
                )

    def _arguments(self) -> Iterator[tuple[str, Any]]:
        yield from (("name", self.name), ("trainable", self.trainable), ("dtype", self.dtype_policy))
        yield "merge_mode", self.merge_mode
        yield from (("layer", self.forward_layer), ("backward_layer", self.backward_layer))

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
        if self._initial_weights is not None:
            half = len(self._initial_weights) // 2
            self.forward_layer.set_weights(self._initial_weights[:half])
            self.backward_layer.set_weights(self._initial_weights[half:])

    untracked = Layer.untracked | {"_initial_weights"}

    def call(self, sequences: torch.Tensor, initial_state: Any = None, mask: Any = None) -> Any:
        first: Any = None
        second: Any = None
        if initial_state is not None:
            if len(initial_state) % 2:
                raise ValueError(
                    f"{describe(self)} takes the states of the first layer, then those of the second. "
                    f"Received: {len(initial_state)} states"
                )
            half = len(initial_state) // 2
            first, second = list(initial_state[:half]), list(initial_state[half:])
        forward = self.forward_layer(sequences, initial_state=first, mask=mask)
        backward = self.backward_layer(sequences, initial_state=second, mask=mask)
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        if self.return_sequences:
            backward = backward.flip(1)
        outputs = (forward, backward) if self.merge_mode is None else (_MERGES[self.merge_mode](forward, backward),)
        return (*outputs, *states) if len(outputs) + len(states) > 1 else outputs[0]

    def reset_state(self) -> None:
        """Let stateful layers begin with zeros again."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    @property
    def states(self) -> Any:
        """Of stateful layers: those of the first, then those of the second."""
        if self.forward_layer.states is None:
            return None
        return [*self.forward_layer.states, *self.backward_layer.states]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the inputs for outputs of all steps, None for a single one and for states."""
        own = mask_of_outputs(self.forward_layer, mask)
        masks = [own] * (2 if self.merge_mode is None else 1)
        if self.return_state:
            masks += [None] * 2 * len(self.forward_layer.state_size)
        return masks if len(masks) > 1 else own

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """The shapes of the outputs, and those of the states where these are given."""
        forward, backward = (
            layer.compute_output_shape(sequences_shape) for layer in (self.forward_layer, self.backward_layer)
        )
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        outputs: tuple[Any, ...] = (forward, backward)
        if self.merge_mode is not None:
            outputs = ((*forward[:-1], forward[-1] + backward[-1]) if self.merge_mode == "concat" else forward,)
        return (*outputs, *states) if len(outputs) + len(states) > 1 else outputs[0]


def _made_again(layer: Any, prefix: str, **changes: Any) -> Any:
    """A layer of the same arguments without the weights of this one."""
    content = serialize_keras_object(layer)
    name = f"{prefix}_{layer.name.removeprefix(f'{prefix}_')}"
    return deserialize_keras_object({**content, "config": {**content["config"], "name": name, **changes}})
