"""Which weights there are: found by name or path, listed, described.

Three places, looked through in this order: the folder that comes with tagcli (bundled), the user's weights folder
(cached, by ``pull``, ``import`` or the user's own hand), and the published addresses (available).
"""

import difflib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tagcli.checkpoint import CheckpointHeader, Provenance, read_header
from tagcli.errors import CheckpointError, WeightsError
from tagcli.files import hash_file
from tagcli.tags import Vocabulary
from tagcli.weights.calibrated import how_to_calibrate, is_calibrated
from tagcli.weights.entries import CATALOGUE, CatalogueEntry
from tagcli.weights.places import SUFFIX, bundled_checkpoints, bundled_folder, cached_checkpoints, published_checkpoint
from tagcli.weights.vocabularies import load_vocabulary

logger = logging.getLogger(__name__)

DEFAULT_NAME = "tagcli-msd50"
FIRST_PULL = "won2020-msd-fcn"
BEST_OF_RUN = f"best{SUFFIX}"

State = Literal["bundled", "cached", "available", "uncalibrated"]


@dataclass(frozen=True, kw_only=True)
class WeightsRow:
    """One line of ``tagcli weights list``.

    Parameters
    ----------
    name, state
        What it is called, and where it is; ``uncalibrated`` is here, but has no batch-norm statistics yet.
    n_tags, sample_rate
        Number of outputs, and rate in Hz of the audio that it hears.
    roc_auc, pr_auc
        Published macro figures, None where there are none.
    licence
        Of the weights.
    sha256
        Of the file as published, before its conversion; of weights that are not published, of the checkpoint.
    """

    name: str
    state: State
    n_tags: int
    sample_rate: int
    roc_auc: float | None
    pr_auc: float | None
    licence: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class WeightsDescription:
    """Everything that is known about one set of weights.

    Parameters
    ----------
    name
        What it is called.
    state
        Where it is; None for a path, and for weights that may only be imported and are not here.
    path
        The checkpoint, when it is here.
    url
        The pinned address, None where nothing can be pulled.
    how_to_get
        The command that brings it here; None when it is here.
    note
        What is in the way of its use: that it cannot be pulled, or needs calibration; None where nothing is.
    sha256
        Of the file as published; of weights that are not published, of the checkpoint.
    thresholds
        Least score of a stored tag; None until calibrated.
    vocabulary, sample_rate, provenance
        What it says, hears and comes from.
    """

    name: str
    state: State | None
    path: Path | None
    url: str | None
    how_to_get: str | None
    note: str | None
    sha256: str
    thresholds: tuple[float, ...] | None
    vocabulary: Vocabulary
    sample_rate: int
    provenance: Provenance


def default_weights() -> Path:
    """Find the bundled default.

    Raises
    ------
    WeightsError
        When this version comes without it.
    """
    path = bundled_folder() / f"{DEFAULT_NAME}{SUFFIX}"
    if not path.is_file():
        msg = (
            f"This version comes without weights of its own ({DEFAULT_NAME}); run `tagcli weights pull {FIRST_PULL}` "
            f"once, then give `--model {FIRST_PULL}`."
        )
        raise WeightsError(msg)
    return path


def find_weights(name_or_path: str) -> Path:
    """Find a checkpoint.

    Parameters
    ----------
    name_or_path
        A name of the catalogue or of the weights folder, the path of a ``.safetensors`` file, or a training run's
        folder. A name goes before a file or folder of that name: write ``./NAME`` for these.

    Raises
    ------
    WeightsError
        When there is no such thing, or it is not here yet; with the command that brings it.
    """
    if name_or_path == DEFAULT_NAME:
        return default_weights()
    bundled = bundled_checkpoints()
    if name_or_path in bundled:
        return bundled[name_or_path]
    entry = CATALOGUE.get(name_or_path)
    if entry is not None:
        here = published_checkpoint(entry)
        if here is None:
            msg = f"The weights {entry.name} are not here yet; run `{entry.how_to_get}`."
            raise WeightsError(msg)
        return here
    cached = cached_checkpoints()
    if name_or_path in cached:
        return cached[name_or_path]
    try:
        return _find_path(Path(name_or_path))
    except FileNotFoundError as error:
        raise unknown_name(name_or_path, [DEFAULT_NAME, *bundled, *CATALOGUE, *cached]) from error
    except OSError as error:
        msg = f"{name_or_path} cannot be looked at ({error.strerror}); check the path."
        raise WeightsError(msg) from error


def _find_path(path: Path) -> Path:
    if path.is_dir():
        if not (path / BEST_OF_RUN).is_file():
            msg = f"The folder {path} holds no {BEST_OF_RUN}, so it is not a training run; give a name or a file."
            raise WeightsError(msg, path=path)
        return path / BEST_OF_RUN
    if path.suffix == SUFFIX:
        if not path.is_file():
            msg = f"There is no checkpoint {path}; check the path."
            raise WeightsError(msg, path=path)
        return path
    if path.is_file():
        msg = f"{path} is not a checkpoint of tagcli; make one of it with `tagcli weights import {path}`."
        raise WeightsError(msg, path=path)
    raise FileNotFoundError


def list_weights() -> list[WeightsRow]:
    """List the weights that can be used or pulled.

    Returns
    -------
    list of WeightsRow
        The bundled ones, the catalogue in its order, then what else lies in the weights folder. Weights that may only
        be imported are listed once they are here.
    """
    rows = [_row_of_file(name, "bundled", path) for name, path in bundled_checkpoints().items()]
    for entry in CATALOGUE.values():
        state = _state(entry)
        if state is not None:
            rows.append(_row_of_entry(entry, state))
    for name, path in cached_checkpoints().items():
        if name not in CATALOGUE:
            try:
                rows.append(_row_of_file(name, "cached", path))
            except CheckpointError as error:
                logger.warning("%s", error)
    return rows


def describe_weights(name_or_path: str) -> WeightsDescription:
    """Say everything that is known about weights, here or not.

    Parameters
    ----------
    name_or_path
        As for `find_weights`.

    Raises
    ------
    WeightsError
        When there is no such thing.
    CheckpointError
        When a file is given that is not a checkpoint.
    """
    entry = CATALOGUE.get(name_or_path)
    if entry is not None:
        here = published_checkpoint(entry)
        return WeightsDescription(
            name=entry.name,
            state=_state(entry),
            path=here,
            url=entry.url,
            how_to_get=None if here else entry.how_to_get,
            note=_note_of_entry(entry, here),
            sha256=entry.sha256,
            thresholds=None,
            vocabulary=load_vocabulary(entry.vocabulary),
            sample_rate=entry.sample_rate,
            provenance=entry.provenance,
        )
    path = find_weights(name_or_path)
    header = read_header(path)
    states: dict[Path, State] = {
        **dict.fromkeys(cached_checkpoints().values(), "cached"),
        **dict.fromkeys(bundled_checkpoints().values(), "bundled"),
    }
    return WeightsDescription(
        name=header.name,
        state=states.get(path) if is_calibrated(header) else "uncalibrated",
        path=path,
        url=None,
        how_to_get=None,
        note=_note_of_file(header, path),
        sha256=hash_file(path),
        thresholds=header.thresholds,
        vocabulary=header.vocabulary,
        sample_rate=header.front_end.sample_rate,
        provenance=header.provenance,
    )


def unknown_name(name: str, known: Iterable[str]) -> WeightsError:
    """Make the error for a name that nothing has."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "see `tagcli weights list`."
    msg = f"There are no weights {name!r}: {hint}"
    return WeightsError(msg)


def _state(entry: CatalogueEntry) -> State | None:
    here = published_checkpoint(entry)
    if here is not None:
        return "cached" if is_calibrated(read_header(here)) else "uncalibrated"
    return "available" if entry.url else None


def _note_of_entry(entry: CatalogueEntry, here: Path | None) -> str | None:
    if entry.url is None:
        return "published without a licence: get the file from its authors and import it"
    return None if here is None else _note_of_file(read_header(here), here)


def _note_of_file(header: CheckpointHeader, path: Path) -> str | None:
    if is_calibrated(header):
        return None
    return f"published without the statistics of its batch norms: run `{how_to_calibrate(header, path)}`"


def _row_of_entry(entry: CatalogueEntry, state: State) -> WeightsRow:
    return WeightsRow(
        name=entry.name,
        state=state,
        n_tags=len(load_vocabulary(entry.vocabulary)),
        sample_rate=entry.sample_rate,
        roc_auc=entry.roc_auc,
        pr_auc=entry.pr_auc,
        licence=entry.licence,
        sha256=entry.sha256,
    )


def _row_of_file(name: str, state: State, path: Path) -> WeightsRow:
    header = read_header(path)
    return WeightsRow(
        name=name,
        state=state if is_calibrated(header) else "uncalibrated",
        n_tags=len(header.vocabulary),
        sample_rate=header.front_end.sample_rate,
        roc_auc=header.provenance.roc_auc,
        pr_auc=header.provenance.pr_auc,
        licence=header.provenance.licence.partition(":")[0],
        sha256=hash_file(path),
    )
