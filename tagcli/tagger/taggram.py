"""The taggram: what the model hears in each part of one track, clip by clip."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagcli.audio.clips import ClipChoice
from tagcli.errors import WarningCode
from tagcli.tagger.pipeline import TagOptions
from tagcli.tags import Failure

if TYPE_CHECKING:
    from tagcli.tagger import Tagger

HOPS_IN_CLIP = 4
"""Unless another distance is asked for, a clip begins each quarter of a clip."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Taggram:
    """Scores over time of one track.

    Parameters
    ----------
    path
        The track.
    tags
        Names of the columns.
    scores
        [shape=(n_clips, n_tags)], sigmoid outputs in [0, 1].
    starts_seconds
        Where each clip begins [shape=(n_clips,)].
    clip_seconds, hop_seconds
        How long a clip is, and how far apart they begin; the last one may be nearer to the one before it.
    duration_seconds
        Length of the track.
    warnings
        What was wrong with it.
    """

    path: Path
    tags: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    starts_seconds: npt.NDArray[np.float64]
    clip_seconds: float
    hop_seconds: float
    duration_seconds: float
    warnings: tuple[WarningCode, ...] = ()

    @property
    def means(self) -> npt.NDArray[np.float32]:
        """Mean over the clips [shape=(n_tags,)]; with a hop as long as a clip these are the scores of the track."""
        means: npt.NDArray[np.float32] = self.scores.mean(axis=0, dtype=np.float64).astype(np.float32)
        return means

    @property
    def edges_seconds(self) -> npt.NDArray[np.float64]:
        """Where the parts of the track begin that each clip stands for, and where the last one ends.

        A moment belongs to the clip whose middle is nearest, and the parts make up the whole track.
        [shape=(n_clips + 1,)], ascending.
        """
        middles = self.starts_seconds + self.clip_seconds / 2
        between = (middles[:-1] + middles[1:]) / 2
        return np.concatenate([[0.0], between, [self.duration_seconds]])

    def choose(self, tags: Iterable[str]) -> "Taggram":
        """Give the taggram of some tags, in their order.

        Raises
        ------
        ValueError
            When there is no such tag.
        """
        chosen = tuple(dict.fromkeys(tags))
        if unknown := [tag for tag in chosen if tag not in self.tags]:
            msg = f"there is no tag {unknown[0]!r}"
            raise ValueError(msg)
        columns = [self.tags.index(tag) for tag in chosen]
        return replace(self, tags=chosen, scores=self.scores[:, columns])

    def choose_best(self, n_most: int) -> "Taggram":
        """Give the taggram of the tags with the highest means, the highest first."""
        best = np.argsort(-self.means, kind="stable")[:n_most]
        return self.choose(self.tags[column] for column in best)


def hear_taggram(
    tagger: "Tagger", path: Path, *, hop_seconds: float | None = None, options: TagOptions | None = None
) -> Taggram | Failure:
    """Listen to a track from its beginning to its end, in constant memory but for the scores.

    Parameters
    ----------
    tagger
        Who listens.
    path
        The track.
    hop_seconds
        How far apart the clips begin, at most a clip, rounded to whole samples; None for a quarter of a clip.
    options
        Batches and precision; clips and what is kept give way to what a taggram needs.

    Returns
    -------
    Taggram or Failure
        Why there is none, when the track cannot be heard, or is silent.

    Raises
    ------
    ValueError
        When clips would not move on, or leave something out.
    DeviceError, CheckpointError, DecoderError
        As `tagcli.tagger.pipeline.tag_tracks`.
    """
    sample_rate, clip_samples = tagger.header.front_end.sample_rate, tagger.header.clip.n_samples
    hop_samples = clip_samples // HOPS_IN_CLIP if hop_seconds is None else round(hop_seconds * sample_rate)
    if not 1 <= hop_samples <= clip_samples:
        msg = f"clips of {clip_samples / sample_rate:g} s cannot begin {hop_samples / sample_rate:g} s apart"
        raise ValueError(msg)
    chosen = replace(options or TagOptions(), clips=ClipChoice(hop_samples=hop_samples), n_workers=1, with_taggram=True)
    with closing(tagger.score([path], chosen)) as results:
        result = next(results)
    if isinstance(result, Failure):
        return result
    if result.taggram is None or result.clip_starts_seconds is None:
        msg = "the scores of each clip were asked for"
        raise AssertionError(msg)
    return Taggram(
        path=path,
        tags=tagger.header.vocabulary.tags,
        scores=result.taggram,
        starts_seconds=result.clip_starts_seconds,
        clip_seconds=clip_samples / sample_rate,
        hop_seconds=hop_samples / sample_rate,
        duration_seconds=result.duration_seconds,
        warnings=result.warnings,
    )
