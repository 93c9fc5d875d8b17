"""Recipes as TOML gives them: read, changed entry by entry, and completed; what is wrong is named by table and key."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from tagcli.audio.clips import ClipRule
from tagcli.errors import TrainingError
from tagcli.features.config import FRONT_ENDS, FrontEndConfig
from tagcli.models.config import ARCHITECTURES, BlocksFigure, ConvNetConfig, ModelConfig
from tagcli.training.recipe import (
    AugmentationRecipe,
    DataRecipe,
    OptimisationRecipe,
    Recipe,
    TransferRecipe,
    WeightsRecipe,
)
from tagcli.training.teaching import TeachingRecipe
from tagcli.typed import parse_typed

DEFAULT_ARCHITECTURE = "compact"
DEFAULT_FRONT_ENDS: Mapping[str, str] = {
    "compact": "mel96-12k",
    "fcn": "mel96-16k",
    "crnn": "mel96-16k",
    "musicnn": "mel96-16k",
    "choi2016-crnn": "mel96-12k",
}
DEFAULT_CLIP_SECONDS = 29.0
_CLIP_SECONDS: Mapping[str, float] = {"musicnn": 3.0, "choi2016-crnn": 29.12}  # of those that were made for others


def read_document(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises
    ------
    TrainingError
        When it cannot be read, is not TOML, or has something else than the tables of a recipe.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The recipe {path} cannot be read ({error.strerror}); check the path."
        raise TrainingError(msg, path=path) from error
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: a number may have too many digits
        msg = f"The recipe {path} is not TOML ({error}); mend it."
        raise TrainingError(msg, path=path) from error
    _check_tables(document, f"The recipe {path}")
    return document


def change_document(document: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Change one entry of a recipe.

    Parameters
    ----------
    document
        The tables.
    setting
        ``table.key=value``; the value as TOML has it, or a word.

    Raises
    ------
    ValueError
        When the setting is not of this form, or the document has something else in the place of the table.
    """
    place, is_there, value = setting.partition("=")
    table, _, key = place.strip().partition(".")
    if not (is_there and table.isidentifier() and key.isidentifier()):
        msg = f"{setting!r} is not of the form TABLE.KEY=VALUE"
        raise ValueError(msg)
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        parsed = value.strip()
    entries = document.get(table, {})
    if not isinstance(entries, Mapping):
        msg = f"{table!r} is {entries!r:.80} and no table"
        raise ValueError(msg)
    return {**document, table: {**entries, key: parsed}}


def list_teachers(document: Mapping[str, Any], place: str) -> list[str]:
    """List the names of the teachers, which say what the outputs are before the rest of a recipe can be completed.

    Raises
    ------
    TrainingError
        When they are not named in a list.
    """
    table = document.get("teaching", {})
    names = table.get("teachers", []) if isinstance(table, Mapping) else []
    if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        msg = f"{place} cannot be followed: [teaching] teachers is a list of names, not {names!r:.80}."
        raise TrainingError(msg)
    if not all(name.strip() for name in names):
        msg = f"{place} cannot be followed: a teacher has no name."
        raise TrainingError(msg)
    return list(names)


def resolve_recipe(document: Mapping[str, Any], *, n_tags: int, place: str) -> Recipe:
    """Complete a recipe: names become numbers, and what is not said takes its default.

    Parameters
    ----------
    document
        Tables ``data``, ``front_end`` (with a ``name`` of `FRONT_ENDS`, or ``sample_rate`` and ``fmax``), ``clip``
        (``seconds`` or ``n_samples``, ``short``), ``model`` (with an ``architecture`` of `ARCHITECTURES`, or all
        numbers), ``augmentation``, ``teaching``, ``optimisation``, ``transfer``, ``weights``; a table ``run`` is passed
        over. A run's own ``config.toml`` is such a document.
    n_tags
        Number of outputs.
    place
        What the document is, for messages.

    Raises
    ------
    TrainingError
        When a table, key or number is none that there is; the message names it.
    """
    _check_tables(document, place)
    tables: dict[str, Mapping[str, Any]] = {name: table for name, table in document.items() if name != "run"}
    try:
        model_table = {"architecture": DEFAULT_ARCHITECTURE, **tables.get("model", {})}
        front_end = _resolve_front_end(tables.get("front_end", {}), str(model_table["architecture"]))
        clip = _resolve_clip(tables.get("clip", {}), front_end, str(model_table["architecture"]))
        data = dict(tables.get("data", {}))
        if type(data.get("validation_clips")) is int:  # a number of clips, or a word
            data["validation_clips"] = str(data["validation_clips"])
        return Recipe(
            data=_build(DataRecipe, "data", data),
            front_end=front_end,
            clip=clip,
            model=_resolve_model(model_table, front_end, clip, n_tags),
            augmentation=_parse(AugmentationRecipe, "augmentation", tables),
            teaching=_parse(TeachingRecipe, "teaching", tables),
            optimisation=_parse(OptimisationRecipe, "optimisation", tables),
            transfer=_parse(TransferRecipe, "transfer", tables),
            weights=_parse(WeightsRecipe, "weights", tables),
        )
    except ValueError as error:
        msg = f"{place} cannot be followed: {error}."
        raise TrainingError(msg) from error


def _check_tables(document: Mapping[str, Any], place: str) -> None:
    """Refuse what is not one of the tables of a recipe.

    Raises
    ------
    TrainingError
        When there is such a thing.
    """
    names = {*(each.name for each in dataclasses.fields(Recipe)), "run"}
    for name, table in document.items():
        if name not in names:
            msg = f"{place} has {name!r}, which no recipe has; the tables are {_list_fields(Recipe)}."
            raise TrainingError(msg)
        if not isinstance(table, Mapping):
            msg = f"{place} has {table!r:.80} in the place of the table [{name}]; write its keys below [{name}]."
            raise TrainingError(msg)


def _resolve_front_end(table: Mapping[str, Any], architecture: str) -> FrontEndConfig:
    """Take a front end by name, and change what is said otherwise."""
    given = dict(table)
    name = given.pop("name", None if "sample_rate" in given else DEFAULT_FRONT_ENDS.get(architecture, "mel96-12k"))
    if name is not None and name not in list(FRONT_ENDS):
        msg = f"[front_end] name is {name!r:.80}, but there are only {', '.join(FRONT_ENDS)}"
        raise ValueError(msg)
    base = {} if name is None else dataclasses.asdict(FRONT_ENDS[name])
    front_end: FrontEndConfig = _build(FrontEndConfig, "front_end", {**base, **given})
    return front_end


def _resolve_clip(table: Mapping[str, Any], front_end: FrontEndConfig, architecture: str) -> ClipRule:
    """Count a clip's samples."""
    given = {"short": "repeat", **table}
    seconds = given.pop("seconds", _CLIP_SECONDS.get(architecture, DEFAULT_CLIP_SECONDS))
    if type(seconds) not in (int, float) or not 0 < seconds < math.inf:
        msg = f"[clip] seconds is a positive number, not {seconds!r:.80}"
        raise ValueError(msg)
    given.setdefault("n_samples", round(seconds * front_end.sample_rate))
    clip: ClipRule = _build(ClipRule, "clip", given)
    if clip.n_samples < 1:
        msg = f"[clip] n_samples is a positive number, not {clip.n_samples}"
        raise ValueError(msg)
    return clip


def _resolve_model(table: Mapping[str, Any], front_end: FrontEndConfig, clip: ClipRule, n_tags: int) -> ModelConfig:
    """Take a figure by name, change what is said otherwise, and fit it to input and outputs."""
    figure = ARCHITECTURES.get(str(table["architecture"]))
    fitted = {"n_mels": front_end.n_mels, "n_frames": front_end.n_frames(clip.n_samples), "n_tags": n_tags}
    for name, number in fitted.items():
        if table.get(name, number) != number:
            msg = f"[model] {name} is {table[name]!r:.80}, but front end, clips and data set make it {number}"
            raise ValueError(msg)
    if figure is None and "channels" not in table:
        msg = f"[model] architecture is {table['architecture']!r:.80}, but there are only {', '.join(ARCHITECTURES)}"
        raise ValueError(msg)
    base = None if figure is None else figure()
    kind = ConvNetConfig if base is None else type(base)
    fields = _parse_fields(kind, "model", {**({} if base is None else dataclasses.asdict(base)), **table, **fitted})
    sizes = (*fields.get("channels", ()), *(size for pool in fields.get("pools", ()) for size in pool))
    if issubclass(kind, BlocksFigure) and min(sizes, default=0) < 1:
        msg = "[model] channels and pools are there, and begin at 1"
        raise ValueError(msg)
    model: ModelConfig = _construct(kind, "model", fields)
    return model


def _parse(kind: Any, name: str, tables: Mapping[str, Any]) -> Any:
    """Make a table into its dataclass."""
    return _build(kind, name, tables.get(name, {}))


def _build(kind: Any, name: str, table: Mapping[str, Any]) -> Any:
    """Make a table into a dataclass; its errors name the table and the key."""
    return _construct(kind, name, _parse_fields(kind, name, table))


def _parse_fields(kind: Any, name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Make the entries of a table into the fields of a dataclass."""
    known = {each.name for each in dataclasses.fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        msg = f"[{name}] has no {unknown[0]!r}; it has {_list_fields(kind)}"
        raise ValueError(msg)
    kinds, fields = get_type_hints(kind), {}
    for key, value in table.items():
        try:
            fields[key] = parse_typed(kinds[key], _to_lists(value))
        except (ValueError, TypeError) as error:
            msg = f"[{name}] {key}: {error}"
            raise ValueError(msg) from error
    return fields


def _construct(kind: Any, name: str, fields: Mapping[str, Any]) -> Any:
    """Make a dataclass of its fields, by its own rules."""
    missing = [each.name for each in dataclasses.fields(kind) if each.name not in fields and _is_needed(each)]
    if missing:
        msg = f"[{name}] {missing[0]} is missing"
        raise ValueError(msg)
    try:
        return kind(**fields)
    except ValueError as error:
        msg = f"[{name}]: {error}"
        raise ValueError(msg) from error


def _is_needed(each: dataclasses.Field[Any]) -> bool:
    return each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING


def _to_lists(value: Any) -> Any:
    """Make tuples into lists, as TOML gives them."""
    return [_to_lists(item) for item in value] if isinstance(value, tuple | list) else value


def _list_fields(kind: Any) -> str:
    return ", ".join(each.name for each in dataclasses.fields(kind))
