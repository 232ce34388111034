"""The weights of recurrent layers as `torch.nn` has them, and back: another order of gates, a bias for each product."""

from __future__ import annotations

from typing import Any

import torch

from triarch.kernels.recurrent import Cell, Weights, reordered, torch_weights
from triarch.layers.arguments import describe
from triarch.layers.recurrent.bidirectional import Bidirectional
from triarch.layers.recurrent.gru import GRU
from triarch.layers.recurrent.lstm import LSTM
from triarch.layers.recurrent.rnn import CellRNN
from triarch.layers.recurrent.simple_rnn import SimpleRNN

_MODULES = {SimpleRNN: torch.nn.RNN, LSTM: torch.nn.LSTM, GRU: torch.nn.GRU}


def recurrent_to_torch(layer: Any) -> torch.nn.Module:
    """A `torch.nn.RNN`, `LSTM` or `GRU` with `batch_first` that gives what a layer gives at all steps.

    Args:
        layer: A built `SimpleRNN`, `LSTM` or `GRU`, or a `Bidirectional` one.

    Raises:
        ValueError: torch has no such layer, or the layer has no weights yet.
    """
    layers = _directions(layer)
    cell = layers[0].cell
    known = _known(layers[0])
    settings = {"nonlinearity": known.activation} if type(layers[0]) is SimpleRNN else {}
    kernel = cell.kernel
    module = _MODULES[type(layers[0])](
        kernel.shape[0], cell.units, batch_first=True, bias=cell.use_bias, bidirectional=len(layers) == 2,
        dtype=kernel.dtype, device=kernel.device, **settings,
    )  # fmt: skip
    with torch.no_grad():
        for own, suffix in zip(layers, ("", "_reverse"), strict=False):
            flat = torch_weights(known, Weights(own.cell.kernel, own.cell.recurrent_kernel, own.cell.bias))
            for name, weight in zip(_NAMES, flat, strict=False):
                getattr(module, name + suffix).copy_(weight)
    return module


def recurrent_from_torch(layer: Any, module: torch.nn.Module) -> None:
    """Copy the weights of a `torch.nn.RNN`, `LSTM` or `GRU` of one layer into a layer, which is built if it is not.

    Raises:
        ValueError: The two do not fit.
    """
    if not layer.built and isinstance(getattr(module, "input_size", None), int):
        layer.build((None, None, module.input_size))
    layers = _directions(layer)
    is_like = (
        type(module) is _MODULES[type(layers[0])]
        and module.num_layers == 1
        and module.bidirectional == (len(layers) == 2)
        and module.bias == layers[0].use_bias
        and getattr(module, "proj_size", 0) == 0
        and (module.input_size, module.hidden_size) == (layers[0].cell.kernel.shape[0], layers[0].units)
    )
    if not is_like:
        raise ValueError(f"{describe(layer)} has no room for the weights of this module. Received: {module}")
    with torch.no_grad():
        for own, suffix in zip(layers, ("", "_reverse"), strict=False):
            cell = own.cell
            parts = [getattr(module, name + suffix) for name in _NAMES[: 4 if cell.use_bias else 2]]
            kernel, recurrent_kernel, *biases = (_back(_known(own).kind, part) for part in parts)
            cell.kernel.copy_(kernel)
            cell.recurrent_kernel.copy_(recurrent_kernel)
            if biases:
                cell.bias.copy_(torch.stack(biases) if cell.bias.ndim == 2 else sum(biases))


_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _back(kind: str, part: torch.Tensor) -> torch.Tensor:
    return reordered(kind, part.mT if part.ndim == 2 else part)  # exchanging two gates is its own way back


def _directions(layer: Any) -> list[CellRNN]:
    """A layer, or the two of a bidirectional one, if torch has the like of them."""
    layers = [layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer]
    for own in layers:
        if type(own) not in _MODULES or not own.built:
            raise ValueError(
                f"Expected a built SimpleRNN, LSTM or GRU, or a bidirectional one. Received: {describe(layer)}"
            )
        known = _known(own)
        usual = ("tanh", "relu") if type(own) is SimpleRNN else ("tanh",)
        if known.activation not in usual or known.recurrent_activation != "sigmoid":
            raise ValueError(f"torch.nn has no such activations. Received: {describe(layer)} with {known}")
    return layers


def _known(layer: CellRNN) -> Cell:
    known = layer.cell.compiled
    if known is None:
        raise ValueError(f"torch.nn has no such cell. Received: {describe(layer)}")
    return known
