"""Which target, weight and setting belongs to which output of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def named_outputs(value: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The outputs of a model, or what belongs to them, by name: dict keys, else `names`, else `output_0`, ..."""
    if isinstance(value, dict):
        return value
    if isinstance(value, (list, tuple)):
        if names is None or len(names) != len(value):
            names = [f"output_{index}" for index in range(len(value))]
        return dict(zip(names, value, strict=True))
    return {names[0] if names and len(names) == 1 else "output": value}


def per_output(setting: Any, outputs: Sequence[str], what: str, shared: bool = False) -> dict[str, Any]:
    """A setting given as one value, a list in the order of the outputs, or a dict by their names -> a dict."""
    if isinstance(setting, dict):
        unknown = sorted(set(setting) - set(outputs))
        if unknown:
            raise ValueError(
                f"`{what}` names outputs that the model does not have: {unknown}. Outputs: {list(outputs)}"
            )
        return {name: setting.get(name) for name in outputs}
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


def report_prefixes(y_pred: Any, names: Sequence[str] | None) -> list[str | None]:
    """What stands before the names of each output's values: nothing for outputs that are a list without names."""
    outputs = named_outputs(y_pred, names)
    if isinstance(y_pred, dict) or (names is not None and len(names) == len(outputs)):
        return list(outputs)
    return [None] * len(outputs)


def matched(values: Any, outputs: Sequence[str], used: Sequence[str]) -> dict[str, Any]:
    """Targets by output: given for all outputs, or in the same order for those in `used` alone."""
    if isinstance(values, dict):
        return values
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
