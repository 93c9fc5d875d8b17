"""Histograms and frequency profiles: against plain numpy, scipy and librosa; real music; commands; wrong input."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kurtosis, skew
from typer.testing import CliRunner

from tagcli.analysis.frequency_profile import Weighting, measure_profile
from tagcli.analysis.histogram import EDGES, N_BARS, Compression, measure_histograms
from tagcli.analysis.spectra import read_spectra, take_decibels
from tagcli.audio.excerpts import read_excerpt
from tagcli.cli import app
from tagcli.errors import CollectionError, FailureCode, OutputError
from tagcli.features.config import FRONT_ENDS, FrontEndConfig
from tagcli.features.weighting import find_a_weighting, find_band_centres
from tagcli.figures.frequency_profile import draw_profile
from tagcli.figures.histogram import draw_histograms

EXACT = 1e-9
"""Moments in float64, in another order."""
POWER = 1e-4
"""Of float32 spectra against librosa in double precision, relative to the greatest."""
TABLE_DB = 0.06
"""The table of IEC 61672-1 is rounded to 0.1 dB."""
GAIN = 1e-6
"""A factor of the waveform is an addition in decibels, but for what float64 rounds."""
FRONT_END = FrontEndConfig(sample_rate=8000, n_fft=256, hop_length=128, n_mels=32, fmax=4000.0)
A_WEIGHTING_DB = dict(zip(range(-15, 10, 3), (-39.4, -26.2, -16.1, -8.6, -3.2, 0.0, 1.2, 1.0, -1.1), strict=True))
"""By the exact frequency of the octave: 1 kHz times ten to a tenth of this."""


def run(*arguments, code=0, before=()):
    result = CliRunner().invoke(app, [*before, "analyze", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def make_spectra(n_tracks=4, *, n_mels=32, seed=0):
    """Mel powers of excerpts of different length and loudness."""
    generator = np.random.default_rng(seed)
    tilt = np.linspace(3, -3, n_mels)[:, np.newaxis]
    return [np.exp(tilt + generator.normal(size=(n_mels, 20 + 5 * number)) + number) for number in range(n_tracks)]


def standardise(values):
    return (values - values.mean()) / values.std()


# Spectra


@pytest.fixture(scope="module")
def folder(tmp_path_factory, music, encode):
    """Two long tracks, a short one, a silent one, one that is too short, and one that is no audio."""
    root = tmp_path_factory.mktemp("music")
    for seed, (name, length) in enumerate({"a.wav": 6, "b.flac": 5, "c.wav": 2}.items()):
        encode(root / name, music(length, 8000, n_channels=1, seed=seed), 8000)
    encode(root / "silent.wav", np.zeros((1, 16_000), dtype=np.float32), 8000)
    encode(root / "short.wav", music(0.5, 8000, n_channels=1), 8000)
    (root / "text.mp3").write_text("no audio at all", encoding="utf-8")
    return root


def test_spectra_are_those_of_librosa_of_the_middle_of_each_track(folder, caplog):
    failures, progress = [], []
    tracks = sorted(folder.iterdir())
    spectra = list(
        read_spectra(tracks, FRONT_END, max_seconds=3, on_failure=failures.append, on_track=lambda: progress.append(1))
    )
    for name, spectrum in zip(("a.wav", "b.flac", "c.wav"), spectra, strict=True):
        waveform = read_excerpt(folder / name, 8000, max_seconds=3)
        assert len(waveform) == (16_000 if name == "c.wav" else 24_000)
        mel = librosa.feature.melspectrogram(
            y=waveform.astype(np.float64),
            sr=8000,
            n_fft=256,
            hop_length=128,
            n_mels=32,
            fmax=4000.0,
            pad_mode="constant",
        )
        np.testing.assert_allclose(spectrum, mel, rtol=0, atol=POWER * mel.max())
    assert [(error.path.name, error.code) for error in failures] == [
        ("short.wav", FailureCode.TOO_SHORT),
        ("text.mp3", FailureCode.NOT_AUDIO),
    ]
    assert len(progress) == 6
    assert "silent.wav is silent" in caplog.text


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_front_ends_whose_filter_bank_is_stored_compute_one(folder, name):
    (spectrum,) = read_spectra([folder / "a.wav"], FRONT_ENDS[name], max_seconds=2, on_failure=pytest.fail)
    assert spectrum.shape[0] == 96
    assert np.all(spectrum.max(axis=1)[:40] > 0)


# Weighting


@pytest.mark.parametrize("tenths", A_WEIGHTING_DB)
def test_a_weighting_is_the_curve_of_the_standard(tenths):
    hertz = 1000 * 10 ** (tenths / 10)
    config = replace(FRONT_END, sample_rate=44_100, fmax=20_000.0, n_mels=2000)
    centres = find_band_centres(config)
    band = int(np.argmin(np.abs(centres - hertz)))
    slope = 12 * abs(np.log2(centres[band] / hertz)) * 2  # at least as steep as the curve is there
    assert find_a_weighting(config)[band] == pytest.approx(A_WEIGHTING_DB[tenths], abs=TABLE_DB + slope)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_bands_lie_where_their_filters_are_highest(scale):
    config = replace(FRONT_END, mel_scale=scale, n_fft=8192, fmin=100.0)
    bank = librosa.filters.mel(sr=8000, n_fft=8192, n_mels=32, fmin=100.0, fmax=4000.0, htk=scale == "htk")
    peaks = np.argmax(bank, axis=1) * 8000 / 8192
    np.testing.assert_allclose(find_band_centres(config), peaks, rtol=0, atol=8000 / 8192)


# Histograms


@given(st.integers(1, 4), st.integers(0, 100))
@settings(deadline=None, max_examples=20)
def test_histograms_and_moments_are_those_of_numpy_and_scipy(n_tracks, seed):
    spectra = make_spectra(n_tracks, seed=seed)
    decibels, linear = measure_histograms(iter(spectra), FRONT_END, front_end="mine")
    for found, maps in ((decibels, [10 * np.log10(power) for power in spectra]), (linear, spectra)):
        values = np.concatenate([standardise(each).ravel() for each in maps])
        assert (found.front_end, found.n_tracks, found.n_values) == ("mine", n_tracks, len(values))
        assert found.skewness == pytest.approx(skew(values), rel=EXACT, abs=EXACT)
        assert found.kurtosis == pytest.approx(kurtosis(values), rel=EXACT, abs=EXACT)
        counts = np.histogram(values, EDGES)[0]
        assert np.abs(found.density * len(values) * 0.1 - counts).sum() <= 2  # at an edge, rounding decides
        whole = found.density.sum() * 0.1 + found.share_below + found.share_above
        assert whole == pytest.approx(1)
        assert (found.lowest, found.highest) == pytest.approx((values.min(), values.max()))
    assert (decibels.compression, linear.compression) == (Compression.DECIBELS, Compression.LINEAR)


def test_values_beyond_the_bars_are_counted_apart():
    power = np.full((10, 100), 1e-3)
    power[0, 0] = 1e3
    decibels, linear = measure_histograms([power], FRONT_END, front_end="mine")
    assert linear.share_above == decibels.share_above == 1e-3
    assert linear.share_below == 0
    assert linear.highest == pytest.approx(np.sqrt(999))


def test_nothing_heard_is_told():
    for measure in (measure_histograms, measure_profile):
        with pytest.raises(CollectionError, match="No track could be heard"):
            measure(iter([]), FRONT_END, front_end="mine")


def test_music_is_nearly_symmetric_in_decibels_and_not_without(shared):
    tracks = sorted((shared / "data" / "magnatune" / "audio").iterdir())[:60:5]
    config = FRONT_ENDS["mel96-12k"]
    spectra = read_spectra(tracks, config, max_seconds=10, on_failure=pytest.fail)
    decibels, linear = measure_histograms(spectra, config, front_end="mel96-12k")
    assert abs(decibels.skewness) < 0.5
    assert abs(decibels.kurtosis) < 1
    assert linear.skewness > 5
    assert linear.kurtosis > 50


# Profiles


def plain_profile(spectra, weighting):
    """The same, map by map."""
    maps = [take_decibels(power, FRONT_END) for power in spectra]
    if weighting is Weighting.A_WEIGHTING:
        curve = librosa.A_weighting(find_band_centres(FRONT_END), min_db=None)[:, np.newaxis]
        maps = [decibels + curve for decibels in maps]
    if weighting is Weighting.PER_FREQUENCY:
        mean = np.mean([decibels.mean(axis=1) for decibels in maps], axis=0)[:, np.newaxis]
        squares = [((decibels - mean) ** 2).mean(axis=1) for decibels in maps]
        maps = [(decibels - mean) / np.sqrt(np.mean(squares, axis=0))[:, np.newaxis] for decibels in maps]
    return np.mean([standardise(decibels).mean(axis=1) for decibels in maps], axis=0)


@pytest.mark.parametrize("weighting", Weighting)
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_profile_is_the_mean_of_standardised_maps(weighting, scale):
    spectra = make_spectra()
    found = measure_profile(iter(spectra), FRONT_END, front_end="mine", scale=scale)
    np.testing.assert_allclose(found.levels[weighting], scale * plain_profile(spectra, weighting), atol=EXACT)
    assert found.n_tracks == 4


def test_loudness_does_not_matter_and_bands_alone_are_flat():
    spectra = make_spectra()
    found, louder = (
        measure_profile([power * gain for power in spectra], FRONT_END, front_end="mine") for gain in (1.0, 100.0)
    )
    for weighting in Weighting:
        np.testing.assert_allclose(found.levels[weighting], louder.levels[weighting], atol=GAIN)
    flat, bypass, weighted = (
        found.levels[each] for each in (Weighting.PER_FREQUENCY, Weighting.BYPASS, Weighting.A_WEIGHTING)
    )
    assert np.ptp(flat) < 0.1 * np.ptp(bypass)
    assert weighted[0] < bypass[0]


def test_a_band_that_never_changes_is_no_division_by_zero():
    spectra = [np.ones((32, 10)), np.ones((32, 10))]
    found = measure_profile(spectra, FRONT_END, front_end="mine")
    assert all(np.isfinite(levels).all() for levels in found.levels.values())


# The commands


def test_the_histogram_prints_every_format_and_its_picture(folder, tmp_path):
    arguments = ["histogram", folder, "--front-end", "mel96-16k", "--seconds", 2]
    result = run(*arguments, "--format", "json", "--figure", tmp_path / "a.svg", code=3)
    assert "short.wav is shorter than 1 s" in result.stderr
    assert "silent.wav is silent" in result.stderr
    content = json.loads(result.stdout)
    assert len(content["edges"]) == N_BARS + 1
    assert [each["compression"] for each in content["histograms"]] == ["dB", "linear"]
    assert content["histograms"][0]["n_tracks"] == 3
    assert b"skewness" in (tmp_path / "a.svg").read_bytes()
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv", code=3).stdout)))
    assert len(rows) == 2 * N_BARS
    assert float(rows[0]["skewness"]) == content["histograms"][0]["skewness"]
    both = run("histogram", folder / "a.wav", "--front-end", "mel96-16k", "--front-end", "mel96-12k").stdout
    assert [line.split()[:2] for line in both.splitlines()[2:6]] == [
        ["mel96-16k", "dB"],
        ["mel96-16k", "linear"],
        ["mel96-12k", "dB"],
        ["mel96-12k", "linear"],
    ]


def test_the_profile_prints_every_format_and_its_picture(folder, tmp_path):
    arguments = ["frequency-profile", folder / "a.wav", folder / "b.flac", "--seconds", 2]
    content = json.loads(run(*arguments, "--format", "json", "--figure", tmp_path / "a.png").stdout)
    assert (content["front_end"], content["n_tracks"], content["scale"]) == ("mel96-12k", 2, 1.0)
    assert len(content["bands"]) == 96
    assert list(content["bands"][0]) == ["band", "centre_hz", "per_frequency", "a_weighting", "bypass"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    scaled = json.loads(run(*arguments, "--format", "json", "--scale", 10).stdout)
    for band, other in zip(content["bands"], scaled["bands"], strict=True):
        assert other["bypass"] == pytest.approx(10 * band["bypass"])
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    assert float(rows[95]["a_weighting"]) == content["bands"][95]["a_weighting"]
    assert "times 10" in run(*arguments, "--scale", 10).stdout.splitlines()[0]


def test_so_many_tracks_are_drawn_by_the_seed(folder):
    def draw(seed):
        arguments = ["frequency-profile", folder, "--tracks", 2, "--seed", seed, "--format", "json"]
        result = CliRunner().invoke(app, ["analyze", *map(str, arguments)])
        return result.stdout, result.stderr

    assert draw(0) == draw(0)
    assert len({draw(seed) for seed in range(4)}) > 1


def test_wrong_input_is_one_sentence(folder, tmp_path):
    def fail(*arguments, code=1):
        result = run(*arguments, code=code, before=["-q"])
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        return result.stderr

    for command in ("histogram", "frequency-profile"):
        assert "No audio was found" in fail(command, tmp_path)
        assert "No track could be heard" in fail(command, folder / "text.mp3")
        assert "goes by the name of music" in fail(command, folder / "a.wav", "-o", folder / "a.wav")
        before = (folder / "a.wav").read_bytes()
        assert "goes by the name of music" in fail(command, folder, "-o", folder / "a.wav")
        assert (folder / "a.wav").read_bytes() == before
        run(command, folder, "--front-end", "mel", code=2)
        run(command, folder, "--figure", "a.gif", code=2)
        run(command, folder, "--tracks", 0, code=2)
        run(command, code=2)
    for scale in ("0", "-3", "nan", "inf"):
        run("frequency-profile", folder, "--scale", scale, code=2)
    assert not Path("a.gif").exists()


def test_without_matplotlib_there_is_one_sentence_before_anything_is_heard(folder, monkeypatch, tmp_path):
    histograms = measure_histograms(make_spectra(), FRONT_END, front_end="mine")
    profile = measure_profile(make_spectra(), FRONT_END, front_end="mine")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw, found in ((draw_histograms, histograms), (draw_profile, profile)):
        with pytest.raises(OutputError, match="tagcli\\[plots\\]"):
            draw(found, io.BytesIO(), format_="svg")
    monkeypatch.setattr("tagcli.analysis.spectra.read_excerpt", pytest.fail)
    result = run("histogram", folder, "--figure", tmp_path / "a.svg", code=1)
    assert "tagcli[plots]" in result.stderr
    assert result.stdout == ""


def test_the_commands_and_the_analyses_of_labels_load_nothing_slow():
    program = (
        "import sys, tagcli.cli.analyze as analyze\n"
        "slow = {'torch', 'librosa', 'sklearn', 'matplotlib', 'numpy', 'rich'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
        "import tagcli.analysis.reliability, tagcli.analysis.tag_noise, tagcli.analysis.ground_truth\n"
        "import tagcli.figures.reliability, tagcli.figures.tag_noise, tagcli.analysis.sheet_file\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
