"""What can be done to a waveform that leaves music music: another pitch, tempo and sound, as other recordings have."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
import soxr
from av.error import BlockingIOError as NoFrameYet
from av.error import EOFError as NoFrameLeft
from av.filter import Graph

from tagcli.audio.sources import Waveform

_SHELF_HZ = (150.0, 3_000.0)  # below and above which the shelves of an equaliser lie
_PEAK_OCTAVES = 1.0
_FAST_ENCODING = "9"  # of LAME, which has 0 to 9: this is about what the coding takes away, not about how well it does
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # of MPEG-1, -2 and -2.5, in Hz
_LEAST_TEMPO, _MOST_TEMPO = 0.5, 2.0


@dataclass(frozen=True, kw_only=True)
class Sound:
    """How a recording sounds, whatever is played.

    Parameters
    ----------
    bass_db, treble_db
        Gain of the shelves below 150 Hz and above 3 kHz, in dB.
    peak_hz, peak_db
        Middle of a peak an octave wide, and its gain in dB.
    low_pass_hz
        Above it there is little left, less than half of the sample rate; None for all of it.
    mp3_bit_rate
        Bits per second of an mp3 coding that it went through; None for none.
    """

    bass_db: float = 0.0
    treble_db: float = 0.0
    peak_hz: float = 1_000.0
    peak_db: float = 0.0
    low_pass_hz: float | None = None
    mp3_bit_rate: int | None = None


def resample(waveform: Waveform, old_rate: float, new_rate: float) -> Waveform:
    """Bring a waveform to another rate in Hz [shape=(about n_samples * new_rate / old_rate,)], by soxr HQ."""
    return waveform if old_rate == new_rate else soxr.resample(waveform, old_rate, new_rate)


def play_at(waveform: Waveform, sample_rate: int, *, pitch: float, tempo: float) -> Waveform:
    """Play music at another pitch and tempo.

    The pitch is that of a tape played faster; FFmpeg's ``atempo`` (overlapping windows, as in Verhelst and Roelands,
    "An overlap-add technique based on waveform similarity", 1993) brings the tempo to what is wanted.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)]
    sample_rate
        In Hz.
    pitch
        Factor of all frequencies; 2 is an octave up.
    tempo
        Factor of the speed, between a half and two times the pitch.

    Returns
    -------
    numpy.ndarray
        [shape=(about n_samples / tempo,)]

    Raises
    ------
    ValueError
        When pitch and tempo are too far apart.
    """
    if not _LEAST_TEMPO <= tempo / pitch <= _MOST_TEMPO:
        msg = f"a tempo of {tempo} cannot be had at a pitch of {pitch}"
        raise ValueError(msg)
    waveform = resample(waveform, sample_rate * pitch, sample_rate)
    if tempo != pitch:
        waveform = _filter(waveform, sample_rate, [("atempo", f"{tempo / pitch:.6f}")])
    return waveform


def sound_like(waveform: Waveform, sample_rate: int, sound: Sound) -> Waveform:
    """Make music sound like another recording of it.

    Parameters
    ----------
    waveform
        [shape=(n_samples,)]
    sample_rate
        In Hz.
    sound
        How.

    Returns
    -------
    numpy.ndarray
        [shape=(n_samples,)]

    Raises
    ------
    ValueError
        When the low-pass is above every frequency that there is: FFmpeg would leave it out.
    """
    if sound.low_pass_hz is not None and sound.low_pass_hz >= sample_rate / 2:
        msg = f"at {sample_rate} Hz there is nothing above {sound.low_pass_hz} Hz to be taken away"
        raise ValueError(msg)
    low, high = _SHELF_HZ
    chain = [
        ("bass", f"f={low}:g={sound.bass_db:.3f}"),
        ("treble", f"f={high}:g={sound.treble_db:.3f}"),
        ("equalizer", f"f={sound.peak_hz:.1f}:t=o:w={_PEAK_OCTAVES}:g={sound.peak_db:.3f}"),
    ]
    wanted = [step for step, gain in zip(chain, (sound.bass_db, sound.treble_db, sound.peak_db), strict=True) if gain]
    if sound.low_pass_hz is not None:
        wanted.append(("lowpass", f"f={sound.low_pass_hz:.1f}"))
    if wanted:
        waveform = _filter(waveform, sample_rate, wanted)
    if sound.mp3_bit_rate is not None:
        waveform = _code_as_mp3(waveform, sample_rate, sound.mp3_bit_rate)
    return waveform


def _filter(waveform: Waveform, sample_rate: int, chain: Sequence[tuple[str, str]]) -> Waveform:
    """Send a waveform through filters of FFmpeg's, each a name and its options."""
    graph = Graph()
    source = graph.add(
        "abuffer", f"sample_rate={sample_rate}:sample_fmt=flt:channel_layout=mono:time_base=1/{sample_rate}"
    )
    sink = graph.add("abuffersink")
    steps = [source, *(graph.add(name, options) for name, options in chain), graph.add("aformat", "sample_fmts=flt")]
    for step, following in zip(steps, [*steps[1:], sink], strict=True):
        step.link_to(following)
    graph.configure()
    source.push(_to_frame(waveform, sample_rate, "flt"))
    source.push(None)
    blocks = []
    while True:
        try:
            frame = sink.pull()
            assert isinstance(frame, av.AudioFrame)
            blocks.append(frame.to_ndarray().ravel())
        except (NoFrameLeft, NoFrameYet):
            return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)


def _code_as_mp3(waveform: Waveform, sample_rate: int, bit_rate: int) -> Waveform:
    """Code as mp3, at the next rate that mp3 has, and decode again; length and place stay."""
    rate = next((rate for rate in _MP3_RATES if rate >= sample_rate), _MP3_RATES[-1])
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as writing:
        stream = writing.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        stream.options = {"compression_level": _FAST_ENCODING}
        frame = _to_frame(resample(waveform, sample_rate, rate), rate, "fltp")
        for packet in (*stream.encode(frame), *stream.encode(None)):
            writing.mux(packet)
    file.seek(0)
    with av.open(file, "r") as reading:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in reading.decode(audio=0)])
    heard = resample(decoded, rate, sample_rate)
    fitted = np.zeros_like(waveform)
    fitted[: len(heard)] = heard[: len(waveform)]
    return fitted


def _to_frame(waveform: Waveform, sample_rate: int, form: str) -> av.AudioFrame:
    """Wrap a waveform [shape=(n_samples,)]."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform)[np.newaxis], format=form, layout="mono")
    frame.sample_rate = sample_rate
    frame.pts = 0
    return frame
