"""A model from its description in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triarch.serialization import deserialize_keras_object


def make_model(description: dict[str, Any], custom_objects: Mapping[str, Any] | None, origin: str) -> Any:
    """The model as it is described, with fresh weights.

    Args:
        origin: The file's name for messages.

    Raises:
        ValueError: It cannot be made, or is no model.
    """
    try:
        model = deserialize_keras_object(description, custom_objects)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"The model in {origin!r} cannot be made from its config ({type(error).__name__}): {error}"
        ) from error
    if not hasattr(model, "load_own_variables") or not hasattr(model, "layers"):
        raise ValueError(f"The file describes a {description['class_name']!r}, which is no model. Received: {origin!r}")
    return model
