"""Make three short tracks to try tagcli on: `python docs/make_example.py FOLDER`.

They are computed from nothing but sines and noise, so that no recording has to be shipped: slow chords, a beat with a
bass line, and a soft pad.
"""

import sys
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 44_100
SECONDS = 32
CHORDS_HZ = ((220.0, 261.6, 329.6), (174.6, 220.0, 261.6), (261.6, 329.6, 392.0), (196.0, 246.9, 293.7))

Waveform = npt.NDArray[np.float64]


def make_note(frequency_hz: float, seconds: float, *, decay_seconds: float) -> Waveform:
    """Make one plucked note with a few overtones."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    note = sum(np.sin(2 * np.pi * frequency_hz * k * time) / k**1.5 for k in range(1, 6))
    return np.asarray(note * np.exp(-time / decay_seconds))


def make_chords() -> Waveform:
    """Make broken chords, two seconds each."""
    bars = []
    for bar in range(SECONDS // 2):
        chord = CHORDS_HZ[bar % len(CHORDS_HZ)]
        mixed = np.zeros(2 * SAMPLE_RATE)
        for step in range(8):
            start = step * SAMPLE_RATE // 4
            note = make_note(chord[step % 3] * (2 if step % 4 == 3 else 1), 1.0, decay_seconds=0.4)
            mixed[start : start + len(note)] += note[: len(mixed) - start]
        bars.append(mixed)
    return np.concatenate(bars)


def make_beat() -> Waveform:
    """Make a drum machine with a bass, 120 beats a minute."""
    generator = np.random.default_rng(0)
    beats = []
    for beat in range(2 * SECONDS):
        time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        kick = np.sin(2 * np.pi * (50 + 80 * np.exp(-time / 0.03)) * time) * np.exp(-time / 0.15)
        hat = generator.standard_normal(len(time)) * np.exp(-((time - 0.25) % 0.5) / 0.02) * 0.2
        snare = generator.standard_normal(len(time)) * np.exp(-time / 0.08) * (0.6 if beat % 2 else 0.0)
        bass = make_note(CHORDS_HZ[beat // 4 % 4][0] / 4, 0.5, decay_seconds=0.3)
        beats.append(kick + hat + snare + 0.5 * bass[: len(time)])
    return np.concatenate(beats)


def make_pad() -> Waveform:
    """Make slow chords that swell, with a little noise."""
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(1).standard_normal(len(time))
    pad = 0.02 * noise
    for number, chord in enumerate(CHORDS_HZ):
        swell = np.maximum(0.0, np.sin(np.pi * (time / 8 - number))) ** 2
        for frequency_hz in chord:
            pad += swell * (np.sin(np.pi * frequency_hz * time) + np.sin(np.pi * 1.004 * frequency_hz * time))
    return np.asarray(pad)


def encode(path: Path, waveform: Waveform, title: str) -> None:
    """Write a mono mp3 with a title."""
    samples = (0.5 * waveform / np.abs(waveform).max()).astype(np.float32)[None, :]
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 96_000
        for start in range(0, samples.shape[1], 65_536):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 65_536]), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Write the tracks into the folder that was given."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_example.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, waveform in (("chords", make_chords()), ("beat", make_beat()), ("pad", make_pad())):
        encode(folder / f"{name}.mp3", waveform, name.capitalize())


if __name__ == "__main__":
    main()
