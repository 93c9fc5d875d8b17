"""The log-mel front end: librosa's decibels, frame by frame, and every way of padding and normalising."""

import dataclasses
import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel, compute_mel_filter_bank

MEAN_DB = 0.001
MAX_DB = 0.02
"""Of a float32 transform against librosa in double precision, above `HEARD_DB`; below it rounding is heard."""
HEARD_DB = -60.0
BATCH_DB = 1e-4
"""A few float32 steps at 100 dB: only the order of the sums depends on how many clips go together."""
NORMALISED = 1e-4
"""Of float32 standardisation against double precision; values are about 1."""
STANDARDISED_CLIP = 1e-5
"""Mean and deviation of 10,000 standardised float32 values."""

CHOI = FrontEndConfig(sample_rate=12_000, fmax=6000.0)
WON = FrontEndConfig(sample_rate=16_000, fmax=8000.0, padding="reflect", mel_scale="htk", mel_norm="none")
KERAS2 = FrontEndConfig(
    sample_rate=12_000, fmax=6000.0, padding="tensorflow_same", db_reference="clip_maximum", dynamic_range_db=80.0
)


@pytest.fixture(scope="module")
def waveforms(music):
    """Two seconds of four different clips at 16 kHz [shape=(4, 32_000)]."""
    return np.concatenate([music(2, 16_000, n_channels=2, seed=seed) for seed in (1, 2)])


def in_librosa(waveform, config):
    """Compute the log-mel of one clip with librosa, in double precision."""
    mel = librosa.feature.melspectrogram(
        y=waveform.astype(np.float64),
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        pad_mode=config.padding,
        power=config.power,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        htk=config.mel_scale == "htk",
        norm="slaney" if config.mel_norm == "slaney" else None,
    )
    return librosa.power_to_db(mel, ref=1.0, amin=config.amin, top_db=None)


def assert_close_in_db(found, expected):
    assert found.shape == expected.shape
    heard = expected > HEARD_DB
    assert heard.mean() > 0.5, "there is next to nothing to compare"
    difference = np.abs(found - expected)[heard]
    assert difference.mean() <= MEAN_DB
    assert difference.max() <= MAX_DB


@pytest.mark.parametrize(
    "config",
    [
        CHOI,
        WON,
        dataclasses.replace(CHOI, padding="reflect"),
        dataclasses.replace(CHOI, mel_scale="htk"),
        dataclasses.replace(CHOI, mel_norm="none"),
        dataclasses.replace(WON, padding="constant", mel_norm="slaney"),
        dataclasses.replace(CHOI, n_fft=1024, hop_length=512, n_mels=128),
        dataclasses.replace(CHOI, n_fft=256, hop_length=100, n_mels=32),
        dataclasses.replace(CHOI, n_fft=400, hop_length=160, n_mels=40, fmin=50.0, fmax=5000.0),
        dataclasses.replace(CHOI, n_fft=401, hop_length=160, n_mels=40),
        dataclasses.replace(CHOI, power=1.0),
        dataclasses.replace(WON, sample_rate=22_050, n_fft=2048, hop_length=512, fmax=11_025.0),
    ],
    ids=lambda config: f"{config.padding}-{config.mel_scale}-{config.mel_norm}-{config.n_fft}-{config.n_mels}",
)
def test_decibels_are_librosas(config, waveforms):
    found = LogMel(config)(torch.from_numpy(waveforms)).numpy()
    assert found.dtype == np.float32
    for clip, waveform in zip(found, waveforms, strict=True):
        assert_close_in_db(clip, in_librosa(waveform, config))


def test_decibels_of_real_music_are_librosas(shared):
    for config, name in ((CHOI, "clip_1100103_12k"), (WON, "clip_magnatune_0003_16k")):
        waveform = np.load(shared / "golden" / f"{name}.npy", allow_pickle=False)
        found = LogMel(config)(torch.from_numpy(waveform)[None]).numpy()[0]
        assert_close_in_db(found, in_librosa(waveform, config))


def in_numpy(waveform, config, *, n_zeros_before):
    """Compute a mel spectrogram in dB from frames that are cut by hand: frame t begins `n_zeros_before` early."""
    n_frames = -(-len(waveform) // config.hop_length)
    n_zeros_after = (n_frames - 1) * config.hop_length + config.n_fft - n_zeros_before - len(waveform)
    padded = np.pad(waveform.astype(np.float64), (n_zeros_before, n_zeros_after))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    starts = np.arange(n_frames) * config.hop_length
    frames = np.stack([padded[start : start + config.n_fft] * hann for start in starts])
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = compute_mel_filter_bank(config).numpy().astype(np.float64) @ power.T
    return 10 * np.log10(np.maximum(mel, config.amin))


@pytest.mark.parametrize(
    ("n_samples", "n_zeros_before"), [(348_000, 208), (25_600, 128), (25_601, 255), (25_855, 128), (300, 234)]
)
def test_tensorflow_pads_both_ends_for_as_many_frames_as_hops_begin(n_samples, n_zeros_before, music):
    config = dataclasses.replace(KERAS2, db_reference="one", dynamic_range_db=None)
    waveform = music(n_samples / 12_000, 12_000, n_channels=1)[0]
    assert len(waveform) == n_samples
    found = LogMel(config)(torch.from_numpy(waveform)[None]).numpy()[0]
    assert found.shape == (96, -(-n_samples // 256))
    assert_close_in_db(found, in_numpy(waveform, config, n_zeros_before=n_zeros_before))


@pytest.mark.parametrize("padding", ["constant", "reflect", "tensorflow_same"])
def test_the_configuration_knows_how_many_frames_there_will_be(padding):
    @settings(max_examples=60, deadline=None)
    @given(
        n_samples=st.integers(600, 6000),
        hop_length=st.integers(50, 700),
        n_fft=st.sampled_from([128, 129, 256, 400, 401, 512]),
    )
    def check(n_samples, hop_length, n_fft):
        config = dataclasses.replace(CHOI, padding=padding, hop_length=hop_length, n_fft=n_fft, n_mels=8)
        log_mel = LogMel(dataclasses.replace(config, filter_bank="stored"))
        assert log_mel(torch.zeros(1, n_samples)).shape == (1, 8, config.n_frames(n_samples))

    check()


def test_the_published_clips_have_the_published_frames():
    assert KERAS2.n_frames(348_000) == 1360
    assert WON.n_frames(464_000) == 1813


def test_zero_decibels_are_the_maximum_of_the_clip_itself(waveforms):
    louder = torch.from_numpy(waveforms * np.array([[1.0], [0.5], [0.1], [0.01]], dtype=np.float32))
    found = LogMel(KERAS2)(louder)
    assert found.amax(dim=(1, 2)).tolist() == [0.0] * 4
    absolute = LogMel(dataclasses.replace(KERAS2, db_reference="one", dynamic_range_db=None))(louder)
    expected = absolute - absolute.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(found, expected.clamp(min=-80), rtol=0, atol=BATCH_DB)


def test_the_dynamic_range_is_cut_below_each_clips_maximum():
    waveform = torch.zeros(2, 12_000)
    waveform[0, :2000] = torch.sin(torch.arange(2000) / 3)
    waveform[1, :2000] = 0.1 * waveform[0, :2000]
    for reference in ("one", "clip_maximum"):
        found = LogMel(dataclasses.replace(KERAS2, db_reference=reference))(waveform)
        highest, lowest = found.amax(dim=(1, 2)), found.amin(dim=(1, 2))
        torch.testing.assert_close(highest - lowest, torch.tensor([80.0, 80.0]), rtol=0, atol=BATCH_DB)


def test_a_clip_is_standardised_by_its_own_mean_and_deviation(waveforms):
    config = dataclasses.replace(KERAS2, normalisation="clip")
    log_mel = LogMel(config)
    waveform = torch.from_numpy(waveforms)
    found, decibels = log_mel(waveform).numpy(), log_mel.decibels(waveform).numpy().astype(np.float64)
    for clip, map_ in zip(found, decibels, strict=True):
        np.testing.assert_allclose(clip, (map_ - map_.mean()) / map_.std(), rtol=0, atol=NORMALISED)
        assert abs(clip.mean(dtype=np.float64)) < STANDARDISED_CLIP
        assert abs(clip.std(dtype=np.float64) - 1) < STANDARDISED_CLIP


def test_the_input_batch_norm_is_one_scale_and_shift_of_all_values(waveforms):
    log_mel = LogMel(dataclasses.replace(WON, normalisation="batch_norm")).eval()
    log_mel.load_state_dict(
        {
            "input_norm.weight": torch.tensor([-0.7]),
            "input_norm.bias": torch.tensor([0.3]),
            "input_norm.running_mean": torch.tensor([-12.0]),
            "input_norm.running_var": torch.tensor([300.0]),
            "input_norm.num_batches_tracked": torch.tensor(5),
        }
    )
    waveform = torch.from_numpy(waveforms)
    with torch.no_grad():
        found, decibels = log_mel(waveform).numpy(), log_mel.decibels(waveform).numpy().astype(np.float64)
    np.testing.assert_allclose(found, (decibels + 12) / np.sqrt(300 + 1e-5) * -0.7 + 0.3, rtol=0, atol=NORMALISED)


@pytest.mark.parametrize("normalisation", ["none", "clip", "batch_norm"])
@pytest.mark.parametrize("config", [CHOI, WON, KERAS2], ids=["choi", "won", "keras2"])
def test_silence_is_finite(config, normalisation):
    log_mel = LogMel(dataclasses.replace(config, normalisation=normalisation)).eval()
    assert torch.isfinite(log_mel(torch.zeros(2, 20_000))).all()


@pytest.mark.parametrize("normalisation", ["none", "clip", "batch_norm"])
def test_a_clip_is_the_same_alone_and_in_any_company(normalisation, waveforms):
    for config in (CHOI, WON, KERAS2):
        log_mel = LogMel(dataclasses.replace(config, normalisation=normalisation)).eval()
        batch = torch.from_numpy(waveforms)
        with torch.no_grad():
            together = log_mel(batch)
            alone = torch.cat([log_mel(clip[None]) for clip in batch])
            reversed_ = log_mel(batch.flip(0)).flip(0)
        torch.testing.assert_close(alone, together, rtol=0, atol=BATCH_DB)
        torch.testing.assert_close(reversed_, together, rtol=0, atol=BATCH_DB)


@pytest.mark.parametrize("shape", [(), (1000,), (2, 1, 1000)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(n_clips, n_samples\)"):
        LogMel(CHOI)(torch.zeros(shape))


def test_the_front_end_stays_in_float32_under_autocast(waveforms):
    log_mel = LogMel(dataclasses.replace(WON, normalisation="batch_norm")).eval()
    waveform = torch.from_numpy(waveforms)
    with torch.no_grad():
        plain = log_mel(waveform)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = log_mel(waveform)
            from_half = log_mel(waveform.bfloat16())
    assert cast.dtype == from_half.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_a_computed_filter_bank_stays_out_of_the_checkpoint_and_a_stored_one_travels():
    assert list(LogMel(CHOI).state_dict()) == []
    stored = LogMel(dataclasses.replace(CHOI, filter_bank="stored"))
    assert list(stored.state_dict()) == ["mel_filter_bank"]
    assert stored.mel_filter_bank.shape == (96, 257)
    assert not stored.mel_filter_bank.any()


@pytest.mark.parametrize("config", [CHOI, WON], ids=["slaney", "htk"])
def test_the_computed_filter_bank_is_librosas(config):
    expected = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=512,
        n_mels=96,
        fmin=0.0,
        fmax=config.sample_rate / 2,
        htk=config.mel_scale == "htk",
        norm=None if config.mel_norm == "none" else "slaney",
    )
    np.testing.assert_array_equal(compute_mel_filter_bank(config).numpy(), expected)


@pytest.mark.parametrize(
    "wrong", [{"sample_rate": 0}, {"hop_length": -1}, {"power": math.nan}, {"amin": 0.0}, {"fmin": 7000.0}], ids=str
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"positive"):
        FrontEndConfig(**({"sample_rate": 12_000, "fmax": 6000.0} | wrong))
