"""Bring a system's scores and a data set together: the tags and the examples that both have."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tagcli.datasets import Manifest
from tagcli.errors import DatasetError
from tagcli.evaluation.systems import SystemScores


@dataclass(frozen=True, kw_only=True)
class TagMatch:
    """Which tags of a data set and of a system are the same.

    Parameters
    ----------
    dataset_tags, system_tags
        The common ones as each of them spells them, parallel, in the order of the data set.
    only_dataset, only_system
        Those that the other does not have.
    """

    dataset_tags: tuple[str, ...]
    system_tags: tuple[str, ...]
    only_dataset: tuple[str, ...]
    only_system: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """The part of a data set that a system can be judged by.

    Parameters
    ----------
    system
        Its name.
    manifest
        Examples that the system has heard, and common tags.
    rows
        Their places in the whole data set [shape=(n_examples,)], ascending.
    scores
        [shape=(n_examples, n_tags)]; no row is all nan.
    match
        Which tags are common.
    n_unlabelled, n_missing, n_unheard
        Examples that were left out: of which no common tag is known, of which the system says nothing, and which it
        could not hear.
    """

    system: str
    manifest: Manifest
    rows: npt.NDArray[np.intp]
    scores: npt.NDArray[np.floating]
    match: TagMatch
    n_unlabelled: int
    n_missing: int
    n_unheard: int

    def take(self, rows: npt.NDArray[np.intp], tags: Sequence[str]) -> "Aligned":
        """Keep some examples, by their places here, and some tags, as the data set spells them."""
        index = {tag: column for column, tag in enumerate(self.manifest.tags)}
        columns = [index[tag] for tag in tags]
        return replace(
            self,
            manifest=self.manifest.take(rows).keep_tags(tags),
            rows=self.rows[rows],
            scores=self.scores[rows][:, columns],
        )


def match_tags(dataset_tags: Sequence[str], system_tags: Sequence[str]) -> TagMatch:
    """Find the tags that two vocabularies share: by their spelling, then by their letters where that is unambiguous."""
    found = {tag: tag for tag in set(dataset_tags) & set(system_tags)}
    left = [tag for tag in system_tags if tag not in found]
    by_letters = {tag.casefold(): tag for tag in left}
    n_here = Counter(tag.casefold() for tag in dataset_tags if tag not in found)
    n_there = Counter(tag.casefold() for tag in left)
    for tag in dataset_tags:
        letters = tag.casefold()
        if tag not in found and n_here[letters] == n_there[letters] == 1:
            found[tag] = by_letters[letters]
    common = tuple(tag for tag in dataset_tags if tag in found)
    taken = set(found.values())
    return TagMatch(
        dataset_tags=common,
        system_tags=tuple(found[tag] for tag in common),
        only_dataset=tuple(tag for tag in dataset_tags if tag not in found),
        only_system=tuple(tag for tag in system_tags if tag not in taken),
    )


def find_judgeable(manifest: Manifest, match: TagMatch) -> npt.NDArray[np.intp]:
    """Find the examples of which at least one common tag is known [shape=(n_judgeable,)].

    Raises
    ------
    DatasetError
        When no tag is common, or none of a common tag is known.
    """
    if not match.dataset_tags:
        msg = (
            f"{manifest.name} and the system have no tag in common ({_list_some(match.only_dataset)} against "
            f"{_list_some(match.only_system)}); take another data set, or map its tags with `tagcli dataset build`."
        )
        raise DatasetError(msg)
    rows = np.flatnonzero(manifest.keep_tags(match.dataset_tags).known.any(axis=1))
    if not len(rows):
        msg = f"Nothing is known in {manifest.name} of the tags that the system has; take another data set."
        raise DatasetError(msg)
    return rows


def align(manifest: Manifest, system: SystemScores) -> Aligned:
    """Keep what a data set and a system have in common.

    Parameters
    ----------
    manifest
        The examples; ids tell them apart.
    system
        Scores of at least some of them, and perhaps of others.

    Raises
    ------
    DatasetError
        When they have no tag or no example in common, or nothing of a common tag is known.
    """
    match = match_tags(manifest.tags, system.tags)
    judgeable = find_judgeable(manifest, match)
    row_of_id = {id_: row for row, id_ in enumerate(system.ids)}
    found = np.array([row_of_id.get(manifest.ids[row], -1) for row in judgeable.tolist()], dtype=np.intp)
    if not np.any(found >= 0):
        msg = (
            f"{system.name} has scores of no example of {manifest.name} (it has {_list_some(system.ids)}, the data set "
            f"{_list_some([manifest.ids[row] for row in judgeable[:4].tolist()])}); name them as the data set does."
        )
        raise DatasetError(msg)
    rows, found = judgeable[found >= 0], found[found >= 0]
    column_of_tag = {tag: column for column, tag in enumerate(system.tags)}
    scores = system.scores[found][:, [column_of_tag[tag] for tag in match.system_tags]]
    is_heard = ~np.isnan(scores).all(axis=1)
    if not np.any(is_heard):
        msg = f"{system.name} has heard no example of {manifest.name}; its scores are all missing."
        raise DatasetError(msg)
    return Aligned(
        system=system.name,
        manifest=manifest.take(rows[is_heard]).keep_tags(match.dataset_tags),
        rows=rows[is_heard],
        scores=scores[is_heard],
        match=match,
        n_unlabelled=len(manifest) - len(judgeable),
        n_missing=len(judgeable) - len(rows),
        n_unheard=len(rows) - int(is_heard.sum()),
    )


def _list_some(names: Sequence[str]) -> str:
    """Name the first few."""
    shown = ", ".join(names[:3]) or "none"
    return f"{shown}, ..." if len(names) > 3 else shown
