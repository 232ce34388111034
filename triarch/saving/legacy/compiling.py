"""How a model was compiled, in Keras 2's words, as the arguments of `compile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from triarch import registry
from triarch.saving.legacy import tables
from triarch.saving.legacy.configs import changed, home, policy_name

_CHOSEN_LATER = ("accuracy", "acc", "crossentropy", "ce")  # metrics, by the outputs and labels
_LARGEST_LOSS_SCALE = 1024.0  # a fixed one; Keras 2 found its own, downwards from 32768


def compile_config(training: Mapping[str, Any], has_sole_output: bool) -> dict[str, Any]:
    """The arguments of `compile`, as a `.keras` file holds them, for `training_config` of an HDF5 file or such a part.

    Args:
        has_sole_output: Whether the model has one output, whose name then says nothing.

    Raises:
        ValueError: Something in it has no counterpart.
    """
    optimizer = training.get("optimizer_config", training.get("optimizer"))
    made = {
        "optimizer": _optimizer(optimizer) if isinstance(optimizer, dict) else optimizer,
        "loss": _each(training.get("loss") or None, lambda entry: _scored(entry, "keras.losses")),
        "loss_weights": training.get("loss_weights"),
        "metrics": _each(training.get("metrics"), lambda entry: _scored(entry, "keras.metrics")),
        "weighted_metrics": _each(training.get("weighted_metrics"), lambda entry: _scored(entry, "keras.metrics")),
    }
    if has_sole_output:
        scored = ("loss", "loss_weights", "metrics", "weighted_metrics")
        made |= {name: _sole(made[name]) for name in scored if isinstance(made[name], dict)}
    for name in ("run_eagerly", "steps_per_execution", "jit_compile"):
        if training.get(name) is not None:
            made[name] = training[name]
    return made


def _sole(of_outputs: dict[str, Any]) -> Any:
    """What is said of the only output."""
    return next(iter(of_outputs.values())) if len(of_outputs) == 1 else of_outputs


def _each(structure: Any, convert: Callable[[Any], Any]) -> Any:
    """The nested losses or metrics, each converted; those that are only a name as well."""
    if isinstance(structure, (list, tuple)):
        return [_each(part, convert) for part in structure]
    if isinstance(structure, dict) and "class_name" not in structure:
        return {name: _each(part, convert) for name, part in structure.items()}
    return None if structure is None else convert(structure)


def _scored(entry: Any, family: str) -> Any:
    """A loss or metric."""
    if isinstance(entry, str):
        return _custom_function(entry) or _known(tables.SCORES.get(entry, entry), family)
    class_name, config = str(entry.get("class_name")), entry.get("config")
    if class_name == "function" and isinstance(config, str):
        known = registry.get_registered_object(config) is None and registry.find(family, config) is not None
        return config if known else entry
    if not isinstance(config, dict) or registry.get_registered_object(class_name) is not None:
        return entry
    function = config.get("fn")
    if isinstance(function, dict):
        function = function.get("config")
    config = {name: value for name, value in config.items() if name != "fn"}
    if "reduction" in config and family == "keras.losses":
        config["reduction"] = tables.REDUCTIONS.get(config["reduction"], config["reduction"])
    if "dtype" in config:
        config["dtype"] = policy_name(config["dtype"])
    if class_name in ("MeanMetricWrapper", "LossFunctionWrapper", "SumOverBatchSizeMetricWrapper"):
        return _custom_function(function) or _of_function(function, config, family)
    return {**home(class_name, (family,)), "config": config}


def _known(name: str, family: str) -> str:
    """The name of a loss or metric, if it is one."""
    if registry.find(family, name) is None and name not in _CHOSEN_LATER:
        raise _unknown(name)
    return name


def _unknown(name: Any) -> ValueError:
    return ValueError(
        f"The model was compiled with a function that triarch does not know: {name!r}. Pass it in `custom_objects`, or "
        "load the model with `compile=False`."
    )


def _custom_function(name: Any) -> dict[str, Any] | None:
    """A function of the user's, which is looked up while the file is read."""
    if not isinstance(name, str) or registry.get_registered_object(name) is None:
        return None
    return {"class_name": "function", "module": None, "config": name}


def _of_function(function: Any, config: dict[str, Any], family: str) -> Any:
    """The loss or metric that was made of a function: the class of this name, where there is one."""
    found = registry.home_of(registry.find(family, str(function)))
    if found is None:
        raise _unknown(function)
    name = found[1] if not found[1].islower() else "".join(part.title() for part in found[1].split("_"))
    made = registry.find(family, name)
    return {**home(name, (family,)), "config": config} if isinstance(made, type) else function


def _optimizer(entry: Mapping[str, Any]) -> dict[str, Any]:
    class_name, config = str(entry.get("class_name")), dict(entry.get("config") or {})
    if registry.get_registered_object(class_name) is not None:
        return dict(entry)
    if class_name.rpartition(">")[2].startswith("LossScaleOptimizer"):
        inner = _optimizer(config.get("inner_optimizer") or config.get("optimizer") or {})
        scale = float(config.get("initial_scale") or _LARGEST_LOSS_SCALE)
        inner["config"]["loss_scale_factor"] = min(scale, _LARGEST_LOSS_SCALE)
        return inner
    class_name = class_name.removeprefix("Custom>")  # what Keras 2 put before the optimizers of 2.11 and later
    config = changed(class_name, config, tables.OPTIMIZERS)
    if config.get("epsilon", 0) is None:
        config["epsilon"] = 1e-7
    rate, decay = config.get("learning_rate"), config.pop("decay", None)
    if isinstance(rate, dict) and isinstance(rate.get("config"), dict):
        config["learning_rate"] = rate | home(str(rate.get("class_name")), ("keras.optimizers.schedules",))
    elif decay:  # of each step
        schedule = {"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay}
        config["learning_rate"] = {**home("InverseTimeDecay", ("keras.optimizers.schedules",)), "config": schedule}
    return {**home(class_name, ("keras.optimizers",)), "config": config}
