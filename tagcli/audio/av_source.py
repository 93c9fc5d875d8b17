"""The second decoder: everything that FFmpeg knows, by PyAV; imported for the first file that needs it."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np

from tagcli.audio.sources import (
    BLOCK_SAMPLES,
    SANE_RATES_HZ,
    SHORTFALL_SECONDS,
    Waveform,
    downmix,
    no_rate,
    remove_impossible,
)
from tagcli.errors import AudioError, FailureCode, WarningCode
from tagcli.mpeg import parse_frame

_GAP_SECONDS = 0.05  # a jump of the time stamps beyond their own rounding: something is missing
_TRIMMED_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"  # PyAV 18 leaves the encoder's padding behind the promised end
_PROMISING_FORMATS = (_TRIMMED_FORMAT, "flac", "mp3", "aiff", "ape", "wv")  # state a true duration
_MOST_CHANNELS_BY_CHANGE = 8
_SAMPLE_TYPES: dict[str, type[np.generic]] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}  # by FFmpeg's name of the interleaved format


class AvSource:
    """Any file that FFmpeg's libraries decode, by PyAV.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    n_channels
        Number of channels.
    n_promised
        Length that the header promises, at the file's rate; None for formats that state no true one.
    n_decoded
        Number of samples that were decoded so far.

    Raises
    ------
    AudioError
        When it holds no audio stream, one without a sensible rate, or one of an unknown codec.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: set[WarningCode] = set()
        self.n_decoded = 0
        try:
            # the protocol is named because a file's own name may look like one
            self._container = av.open(f"file:{path}", mode="r", metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_readable(path, error) from error
        streams = self._container.streams.audio
        if not streams:
            types = {stream.type.replace("video", "pictures or video") for stream in self._container.streams}
            kinds = " and ".join(sorted(types)) or "tags"
            self._container.close()
            msg = f"{path} holds no audio, only {kinds}; exclude it or remove it from the collection."
            raise AudioError(msg, path=path, code=FailureCode.NO_AUDIO_STREAM)
        self._stream = streams[0]
        codec: object = self._stream.codec_context
        if codec is None:  # whatever PyAV's types say
            self._container.close()
            raise _not_readable(path, ValueError("its codec is not known"))
        self.n_channels = self._stream.codec_context.layout.nb_channels
        self.sample_rate: int = self._stream.rate or 0
        if self.sample_rate not in SANE_RATES_HZ:
            self._container.close()
            raise no_rate(path, self._container.format.name)
        self.n_promised = self._read_promise()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def blocks(self, *, skip: int = 0) -> Iterator[Waveform]:
        """Yield the whole file, going on behind damaged packets.

        Parameters
        ----------
        skip
            Number of samples to leave out at the start.

        Yields
        ------
        numpy.ndarray
            [shape=(n_samples,)], mean of the native planes; valid until the next one is asked for.

        Raises
        ------
        AudioError
            When nothing, or more noise than sound, can be decoded.
        """
        buffer = np.empty(2 * BLOCK_SAMPLES, dtype=np.float32)
        filled = 0
        promised = self.n_promised
        is_trimmed = self._container.format.name == _TRIMMED_FORMAT
        for mono in self._frames():
            left = min(len(mono), promised - self.n_decoded) if is_trimmed and promised is not None else len(mono)
            first = max(0, skip - self.n_decoded)
            self.n_decoded += left
            waveform = mono[first:left]
            while len(waveform):
                n_taken = min(len(waveform), len(buffer) - filled)
                buffer[filled : filled + n_taken] = waveform[:n_taken]
                filled += n_taken
                waveform = waveform[n_taken:]
                if filled >= BLOCK_SAMPLES:
                    yield buffer[:filled]
                    filled = 0
        if filled:
            yield buffer[:filled]
        is_short = promised is not None and self.n_decoded + SHORTFALL_SECONDS * self.sample_rate < promised
        if is_short and WarningCode.DAMAGED not in self.warnings:
            self.warnings.add(WarningCode.TRUNCATED)

    def _read_promise(self) -> int | None:
        """Read the length from the header, for the formats that state a true one."""
        if self._container.format.name not in _PROMISING_FORMATS or not self._stream.duration:
            return None
        if self._container.format.name == "mp3" and not self._stream.start_time:
            return None  # no Xing header: FFmpeg's duration is a guess from the bit rate
        if self._stream.time_base is None:
            return None
        return round(self._stream.duration * self._stream.time_base * self.sample_rate)

    def _frames(self) -> Iterator[Waveform]:
        """Yield each decoded frame as mono, noting what was wrong."""
        n_good = n_bad = 0
        has_open_error = False
        is_mpeg = self._container.format.name == "mp3"
        last_packet_is_partial = False
        expected_seconds: float | None = None
        try:
            for packet in self._container.demux(self._stream):
                if is_mpeg and packet.size:
                    frame_header = parse_frame(bytes(memoryview(packet)[:4]))
                    last_packet_is_partial = frame_header is not None and packet.size < frame_header.size
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    n_bad += 1
                    has_open_error = True
                    continue
                for frame in frames:
                    if not frame.samples:
                        continue
                    # a damaged header may turn two channels into eighteen; a change below that may be meant
                    n_likely = max(self.n_channels, _MOST_CHANNELS_BY_CHANGE)
                    if frame.sample_rate != self.sample_rate or frame.layout.nb_channels > n_likely:
                        self.warnings.add(WarningCode.DAMAGED)
                        continue
                    is_flushed = packet.size == 0  # what the decoder still held when the file ended
                    if (has_open_error and not is_flushed) or _is_gap(frame.time, expected_seconds):
                        self.warnings.add(WarningCode.DAMAGED)
                        has_open_error = False
                    n_good += 1
                    if frame.time is not None:
                        expected_seconds = frame.time + frame.samples / self.sample_rate
                    mono = _to_mono(frame)
                    if remove_impossible(mono):
                        self.warnings.add(WarningCode.DAMAGED)
                    yield mono
        except av.error.FFmpegError:
            has_open_error = True
        if n_good == 0 or n_bad > n_good:
            msg = f"{self.path} cannot be decoded ({n_bad} damaged packets, {n_good} good ones); replace the file."
            raise AudioError(msg, path=self.path, code=FailureCode.UNREADABLE)
        if last_packet_is_partial or (has_open_error and not is_mpeg):
            self.warnings.add(WarningCode.TRUNCATED)


def _to_mono(frame: av.AudioFrame) -> Waveform:
    """Take the mean of a frame's native planes.

    FFmpeg's own float downmix is 3 dB too loud, so its resampler is not used.
    """
    n_channels = frame.layout.nb_channels
    dtype = _SAMPLE_TYPES[frame.format.packed.name]
    if frame.format.is_planar:
        # not frame.to_ndarray(): from eight channels on, PyAV counts planes that are not there
        planes = np.stack(
            [np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in frame.planes[:n_channels]]
        )
    else:
        planes = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * n_channels)
        planes = planes.reshape(-1, n_channels).T
    mono = np.empty(frame.samples, dtype=np.float32)
    if planes.dtype == np.uint8:
        downmix((planes.astype(np.float32) - 128.0) / 128.0, mono)
    elif np.issubdtype(planes.dtype, np.integer):
        full_scale = -float(np.iinfo(planes.dtype).min)
        downmix((planes / full_scale).astype(np.float32), mono)
    else:
        downmix(planes, mono)
    return mono


def _is_gap(time: float | None, expected: float | None) -> bool:
    """Tell whether a frame begins later than the one before it ended."""
    return time is not None and expected is not None and time - expected > _GAP_SECONDS


def _not_readable(path: Path, error: Exception) -> AudioError:
    """Make the error for a file that FFmpeg does not open."""
    if isinstance(error, FileNotFoundError):
        msg = f"{path} does not exist any more; check the drive that it is on."
        return AudioError(msg, path=path, code=FailureCode.MISSING)
    reason = getattr(error, "strerror", None) or str(error)
    msg = f"{path} cannot be opened as audio ({reason}); replace the file or exclude it."
    return AudioError(msg, path=path, code=FailureCode.UNREADABLE, is_passing=isinstance(error, OSError))
