"""Decoding in other processes: the same clips, whatever becomes of a process."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import count_decoders

from tagcli.audio import workers
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.reading import DecodingStopped, TrackClips
from tagcli.audio.workers import ProcessReader
from tagcli.errors import AudioError, DecoderError, FailureCode, WarningCode

RULE = ClipRule(n_samples=16_000, short="repeat")
RATE = 8000


@pytest.fixture(scope="module")
def collection(music, encode, tmp_path_factory):
    """One track of more clips than there are slots, a short one, a damaged one, and two that hold no music."""
    folder = tmp_path_factory.mktemp("workers")
    encode(folder / "0_long.mp3", music(19, 44_100, seed=1), 44_100)
    encode(folder / "1_padded.wav", music(1.4, 8000, n_channels=1, seed=2), 8000)
    whole = encode(folder / "2_cut.flac", music(9, 22_050, seed=3), 22_050)
    whole.write_bytes(whole.read_bytes()[:-20_000])
    (folder / "3_text.mp3").write_text("not audio\n" * 400)
    encode(folder / "4_short.wav", music(0.5, 8000, n_channels=1, seed=4), 8000)
    return sorted(folder.iterdir())


@pytest.fixture
def make_reader():
    readers = []

    def make(clips="all"):
        readers.append(ProcessReader(sample_rate=RATE, rule=RULE, choice=ClipChoice.parse(clips)))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()
    assert count_decoders() == 0


def listen(clips):
    """Everything that the clips of a track say."""
    try:
        heard = [(clip.start, clip.waveform) for clip in clips]
    except AudioError as error:
        return error.code, error.message, error.path
    return heard, clips.n_samples, clips.warnings, clips.identity, clips.sample_rate


def listen_here(path, clips="all"):
    return listen(TrackClips(path, sample_rate=RATE, rule=RULE, choice=ClipChoice.parse(clips)))


def assert_same(found, expected):
    assert found[1:] == expected[1:]
    if isinstance(expected[0], FailureCode):
        assert found[0] == expected[0]
        return
    assert [start for start, _ in found[0]] == [start for start, _ in expected[0]]
    for (_, ours), (_, theirs) in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("clips", ["all", "middle", "3"])
def test_the_clips_are_those_of_this_process(clips, make_reader, collection):
    reader = make_reader(clips)
    for path in [*collection, *reversed(collection), collection[0].parent / "gone.mp3"]:
        assert_same(listen(reader.open(path)), listen_here(path, clips))
    assert WarningCode.TRUNCATED in listen_here(collection[2])[2]


def test_a_clip_stays_as_it_is_when_the_next_ones_come(make_reader, collection):
    first, *_ = clips = list(make_reader().open(collection[0]))
    assert len(clips) > 9
    np.testing.assert_array_equal(first.waveform, listen_here(collection[0])[0][0][1])


def test_a_track_that_is_given_up_does_not_disturb_the_next(make_reader, collection):
    reader = make_reader()
    for n_heard in (1, 4, 9):
        clips = iter(reader.open(collection[0]))
        for _ in range(n_heard):
            next(clips)
        clips.close()
        assert_same(listen(reader.open(collection[1])), listen_here(collection[1]))


def test_a_decoder_that_dies_fails_its_track_and_no_other(make_reader, collection):
    reader = make_reader()
    clips = iter(reader.open(collection[0]))
    next(clips)
    reader._process.kill()
    with pytest.raises(AudioError, match=r"0_long\.mp3 made its decoder crash") as caught:
        list(clips)
    assert caught.value.code is FailureCode.UNREADABLE
    assert caught.value.is_passing
    assert_same(listen(reader.open(collection[0])), listen_here(collection[0]))


def test_a_decoder_that_died_meanwhile_is_replaced(make_reader, collection):
    reader = make_reader()
    assert_same(listen(reader.open(collection[0])), listen_here(collection[0]))
    reader._process.kill()
    reader._process.wait()
    assert_same(listen(reader.open(collection[1])), listen_here(collection[1]))


def test_closing_twice_is_closing_once(make_reader):
    reader = make_reader()
    reader.close()
    reader.close()


def test_a_process_that_does_not_start_is_no_fault_of_the_track(make_reader, collection, monkeypatch):
    monkeypatch.setattr(workers.sys, "executable", "/bin/false")
    with pytest.raises(DecoderError, match="--device cpu"):
        list(make_reader().open(collection[0]))


def test_a_script_needs_no_guard(collection):
    """The user's script is not run again by the processes."""
    script = f"""
import sys
from pathlib import Path
from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.workers import ProcessReader
print("once")
reader = ProcessReader(sample_rate=8000, rule=ClipRule(n_samples=16_000, short="repeat"), choice=ClipChoice())
print(len(list(reader.open(Path({str(collection[0])!r})))))
reader.close()
"""
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["once", "10"], done.stderr


@pytest.mark.parametrize("n_heard", [0, 1, 5])
def test_a_track_is_stopped_from_another_thread(n_heard, make_reader, collection):
    reader = make_reader()
    clips = iter(reader.open(collection[0]))
    for _ in range(n_heard):
        next(clips)

    def hear_on():
        remaining = clips
        for _ in range(100):
            list(remaining)
            time.sleep(0.01)
            remaining = reader.open(collection[0])

    threading.Thread(target=reader.stop).start()
    with pytest.raises(DecodingStopped):
        hear_on()
    assert count_decoders() == 0
