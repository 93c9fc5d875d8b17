"""Read a track as the clips that were asked for: sought where that is exact and cheaper, else decoded once."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tagcli.audio.clips import ClipChoice, ClipRule, fill_clip
from tagcli.audio.decode import Track
from tagcli.audio.sources import Waveform
from tagcli.errors import AudioError, FailureCode, WarningCode
from tagcli.files import FileIdentity

MIN_TRACK_SECONDS = 1.0
MIN_TAIL_SECONDS = 1.0  # what is left behind the last whole clip is heard from this length on
_SEEK_SHARE = 0.85  # seeking is cheaper when the clips cover less than this share of the track
_MAX_SOUGHT_CLIPS = 16  # sought clips are held until the last one is there
_MAX_KEPT_SECONDS = 600.0  # a track up to this length is kept whole while its middle is not known yet


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A piece of a track.

    Parameters
    ----------
    start
        First sample, at the model's rate.
    waveform
        [shape=(clip_samples,)], float32, mono.
    """

    start: int
    waveform: Waveform


class DecodingStopped(Exception):  # noqa: N818  # nothing is wrong
    """Ends the clips of a track that nobody wants any more."""


class Clips(Protocol):
    """The clips of one track, to be iterated over once; its attributes are complete then (see `TrackClips`)."""

    sample_rate: int
    n_samples: int
    warnings: set[WarningCode]
    identity: FileIdentity | None

    def __iter__(self) -> Iterator[Clip]:
        """Yield the clips in the order of their starts."""


class ClipReader(Protocol):
    """Opens tracks, one at a time."""

    def open(self, path: Path) -> Clips:
        """Begin with a track."""

    def stop(self) -> None:
        """End the work on a track that is open, from another thread: its clips end with `DecodingStopped`."""

    def close(self) -> None:
        """Give back what it took."""


class TrackClips:
    """The clips of one track, one after the other, in constant memory.

    Parameters
    ----------
    path
        The track.
    sample_rate
        The model's rate in Hz.
    rule
        Clip length, and what becomes of a shorter track.
    choice
        Which clips.
    stop
        Set, from another thread, when nobody wants the clips any more.

    Attributes
    ----------
    n_samples
        Decoded length at the model's rate; complete when the clips have been read to the end.
    warnings
        What was wrong; complete then, too.
    identity
        What tells the file that is read from another one of its name.

    Raises
    ------
    ValueError
        When clips are to begin so far apart that something between them would not be heard.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_rate: int,
        rule: ClipRule,
        choice: ClipChoice,
        stop: threading.Event | None = None,
    ) -> None:
        if choice.hop_samples is not None and choice.hop_samples > rule.n_samples:
            msg = f"clips of {rule.n_samples} samples, {choice.hop_samples} apart, leave something out"
            raise ValueError(msg)
        self.path = path
        self.sample_rate = sample_rate
        self.rule = rule
        self.choice = choice
        self.stop = stop
        self.n_samples = 0
        self.warnings: set[WarningCode] = set()
        self.identity: FileIdentity | None = None

    def __iter__(self) -> Iterator[Clip]:
        """Yield the clips in the order of their starts.

        Raises
        ------
        AudioError
            When the track cannot be decoded, or is shorter than a second.
        DecodingStopped
            When nobody wants the clips any more.
        """
        track = Track(self.path, self.sample_rate)
        self.identity = track.identity
        sought = self._seek(track)
        if sought is not None:
            yield from sought
        elif self.choice.count is None:
            yield from self._stream_all(track)
        else:
            yield from self._cut_chosen(track)
        self.warnings |= track.warnings
        if track.n_samples is not None:
            self.n_samples = track.n_samples

    def _seek(self, track: Track) -> list[Clip] | None:
        """Decode only the clips, when the length is known and that is cheaper; None when it is not."""
        n_samples, length = track.n_samples, self.rule.n_samples
        count = self.choice.count
        if n_samples is None or count is None or count > _MAX_SOUGHT_CLIPS or count * length >= _SEEK_SHARE * n_samples:
            return None
        clips = []
        for start in self.choice.starts(n_samples, length) or []:
            self._check_wanted()
            waveform = track.read(start, length)
            if waveform is None:
                return None
            clips.append(Clip(start=start, waveform=waveform))
        return clips

    def _stream_all(self, track: Track) -> Iterator[Clip]:
        """Yield clips at 0, H, 2H, ... as they fill, and one ending at the end when a second or more is left."""
        length = self.rule.n_samples
        hop = self.choice.hop_samples or length
        n_shared = length - hop  # by a clip and the next one
        previous = current = np.empty(length, dtype=np.float32)
        start = filled = 0
        for block in self._blocks(track):
            position = 0
            while position < len(block):
                n_taken = min(length - filled, len(block) - position)
                current[filled : filled + n_taken] = block[position : position + n_taken]
                filled += n_taken
                position += n_taken
                if filled == length:
                    yield Clip(start=start, waveform=current)
                    previous, current = current, np.empty(length, dtype=np.float32)
                    current[:n_shared] = previous[hop:]
                    start, filled = start + hop, n_shared
        if start == 0:
            yield self._fill_short(current[:filled])
        elif filled - n_shared >= MIN_TAIL_SECONDS * self.sample_rate:
            tail = np.concatenate([previous[filled - n_shared : hop], current[:filled]])
            yield Clip(start=start + filled - length, waveform=tail)

    def _cut_chosen(self, track: Track) -> Iterator[Clip]:
        """Decode the whole track to learn its length, then cut; a long track is decoded twice instead of kept."""
        kept: list[Waveform] | None = []
        n_samples = 0
        for block in self._blocks(track):
            n_samples += len(block)
            if kept is not None:
                kept.append(block.copy())
            if n_samples > _MAX_KEPT_SECONDS * self.sample_rate:
                kept = None
        if n_samples <= self.rule.n_samples:
            waveform = np.concatenate(kept or [np.empty(0, dtype=np.float32)])
            starts = [0] * (self.choice.count or 1) if n_samples == self.rule.n_samples else [0]
            clip = self._fill_short(waveform) if n_samples < self.rule.n_samples else Clip(start=0, waveform=waveform)
            yield from (clip for _ in starts)
            return
        starts = self.choice.starts(n_samples, self.rule.n_samples) or []
        blocks = iter(kept) if kept is not None else self._blocks(Track(self.path, self.sample_rate))
        yield from _cut(blocks, starts, self.rule.n_samples)

    def _blocks(self, track: Track) -> Iterator[Waveform]:
        """Yield the blocks of a track for as long as they are wanted."""
        for block in track.blocks():
            self._check_wanted()
            yield block

    def _check_wanted(self) -> None:
        """Stop in the middle of a track when nobody wants it."""
        if self.stop is not None and self.stop.is_set():
            raise DecodingStopped

    def _fill_short(self, waveform: Waveform) -> Clip:
        """Fill the only clip of a short track.

        Raises
        ------
        AudioError
            When it is shorter than a second.
        """
        if len(waveform) < MIN_TRACK_SECONDS * self.sample_rate:
            seconds = len(waveform) / self.sample_rate
            msg = f"{self.path} holds {seconds:.4f} s of audio, less than the {MIN_TRACK_SECONDS:.0f} s to judge by."
            raise AudioError(msg, path=self.path, code=FailureCode.TOO_SHORT)
        self.warnings.add(WarningCode.PADDED)
        return Clip(start=0, waveform=fill_clip(waveform, self.rule))


class ThreadReader:
    """Decodes in the thread that asks; soundfile and soxr let other threads run meanwhile.

    Parameters
    ----------
    sample_rate, rule, choice
        See `TrackClips`.
    """

    def __init__(self, *, sample_rate: int, rule: ClipRule, choice: ClipChoice) -> None:
        self.sample_rate = sample_rate
        self.rule = rule
        self.choice = choice
        self._stop = threading.Event()

    def open(self, path: Path) -> TrackClips:
        """Begin with a track."""
        return TrackClips(path, sample_rate=self.sample_rate, rule=self.rule, choice=self.choice, stop=self._stop)

    def stop(self) -> None:
        """End the work on a track that is open, at its next block."""
        self._stop.set()

    def close(self) -> None:
        """Nothing was taken."""


def _cut(blocks: Iterator[Waveform], starts: list[int], length: int) -> Iterator[Clip]:
    """Cut clips at sorted starts out of a stream, holding no more than the samples that are still needed."""
    window = np.empty(0, dtype=np.float32)
    window_start = 0
    remaining = list(starts)
    for block in blocks:
        window = np.concatenate([window, block])
        while remaining and window_start + len(window) >= remaining[0] + length:
            first = remaining[0] - window_start
            yield Clip(start=remaining.pop(0), waveform=window[first : first + length].copy())
        if not remaining:
            return
        n_unneeded = min(len(window), remaining[0] - window_start)
        if n_unneeded > 0:
            window = window[n_unneeded:]
            window_start += n_unneeded
