"""Who is called what: the table of every name that a string or a saved file may refer to, and unique object names.

A family is the Keras module in which a class or function is public, such as `"keras.layers"`. Files name objects by
family and class name, users name them by any registered spelling; both go through this table and nothing else, so a
file can never bring in code.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_families: dict[str, dict[str, Any]] = {}  # family -> spelling -> object
_homes: dict[Any, tuple[str, str]] = {}  # object -> (family, its own name)
_custom: dict[str, Any] = {}  # "package>name" -> object
_custom_names: dict[Any, str] = {}
_scopes: ContextVar[tuple[dict[str, Any], ...]] = ContextVar("scopes", default=())  # of this thread or task
_counts: Counter[str] = Counter()
_counting = threading.Lock()


def register(family: str, *spellings: str) -> Callable[[T], T]:
    """Decorator: enter a class or function of triarch under its own name, in snake case, and as `spellings`.

    A function's name wins over a class's snake-case name, as in Keras (`"mean_squared_error"` is the function).
    """

    def decorate(thing: T) -> T:
        name = thing.__name__  # type: ignore[attr-defined]
        table = _families.setdefault(family, {})
        _homes[thing] = (family, name)
        for spelling in (name, *spellings):
            table[spelling] = thing
        table.setdefault(to_snake_case(name), thing)
        return thing

    return decorate


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Decorator: let files refer to a class or function of yours as `package>name`.

    A class needs a `get_config` method or arguments that are stored under their own names.
    """

    def decorate(thing: T) -> T:
        full_name = f"{package}>{name or thing.__name__}"  # type: ignore[attr-defined]
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(f"A registered class needs a `get_config` method. Received: {thing}")
        _custom[full_name] = thing
        _custom_names[thing] = full_name
        return thing

    return decorate


def get_registered_name(thing: Any) -> str:
    """The `package>name` of a registered class or function, or its plain name."""
    return _custom_names.get(thing) or thing.__name__


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any | None:
    """The class or function that `name` stands for among scopes, `custom_objects` and registered ones, or None."""
    for table in (*reversed(_scopes.get()), custom_objects or {}, _custom, module_objects or {}):
        if name in table:
            return table[name]
    return None


def get_custom_objects() -> dict[str, Any]:
    """The live table of registered classes and functions; what is put in it counts as registered."""
    return _custom


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """Inside this context, names in strings and files may also mean `custom_objects`, for this thread only."""
    outer = _scopes.set((*_scopes.get(), dict(custom_objects)))
    try:
        yield
    finally:
        _scopes.reset(outer)


def home_of(thing: Any) -> tuple[str, str] | None:
    """The (family, name) of one of triarch's own classes or functions, or None."""
    try:
        return _homes.get(thing)
    except TypeError:  # unhashable: certainly not one of ours
        return None


def family_members(family: str) -> dict[str, Any]:
    """Every spelling of a family with its class or function."""
    return dict(_families.get(family, {}))


def find(family: str, name: str) -> Any | None:
    """The class or function called `name` in `family`, user's names first; None where there is none."""
    custom = get_registered_object(name)
    return custom if custom is not None else _families.get(family, {}).get(name)


def lookup(family: str, name: str) -> Any:
    """Like `find`, but an unknown name is a ValueError that suggests the nearest spellings."""
    found = find(family, name)
    if found is None:
        known = _families.get(family, {})
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known names: {sorted(known)}."
        raise ValueError(
            f"Unknown {kind_of(family)} {name!r}. {hint} A class or function of yours can be passed itself. "
            f"Received: {name!r}"
        )
    return found


def kind_of(family: str) -> str:
    """What a member of a family is called: `"keras.losses"` -> `"loss"`."""
    plural = family.rpartition(".")[2]
    return plural.removesuffix("es") if plural.endswith("sses") else plural.removesuffix("s")


def to_snake_case(name: str) -> str:
    """`"GlobalAveragePooling2D"` -> `"global_average_pooling2d"`, as Keras writes names."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class AutomaticName(str):
    """A name that nobody chose: a stem, and a number that depends on what was named before."""

    stem: str

    def __new__(cls, name: str, stem: str) -> AutomaticName:
        self = super().__new__(cls, name)
        self.stem = stem
        return self

    def __getnewargs__(self) -> tuple[str, str]:
        return str(self), self.stem


def unique_name(prefix: str) -> str:
    """`prefix`, or `prefix_1`, `prefix_2`, ... from the second call on; an `AutomaticName`."""
    with _counting:
        count = _counts[prefix]
        _counts[prefix] += 1
    return AutomaticName(f"{prefix}_{count}" if count else prefix, prefix)


def reset_names() -> None:
    """Forget which automatic names were given (`backend.clear_session` calls it)."""
    _counts.clear()
