"""What is said about a track: the vocabulary, the scores, and the choice of tags."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.errors import FailureCode, SkipCode, WarningCode
from tagcli.files import FileIdentity


class Category(StrEnum):
    """What kind of word a tag is."""

    GENRE = "genre"
    MOOD = "mood"
    INSTRUMENT = "instrument"
    VOCALS = "vocals"
    ERA = "era"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The ordered tags of a model; a tag's index is its output unit.

    Parameters
    ----------
    name
        Name of the vocabulary, such as ``msd50``.
    tags
        Tags as published, in output order.
    categories
        Category of each tag, parallel to `tags`.
    labels
        The form of each tag that goes into a file's metadata, parallel to `tags`; free of ``; / ,``, which
        players split at.

    Raises
    ------
    ValueError
        When the lists are not parallel, a tag occurs twice, or a label holds a separator.
    """

    name: str
    tags: tuple[str, ...]
    categories: tuple[Category, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.tags) == len(self.categories) == len(self.labels):
            msg = f"vocabulary {self.name}: tags, categories and labels must be parallel"
            raise ValueError(msg)
        if len(set(self.tags)) != len(self.tags):
            msg = f"vocabulary {self.name}: a tag occurs twice"
            raise ValueError(msg)
        if any(separator in label for label in self.labels for separator in ";/,"):
            msg = f"vocabulary {self.name}: a label holds one of ; / , which players split at"
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.tags)


@dataclass(frozen=True, kw_only=True)
class ScoredTag:
    """One tag of a track.

    Parameters
    ----------
    tag
        The tag as the vocabulary has it.
    score
        Its score, in [0, 1].
    label, category
        The form for metadata and the kind of word.
    """

    tag: str
    score: float
    label: str
    category: Category


@dataclass(frozen=True, kw_only=True)
class TrackScores:
    """What the model heard in one track.

    Parameters
    ----------
    path
        The track.
    scores
        Mean over the clips of the sigmoid outputs [shape=(n_tags,)], in [0, 1].
    n_clips
        Number of clips that were scored.
    duration_seconds
        Length of the decoded track.
    identity
        What tells the file that was heard from another one of its name.
    warnings
        What was wrong with it, each once, in the order of `WarningCode`.
    taggram
        Scores of each clip [shape=(n_clips, n_tags)], when asked for.
    clip_starts_seconds
        Where each clip begins [shape=(n_clips,)], parallel to the taggram.
    embeddings
        Mean over the clips of each block's embedding [shape=(n_channels,) each], when asked for.
    """

    path: Path
    scores: npt.NDArray[np.float32]
    n_clips: int
    duration_seconds: float
    identity: FileIdentity | None = None
    warnings: tuple[WarningCode, ...] = ()
    taggram: npt.NDArray[np.float32] | None = None
    clip_starts_seconds: npt.NDArray[np.float64] | None = None
    embeddings: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A track without scores.

    Parameters
    ----------
    path
        The track.
    code
        The reason; a `SkipCode` when the track is sound but there is nothing to hear.
    message
        One sentence for the user.
    duration_seconds
        Length of the track when it could be decoded.
    is_passing
        Whether another try may end otherwise although the audio bytes are the same: the system was in the way.
    """

    path: Path
    code: FailureCode | SkipCode
    message: str
    duration_seconds: float | None = None
    is_passing: bool = False


def select_tags(
    scores: npt.NDArray[np.float32],
    vocabulary: Vocabulary,
    *,
    top_n: int,
    thresholds: float | Sequence[float] = 0.0,
) -> list[ScoredTag]:
    """Choose the best tags of a track.

    Parameters
    ----------
    scores
        [shape=(n_tags,)], in [0, 1].
    vocabulary
        The tags that the scores belong to.
    top_n
        How many tags at most.
    thresholds
        Least score of a chosen tag: one for all, or one for each [shape=(n_tags,)].

    Returns
    -------
    list of ScoredTag
        Best first; equal scores in the order of the vocabulary.

    Raises
    ------
    ValueError
        When the scores and the vocabulary differ in length.
    """
    if scores.shape != (len(vocabulary),):
        msg = f"scores of shape {scores.shape} do not fit the {len(vocabulary)} tags of {vocabulary.name}"
        raise ValueError(msg)
    order = np.argsort(-scores, kind="stable")
    is_enough = scores.astype(np.float64) >= np.asarray(thresholds, dtype=np.float64)
    chosen = order[is_enough[order]][:top_n].tolist()
    return [
        ScoredTag(
            tag=vocabulary.tags[index],
            score=float(scores[index]),
            label=vocabulary.labels[index],
            category=vocabulary.categories[index],
        )
        for index in chosen
    ]
