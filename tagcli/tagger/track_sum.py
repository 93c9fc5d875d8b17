"""Gather what is heard in the clips of one track into its scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.audio.reading import Clip, Clips
from tagcli.errors import SkipCode, WarningCode
from tagcli.tags import Failure, TrackScores

SILENT_PEAK = 1e-4  # -80 dBFS: below the noise of 16 bit with dither there is nothing to hear


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """What the model says of some clips.

    Parameters
    ----------
    scores
        [shape=(n_clips, n_tags)], sigmoid outputs in [0, 1].
    embeddings
        Of each block [shape=(n_clips, n_channels)], or none when they were not asked for.
    """

    scores: npt.NDArray[np.float32]
    embeddings: tuple[npt.NDArray[np.float32], ...] = ()

    def row(self, index: int) -> "ClipScores":
        """Give those of one clip."""
        part = slice(index, index + 1)
        return ClipScores(scores=self.scores[part], embeddings=tuple(block[part] for block in self.embeddings))


class TrackSum:
    """Running sums over the clips of one track; memory grows only with what was asked for.

    Parameters
    ----------
    path
        The track.
    with_taggram
        Whether the scores of each clip are kept.
    """

    def __init__(self, path: Path, *, with_taggram: bool) -> None:
        self.path = path
        self.with_taggram = with_taggram
        self.n_clips = 0
        self.peak = 0.0
        self._scores: npt.NDArray[np.float64] | None = None
        self._embeddings: list[npt.NDArray[np.float64]] = []
        self._taggram: dict[int, npt.NDArray[np.float32]] = {}
        self._starts: list[int] = []

    def hear(self, clip: Clip) -> None:
        """Note how loud a clip is, and where it begins."""
        self.peak = max(self.peak, float(clip.waveform.max()), -float(clip.waveform.min()))
        if self.with_taggram:
            self._starts.append(clip.start)

    def add(self, index: int, clip_scores: ClipScores) -> None:
        """Add the scores of clip `index` of the track; they may come in any order."""
        total = clip_scores.scores.astype(np.float64).sum(axis=0)
        self._scores = total if self._scores is None else self._scores + total
        embeddings = [embedding.astype(np.float64).sum(axis=0) for embedding in clip_scores.embeddings]
        self._embeddings = (
            [old + new for old, new in zip(self._embeddings, embeddings, strict=True)]
            if self._embeddings
            else embeddings
        )
        self.n_clips += len(clip_scores.scores)
        if self.with_taggram:
            self._taggram[index] = clip_scores.scores

    def finish(self, clips: Clips) -> TrackScores | Failure:
        """Take the means, once all clips have been added."""
        duration_seconds = clips.n_samples / clips.sample_rate
        if self._scores is None or self.peak < SILENT_PEAK:
            message = f"{self.path} is silent where it was listened to; there is nothing to tag."
            return Failure(path=self.path, code=SkipCode.SILENT, message=message, duration_seconds=duration_seconds)
        return TrackScores(
            path=self.path,
            scores=(self._scores / self.n_clips).astype(np.float32),
            n_clips=self.n_clips,
            duration_seconds=duration_seconds,
            identity=clips.identity,
            warnings=tuple(warning for warning in WarningCode if warning in clips.warnings),
            taggram=np.concatenate([part for _, part in sorted(self._taggram.items())]) if self.with_taggram else None,
            clip_starts_seconds=np.array(self._starts) / clips.sample_rate if self.with_taggram else None,
            embeddings=tuple((total / self.n_clips).astype(np.float32) for total in self._embeddings),
        )
