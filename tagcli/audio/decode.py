"""Stream a track of any length to mono float32 at the model's rate, whole or from any sample on."""

import stat
from collections.abc import Iterator
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from tagcli.audio.completeness import is_cut_short
from tagcli.audio.mpeg_length import read_length
from tagcli.audio.sources import SoundfileSource, Waveform
from tagcli.container import Container, find_container
from tagcli.errors import AudioError, FailureCode, MetadataError, WarningCode
from tagcli.files import FileIdentity

if TYPE_CHECKING:
    from tagcli.audio.av_source import AvSource
    from tagcli.audio.graph_source import GraphSource

_MARGIN_SECONDS = 0.1  # decoded before a sought sample and discarded, longer than the resampler's memory


class Track:
    """One audio file, decoded to a model's rate.

    Parameters
    ----------
    path
        The file.
    sample_rate
        Rate of the samples to be given, in Hz.

    Attributes
    ----------
    n_samples
        Length at `sample_rate` when the header can be trusted and the track sought in; else None until the blocks
        have been read to the end.
    warnings
        What was wrong with the file; complete when the blocks have been read to the end.
    identity
        What tells the file that was opened from another one of its name.

    Raises
    ------
    AudioError
        When the file is missing, empty, or no audio.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        self.path = path
        self.sample_rate = sample_rate
        self.warnings: set[WarningCode] = set()
        self.n_samples: int | None = None
        try:
            self.identity = _check_file(path)
            self._container = find_container(path)
            mpeg_length = read_length(path) if self._container is Container.MP3 else None
            if is_cut_short(path, self._container):
                self.warnings.add(WarningCode.TRUNCATED)
        except MetadataError as error:
            raise _translate(path, error.__cause__) from error
        except OSError as error:
            raise _translate(path, error) from error
        self._streams_by_soundfile = self._container in (Container.WAV, Container.FLAC, Container.AIFF) or (
            mpeg_length is not None and mpeg_length.has_length and not mpeg_length.is_cut
        )
        seeks_exactly = self._streams_by_soundfile or self._container is Container.OGG
        if seeks_exactly and not self.warnings:
            self.n_samples = self._read_promise()

    def blocks(self) -> Iterator[Waveform]:
        """Yield the whole track.

        Yields
        ------
        numpy.ndarray
            [shape=(n_samples,)], mono, about [-1, 1]; valid until the next one is asked for.

        Raises
        ------
        AudioError
            When nothing can be decoded.
        """
        n_samples = 0
        with self._open() as source:
            resampler = _Resampler(source.sample_rate, self.sample_rate)
            for block in source.blocks():
                resampled = resampler.push(block)
                n_samples += len(resampled)
                yield resampled
            resampled = resampler.finish()
            n_samples += len(resampled)
            yield resampled
        self.warnings |= source.warnings
        self.n_samples = n_samples

    def read(self, start: int, n_samples: int) -> Waveform | None:
        """Decode one piece, equal within rounding to the same piece of the whole track.

        Decoding begins on a sample that the resampler maps to a whole sample, early enough for its memory to fill.

        Parameters
        ----------
        start, n_samples
            Piece, at the model's rate, within `Track.n_samples`.

        Returns
        -------
        numpy.ndarray or None
            [shape=(n_samples,)], or None when the file does not hold what its header promises.
        """
        piece = np.empty(n_samples, dtype=np.float32)
        filled = 0
        try:
            source = SoundfileSource(self.path)
        except soundfile.LibsndfileError:
            return None
        with source:
            divisor = gcd(source.sample_rate, self.sample_rate)
            source_step, step = source.sample_rate // divisor, self.sample_rate // divisor
            wanted = start * source_step // step - round(_MARGIN_SECONDS * source.sample_rate)
            n_steps = max(0, wanted) // source_step
            to_skip = start - n_steps * step
            resampler = _Resampler(source.sample_rate, self.sample_rate)

            def keep(resampled: Waveform) -> None:
                nonlocal to_skip, filled
                n_skipped = min(to_skip, len(resampled))
                to_skip -= n_skipped
                kept = resampled[n_skipped : n_skipped + n_samples - filled]
                piece[filled : filled + len(kept)] = kept
                filled += len(kept)

            for block in source.blocks_from(n_steps * source_step):
                keep(resampler.push(block))
                if filled == n_samples:
                    break
            else:
                keep(resampler.finish())
        self.warnings |= source.warnings
        return piece if filled == n_samples else None

    def _open(self) -> "AvSource | GraphSource | SoundfileSource":
        """Open the decoder that is right for the whole track."""
        if self._streams_by_soundfile:
            try:
                source = SoundfileSource(self.path)
            except soundfile.LibsndfileError:
                self._streams_by_soundfile = False
            else:
                return source if self._container is not Container.MP3 else _prefer_graph(source)
        from tagcli.audio.av_source import AvSource  # PyAV takes 20 MB

        try:
            return AvSource(self.path)
        except AudioError as error:
            if error.code is FailureCode.UNREADABLE and self._container is Container.UNKNOWN:
                raise _nothing_audible(self.path) from error
            raise

    def _read_promise(self) -> int | None:
        """Read the length from the header, and see that the last sample is there."""
        try:
            with SoundfileSource(self.path) as source:
                if source.n_samples == 0:
                    return None
                last = source.n_samples - 1
                if self._container in (Container.FLAC, Container.OGG) and not sum(map(len, source.blocks_from(last))):
                    return None
                # round half up, as the resampler does
                return (2 * source.n_samples * self.sample_rate + source.sample_rate) // (2 * source.sample_rate)
        except soundfile.LibsndfileError:
            return None


def _prefer_graph(source: SoundfileSource) -> "GraphSource | SoundfileSource":
    """Change to the faster decoder of an mp3, where both decoders see the same length in it."""
    from tagcli.audio.graph_source import open_graph

    graph = open_graph(source)
    if graph is None:
        return source
    source.close()
    return graph


class _Resampler:
    """soxr HQ as a stream; nothing when the rates are equal."""

    def __init__(self, source_rate: int, sample_rate: int) -> None:
        self._stream = (
            None
            if source_rate == sample_rate
            else soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32", quality="HQ")
        )

    def push(self, block: Waveform) -> Waveform:
        """Give samples in, get samples out."""
        return block if self._stream is None else self._stream.resample_chunk(block)

    def finish(self) -> Waveform:
        """Get what is left."""
        empty = np.empty(0, dtype=np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)


def _check_file(path: Path) -> FileIdentity:
    """Look at a file before any decoder does.

    Raises
    ------
    OSError
        When it cannot be looked at.
    AudioError
        When it is no regular file, or empty.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):  # a pipe would wait for its writer
            with path.open("rb"):  # tells a folder from one that may not be listed
                pass
        msg = f"{path} is not a regular file; exclude it."
        raise AudioError(msg, path=path, code=FailureCode.UNREADABLE)
    if status.st_size == 0:
        msg = f"{path} is empty (0 bytes); copy it again or delete it."
        raise AudioError(msg, path=path, code=FailureCode.EMPTY)
    return FileIdentity.from_status(status)


def _translate(path: Path, error: BaseException | None) -> AudioError:
    """Turn the operating system's refusal into one sentence."""
    if isinstance(error, FileNotFoundError):
        msg = f"{path} does not exist (any more); check the path, or the drive that it is on."
        return AudioError(msg, path=path, code=FailureCode.MISSING)
    msg = f"{path} cannot be read ({getattr(error, 'strerror', error)}); check its permissions."
    return AudioError(msg, path=path, code=FailureCode.UNREADABLE, is_passing=True)


def _nothing_audible(path: Path) -> AudioError:
    """Make the error for a file that no decoder and no signature knows: tags without audio, or no audio at all."""
    try:
        with path.open("rb") as file:
            has_tag = file.read(3) == b"ID3"
    except OSError as error:
        return _translate(path, error)
    if has_tag:
        msg = f"{path} holds tags but no audio; replace the file."
        return AudioError(msg, path=path, code=FailureCode.NO_AUDIO_STREAM, is_passing=True)  # judged by its tags
    msg = f"{path} is not audio, whatever its name says; remove it or exclude it."
    return AudioError(msg, path=path, code=FailureCode.NOT_AUDIO)
