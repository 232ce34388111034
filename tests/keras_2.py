"""Files as Keras 2 wrote them: a writer of each of its formats, with no Keras in it, after its sources."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Arrays = Mapping[str, np.ndarray]


def initializer(kind: str, **config: Any) -> dict[str, Any]:
    """A nested object, as versions before 2.13 describe it."""
    return {"class_name": kind, "config": config}


GLOROT = initializer("GlorotUniform", seed=None)
SCALING = initializer("VarianceScaling", scale=1.0, mode="fan_avg", distribution="uniform", seed=None)
ZEROS, ONES = initializer("Zeros"), initializer("Ones")
ORTHOGONAL = initializer("Orthogonal", gain=1.0, seed=None)


def without(*names: str) -> dict[str, None]:
    """Regularizers and constraints that are not there."""
    return dict.fromkeys(names)


def kernel_and_bias(prefix: str = "kernel", use_bias: bool = True) -> dict[str, Any]:
    """What every layer with a kernel says of it."""
    return {
        "use_bias": use_bias,
        f"{prefix}_initializer": GLOROT,
        "bias_initializer": ZEROS,
        **without(f"{prefix}_regularizer", "bias_regularizer", "activity_regularizer", f"{prefix}_constraint"),
        "bias_constraint": None,
    }


def convolution(rank: int, **given: Any) -> dict[str, Any]:
    """What every convolution says."""
    return {
        "filters": 4,
        "kernel_size": [3] * rank,
        "strides": [1] * rank,
        "padding": "valid",
        "data_format": "channels_last",
        "dilation_rate": [1] * rank,
        "groups": 1,
        "activation": "linear",
        **kernel_and_bias(),
        **given,
    }


def recurrent(units: int = 4, **given: Any) -> dict[str, Any]:
    """What every recurrent layer says."""
    return {
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "time_major": False,
        "units": units,
        "activation": "tanh",
        "use_bias": True,
        "kernel_initializer": GLOROT,
        "recurrent_initializer": ORTHOGONAL,
        "bias_initializer": ZEROS,
        **without("kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer"),
        **without("kernel_constraint", "recurrent_constraint", "bias_constraint"),
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        **given,
    }


def normalization(**given: Any) -> dict[str, Any]:
    """What a batch normalization says."""
    return {
        "axis": [3],
        "momentum": 0.99,
        "epsilon": 0.001,
        "center": True,
        "scale": True,
        "beta_initializer": ZEROS,
        "gamma_initializer": ONES,
        "moving_mean_initializer": ZEROS,
        "moving_variance_initializer": ONES,
        **without("beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint"),
        **given,
    }


@dataclass(frozen=True)
class Layer:
    """A layer in a file.

    Args:
        weights: Its arrays by their names, in their order; what is before the last slash is their place in a `.keras`
            file.
        inbound: The calls, in a functional model.
    """

    class_name: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    weights: Arrays = field(default_factory=dict)
    inbound: Sequence[Any] | None = None

    def entry(self) -> dict[str, Any]:
        """The layer as versions before 2.13 describe it."""
        common = {} if self.class_name == "InputLayer" else {"trainable": True}
        config = {"name": self.name, **common, "dtype": "float32", **self.config}
        entry = {"class_name": self.class_name, "config": config}
        return entry if self.inbound is None else {**entry, "name": self.name, "inbound_nodes": list(self.inbound)}


def input_layer(
    shape: Sequence[int | None], name: str = "input_1", dtype: str = "float32", graph: bool = True
) -> Layer:
    """The entrance of a model."""
    config = {"batch_input_shape": [None, *shape], "dtype": dtype, "sparse": False, "ragged": False}
    return Layer("InputLayer", name, config, {}, [] if graph else None)


def called(*sources: str, **keywords: Any) -> list[Any]:
    """The only call of a layer, on the first output of these layers' first calls."""
    return [[[source, 0, 0, keywords] for source in sources]]


def sequential(layers: Iterable[Layer], name: str = "sequential") -> dict[str, Any]:
    """A Sequential model."""
    return {"class_name": "Sequential", "config": {"name": name, "layers": [layer.entry() for layer in layers]}}


def functional(
    layers: Iterable[Layer], inputs: Any, outputs: Any, name: str = "model", class_name: str = "Functional"
) -> dict[str, Any]:
    """A functional model."""
    config = {"name": name, "trainable": True, "layers": [layer.entry() for layer in layers]}
    return {"class_name": class_name, "config": {**config, "input_layers": inputs, "output_layers": outputs}}


def write_h5(
    path: Path,
    weights: Mapping[str, Arrays],
    model: Any = None,
    training: Any = None,
    optimizer: Arrays | None = None,
    version: str = "2.15.0",
    chunks: int = 1,
    as_text: bool = False,
    top_level: Arrays | None = None,
) -> None:
    """A whole model, or weights alone where there is no `model`.

    Args:
        chunks: Over how many attributes each list is spread, as Keras does with long ones.
        as_text: Whether attributes are texts instead of bytes.
    """

    def put(holder: Any, name: str, texts: Sequence[str]) -> None:
        values: Any = [text if as_text else text.encode() for text in texts]
        if not texts:
            holder.attrs[name] = np.zeros(0)
        elif chunks == 1:
            holder.attrs[name] = values
        else:
            for number, part in enumerate(np.array_split(np.arange(len(values)), chunks)):
                holder.attrs[f"{name}{number}"] = [values[place] for place in part] or np.zeros(0, "S1")

    def put_arrays(group: Any, arrays: Arrays) -> None:
        put(group, "weight_names", list(arrays))
        for name, value in arrays.items():
            group.create_dataset(name, data=value)

    with h5py.File(path, "w") as file:
        root = file
        if model is not None:
            root = file.create_group("model_weights")
            text = json.dumps(model)
            file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
            file.attrs["model_config"] = text if as_text else text.encode()
            if training is not None:
                file.attrs["training_config"] = json.dumps(training)
        put(root, "layer_names", list(weights))
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", version.encode()
        for layer, arrays in weights.items():
            put_arrays(root.create_group(layer), arrays)
        if top_level is not None:
            put_arrays(root.create_group("top_level_model_weights"), top_level)
        if optimizer is not None:
            put_arrays(file.create_group("optimizer_weights"), optimizer)


def h5_names(layer: Layer) -> dict[str, np.ndarray]:
    """The arrays of a layer under the names that TensorFlow's variables have."""
    return {f"{layer.name}/{name}:0": value for name, value in layer.weights.items()}


def with_modules(entry: Any) -> Any:
    """A description as 2.13 - 2.15 give it in `.keras` files: objects say where their classes are."""
    if isinstance(entry, list):
        return [with_modules(part) for part in entry]
    if not isinstance(entry, dict):
        return entry
    made = {key: with_modules(value) for key, value in entry.items()}
    if {"class_name", "config"} <= entry.keys():
        homes = {"Functional": "keras.src.engine.functional", "Sequential": "keras"}
        nested = {"GlorotUniform", "VarianceScaling", "Zeros", "Ones", "Orthogonal"}
        home = homes.get(entry["class_name"], "keras.initializers" if entry["class_name"] in nested else "keras.layers")
        made |= {"module": home, "registered_name": "Functional" if entry["class_name"] == "Functional" else None}
    return made


def write_archive(
    path: Path,
    model: Any,
    layers: Sequence[Layer],
    version: str = "2.15.0",
    compiled: Any = None,
    backslashes: bool = False,
    optimizer: Sequence[np.ndarray] = (),
) -> None:
    """A `.keras` file of 2.12 - 2.15; before 2.14 layers with weights count twice, in a folder of another name."""
    is_early = version < "2.14"
    folder = "_layer_checkpoint_dependencies" if is_early else "layers"
    counts: dict[str, int] = {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:

        def make(path: str) -> Any:
            group = file.create_group(path.replace("/", "\\") if backslashes else path)
            return group.create_group("vars")

        file.create_group("vars")
        for layer in layers:
            kind = snake_case(layer.class_name)
            number = counts.get(kind, 0)
            counts[kind] = number + (2 if is_early and layer.weights else 1)
            place = f"{folder}/{kind}_{number}" if number else f"{folder}/{kind}"
            groups: dict[str, list[np.ndarray]] = {"": []}
            for name, value in layer.weights.items():
                groups.setdefault(name.rpartition("/")[0], []).append(value)
            for inner, values in groups.items():
                group = make(f"{place}/{inner}".rstrip("/"))
                for index, value in enumerate(values):
                    group.create_dataset(str(index), data=value)
        if len(optimizer):
            group = make("optimizer")
            for index, value in enumerate(optimizer):
                group.create_dataset(str(index), data=value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2023-11-02@10:11:12"}))
        description = with_modules(model)
        if compiled is not None:
            description["compile_config"] = compiled
        archive.writestr("config.json", json.dumps(description))
        archive.writestr("model.weights.h5", buffer.getvalue())


def snake_case(name: str) -> str:
    """The name of a class as Keras 2 puts it: digits go with the letter before them."""
    name = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values of weights and data."""
    return rng.normal(size=shape).astype("float32")


def dense(name: str, units: int, inbound: Any = None, activation: str = "linear", **weights: np.ndarray) -> Layer:
    """A dense layer; without a `bias` among its weights it uses none."""
    config = {"units": units, "activation": activation, **kernel_and_bias(use_bias="bias" in weights)}
    return Layer("Dense", name, config, weights, inbound)


def address(name: str, index: int = 0) -> list[Any]:
    """An output of a layer's first call."""
    return [name, 0, index]


def save_graph(path: Path, layers: list[Layer], inputs: Any, outputs: Any, **more: Any) -> Path:
    """A functional model with its weights in an HDF5 file in a folder."""
    model = functional(layers, inputs, outputs)
    write_h5(path / "m.h5", {layer.name: h5_names(layer) for layer in layers}, model, **more)
    return path / "m.h5"
