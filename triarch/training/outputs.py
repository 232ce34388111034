"""Which target, weight and setting belongs to which output of a model.

Outputs are told apart by their keys: what their layers are called, and where one layer makes several, all but the first
with a number. A dict may name such outputs by their keys, or all of them at once by the layer's name, as in Keras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triarch.graph import leaves
from triarch.training.naming import numbered


class OutputKey(str):
    """The key of an output, which knows the name that it is reported by."""

    name: str

    def __new__(cls, key: str, name: str) -> OutputKey:
        made = super().__new__(cls, key)
        made.name = name
        return made


def output_keys(names: Sequence[str] | None) -> list[OutputKey] | None:
    """Keys for outputs of these names."""
    return None if names is None else [OutputKey(*pair) for pair in zip(numbered(names), names, strict=True)]


def entry_of(values: Mapping[str, Any], key: str) -> Any:
    """What a dict has for an output: under its key, else under the name that it shares with others."""
    return values[key] if key in values else values.get(getattr(key, "name", key))


def is_nested(outputs: Any) -> bool:
    """Whether these are outputs in lists or dicts in a list."""
    return isinstance(outputs, (list, tuple)) and any(isinstance(part, (list, tuple, dict)) for part in outputs)


def flat(values: Any) -> Any:
    """What belongs to nested outputs, as a list in their order; what is not nested as it is."""
    return leaves(values) if is_nested(values) else values


def flat_settings(settings: Any, outputs: Any) -> Any:
    """Settings for each of nested outputs, nested as those are, as a list; settings in another form as they are."""
    if not isinstance(settings, (list, tuple)) or not is_nested(outputs) or len(settings) != len(outputs):
        return settings
    found: list[Any] = []
    for setting, output in zip(settings, outputs, strict=True):
        count = len(leaves(output))
        inner = flat_settings(setting, output) if isinstance(output, (list, tuple)) else None
        found += inner if isinstance(inner, (list, tuple)) and len(inner) == count > 1 else [setting] * count
    return found


def named_outputs(value: Any, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """The outputs of a model, or what belongs to them, by key: dict keys, else `keys`, else `output_0`, ..."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        if keys is None or len(keys) != len(value):
            keys = [f"output_{index}" for index in range(len(value))]
        return dict(zip(keys, value, strict=True))
    return {keys[0] if keys and len(keys) == 1 else "output": value}


def per_output(setting: Any, outputs: Sequence[str], what: str, shared: bool = False) -> dict[str, Any]:
    """A setting given as one value, a list in the order of the outputs, or a dict by their names -> a dict."""
    if isinstance(setting, dict):
        unknown = sorted(set(setting) - set(outputs) - {getattr(key, "name", key) for key in outputs})
        if unknown:
            raise ValueError(
                f"`{what}` names outputs that the model does not have: {unknown}. Outputs: {list(outputs)}"
            )
        return {key: entry_of(setting, key) for key in outputs}
    if isinstance(setting, (list, tuple)):
        if len(setting) != len(outputs):
            raise ValueError(
                f"`{what}` needs an entry for each of the model's {len(outputs)} outputs {list(outputs)}. "
                f"Received: {len(setting)} entries"
            )
        return dict(zip(outputs, setting, strict=True))
    if shared or len(outputs) == 1:
        return dict.fromkeys(outputs, setting)
    raise ValueError(
        f"The model has {len(outputs)} outputs {list(outputs)}: give `{what}` as a list or dict. Received: {setting!r}"
    )


def in_order_of(setting: Any, outputs: Sequence[str]) -> list[str]:
    """The outputs, in the order in which a dict names them."""
    if not isinstance(setting, dict):
        return list(outputs)
    named = [[key for key in outputs if key == name or _is_shared(setting, key, name)] for name in setting]
    return [key for keys in named for key in keys]


def _is_shared(setting: Mapping[str, Any], key: str, name: str) -> bool:
    return key not in setting and getattr(key, "name", None) == name


def report_prefixes(y_pred: Any, names: Sequence[str] | None) -> list[str | None]:
    """What stands before the names of each output's values: nothing for outputs that are a list without names."""
    outputs = named_outputs(y_pred, names)
    if isinstance(y_pred, dict) or (names is not None and len(names) == len(outputs)):
        return [getattr(key, "name", key) for key in outputs]
    return [None] * len(outputs)


def matched(values: Any, outputs: Sequence[str], used: Sequence[str]) -> dict[str, Any]:
    """Targets by output: given for all outputs, or in the same order for those in `used` alone."""
    if isinstance(values, dict):
        return values | {key: entry_of(values, key) for key in outputs}
    parts = list(values) if isinstance(values, (list, tuple)) else [values]
    for names in (outputs, used):
        if len(parts) == len(names):
            return dict(zip(names, parts, strict=True))
    raise ValueError(f"The data have {len(parts)} targets, but the model has the outputs {list(outputs)}.")


def sole(value: Any) -> Any:
    """The only part of a list, tuple or dict of one; other values as they are."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return value[0]
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value


def target_of(targets: dict[str, Any], output: str) -> Any:
    """The target of one output, or a ValueError where the data have none."""
    if targets.get(output) is None:
        given = sorted(name for name, value in targets.items() if value is not None)
        raise ValueError(
            f"A loss or metric needs targets, but the data have none for output {output!r}. Received: targets {given}"
        )
    return targets[output]
