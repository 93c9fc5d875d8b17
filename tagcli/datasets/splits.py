"""Splits: what they are called, those that lists give, and those that are made so that no artist is in two of them."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.artists import artist_key
from tagcli.datasets.draft import Draft
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.text_files import read_values
from tagcli.errors import DatasetError

SPLITS = ("train", "validation", "test")
DEFAULT_PROPORTIONS = (0.7, 0.15, 0.15)
_OTHER_NAMES = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}
_WORD = re.compile(r"(?:^|[^a-z])(train|training|valid|validation|val|dev|test)(?=$|[^a-z])")

logger = logging.getLogger(__name__)


def name_split(text: str) -> str:
    """Give a split its usual name: ``valid``, ``val`` and ``dev`` are ``validation``; other names stay."""
    folded = text.strip().casefold()
    return _OTHER_NAMES.get(folded, folded) if folded in {*SPLITS, *_OTHER_NAMES} else text.strip()


def find_split(file_name: str) -> str | None:
    """Find the split that a file's name tells of, as in ``train_x_msd_id.txt``; None when it tells none."""
    match = _WORD.search(file_name.casefold())
    return None if match is None else name_split(match[1])


def order_splits(splits: Iterable[str]) -> tuple[str, ...]:
    """Order the names of splits: train, validation, test, others as people count, nothing last."""

    def rank(split: str) -> tuple[int, list[tuple[int, str]]]:
        place = SPLITS.index(split) if split in SPLITS else len(SPLITS) + (not split)
        return place, [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"([0-9]+)", split)]

    return tuple(sorted(set(splits), key=rank))


def number_artists(artists: Sequence[str], paths: Sequence[str]) -> npt.NDArray[np.intp]:
    """Give artists numbers, however they are spelled; a file without an artist has one of its own.

    Parameters
    ----------
    artists, paths
        As of `Manifest`.

    Returns
    -------
    numpy.ndarray
        Number of the artist of each example, from 0 in the order of their first example [shape=(n_examples,)].
    """
    numbers: dict[tuple[str, str], int] = {}
    keys = ((key, "" if key else path) for key, path in zip(map(artist_key, artists), paths, strict=True))
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), dtype=np.intp, count=len(paths))


def apply_split_files(draft: Draft, files: Sequence[Path]) -> Draft:
    """Take the splits from lists of examples.

    Parameters
    ----------
    draft
        The data set.
    files
        One list for each split, of one identifier or path a line; its name tells the split, or is the split's name.

    Returns
    -------
    Draft
        Only the examples that are listed.

    Raises
    ------
    DatasetError
        When a list cannot be read, two list the same example, or none of a list's examples is in the data set.
    """
    rows: dict[str, tuple[int, ...]] = {}
    for row, names in enumerate(zip(draft.paths, draft.ids, strict=True)):
        for name in set(names):  # of a path that several excerpts share, all
            rows[name] = (*rows.get(name, ()), row)
    chosen: dict[int, str] = {}
    for file in files:
        split = find_split(file.name) or file.name.partition(".")[0]
        values = read_values(file)
        n_absent = sum(value not in rows for value in values)
        if n_absent == len(values):
            msg = f"No line of {file} is the identifier or the path of an example of {draft.name}; check the list."
            raise DatasetError(msg, path=file)
        if n_absent:
            logger.warning("%d of %d lines of %s are not in %s.", n_absent, len(values), file, draft.name)
        for value in values:
            for row in rows.get(value, ()):
                if chosen.setdefault(row, split) != split:
                    msg = f"{value} stands in {file} and in the list of {chosen[row]}; an example has one split."
                    raise DatasetError(msg, path=file)
    if len(chosen) < len(draft):
        logger.warning("%d examples of %s stand in no list and are left out.", len(draft) - len(chosen), draft.name)
    order = sorted(chosen)
    kept = draft.take(np.array(order, dtype=np.intp))
    return replace(kept, splits=tuple(chosen[row] for row in order))


def make_splits(
    manifest: Manifest, *, proportions: tuple[float, float, float] = DEFAULT_PROPORTIONS, seed: int = 0
) -> Manifest:
    """Split a data set into train, validation and test; no artist is in two of them.

    Parameters
    ----------
    manifest
        The data set; splits that it has are not kept.
    proportions
        Of the examples, and of each tag's positives, as far as the artists allow; 0 for no such split.
    seed
        Which of equally good splits.

    Raises
    ------
    DatasetError
        When the proportions do not add up to 1, or there are too few artists.
    """
    if min(proportions) < 0 or abs(sum(proportions) - 1) > 1e-6:
        msg = f"The proportions {', '.join(f'{share:g}' for share in proportions)} are not three that add up to 1."
        raise DatasetError(msg)
    shares = {split: share for split, share in zip(SPLITS, proportions, strict=True) if share}
    return _deal(manifest, shares, seed)


def make_folds(manifest: Manifest, n_folds: int, *, seed: int = 0) -> Manifest:
    """Split a data set into equal folds, ``fold-1`` and so on; no artist is in two of them.

    Parameters
    ----------
    manifest, seed
        As of `make_splits`.
    n_folds
        How many.

    Raises
    ------
    DatasetError
        When there are fewer than two folds, or too few artists.
    """
    if n_folds < 2:
        msg = f"{n_folds} folds are no cross-validation; ask for two or more."
        raise DatasetError(msg)
    return _deal(manifest, {f"fold-{number}": 1 / n_folds for number in range(1, n_folds + 1)}, seed)


def _deal(manifest: Manifest, shares: dict[str, float], seed: int) -> Manifest:
    """Give whole artists to splits, one by one, each where it brings examples and positives closest to their shares.

    The artists with most examples are dealt first, equal ones in an order that the seed decides. The cost of a split is
    the sum over tags, and over the examples as if they were one more tag, of the squared distance from what the split
    is to have, relative to that. (After iterative stratification, Sechidis et al. 2011, section 3, for groups.)
    """
    n_without = sum(not artist_key(artist) for artist in manifest.artists)
    if n_without:
        logger.warning("%d examples of %s have no artist; each file has one of its own.", n_without, manifest.name)
    artists = number_artists(manifest.artists, manifest.paths)
    by_artist = np.argsort(artists, kind="stable")
    sizes = np.bincount(artists)
    ends = np.cumsum(sizes)
    totals = np.append(manifest.labels.sum(axis=0), len(manifest)).astype(np.float64)
    weights = 1 / np.maximum(totals, 1)
    wanted = np.outer(list(shares.values()), np.maximum(totals, 1))
    missing, scale = wanted.copy(), weights / wanted
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    dealt = np.empty(len(manifest), dtype=np.intp)
    for artist in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        rows = by_artist[ends[artist] - sizes[artist] : ends[artist]]
        brought = np.append(manifest.labels[rows].sum(axis=0), len(rows))
        split = int(np.argmin((brought * (brought - 2 * missing) * scale).sum(axis=1)))
        missing[split] -= brought
        dealt[rows] = split
    names = list(shares)
    if len(np.unique(dealt)) < len(names):
        msg = f"{manifest.name} has {len(sizes)} artists, too few for {len(names)} splits of these sizes; ask for fewer"
        raise DatasetError(msg + " or other ones.")
    return replace(manifest, splits=tuple(names[split] for split in dealt.tolist()))
