"""Cut a track into the fixed-length clips that the model sees."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

ShortClip = Literal["zeros", "repeat"]


@dataclass(frozen=True, kw_only=True)
class ClipRule:
    """What a model wants to be given: how long a clip is, and what a track shorter than that becomes.

    Parameters
    ----------
    n_samples
        Clip length at the model's rate.
    short
        ``zeros`` appends silence; ``repeat`` repeats the track until the clip is full.
    """

    n_samples: int
    short: ShortClip


@dataclass(frozen=True, kw_only=True)
class ClipChoice:
    """Which clips of a track are scored: ``all`` of them, the ``middle`` one, or `count` evenly spaced ones.

    Parameters
    ----------
    count
        None for all; 1 with `middle` for the middle one; N for N clips.
    middle
        Whether the one clip is the middle one.
    hop_samples
        How far apart all clips begin, at the model's rate, at most a clip; None for end to end.

    Raises
    ------
    ValueError
        When clips that do not move on are asked for, or a distance between clips whose number is given.
    """

    count: int | None = None
    middle: bool = False
    hop_samples: int | None = None

    def __post_init__(self) -> None:
        if self.hop_samples is not None and (self.hop_samples < 1 or self.count is not None):
            msg = f"{self.hop_samples} samples from clip to clip are for all clips, and begin at 1"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> "ClipChoice":
        """Read ``all``, ``middle`` or a positive number.

        Raises
        ------
        ValueError
            For anything else.
        """
        if text == "all":
            return cls()
        if text == "middle":
            return cls(count=1, middle=True)
        if text.isascii() and text.isdigit() and int(text) > 0:
            return cls(count=int(text))
        msg = f"{text!r} is none of all, middle, or a number of clips from 1 up"
        raise ValueError(msg)

    def __str__(self) -> str:
        if self.count is None:
            return "all" if self.hop_samples is None else f"all, {self.hop_samples} samples apart"
        return "middle" if self.middle else str(self.count)

    def starts(self, n_samples: int, clip_samples: int) -> list[int] | None:
        """Place the clips in a track of known length.

        Parameters
        ----------
        n_samples
            Decoded length at the model's rate, at least `clip_samples`.
        clip_samples
            Clip length.

        Returns
        -------
        list of int or None
            First sample of each clip; None when all clips are wanted, which needs no known length.
        """
        if self.count is None:
            return None
        spare = n_samples - clip_samples
        if self.middle:
            return [spare // 2]
        return [index * (spare // self.count) for index in range(self.count)]


def fill_clip(waveform: npt.NDArray[np.float32], rule: ClipRule) -> npt.NDArray[np.float32]:
    """Make a clip of a track that is shorter than one.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)], not empty and at most one clip long.
    rule
        Length, and zeros or repetition.

    Returns
    -------
    numpy.ndarray
        [shape=(rule.n_samples,)]
    """
    if rule.short == "repeat":
        return np.resize(waveform, rule.n_samples)
    clip = np.zeros(rule.n_samples, dtype=np.float32)
    clip[: len(waveform)] = waveform
    return clip
