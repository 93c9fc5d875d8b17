"""Reading clips: the same pieces of a track whichever way they are come by."""

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.audio import reading
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.decode import Track
from tagcli.audio.reading import TrackClips
from tagcli.errors import AudioError, FailureCode, WarningCode

RATE = 8000
LENGTH = 16_000
"""Clips of 2 s."""
SAME_SAMPLES = 1e-4
"""A sought clip goes through another run of decoder and resampler, which round by about 1e-6."""
RAMP_STEP = 1e-6
"""Each sample of the ramp differs from the next by this, exactly enough in float32 up to 0.5."""


@pytest.fixture(scope="session")
def ramp_path(tmp_path_factory):
    """A function that writes a ramp of so many samples, each its own index, at the model's rate."""
    folder = tmp_path_factory.mktemp("ramps")

    def write(n_samples):
        path = folder / f"{n_samples}.wav"
        if not path.exists():
            soundfile.write(path, np.arange(1, n_samples + 1) * RAMP_STEP, RATE, "FLOAT")
        return path

    return write


def read(path, clips, *, short="zeros", length=LENGTH, rate=RATE):
    """The reader and its clips, listed."""
    reader = TrackClips(
        path, sample_rate=rate, rule=ClipRule(n_samples=length, short=short), choice=ClipChoice.parse(clips)
    )
    return reader, list(reader)


def indices(clip):
    """Which samples of the ramp a clip holds; -1 is silence."""
    return np.rint(clip.waveform / RAMP_STEP).astype(int) - 1


def expected_starts(n_samples, clips, length):
    """The contract, word for word."""
    spare = n_samples - length
    if clips == "middle":
        return [spare // 2]
    if clips != "all":
        return [index * (spare // int(clips)) for index in range(int(clips))]
    starts = list(range(0, spare + 1, length))
    is_tail_heard = n_samples - (starts[-1] + length) >= RATE
    return [*starts, spare] if is_tail_heard else starts


@pytest.mark.parametrize("clips", ["all", "middle", "1", "2", "3", "7", "60"])
@pytest.mark.parametrize(
    "n_samples",
    [
        LENGTH,
        LENGTH + 1,
        LENGTH + RATE - 1,
        LENGTH + RATE,
        LENGTH + RATE + 1,
        2 * LENGTH - 1,
        2 * LENGTH,
        2 * LENGTH + RATE - 1,
        2 * LENGTH + RATE,
        10 * LENGTH + 12_345,
    ],
)
def test_clips_lie_where_the_contract_says(ramp_path, n_samples, clips):
    reader, found = read(ramp_path(n_samples), clips)
    assert [clip.start for clip in found] == expected_starts(n_samples, clips, LENGTH)
    for clip in found:
        assert clip.waveform.dtype == np.float32
        assert indices(clip).tolist() == list(range(clip.start, clip.start + LENGTH))
    assert reader.n_samples == n_samples
    assert reader.warnings == set()


@given(n_samples=st.integers(4000, 40_000), length=st.integers(500, 9000), count=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_clips_of_any_length_and_number_lie_there(ramp_path, n_samples, length, count):
    n_samples = max(n_samples, length, RATE)
    for clips in ("all", "middle", str(count)):
        _, found = read(ramp_path(n_samples), clips, length=length)
        assert [clip.start for clip in found] == expected_starts(n_samples, clips, length)
        for clip in found:
            assert indices(clip).tolist() == list(range(clip.start, clip.start + length))


@pytest.mark.parametrize("clips", ["all", "middle", "3"])
@pytest.mark.parametrize("n_samples", [RATE, RATE + 1, LENGTH - 1])
def test_a_short_track_is_one_padded_clip(ramp_path, n_samples, clips):
    reader, (clip,) = read(ramp_path(n_samples), clips, short="zeros")
    assert clip.start == 0
    assert indices(clip).tolist() == [*range(n_samples), *[-1] * (LENGTH - n_samples)]
    assert reader.warnings == {WarningCode.PADDED}
    assert reader.n_samples == n_samples
    _, (clip,) = read(ramp_path(n_samples), clips, short="repeat")
    assert indices(clip).tolist() == [index % n_samples for index in range(LENGTH)]


@pytest.mark.parametrize("clips", ["all", "middle", "3"])
@pytest.mark.parametrize("n_samples", [1, 100, RATE - 1])
def test_under_a_second_is_too_short_to_judge(ramp_path, n_samples, clips):
    with pytest.raises(AudioError, match="less than the 1 s") as raised:
        read(ramp_path(n_samples), clips)
    assert raised.value.code is FailureCode.TOO_SHORT
    assert str(raised.value.path) in raised.value.message


@pytest.fixture(scope="session")
def encoded(tmp_path_factory, music, encode):
    """13.7 s in kinds that are sought, that are not, and one that promises more than it holds."""
    folder = tmp_path_factory.mktemp("encoded")
    planes = music(13.7, 44_100)
    paths = {kind: encode(folder / f"x.{kind}", planes, 44_100) for kind in ("mp3", "flac", "ogg", "wav", "m4a")}
    paths["cbr-without-header.mp3"] = encode(folder / "y.cbr-without-header.mp3", planes, 44_100)
    data = paths["flac"].read_bytes()
    paths["cut flac"] = folder / "cut.flac"
    paths["cut flac"].write_bytes(data[: len(data) * 6 // 10])
    paths["flac with a hole"] = folder / "hole.flac"
    paths["flac with a hole"].write_bytes(data[: len(data) // 2 - 500] + bytes(1000) + data[len(data) // 2 + 500 :])
    return paths


KINDS = ["mp3", "flac", "ogg", "wav", "m4a", "cbr-without-header.mp3", "cut flac", "flac with a hole"]


@pytest.fixture(scope="session")
def decoded(encoded):
    """Each of them whole."""
    return {
        kind: np.concatenate([block.copy() for block in Track(path, RATE).blocks()]) for kind, path in encoded.items()
    }


@pytest.mark.parametrize("clips", ["all", "middle", "1", "2", "3", "9"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flac with a hole"])
def test_clips_equal_the_same_slices_of_the_whole_track(encoded, decoded, kind, clips):
    whole = decoded[kind]
    reader, found = read(encoded[kind], clips)
    assert [clip.start for clip in found] == expected_starts(len(whole), clips, LENGTH)
    for clip in found:
        np.testing.assert_allclose(clip.waveform, whole[clip.start : clip.start + LENGTH], rtol=0, atol=SAME_SAMPLES)
    assert reader.n_samples == len(whole)


def test_a_clip_on_a_hole_is_cut_from_what_can_be_heard_of_the_whole_track(encoded, decoded):
    whole = decoded["flac with a hole"]
    reader, (clip,) = read(encoded["flac with a hole"], "middle")
    assert clip.start == (len(whole) - LENGTH) // 2
    np.testing.assert_allclose(clip.waveform, whole[clip.start : clip.start + LENGTH], rtol=0, atol=SAME_SAMPLES)
    assert reader.warnings == {WarningCode.DAMAGED}


@pytest.mark.parametrize("kind", KINDS)
def test_warnings_are_the_same_by_every_way_that_hears_the_whole_track(encoded, kind):
    expected = {"cut flac": {WarningCode.TRUNCATED}, "flac with a hole": {WarningCode.DAMAGED}}.get(kind, set())
    assert read(encoded[kind], "all")[0].warnings == expected
    assert read(encoded[kind], "9")[0].warnings == expected


@pytest.mark.parametrize("clips", ["middle", "3"])
@pytest.mark.parametrize("kind", ["m4a", "cbr-without-header.mp3", "cut flac"])
def test_a_track_too_long_to_be_kept_gives_the_same_clips(encoded, monkeypatch, kind, clips):
    kept_reader, kept = read(encoded[kind], clips)
    monkeypatch.setattr(reading, "_MAX_KEPT_SECONDS", 3.0)
    reader, found = read(encoded[kind], clips)
    assert [clip.start for clip in found] == [clip.start for clip in kept]
    for ours, theirs in zip(found, kept, strict=True):
        np.testing.assert_array_equal(ours.waveform, theirs.waveform)
    assert (reader.n_samples, reader.warnings) == (kept_reader.n_samples, kept_reader.warnings)


@pytest.mark.parametrize("clips", ["middle", "3"])
def test_a_long_track_is_not_kept_while_its_length_is_learnt(encoded, monkeypatch, clips):
    opened = []

    class CountedTrack(Track):
        def blocks(self):
            opened.append(self.path)
            return super().blocks()

    monkeypatch.setattr(reading, "Track", CountedTrack)
    read(encoded["m4a"], clips)
    assert len(opened) == 1
    monkeypatch.setattr(reading, "_MAX_KEPT_SECONDS", 3.0)
    read(encoded["m4a"], clips)
    assert len(opened) == 3


@given(clips=st.sampled_from(["middle", "1", "2", "3"]), length=st.integers(1000, 40_000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sought_clips_of_any_length_equal_the_slices(encoded, decoded, clips, length):
    for kind in ("mp3", "flac", "ogg"):
        for clip in read(encoded[kind], clips, length=length)[1]:
            expected = decoded[kind][clip.start : clip.start + length]
            np.testing.assert_allclose(clip.waveform, expected, rtol=0, atol=SAME_SAMPLES)


def test_a_clip_stays_what_it_is_while_the_next_ones_are_read(encoded):
    reader = TrackClips(
        encoded["flac"], sample_rate=RATE, rule=ClipRule(n_samples=LENGTH, short="zeros"), choice=ClipChoice()
    )
    first = None
    for clip in reader:
        first = first or (clip, clip.waveform.copy())
    np.testing.assert_array_equal(first[0].waveform, first[1])


@pytest.mark.parametrize(
    ("choice", "seeks"), [("middle", True), ("3", True), ("16", True), ("17", False), ("all", False)]
)
def test_few_clips_of_a_long_track_are_sought(choice, seeks, tmp_path, music, monkeypatch):
    path = tmp_path / "x.wav"
    soundfile.write(path, music(40, 8000, n_channels=1)[0], 8000)
    streamed = []
    whole = Track.blocks
    monkeypatch.setattr(Track, "blocks", lambda track: streamed.append(track) or whole(track))
    rule = ClipRule(n_samples=8000, short="zeros")
    assert len(list(TrackClips(path, sample_rate=8000, rule=rule, choice=ClipChoice.parse(choice)))) > 0
    assert bool(streamed) is not seeks
