"""What is done to waveforms before teachers hear them: pitch, tempo, sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagcli.audio.treatment import Sound, play_at, resample, sound_like

RATE = 16_000


def tone(frequency, seconds=3.0, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def loudest(waveform, rate=RATE):
    """Frequency of the strongest tone, in Hz."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.argmax(spectrum) * rate / len(waveform))


def level_db(waveform):
    inner = waveform[len(waveform) // 4 : -len(waveform) // 4]
    return float(10 * np.log10(np.mean(inner.astype(np.float64) ** 2)))


@settings(max_examples=25, deadline=None)
@given(pitch=st.floats(0.8, 1.25), tempo=st.floats(0.8, 1.25))
def test_pitch_and_tempo_are_those_that_are_wanted(pitch, tempo):
    played = play_at(tone(500.0), RATE, pitch=pitch, tempo=tempo)
    assert played.dtype == np.float32
    assert len(played) == pytest.approx(3.0 * RATE / tempo, rel=0.03)  # atempo keeps whole windows
    assert loudest(played) == pytest.approx(500.0 * pitch, rel=0.02)


def test_nothing_wanted_is_nothing_done():
    waveform = tone(440.0)
    assert np.array_equal(play_at(waveform, RATE, pitch=1.0, tempo=1.0), waveform)
    assert np.array_equal(sound_like(waveform, RATE, Sound()), waveform)
    assert np.array_equal(resample(waveform, RATE, RATE), waveform)


def test_pitch_and_tempo_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="cannot be had"):
        play_at(tone(440.0), RATE, pitch=0.5, tempo=1.5)


@pytest.mark.parametrize(
    ("sound", "frequency", "gain_db"),
    [
        (Sound(bass_db=6.0), 40.0, 6.0),
        (Sound(bass_db=6.0), 2_000.0, 0.0),
        (Sound(treble_db=-6.0), 7_500.0, -6.0),
        (Sound(treble_db=-6.0), 300.0, 0.0),
        (Sound(peak_hz=1_000.0, peak_db=8.0), 1_000.0, 8.0),
        (Sound(peak_hz=1_000.0, peak_db=8.0), 100.0, 0.0),
        (Sound(low_pass_hz=2_000.0), 500.0, 0.0),
        (Sound(low_pass_hz=2_000.0), 2_000.0, -3.0),
        (Sound(mp3_bit_rate=32_000), 1_000.0, 0.0),
    ],
)
def test_a_sound_is_what_it_is_at_each_frequency(sound, frequency, gain_db):
    waveform = tone(frequency)
    heard = sound_like(waveform, RATE, sound)
    assert len(heard) == len(waveform)
    assert heard.dtype == np.float32
    assert level_db(heard) - level_db(waveform) == pytest.approx(gain_db, abs=1.0)


def test_a_coding_as_mp3_changes_the_sound_and_neither_length_nor_place():
    waveform = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * 0.1
    coded = sound_like(waveform, RATE, Sound(mp3_bit_rate=24_000))
    assert coded.shape == waveform.shape
    assert not np.array_equal(coded, waveform)
    lag = int(np.argmax(np.correlate(coded[4_000:20_000], waveform[4_100:19_900], "valid"))) - 100
    assert lag == 0


def test_a_low_pass_above_everything_is_refused():
    with pytest.raises(ValueError, match="nothing above"):
        sound_like(tone(440.0), RATE, Sound(low_pass_hz=8_000.0))


@pytest.mark.parametrize("rate", [8_000, 10_000, 11_025, 22_050, 44_100, 96_000])
def test_every_rate_can_be_coded(rate):
    assert len(sound_like(tone(440.0, rate=rate), rate, Sound(mp3_bit_rate=32_000))) == 3 * rate
