"""Every number of a training, as a TOML file gives it and as the run's folder keeps it."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.errors import TrainingError
from tagcli.features.config import FRONT_ENDS, FrontEndConfig
from tagcli.models.config import ARCHITECTURES, ConvNetConfig
from tagcli.typed import parse_typed

DEFAULT_ARCHITECTURE = "compact"
DEFAULT_FRONT_ENDS: Mapping[str, str] = {"compact": "mel96-12k", "fcn": "mel96-16k"}
DEFAULT_CLIP_SECONDS = 29.0
MAX_MASKS = 8  # of each kind

OptimizerName = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine", "plateau"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PositiveWeights = Literal["none", "balanced"]
ClipCacheUse = Literal["waveforms", "none"]
BatchNormPolicy = Literal["update", "keep"]


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """What is learned from, and how it is read.

    Parameters
    ----------
    train, validation
        Names of the splits; without a validation split there is no early stopping and the last weights are the best.
    validation_clips
        Clips of each validation example: ``all``, ``middle`` or a number.
    cache
        Whether waveforms are decoded once into a cache, or each time anew.
    cache_seconds
        How much of a longer example the cache keeps, from its middle.
    """

    train: tuple[str, ...] = ("train",)
    validation: tuple[str, ...] = ("validation",)
    validation_clips: str = "all"
    cache: ClipCacheUse = "waveforms"
    cache_seconds: float = 60.0

    def __post_init__(self) -> None:
        ClipChoice.parse(self.validation_clips)
        _require(bool(self.train), "there is at least one split to train on")
        _require(not set(self.train) & set(self.validation), "no split is for training and for validation")
        _require(self.cache_seconds > 0, "cache_seconds is positive")


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """How an example is varied each time that it is seen.

    Parameters
    ----------
    random_position
        Whether the clip lies anywhere in the excerpt; else in its middle.
    gain_db
        The level is changed by up to so many decibels either way.
    mixup
        Concentration of the beta distribution that two examples are mixed by; 0 for none. Zhang et al., "mixup: Beyond
        empirical risk minimization" (2018), with labels mixed alike.
    n_band_masks, band_mask_bands, n_frame_masks, frame_mask_frames
        How many stripes of the log-mel map are set to its mean, and how wide each is at most. Park et al.,
        "SpecAugment" (2019), section 2.
    """

    random_position: bool = True
    gain_db: float = 0.0
    mixup: float = 0.0
    n_band_masks: int = 0
    band_mask_bands: int = 8
    n_frame_masks: int = 0
    frame_mask_frames: int = 64

    def __post_init__(self) -> None:
        numbers = (self.gain_db, self.mixup, self.n_band_masks, self.n_frame_masks)
        _require(min(numbers) >= 0, "gain_db, mixup and the numbers of masks are not negative")
        _require(
            max(self.n_band_masks, self.n_frame_masks) <= MAX_MASKS, f"there are at most {MAX_MASKS} masks of a kind"
        )
        _require(min(self.band_mask_bands, self.frame_mask_frames) >= 1, "a mask is at least one band or frame wide")


@dataclass(frozen=True, kw_only=True)
class OptimisationRecipe:
    """How weights are changed.

    Parameters
    ----------
    optimizer
        ``adam`` (Kingma and Ba 2015) or ``adamw`` (Loshchilov and Hutter 2019).
    learning_rate, weight_decay
        Of the optimizer; the rate is that after the warm-up.
    batch_size
        Clips for each change of the weights, over all processes.
    n_accumulated
        Parts that a process takes its share of a batch in, each with batch statistics of its own.
    epochs
        How often every example is seen, at most.
    schedule
        ``cosine`` falls to nothing at the end, ``plateau`` multiplies by `plateau_factor` after `plateau_epochs`
        without a better validation, ``constant`` stays.
    warmup_epochs
        The rate rises linearly over so many epochs.
    patience
        Training ends after so many epochs without a better validation; 0 for never.
    max_gradient_norm
        Longer gradients are shortened to it; 0 for never.
    positive_weights
        ``balanced`` weighs a tag's positives by negatives / positives, at most `max_positive_weight`.
    precision
        Of the network's arithmetic; ``auto`` is bfloat16 on a GPU that has it, else float32.
    seed
        Of everything that is random.
    save_minutes
        The state is kept at the end of each epoch, and as often in between.
    """

    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 16
    n_accumulated: int = 1
    epochs: int = 40
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    plateau_epochs: int = 5
    plateau_factor: float = 0.3
    patience: int = 0
    max_gradient_norm: float = 1.0
    positive_weights: PositiveWeights = "none"
    max_positive_weight: float = 20.0
    precision: Precision = "auto"
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.n_accumulated, self.epochs, self.plateau_epochs)
        _require(min(counts) >= 1, "batch_size, n_accumulated, epochs and plateau_epochs begin at 1")
        _require(self.learning_rate > 0, "learning_rate is positive")
        others = (self.weight_decay, self.warmup_epochs, self.patience, self.max_gradient_norm, self.seed)
        _require(min(others) >= 0, "weight_decay, warmup_epochs, patience, max_gradient_norm and seed are not negative")
        _require(0 < self.plateau_factor < 1, "plateau_factor lies between 0 and 1")
        _require(
            self.save_minutes > 0 and self.max_positive_weight >= 1, "save_minutes and max_positive_weight are not 0"
        )


@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """What becomes of weights that training begins with.

    Parameters
    ----------
    source
        Name of the weights; nothing for a fresh network.
    n_frozen_blocks
        Blocks, from the input on, that are not changed.
    rate_factor
        The other blocks learn at this share of the head's rate.
    batch_norm
        Whether the blocks that learn ``update`` their running statistics or ``keep`` them; frozen blocks and the front
        end before them always keep theirs.
    """

    source: str = ""
    n_frozen_blocks: int = 0
    rate_factor: float = 1.0
    batch_norm: BatchNormPolicy = "update"

    def __post_init__(self) -> None:
        _require(self.n_frozen_blocks >= 0, "n_frozen_blocks is not negative")
        _require(0 < self.rate_factor <= 1, "rate_factor lies above 0 and is at most 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, every number of it.

    Parameters
    ----------
    data, augmentation, optimisation, transfer
        See there.
    front_end, clip, model
        What is trained; the checkpoint carries them, too.
    """

    data: DataRecipe = field(default_factory=DataRecipe)
    front_end: FrontEndConfig
    clip: ClipRule
    model: ConvNetConfig
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    optimisation: OptimisationRecipe = field(default_factory=OptimisationRecipe)
    transfer: TransferRecipe = field(default_factory=TransferRecipe)

    def to_document(self) -> dict[str, Any]:
        """Give the tables of a TOML file; what is None is left out."""
        return {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in dataclasses.asdict(self).items()
        }


def read_document(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises
    ------
    TrainingError
        When it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"The recipe {path} cannot be read ({error.strerror}); check the path."
        raise TrainingError(msg, path=path) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"The recipe {path} is not TOML ({error}); mend it."
        raise TrainingError(msg, path=path) from error


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
        When the setting is not of this form.
    """
    place, is_there, value = setting.partition("=")
    table, _, key = place.strip().partition(".")
    if not (is_there and table.isidentifier() and key.isidentifier()):
        msg = f"{setting!r} is not of the form TABLE.KEY=VALUE"
        raise ValueError(msg)
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return {**document, table: {**document.get(table, {}), key: parsed}}


def resolve_recipe(document: Mapping[str, Any], *, n_tags: int, place: str) -> Recipe:
    """Complete a recipe: names become numbers, and what is not said takes its default.

    Parameters
    ----------
    document
        Tables ``data``, ``front_end`` (with a ``name`` of `FRONT_ENDS`, or ``sample_rate`` and ``fmax``), ``clip``
        (``seconds`` or ``n_samples``, ``short``), ``model`` (with an ``architecture`` of `ARCHITECTURES`, or all
        numbers), ``augmentation``, ``optimisation``, ``transfer``; a table ``run`` is passed over. A run's own
        ``config.toml`` is such a document.
    n_tags
        Number of outputs.
    place
        What the document is, for messages.

    Raises
    ------
    TrainingError
        When a table, key or number is none that there is; the message names it.
    """
    tables = {name: table for name, table in document.items() if name != "run"}
    unknown = sorted(set(tables) - {each.name for each in dataclasses.fields(Recipe)})
    if unknown or not all(isinstance(table, Mapping) for table in tables.values()):
        what = f"a table {unknown[0]!r}" if unknown else "a key outside of a table"
        msg = f"{place} has {what}, which no recipe has; the tables are {_list_fields(Recipe)}."
        raise TrainingError(msg)
    try:
        model_table = {"architecture": DEFAULT_ARCHITECTURE, **tables.get("model", {})}
        front_end = _resolve_front_end(tables.get("front_end", {}), str(model_table["architecture"]))
        clip = _resolve_clip(tables.get("clip", {}), front_end)
        return Recipe(
            data=_parse(DataRecipe, "data", tables),
            front_end=front_end,
            clip=clip,
            model=_resolve_model(model_table, front_end, clip, n_tags),
            augmentation=_parse(AugmentationRecipe, "augmentation", tables),
            optimisation=_parse(OptimisationRecipe, "optimisation", tables),
            transfer=_parse(TransferRecipe, "transfer", tables),
        )
    except (ValueError, TypeError) as error:
        msg = f"{place} cannot be followed: {error}."
        raise TrainingError(msg) from error


def _resolve_front_end(table: Mapping[str, Any], architecture: str) -> FrontEndConfig:
    """Take a front end by name, and change what is said otherwise."""
    given = dict(table)
    name = given.pop("name", None if "sample_rate" in given else DEFAULT_FRONT_ENDS.get(architecture, "mel96-12k"))
    if name is not None and name not in FRONT_ENDS:
        msg = f"there is no front end {name!r}, only {', '.join(FRONT_ENDS)}"
        raise ValueError(msg)
    base = {} if name is None else dataclasses.asdict(FRONT_ENDS[name])
    front_end: FrontEndConfig = _build(FrontEndConfig, "front_end", {**base, **given})
    return front_end


def _resolve_clip(table: Mapping[str, Any], front_end: FrontEndConfig) -> ClipRule:
    """Count a clip's samples."""
    given = {"short": "repeat", **table}
    seconds = given.pop("seconds", DEFAULT_CLIP_SECONDS)
    if type(seconds) not in (int, float) or not seconds > 0:
        msg = f"[clip] seconds is a positive number, not {seconds!r}"
        raise ValueError(msg)
    given.setdefault("n_samples", round(seconds * front_end.sample_rate))
    clip: ClipRule = _build(ClipRule, "clip", given)
    return clip


def _resolve_model(table: Mapping[str, Any], front_end: FrontEndConfig, clip: ClipRule, n_tags: int) -> ConvNetConfig:
    """Take a figure by name, change what is said otherwise, and fit it to input and outputs."""
    figure = ARCHITECTURES.get(str(table["architecture"]))
    fitted = {"n_mels": front_end.n_mels, "n_frames": front_end.n_frames(clip.n_samples), "n_tags": n_tags}
    for name, number in fitted.items():
        if table.get(name, number) != number:
            msg = f"[model] {name} is {table[name]!r}, but front end, clips and data set make it {number}"
            raise ValueError(msg)
    if figure is None and "channels" not in table:
        msg = f"there is no architecture {table['architecture']!r}, only {', '.join(ARCHITECTURES)}"
        raise ValueError(msg)
    base = {} if figure is None else dataclasses.asdict(figure())
    model: ConvNetConfig = _build(ConvNetConfig, "model", {**base, **table, **fitted})
    return model


def _parse(kind: Any, name: str, tables: Mapping[str, Any]) -> Any:
    """Make a table into its dataclass."""
    return _build(kind, name, tables.get(name, {}))


def _build(kind: Any, name: str, table: Mapping[str, Any]) -> Any:
    """Make a table into a dataclass; its errors name the table."""
    known = {each.name for each in dataclasses.fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        msg = f"[{name}] has no {unknown[0]!r}; it has {_list_fields(kind)}"
        raise ValueError(msg)
    try:
        return parse_typed(kind, {key: _to_lists(value) for key, value in table.items()})
    except (ValueError, TypeError) as error:
        msg = f"[{name}]: {error}"
        raise ValueError(msg) from error


def _to_lists(value: Any) -> Any:
    """Make tuples into lists, as TOML gives them."""
    return [_to_lists(item) for item in value] if isinstance(value, tuple | list) else value


def _list_fields(kind: Any) -> str:
    return ", ".join(each.name for each in dataclasses.fields(kind))


def _require(is_true: bool, rule: str) -> None:
    if not is_true:
        raise ValueError(rule)
