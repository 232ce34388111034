"""Models as Keras 2 described them, and as HDF5 files of Keras 3 do, in the words of a `.keras` file of Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triarch import registry
from triarch.saving.legacy import tables
from triarch.saving.legacy.functions import FUNCTION, FUNCTION_LAYERS, function_entry
from triarch.saving.legacy.graphs import calls
from triarch.saving.legacy.tables import Change

_MODELS = ("keras.models", "keras.src.models.functional")
_FAMILIES = (
    "keras.layers",
    *_MODELS,
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.losses",
    "keras.metrics",
    "keras.optimizers",
    "keras.optimizers.schedules",
)
_DECLARATIONS = ("batch_input_shape",)  # of the model's inputs, in the arguments of its first layer
_POLICIES = ("Policy", "PolicyV1", "DTypePolicy")


def upgraded(description: Any, keras_version: str | None) -> Any:
    """A model's description as a `.keras` file of Keras 3 holds it; one that is of that form already stays what it is.

    Args:
        keras_version: What the file says of itself; None where it says nothing.

    Raises:
        ValueError: It is no description, or something in it has no counterpart.
    """
    if not isinstance(description, dict) or not isinstance(description.get("config"), (dict, list)):
        raise ValueError("The file does not describe a model.")
    said = str(keras_version or "")
    if said.startswith(("0.", "1.")):
        raise ValueError(
            f"The model is in the words of Keras {said}, which had other layers. Make it in code, and take its "
            "weights from the file with `model.load_weights(path)`."
        )
    is_keras_2 = said.startswith("2") if said else "module" not in description
    return _Upgrade(is_keras_2).layer(description)


def has_sole_output(description: Mapping[str, Any]) -> bool:
    """Whether a model that is described in Keras 3's words has one output."""
    outputs = description["config"].get("output_layers", [[None]])
    return isinstance(outputs, list) and (len(outputs) == 1 or isinstance(outputs[0], str))


def is_old(config: Any) -> bool:
    """Whether a model's config is in Keras 2's words: its layers are named by their class alone, or it is a list."""
    if isinstance(config, list):
        return True
    layers = config.get("layers") if isinstance(config, Mapping) else None
    return isinstance(layers, list) and any(
        isinstance(entry, dict) and (("module" not in entry) or _calls_in_lists(entry)) for entry in layers
    )


def _calls_in_lists(entry: Mapping[str, Any]) -> bool:
    nodes = entry.get("inbound_nodes")
    return isinstance(nodes, list) and any(isinstance(node, list) for node in nodes)


@dataclass(frozen=True)
class _Upgrade:
    is_keras_2: bool

    def layer(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A layer or model; one of the user's keeps its name."""
        class_name, config = str(entry.get("class_name")), entry.get("config")
        if class_name in FUNCTION_LAYERS:
            return function_entry(entry)
        if isinstance(config, list):  # a Sequential model of the first releases
            config = {"layers": config}
        if not isinstance(config, Mapping):
            raise ValueError(f"The file describes a layer without its arguments. Received: {class_name!r}")
        made = {key: value for key, value in entry.items() if key != "build_config"}
        if _is_custom(entry):
            config = self._with_values(config, class_name)
            config = self._graph(config) if {"layers", "input_layers"} <= config.keys() else config
            kept = {"build_config": entry["build_config"]} if "build_config" in entry else {}
            return made | {"config": config, **kept}
        change = tables.LAYERS.get(class_name, Change()) if self.is_keras_2 else Change()
        if not self.is_keras_2 and _is_operation(class_name, config):
            return made | {"module": "keras.ops", "registered_name": None}
        place = home(change.name or class_name, ("keras.layers", *_MODELS))
        config = self._with_values(changed(class_name, config, change), class_name)
        if class_name == "Lambda":
            config = _lambda(config)
        if place["module"] in _MODELS and "layers" in config:
            config = self._graph(config) if "input_layers" in config else _with_entrance(config, entry)
        return made | {**place, "config": config}

    def _graph(self, config: dict[str, Any]) -> dict[str, Any]:
        """A functional model, whose layers have been described already; their calls follow."""
        if not self.is_keras_2 and not any(map(_calls_in_lists, config["layers"])):
            return config
        names = {entry.get("name") for entry in config["layers"]}
        counted = {entry["name"] for entry in config["layers"] if entry.get("class_name") in tables.COUNTED_FROM_ONE}
        layers = [
            {key: value for key, value in entry.items() if key != FUNCTION}
            | {"inbound_nodes": calls(entry, names, counted)}
            for entry in config["layers"]
        ]
        ends = {key: _ends(config[key], counted) for key in ("input_layers", "output_layers")}
        return {**config, "layers": layers, **ends}

    def _with_values(self, config: Mapping[str, Any], class_name: str) -> dict[str, Any]:
        return {key: self._value(key, value) for key, value in config.items()}

    def _value(self, key: str, value: Any) -> Any:
        if key == "layers" and isinstance(value, list):
            return [self.layer(part) if _is_object(part) else self._value("", part) for part in value]
        if key == "dtype":
            return policy_name(value)
        if key in ("activation", "recurrent_activation"):
            return self._activation(value)
        if isinstance(value, list):
            return [self._value(key, part) for part in value]
        if not isinstance(value, dict):
            return value
        if value.get("type") == "ndarray" and "value" in value:
            return value["value"]
        if value.get("class_name") == "TensorShape":
            return value.get("items")
        if value.get("class_name") == "__tuple__" and "items" in value:
            return {"class_name": "__tuple__", "config": {"value": [self._value(key, part) for part in value["items"]]}}
        if _is_object(value):
            return self._object(key, value)
        return {name: self._value(name, part) for name, part in value.items()}

    def _object(self, key: str, entry: dict[str, Any]) -> dict[str, Any]:
        """An object within the arguments of another one."""
        class_name = str(entry["class_name"])
        if class_name.startswith("__") or class_name == "function" or not isinstance(entry["config"], dict):
            return entry
        family = next((family for end, family in tables.FAMILIES.items() if key.endswith(end)), None)
        if family is None and _find(class_name, ("keras.layers", *_MODELS)) is not None:
            return self.layer(entry)
        if family is None and class_name in tables.LAYERS:
            return self.layer(entry)
        config = self._with_values(entry["config"], class_name)
        if family == "keras.initializers":
            config.pop("dtype", None)
            if config.get("distribution") in tables.DISTRIBUTIONS:
                config["distribution"] = tables.DISTRIBUTIONS[config["distribution"]]
        if _is_custom(entry):
            return {**entry, "config": config}
        return {**entry, **home(class_name, (family,) if family else _FAMILIES), "config": config}

    def _activation(self, value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("class_name") != "function":
                return self._object("activation", value) if _is_object(value) else value
            if registry.get_registered_object(str(value.get("config"))) is not None:
                return value
            value = value.get("config")
        if not isinstance(value, str) or not self.is_keras_2 or registry.get_registered_object(value) is not None:
            return value
        return tables.ACTIVATIONS.get(value, value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and "class_name" in value and "config" in value


def _is_custom(entry: Mapping[str, Any]) -> bool:
    """Whether it is of a class of the user's."""
    names = (entry.get("registered_name"), entry.get("class_name"))
    return any(isinstance(name, str) and registry.get_registered_object(name) is not None for name in names)


def _is_operation(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether it is one of the functions that Keras 3 calls operations: unlike layers they cannot be trained."""
    found = registry.find("keras.ops", registry.to_snake_case(class_name))
    return found is not None and not {"trainable", "layers", "batch_shape"} & config.keys()


def _find(class_name: str, families: tuple[str, ...]) -> tuple[str, str] | None:
    """The family in which a class is known, and its name there; files of some versions add that of an API to it."""
    for name in (class_name, class_name.removesuffix("V1"), class_name.removesuffix("V2")):
        for family in families:
            if registry.find(family, name) is not None:
                return family, name
    return None


def home(class_name: str, families: tuple[str, ...]) -> dict[str, Any]:
    """Where a class is to be looked for; what nobody knows is refused, by its name, when it is to be made."""
    family, name = _find(class_name, families) or (None, class_name)
    return {"module": family, "class_name": name, "registered_name": class_name if family is None else None}


def changed(class_name: str, config: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """The arguments of a class in their present form.

    Raises:
        ValueError: One has a value that nothing corresponds to.
    """
    made: dict[str, Any] = dict(change.added)
    for name, value in config.items():
        if name in change.renamed:
            made[change.renamed[name]] = value
        elif name in change.only:
            if value not in (None, change.only[name]):
                raise ValueError(
                    f"The file holds a {class_name} with {name}={value!r}, which has no counterpart; only "
                    f"{change.only[name]!r} has one."
                )
        elif name in change.sole and isinstance(value, list):
            if len(value) != 1:
                raise ValueError(f"The file holds a {class_name} with {name}={value!r}; only a single one is possible.")
            made[name] = value[0]
        elif name not in (*change.dropped, *_DECLARATIONS):
            made[name] = value
    return made


def _with_entrance(config: dict[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """A Sequential model with its input layer, which was left out where the first layer says the inputs' shape."""
    shape = declared_shape(entry)
    first = config["layers"][0] if config["layers"] else {}
    if shape is None or first.get("class_name") == "InputLayer":
        return config
    dtype = first["config"].get("dtype")
    name = f"{first['config'].get('name')}_input"
    is_plain = isinstance(dtype, str) and not dtype.startswith("mixed")
    entrance = {"batch_shape": shape, "dtype": dtype if is_plain else None, "name": name}
    place = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None}
    return {**config, "layers": [{**place, "config": entrance}, *config["layers"]]}


def declared_shape(entry: Mapping[str, Any]) -> Any:
    """For which shape of inputs a layer or model of Keras 2 says it was made; None where it does not say it."""
    config = entry.get("config")
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, Mapping) else None
    if isinstance(layers, list) and all(map(_is_object, layers)):
        if isinstance(config, Mapping) and "input_layers" in config:
            ends = config["input_layers"]
            sole = ends[0] if len(ends) == 1 else ends
            layers = [layer for layer in layers if layer.get("name") == sole[0]]
        return declared_shape(layers[0]) if layers else None
    if not isinstance(config, Mapping):
        return None
    return config.get("batch_input_shape", config.get("batch_shape"))


def policy_name(value: Any) -> Any:
    """The name of a policy in place of its description."""
    if not isinstance(value, dict) or value.get("class_name") not in _POLICIES:
        return value
    name = value.get("config", {}).get("name")
    return None if name in ("_infer", "infer") else name


def _lambda(config: dict[str, Any]) -> dict[str, Any]:
    """A Lambda layer: a function by its name; byte code is left, in the form in which it is refused."""
    function = config.get("function")
    kind = config.get("function_type", "function")
    made = {
        key: value
        for key, value in config.items()
        if key not in ("module", "function_type", "output_shape_type", "output_shape_module")
    }
    if isinstance(function, list) or kind == "lambda" or config.get("output_shape_type") == "lambda":
        return {**made, "function": {"class_name": "__lambda__", "config": {}}, "output_shape": None}
    if isinstance(function, str):
        made["function"] = {"class_name": "function", "module": None, "config": function}
    return made


def _ends(structure: Any, counted: set[Any]) -> Any:
    """The inputs or outputs of a graph, with calls in Keras 3's count."""
    if isinstance(structure, dict):
        return {key: _ends(part, counted) for key, part in structure.items()}
    if isinstance(structure, list) and len(structure) == 3 and isinstance(structure[0], str):
        name, call, index = structure
        return [name, call - (name in counted), index]
    return [_ends(part, counted) for part in structure]
