"""What `eval` is told: values read, choices refused that do not go together, and the part that is judged by."""

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tagcli.errors import OutputError

if TYPE_CHECKING:
    from tagcli.audio.clips import ClipChoice
    from tagcli.calibration import Calibration
    from tagcli.datasets import Manifest

logger = logging.getLogger(__name__)

_PICTURES = (".png", ".svg", ".pdf")
_TEST_SPLIT = "test"


def parse_clips(text: str) -> "ClipChoice":
    """Read the value of --clips."""
    from tagcli.audio.clips import ClipChoice

    try:
        return ClipChoice.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--clips") from error


def parse_calibration(text: str) -> "Calibration":
    """Read the value of --calibrate: the way to a threshold."""
    from tagcli.calibration import find_threshold, match_frequency

    if text == "as-often":
        return match_frequency
    measure, _, number = text.partition("=")
    try:
        precision = float(number)
    except ValueError:
        precision = 0.0
    if measure != "precision" or not 0 < precision <= 1:
        msg = f"{text!r} is neither as-often nor a precision such as precision=0.8, above 0 and at most 1"
        raise typer.BadParameter(msg, param_hint="--calibrate")
    return partial(find_threshold, precision=precision)


def refuse_beside_teacher(given: Mapping[str, Any]) -> None:
    """Refuse options that look at labels, by their values, beside a teacher."""
    pointless = [option for option, value in given.items() if value is not None and value is not False]
    if pointless:
        msg = f"it compares with what a teacher says, for which {pointless[0]} has no meaning; leave one of them out"
        raise typer.BadParameter(msg, param_hint="--teacher")


def check_picture(path: Path) -> None:
    """Refuse a picture of a kind that is not drawn."""
    if path.suffix.lower() not in _PICTURES:
        msg = f"{path} ends in none of {', '.join(_PICTURES)}"
        raise typer.BadParameter(msg, param_hint="--figure")


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse files for results that are one another, or what is read.

    Raises
    ------
    OutputError
        When there is such a file.
    """
    from tagcli.cli.output import refuse_music

    wanted = [path for path in outputs if path is not None and str(path) != "-"]
    for path in wanted:
        refuse_music(path)
    given = [path.resolve() for path in wanted]
    sources = {source.resolve() for source in inputs if source is not None}
    sources |= {source.with_suffix(".toml") for source in sources if source.suffix == ".tsv"}  # what describes it
    for path in given:
        if given.count(path) > 1 or path in sources:
            msg = f"{path} is wanted for two things, and would be lost for one; give each its own file."
            raise OutputError(msg, path=path)


def choose_split(manifest: "Manifest", wanted: str | None) -> "tuple[Manifest, str | None]":
    """Take the part that is to be judged by; the test split unless another one is wanted."""
    chosen = wanted or (_TEST_SPLIT if _TEST_SPLIT in manifest.splits else None)
    if chosen is not None:
        return manifest.select(chosen), chosen
    if any(manifest.splits):
        logger.warning("%s has no split %r; all of its examples are taken.", manifest.name, _TEST_SPLIT)
    return manifest, None
