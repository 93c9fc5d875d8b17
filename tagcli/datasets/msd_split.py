"""The Million Song Dataset as split for tagging by Choi: lists of identifiers and, in parallel, matrices of labels.

``{train,valid,test}_x_{msd_id,7d_id,filename}.txt``, plain or gzipped, ``_y.npy`` of shape (n_tracks, n_tags), and
the tags in ``tags.txt`` or ``tags.py``. Artists are known when ``unique_tracks.txt`` lies there too.
https://github.com/keunwoochoi/MSD_split_for_tagging
"""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from tagcli.datasets.draft import Draft, find_pairs
from tagcli.datasets.manifest import Mask
from tagcli.datasets.msd_ids import MsdIds, find_artists, make_paths, read_numbers, read_track_ids
from tagcli.datasets.splits import name_split
from tagcli.datasets.text_files import read_tag_list
from tagcli.errors import DatasetError

SPLIT_FILES = ("train", "valid", "test")
TRACK_LIST, NUMBER_LISTS = "msd_id", ("7d_id", "filename")

logger = logging.getLogger(__name__)


def find_lists(folder: Path, split: str) -> dict[str, Path]:
    """Find the lists of a split by what they list; empty when there is none."""
    names = {what: f"{split}_x_{what}.txt" for what in (TRACK_LIST, *NUMBER_LISTS)}
    there = {what: (folder / name, folder / f"{name}.gz") for what, name in names.items()}
    return {what: next(path for path in paths if path.is_file()) for what, paths in there.items() if _any(paths)}


def find_tag_list(folder: Path) -> Path | None:
    """Find the list of tags that lies with labels."""
    return next((path for path in (folder / "tags.txt", folder / "tags.py") if path.is_file()), None)


def read_msd_split(
    folder: Path, *, root: Path | None, column_tags: tuple[str, ...] | None, path_template: str | None
) -> Draft:
    """Read the folder; a split without labels is left out with a warning.

    Parameters
    ----------
    folder
        The lists and the matrices.
    root
        Folder that the previews are in; None for the folder itself.
    column_tags
        Tags of the columns where no list of them lies in the folder; None when they are not given.
    path_template
        As of `make_paths`.

    Raises
    ------
    DatasetError
        When a file cannot be read, or they do not fit together.
    """
    tag_list = find_tag_list(folder)
    tags = column_tags if tag_list is None else read_tag_list(tag_list)
    if tags is None:
        msg = f"{folder} has no tags.txt that names the columns of its labels; give the tags with --tags."
        raise DatasetError(msg, path=folder)
    ids: list[MsdIds] = []
    splits: list[str] = []
    labels: list[Mask] = []
    for split in SPLIT_FILES:
        lists = find_lists(folder, split)
        matrix = folder / f"{split}_y.npy"
        if not lists:
            continue
        if not matrix.is_file():
            logger.warning("%s is not there, so the split %s of %s is left out.", matrix.name, split, folder)
            continue
        ids.append(_read_ids(lists))
        labels.append(read_label_matrix(matrix, n_tags=len(tags), n_rows=_count(ids[-1]), rows_of=_first(lists)))
        splits += [name_split(split)] * len(labels[-1])
    if not labels:
        msg = f"{folder} has no split with labels; put train_y.npy, valid_y.npy or test_y.npy into it."
        raise DatasetError(msg, path=folder)
    together = MsdIds(
        tracks=_join([one.tracks for one in ids]),
        numbers=_join([one.numbers for one in ids]),
    )
    return Draft.of_files(
        name=folder.resolve().name,
        root=root or folder,
        paths=make_paths(path_template, together, table=folder),
        tags=tags,
        labels=find_pairs(np.concatenate(labels)),
        ids=together.tracks or together.numbers,
        splits=splits,
        artists=find_artists(folder, together.tracks),
    )


def read_label_matrix(path: Path, *, n_tags: int, n_rows: int, rows_of: Path) -> Mask:
    """Read a matrix of labels.

    Parameters
    ----------
    path
        The npy file.
    n_tags, n_rows
        What shape it is to have.
    rows_of
        The list that it is parallel to, for messages.

    Returns
    -------
    numpy.ndarray
        [shape=(n_rows, n_tags)]

    Raises
    ------
    DatasetError
        When it cannot be read, holds objects, or is of another shape or not of 0 and 1.
    """
    try:
        with path.open("rb") as file:
            matrix = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{path} cannot be read as a matrix of numbers ({reason:.160}); get it again, or save it as booleans."
        raise DatasetError(msg, path=path) from error
    if matrix.shape != (n_rows, n_tags):
        msg = (
            f"{path} is of the shape {matrix.shape}, but {rows_of.name} has {n_rows} lines and there are {n_tags} tags"
        )
        raise DatasetError(msg + "; get files that belong together.", path=path)
    if matrix.dtype.kind not in "biuf" or not np.all((matrix == 0) | (matrix == 1)):
        msg = f"{path} holds something else than 0 and 1; save the labels as booleans."
        raise DatasetError(msg, path=path)
    labels: Mask = matrix.astype(np.bool_)
    return labels


def _read_ids(lists: dict[str, Path]) -> MsdIds:
    number_list = next((lists[what] for what in NUMBER_LISTS if what in lists), None)
    track_list = lists.get(TRACK_LIST)
    ids = MsdIds(
        tracks=None if track_list is None else read_track_ids(track_list),
        numbers=None if number_list is None else read_numbers(number_list),
    )
    if ids.tracks is not None and ids.numbers is not None and len(ids.tracks) != len(ids.numbers):
        msg = f"{track_list} has {len(ids.tracks)} lines and {number_list} {len(ids.numbers)}; get them again."
        raise DatasetError(msg, path=track_list)
    return ids


def _count(ids: MsdIds) -> int:
    return len(ids.tracks if ids.tracks is not None else ids.numbers or ())


def _join(lists: Sequence[Sequence[str] | None]) -> list[str] | None:
    """Put the lists of the splits together; None unless every split has one."""
    given = [one for one in lists if one is not None]
    return list(chain.from_iterable(given)) if len(given) == len(lists) else None


def _first(lists: dict[str, Path]) -> Path:
    return next(iter(lists.values()))


def _any(paths: Sequence[Path]) -> bool:
    return any(path.is_file() for path in paths)
