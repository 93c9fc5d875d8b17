"""Plain data, as JSON and TOML give them, made into annotated types."""

import dataclasses
import math
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def parse_typed(kind: Any, value: Any) -> Any:
    """Make plain data into an annotated type, and refuse what does not fit: the arithmetic trusts its numbers.

    Parameters
    ----------
    kind
        A dataclass of such types, a tuple, a Literal, a StrEnum, ``str``, ``int``, ``float`` (finite), ``bool``, one
        of them ``| None``, or a union of dataclasses: a field that is a Literal of one word tells them apart, and the
        first that it does not rule out is taken.
    value
        What JSON or TOML gave.

    Raises
    ------
    ValueError, TypeError, KeyError
        When the value does not fit; the message names it.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(value, dict) and dataclasses.is_dataclass(kind):
        build: Any = kind
        kinds = get_type_hints(build)
        return build(**{name: parse_typed(kinds[name], field) for name, field in value.items()})
    if origin is UnionType and NoneType in parts:
        return None if value is None else parse_typed(parts[0], value)
    if origin is UnionType and isinstance(value, dict):
        return parse_typed(next((part for part in parts if _may_be_of(part, value)), parts[-1]), value)
    if origin is tuple and isinstance(value, list):
        kinds_of_items = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(parse_typed(item_kind, item) for item_kind, item in zip(kinds_of_items, value, strict=True))
    if origin is Literal and value in parts:
        return value
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if kind is float and type(value) in (int, float):
        return _to_finite(value)
    if type(value) is kind:
        return value
    msg = f"{value!r:.80} is not {_describe(kind)}"
    raise TypeError(msg)


def _describe(kind: Any) -> str:
    """Say in words what a value is to be."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        return "a list"
    return _NAMES.get(kind, "a table")


def _may_be_of(kind: Any, value: dict[str, Any]) -> bool:
    """Tell whether no field of a dataclass wants another word than it has."""
    words = {name: get_args(hint) for name, hint in get_type_hints(kind).items() if get_origin(hint) is Literal}
    return all(value.get(name) == options[0] for name, options in words.items() if len(options) == 1)


def _to_finite(value: float) -> float:
    """Make a number into a float, unless it is infinite, too large to be one, or none."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = f"{number} is not a finite number"
        raise ValueError(msg)
    return number
