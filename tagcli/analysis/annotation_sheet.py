"""The sheet on which somebody who listens says what the ground truth should have said, and how it is drawn."""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tagcli.datasets import Manifest
from tagcli.errors import DatasetError


class Subset(StrEnum):
    """What a line was drawn for.

    ``balanced`` is Subset100 of Choi et al. 2017, section III-B: for each tag as many excerpts that carry it as ones
    that do not. ``random`` is Subset400: excerpts as they come, each with all tags.
    """

    BALANCED = "balanced"
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class SheetLine:
    """One question to who listens: whether this excerpt deserves this tag.

    Parameters
    ----------
    subset
        What it was drawn for.
    id, path, start_seconds, duration_seconds
        The excerpt, as `tagcli.datasets.Manifest` has it; a duration of None reaches to the end.
    tag
        The tag.
    label
        Whether the ground truth gives it.
    annotation
        Whether who listened gives it; None when nobody has said so yet.
    n_positive, n_known
        How many examples of the whole data set carry the tag, and of how many this is known.
    """

    subset: Subset
    id: str
    path: str
    start_seconds: float
    duration_seconds: float | None
    tag: str
    label: bool
    annotation: bool | None
    n_positive: int
    n_known: int


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Questions, answered or not.

    Parameters
    ----------
    name
        Where it is from, for messages.
    lines
        The questions.
    """

    name: str
    lines: tuple[SheetLine, ...]

    def find_answered(self, *subsets: Subset) -> tuple[SheetLine, ...]:
        """Keep the questions that are answered.

        Parameters
        ----------
        *subsets
            Which subsets are wanted.

        Raises
        ------
        DatasetError
            When there is no answer.
        """
        answered = tuple(line for line in self.lines if line.annotation is not None and line.subset in subsets)
        if not answered:
            names = " or ".join(subset.value for subset in subsets)
            msg = f"{self.name} has no answer for a {names} excerpt; listen, and write 1 or 0 into the column"
            raise DatasetError(msg + " `annotation`.")
        return answered


def list_tags(lines: Iterable[SheetLine]) -> tuple[str, ...]:
    """List the tags that are asked for, in the order of the lines."""
    return tuple(dict.fromkeys(line.tag for line in lines))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What is drawn from a data set.

    Parameters
    ----------
    tags
        Which tags are asked for.
    n_balanced, balanced_split
        Excerpts for each tag, half of which carry it, and where from; None for the whole data set.
    n_random, random_split
        Excerpts for all tags, and where from.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        When the balanced excerpts cannot be halved.
    """

    tags: tuple[str, ...]
    n_balanced: int = 100
    balanced_split: str | None = "train"
    n_random: int = 400
    random_split: str | None = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_balanced % 2:
            msg = f"{self.n_balanced} is odd; half of the balanced excerpts carry the tag, half do not"
            raise ValueError(msg)


def draw_sheet(manifest: Manifest, draw: Draw) -> Sheet:
    """Draw the excerpts that are to be listened to.

    The excerpts of a tag do not depend on which other tags are asked for. Their order tells nothing of their labels.

    Raises
    ------
    DatasetError
        When a tag or a split is not there, or there are too few examples.
    """
    whole = manifest.keep_tags(draw.tags)
    balanced = whole if draw.balanced_split is None else whole.select(draw.balanced_split)
    random = whole if draw.random_split is None else whole.select(draw.random_split)
    lines: list[SheetLine] = []
    for column, tag in enumerate(draw.tags) if draw.n_balanced else ():
        generator = np.random.default_rng([draw.seed, zlib.crc32(tag.encode("utf-8", "surrogateescape"))])
        labels, known = balanced.labels[:, column], balanced.known[:, column]
        half, where = draw.n_balanced // 2, f"{manifest.name}, split {draw.balanced_split or 'any'}"
        drawn = [
            _choose(generator, np.flatnonzero(there), half, what=f"examples {what} {tag!r} in {where}")
            for there, what in ((labels, "with"), (known & ~labels, "known to be without"))
        ]
        rows = generator.permutation(np.concatenate(drawn))
        lines += [_ask(balanced, row, column, Subset.BALANCED, whole) for row in rows.tolist()]
    if draw.n_random:
        where = f"{manifest.name}, split {draw.random_split or 'any'}"
        candidates = np.flatnonzero(random.known.all(axis=1))
        what = f"examples of which all tags asked for are known in {where}"
        rows = _choose(np.random.default_rng(draw.seed), candidates, draw.n_random, what=what)
        lines += [
            _ask(random, row, column, Subset.RANDOM, whole) for row in rows.tolist() for column in range(len(draw.tags))
        ]
    return Sheet(name=manifest.name, lines=tuple(lines))


def _choose(
    generator: np.random.Generator, rows: npt.NDArray[np.intp], n_drawn: int, *, what: str
) -> npt.NDArray[np.intp]:
    """Draw rows without replacement, in random order."""
    if len(rows) < n_drawn:
        msg = f"There are {len(rows)} {what}, and {n_drawn} are to be drawn; draw fewer, or from another split."
        raise DatasetError(msg)
    return generator.choice(rows, n_drawn, replace=False)


def _ask(part: Manifest, row: int, column: int, subset: Subset, whole: Manifest) -> SheetLine:
    """Make the question of an example and a tag."""
    duration = float(part.durations_seconds[row])
    return SheetLine(
        subset=subset,
        id=part.ids[row],
        path=part.paths[row],
        start_seconds=float(part.starts_seconds[row]),
        duration_seconds=None if math.isnan(duration) else duration,
        tag=part.tags[column],
        label=bool(part.labels[row, column]),
        annotation=None,
        n_positive=int(whole.labels[:, column].sum()),
        n_known=int(whole.known[:, column].sum()),
    )
