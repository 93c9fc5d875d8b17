"""What a reader finds, before tags are chosen: examples with their tags by pairs, however many tags there are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tagcli.datasets.manifest import Manifest, Mask, Seconds, order_tags
from tagcli.errors import DatasetError

Pairs: TypeAlias = npt.NDArray[np.int32]
MOST_CELLS = 400_000_000
"""Examples times tags that a manifest may have: each cell takes two bytes."""


def _no_pairs() -> Pairs:
    return np.empty((0, 2), dtype=np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """A data set whose tags are not chosen yet.

    Parameters
    ----------
    name, root, tags, paths, ids, splits, artists, starts_seconds, durations_seconds
        As of `Manifest`.
    labels
        Which example carries which tag, by their numbers [shape=(n_pairs, 2)]; a pair may be there twice.
    is_partial
        Examples of which not every tag's presence or absence is known [shape=(n_examples,)].
    known
        What is known of these besides their labels, as `labels` [shape=(n_pairs, 2)].
    """

    name: str
    root: Path
    tags: tuple[str, ...]
    paths: tuple[str, ...]
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    artists: tuple[str, ...]
    starts_seconds: Seconds
    durations_seconds: Seconds
    labels: Pairs
    is_partial: Mask
    known: Pairs = field(default_factory=_no_pairs)

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def of_files(
        cls,
        *,
        name: str,
        root: Path,
        paths: Sequence[str],
        tags: tuple[str, ...],
        labels: Pairs,
        ids: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        artists: Sequence[str] | None = None,
        durations_seconds: Seconds | None = None,
    ) -> "Draft":
        """Make the draft of whole files of which every tag is known; what is not given is not known."""
        n_examples = len(paths)
        blank = ("",) * n_examples
        return cls(
            name=name,
            root=root,
            tags=tags,
            paths=tuple(paths),
            ids=tuple(paths if ids is None else ids),
            splits=blank if splits is None else tuple(splits),
            artists=blank if artists is None else tuple(artists),
            starts_seconds=np.zeros(n_examples),
            durations_seconds=np.full(n_examples, np.nan) if durations_seconds is None else durations_seconds,
            labels=labels,
            is_partial=np.zeros(n_examples, dtype=np.bool_),
        )

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "Draft":
        """Make the draft of a manifest, to choose among its tags."""
        is_partial: Mask = ~np.all(manifest.known, axis=1)
        return cls(
            name=manifest.name,
            root=manifest.root,
            tags=manifest.tags,
            paths=manifest.paths,
            ids=manifest.ids,
            splits=manifest.splits,
            artists=manifest.artists,
            starts_seconds=manifest.starts_seconds,
            durations_seconds=manifest.durations_seconds,
            labels=find_pairs(manifest.labels),
            is_partial=is_partial,
            known=find_pairs(manifest.known & is_partial[:, np.newaxis]),
        )

    def take(self, rows: npt.NDArray[np.intp]) -> "Draft":
        """Keep only these examples, in this order; each at most once."""
        indices = rows.tolist()
        places = np.full(len(self), -1, dtype=np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)

        def move(pairs: Pairs) -> Pairs:
            moved = np.column_stack((places[pairs[:, 0]], pairs[:, 1]))
            return moved[moved[:, 0] >= 0]

        return replace(
            self,
            paths=tuple(self.paths[row] for row in indices),
            ids=tuple(self.ids[row] for row in indices),
            splits=tuple(self.splits[row] for row in indices),
            artists=tuple(self.artists[row] for row in indices),
            starts_seconds=self.starts_seconds[rows],
            durations_seconds=self.durations_seconds[rows],
            labels=move(self.labels),
            is_partial=self.is_partial[rows],
            known=move(self.known),
        )

    def to_manifest(self) -> Manifest:
        """Lay the pairs out as tables.

        Raises
        ------
        DatasetError
            When there is no example, one is there twice, or the tables would not fit into memory.
        """
        shape = (len(self), len(self.tags))
        if not len(self):
            msg = f"No example is left of {self.name}; check what leaves examples out."
            raise DatasetError(msg)
        id_, n_rows = Counter(self.ids).most_common(1)[0]
        if n_rows > 1:
            msg = f"{self.name} has the example {id_!r} {n_rows} times; leave all but one out."
            raise DatasetError(msg)
        if shape[0] * shape[1] > MOST_CELLS:
            msg = f"{self.name} has {shape[1]:,} tags for {shape[0]:,} examples, too many for one table; choose the"
            raise DatasetError(msg + " most frequent ones with `tagcli dataset build --top`.")
        labels: Mask = np.zeros(shape, dtype=np.bool_)
        labels[self.labels[:, 0], self.labels[:, 1]] = True
        known: Mask = np.repeat(~self.is_partial[:, np.newaxis], shape[1], axis=1)
        known[self.known[:, 0], self.known[:, 1]] = True
        return Manifest(
            name=self.name,
            root=self.root,
            tags=self.tags,
            paths=self.paths,
            ids=self.ids,
            splits=self.splits,
            artists=self.artists,
            starts_seconds=self.starts_seconds,
            durations_seconds=self.durations_seconds,
            labels=labels,
            known=known | labels,
        )


def find_pairs(mask: Mask) -> Pairs:
    """Give row and column of each cell that is set [shape=(n_pairs, 2)]."""
    return np.argwhere(mask).astype(np.int32)


def number_labels(labels: Iterable[Iterable[str]]) -> tuple[tuple[str, ...], Pairs]:
    """Find the tags of examples, the most frequent first, and who carries which.

    Parameters
    ----------
    labels
        Tags of each example, each once.

    Returns
    -------
    tuple of str
        The tags.
    numpy.ndarray
        The pairs [shape=(n_pairs, 2)].
    """
    lists = [tuple(tags) for tags in labels]
    tags = order_tags(Counter(tag for tags in lists for tag in tags))
    return tags, number_pairs(lists, tags)


def number_pairs(labels: Iterable[Iterable[str]], tags: Sequence[str]) -> Pairs:
    """Say by numbers which example carries which of some tags; others are passed over [shape=(n_pairs, 2)]."""
    index = {tag: column for column, tag in enumerate(tags)}
    pairs = [(row, index[tag]) for row, carried in enumerate(labels) for tag in carried if tag in index]
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)
