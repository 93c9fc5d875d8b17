"""The cache of waveforms: what is read is what was decoded, whatever ended the process that wrote it."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tagcli.audio import excerpts
from tagcli.audio.clips import ClipRule, fill_clip
from tagcli.audio.excerpts import read_excerpt
from tagcli.datasets import clip_filling
from tagcli.datasets.audio import DecodedAudio, read_clip
from tagcli.datasets.clip_cache import ClipCache, quantise
from tagcli.datasets.clip_filling import build_cache, plan_cache
from tagcli.datasets.clip_index import DATA_NAME, INDEX_NAME, format_head
from tagcli.datasets.manifest import Manifest, name_example
from tagcli.errors import AudioError, DatasetError, FailureCode

RATE = 8000
FULL_SCALE = 32_767
HALF_STEP = 0.505 / FULL_SCALE
"""Of the largest sample; what is over 0.5 is float32, which has 2^9 steps for each of the 2^15."""
ONE_STEP_OF_MP3 = 1e-4
"""A sought piece of an mp3 differs from the same piece of the whole by the decoder's rounding."""
PATIENCE_SECONDS = 30


def make_manifest(root, *examples, tags=("loud",)):
    """A data set of files, or of (file, start, duration)."""
    rows = [(example, 0.0, np.nan) if isinstance(example, str) else example for example in examples]
    paths, starts, durations = zip(*rows, strict=True)
    shape = (len(rows), len(tags))
    return Manifest(
        name="tiny",
        root=root,
        tags=tags,
        paths=paths,
        ids=tuple(f"{number} {name_example(*row)}" for number, row in enumerate(rows)),
        splits=("train",) * len(rows),
        artists=("",) * len(rows),
        starts_seconds=np.array(starts, dtype=np.float64),
        durations_seconds=np.array(durations, dtype=np.float64),
        labels=np.zeros(shape, dtype=np.bool_),
        known=np.ones(shape, dtype=np.bool_),
    )


@pytest.fixture(scope="session")
def originals(tmp_path_factory, music, encode):
    """Short files of several kinds, and some that are no audio."""
    folder = tmp_path_factory.mktemp("audio")
    encode(folder / "a.mp3", music(3, 22_050, seed=1), 22_050)
    encode(folder / "b.flac", music(2, 16_000, n_channels=1, seed=2), 16_000)
    encode(folder / "c.wav", 0.01 * music(1.5, RATE, n_channels=1, seed=3), RATE)
    encode(folder / "d.m4a", music(2, 22_050, seed=4), 22_050)
    encode(folder / "e.cbr-without-header.mp3", music(3, 22_050, seed=5), 22_050)
    (folder / "empty.mp3").touch()
    (folder / "text.mp3").write_text("no music " * 100)
    return folder


@pytest.fixture
def root(originals, tmp_path):
    """The same files, to be changed."""
    return shutil.copytree(originals, tmp_path / "audio")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


SOUND = ("a.mp3", "b.flac", "c.wav", "d.m4a", "e.cbr-without-header.mp3")


def fill(manifest, folder, **options):
    """Bring a cache up to date and open it."""
    progress = list(build_cache(plan_cache(manifest, sample_rate=RATE, folder=folder, **options), n_workers=2))
    return ClipCache(manifest, sample_rate=RATE, folder=folder, **options), progress


def plan(manifest, folder, **options):
    return plan_cache(manifest, sample_rate=RATE, folder=folder, **options)


def assert_right(cache, *, max_seconds=60.0, rows=None):
    """See that every waveform is that of its file."""
    decoded = DecodedAudio(cache.manifest, sample_rate=RATE, max_seconds=max_seconds)
    for row in range(len(cache.manifest)) if rows is None else rows:
        wanted, waveform = decoded.read(row), cache.read(row)
        assert waveform.dtype == np.float32
        np.testing.assert_allclose(waveform, wanted, rtol=0, atol=HALF_STEP * np.abs(wanted).max())


def test_what_is_read_is_what_was_decoded(originals, folder):
    manifest = make_manifest(
        originals, *SOUND, ("a.mp3", 1.0, 1.25), ("b.flac", 0.5, 1.0), ("c.wav", 1.0, 9.0), ("d.m4a", 0.25, 0.5)
    )
    cache, progress = fill(manifest, folder)
    assert [(step.n_done, step.n_total, step.n_failed) for step in progress] == [(n, 9, 0) for n in range(1, 10)]
    assert cache.missing == {}
    assert_right(cache)
    assert [cache.n_samples(row) for row in (5, 6, 7, 8)] == [10_000, 8000, 4000, 4000]


def test_a_part_is_a_part_of_the_whole(originals, folder):
    cache, _ = fill(make_manifest(originals, "a.mp3", "b.flac"), folder)
    decoded = DecodedAudio(cache.manifest, sample_rate=RATE)
    for audio in (cache, decoded):
        for row in (0, 1, 0):
            whole = audio.read(row)
            assert audio.n_samples(row) == len(whole)
            for start, n_samples in ((0, len(whole)), (0, 0), (len(whole), 0), (17, 4000), (len(whole) - 5, 5)):
                assert np.array_equal(audio.read_part(row, start, n_samples), whole[start : start + n_samples])
            for start, n_samples in ((-1, 5), (0, len(whole) + 1), (len(whole), 1), (5, -3)):
                with pytest.raises(ValueError, match="do not lie in an excerpt"):
                    audio.read_part(row, start, n_samples)


@pytest.mark.parametrize("short", ["zeros", "repeat"])
@pytest.mark.parametrize("n_samples", [1000, 16_000, 30_000])
def test_a_clip_is_cut_out_of_the_cache_as_out_of_the_whole(originals, folder, short, n_samples):
    cache, _ = fill(make_manifest(originals, "b.flac", "c.wav"), folder)
    rule = ClipRule(n_samples=n_samples, short=short)
    for audio in (cache, DecodedAudio(cache.manifest, sample_rate=RATE)):
        for row in (0, 1):
            for position in (0.0, 0.3, 1.0):
                clip, whole = read_clip(audio, row, position, rule), audio.read(row)
                start = round(position * max(0, len(whole) - n_samples))
                filled = fill_clip(whole, rule) if len(whole) < n_samples else whole
                assert np.array_equal(clip, filled[start : start + n_samples])
                assert clip.shape == (n_samples,)


def test_what_cannot_be_decoded_is_told_by_row(originals, folder):
    manifest = make_manifest(originals, "b.flac", "empty.mp3", "text.mp3", "none.mp3", ("b.flac", 5.0, 1.0))
    cache, progress = fill(manifest, folder)
    assert (progress[-1].n_done, progress[-1].n_failed) == (5, 4)
    assert set(cache.missing) == {1, 2, 3, 4}
    assert all(str(manifest.locate(row)) in sentence for row, sentence in cache.missing.items())
    codes = [FailureCode.EMPTY, FailureCode.NOT_AUDIO, FailureCode.MISSING, FailureCode.TOO_SHORT]
    for row, code in zip((1, 2, 3, 4), codes, strict=True):
        with pytest.raises(AudioError) as caught:
            cache.read(row)
        assert (caught.value.code, caught.value.message) == (code, cache.missing[row])
    assert_right(cache, rows=[0])


def test_an_example_that_was_never_decoded_is_missing(originals, folder):
    fill(make_manifest(originals, "b.flac"), folder)
    cache = ClipCache(make_manifest(originals, "c.wav", "b.flac"), sample_rate=RATE, folder=folder)
    assert "is not in the cache" in cache.missing[0]
    assert_right(cache, rows=[1])


def test_a_cache_that_is_not_there_has_nothing(originals, folder):
    cache = ClipCache(make_manifest(originals, "c.wav"), sample_rate=RATE, folder=folder)
    assert set(cache.missing) == {0}
    assert not folder.exists()


def test_another_data_set_over_the_same_audio_takes_what_is_there(originals, folder):
    fill(make_manifest(originals, "a.mp3", "b.flac", ("b.flac", 0.5, 1.0)), folder)
    other = make_manifest(originals, ("b.flac", 0.5, 1.0), "c.wav", "a.mp3", "a.mp3", tags=("quiet", "sad"))
    planned = plan(other, folder)
    assert [task.row for task in planned.tasks] == [1]
    assert planned.n_cached == 2
    cache, progress = fill(other, folder)
    assert len(progress) == 1
    assert_right(cache)
    assert fill(other, folder)[1] == []


def test_examples_of_the_same_excerpt_are_decoded_once(originals, folder):
    cache, progress = fill(make_manifest(originals, "c.wav", "c.wav", "c.wav"), folder)
    assert len(progress) == 1
    assert_right(cache)
    assert (folder / DATA_NAME).stat().st_size == 2 * cache.n_samples(0)


@pytest.mark.parametrize("name", ["a.mp3", "b.flac", "d.m4a", "e.cbr-without-header.mp3"])
@pytest.mark.parametrize("n_kept_seconds", [600.0, 0.5])
def test_of_a_long_excerpt_the_middle_is_kept(originals, folder, monkeypatch, name, n_kept_seconds):
    monkeypatch.setattr(excerpts, "_MAX_KEPT_SECONDS", n_kept_seconds)  # the latter decodes twice
    manifest = make_manifest(originals, name, (name, 0.25, np.nan), (name, 0.5, 1.5), (name, 0.5, 0.5))
    cache, _ = fill(manifest, folder, max_seconds=1.0)
    assert_right(cache, max_seconds=1.0)
    for row in range(3):
        start, duration = manifest.starts_seconds[row], manifest.durations_seconds[row]
        whole = read_excerpt(
            originals / name, RATE, start_seconds=start, seconds=None if np.isnan(duration) else duration
        )
        first = (len(whole) - RATE) // 2
        middle = whole[first : first + RATE]
        np.testing.assert_allclose(cache.read(row), middle, rtol=0, atol=ONE_STEP_OF_MP3)
    assert cache.n_samples(3) == RATE // 2


def test_an_excerpt_of_many_blocks_is_put_together(tmp_path, encode, music):
    planes = music(20, RATE, n_channels=1)
    path = encode(tmp_path / "long.wav", planes, RATE)
    stored, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(read_excerpt(path, RATE), stored)
    assert np.array_equal(read_excerpt(path, RATE, start_seconds=5.0, seconds=100.0), stored[5 * RATE :])
    assert np.array_equal(read_excerpt(path, RATE, max_seconds=12.0), stored[4 * RATE : 16 * RATE])


def test_a_promise_that_the_file_breaks_still_gives_the_middle_of_what_is_there(originals):
    whole = read_excerpt(originals / "b.flac", RATE)
    cut = read_excerpt(originals / "b.flac", RATE, seconds=100.0, max_seconds=1.0)
    first = (len(whole) - RATE) // 2
    np.testing.assert_allclose(cut, whole[first : first + RATE], rtol=0, atol=ONE_STEP_OF_MP3)


def test_a_file_that_changed_is_decoded_anew(root, folder, encode, music):
    manifest = make_manifest(root, "b.flac", "c.wav")
    fill(manifest, folder)
    encode(root / "c.wav", music(1, RATE, n_channels=1, seed=9), RATE)
    assert [task.row for task in plan(manifest, folder).tasks] == [1]
    cache, progress = fill(manifest, folder)
    assert len(progress) == 1
    assert_right(cache)


def test_a_new_time_alone_is_a_change(root, folder):
    manifest = make_manifest(root, "b.flac")
    fill(manifest, folder)
    os.utime(root / "b.flac", ns=(1, 1))
    assert len(plan(manifest, folder).tasks) == 1


def test_a_file_that_has_gone_stays_in_the_cache(root, folder):
    manifest = make_manifest(root, "b.flac")
    before = fill(manifest, folder)[0].read(0)
    (root / "b.flac").unlink()
    cache, progress = fill(manifest, folder)
    assert progress == []
    assert np.array_equal(cache.read(0), before)


def test_a_failure_is_tried_again_when_its_file_changes_and_not_before(root, folder):
    manifest = make_manifest(root, "empty.mp3", "text.mp3")
    fill(manifest, folder)
    index = (folder / INDEX_NAME).read_bytes()
    assert fill(manifest, folder)[1] == []
    assert (folder / INDEX_NAME).read_bytes() == index
    shutil.copy(root / "a.mp3", root / "empty.mp3")
    cache, progress = fill(manifest, folder)
    assert len(progress) == 1
    assert set(cache.missing) == {1}
    assert_right(cache, rows=[0])


def test_a_missing_file_is_looked_for_each_time_and_noted_once(root, folder):
    manifest = make_manifest(root, "later.wav")
    fill(manifest, folder)
    index = (folder / INDEX_NAME).read_bytes()
    assert fill(manifest, folder)[1][-1].n_failed == 1
    assert (folder / INDEX_NAME).read_bytes() == index
    shutil.copy(root / "c.wav", root / "later.wav")
    cache, _ = fill(manifest, folder)
    assert_right(cache)


@given(
    waveform=arrays.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(-(2.0**33), 2.0**33, width=32, allow_subnormal=True)
    )
)
def test_no_sample_is_off_by_more_than_half_a_step(waveform):
    samples, scale = quantise(waveform)
    peak = float(np.abs(waveform).max())
    assert samples.dtype == np.int16
    assert np.float32(scale) == scale
    restored = samples.astype(np.float64) * scale
    assert np.abs(restored - waveform).max() <= max(HALF_STEP * peak, 1e-33)


def test_silence_stays_silent(tmp_path, folder, encode):
    encode(tmp_path / "silence.wav", np.zeros((1, RATE), dtype=np.float32), RATE)
    cache, _ = fill(make_manifest(tmp_path, "silence.wav"), folder)
    assert np.array_equal(cache.read(0), np.zeros(RATE, dtype=np.float32))


def test_the_room_is_said_to_the_byte_where_lengths_are_known(originals, folder):
    excerpt_rows = make_manifest(
        originals,
        ("a.mp3", 1.0, 1.25),
        ("b.flac", 0.5, 1.0),
        ("e.cbr-without-header.mp3", 0.0, 2.0),
        ("empty.mp3", 0.0, 1.0),
        ("none.mp3", 0.0, 1.0),
    )
    headers = make_manifest(originals, "a.mp3", "b.flac", "c.wav", "empty.mp3", "none.mp3", ("b.flac", 0.5, np.nan))
    for number, manifest in enumerate((excerpt_rows, headers)):
        place = folder / str(number)
        planned = plan(manifest, place, max_seconds=1.75)
        assert planned.is_exact
        fill(manifest, place, max_seconds=1.75)
        assert (place / DATA_NAME).stat().st_size == planned.n_bytes
        assert plan(manifest, place, max_seconds=1.75).n_bytes == 0


def test_the_room_is_estimated_where_no_header_says(originals, folder, monkeypatch):
    planned = plan(make_manifest(originals, "d.m4a"), folder, max_seconds=5.0)
    assert (planned.is_exact, planned.n_bytes) == (False, 2 * 5 * RATE)
    monkeypatch.setattr(clip_filling, "_N_HEADERS", 2)
    rows = [("c.wav", start, np.nan) for start in (0.0, 0.1, 0.2, 0.3, 0.4)]
    planned = plan(make_manifest(originals, *rows), folder)
    assert not planned.is_exact
    assert planned.n_bytes == pytest.approx(2 * RATE * (1.5 + 1.4 + 1.3 + 1.2 + 1.1), rel=0.1)


def test_what_does_not_fit_is_not_begun(originals, folder, monkeypatch):
    planned = plan(make_manifest(originals, "b.flac"), folder)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(
        DatasetError,
        match=r"needs 0\.0 GB more and 0\.0 GB are free; let XDG_.* data.cache = \"none\"\.$",
    ):
        list(build_cache(planned, n_workers=1))
    assert (folder / DATA_NAME).stat().st_size == 0


def test_a_full_disk_is_one_sentence_and_what_was_done_stays(originals, folder, monkeypatch):
    monkeypatch.setattr(clip_filling, "_COMMIT_SECONDS", 0.0)
    manifest = make_manifest(originals, "c.wav", "b.flac", "a.mp3")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))  # the second excerpt goes beyond
    try:
        with pytest.raises(DatasetError, match="cannot be used"):
            fill(manifest, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    cache = ClipCache(manifest, sample_rate=RATE, folder=folder)
    assert set(cache.missing) == {1, 2}
    assert_right(cache, rows=[0])
    cache, progress = fill(manifest, folder)
    assert len(progress) == 2
    assert_right(cache)


def test_a_line_is_written_when_its_samples_are_on_the_disk(originals, folder, monkeypatch):
    monkeypatch.setattr(clip_filling, "_COMMIT_SECONDS", 0.0)
    manifest = make_manifest(originals, "c.wav", "b.flac")
    fill(make_manifest(originals, "a.mp3"), folder)
    synced = {}
    system_sync = os.fsync

    def sync(descriptor):
        status = os.fstat(descriptor)
        system_sync(descriptor)
        synced[status.st_ino] = status.st_size
        if status.st_ino == (folder / DATA_NAME).stat().st_ino:
            assert (folder / INDEX_NAME).stat().st_size == n_index  # nothing is said of them yet

    for _ in build_cache(plan(manifest, folder), n_workers=1):
        monkeypatch.setattr(os, "fsync", sync)
        n_index = (folder / INDEX_NAME).stat().st_size
    assert [synced[(folder / name).stat().st_ino] for name in (DATA_NAME, INDEX_NAME)] == [
        (folder / name).stat().st_size for name in (DATA_NAME, INDEX_NAME)
    ]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_disk_that_fails_to_keep_is_told_and_nothing_is_said_of_what_it_lost(originals, folder, monkeypatch, failing):
    manifest = make_manifest(originals, "c.wav", "b.flac")
    steps = build_cache(plan(manifest, folder), n_workers=1)
    next(steps)
    n_synced = 0

    def sync(descriptor):
        nonlocal n_synced
        n_synced += 1
        if n_synced == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(clip_filling, "_COMMIT_SECONDS", 0.0)
        with pytest.raises(DatasetError, match="Input/output error"):
            list(steps)
    assert n_synced == failing
    cache, _ = fill(manifest, folder)
    assert_right(cache)


def test_half_a_line_stays_the_last_thing_in_the_index(root, folder, monkeypatch):
    monkeypatch.setattr(clip_filling, "_COMMIT_SECONDS", 0.0)
    names = [f"{number}.mp3" for number in range(4)]
    for name in names:
        shutil.copy(root / "text.mp3", root / name)
    manifest = make_manifest(root, *names)
    fill(make_manifest(root, names[0]), folder)
    n_bytes = (folder / INDEX_NAME).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes + 50, limits[1]))
    steps = build_cache(plan(manifest, folder), n_workers=1)
    try:
        with pytest.raises(DatasetError, match="cannot be used"):
            for _ in steps:
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / INDEX_NAME).stat().st_size == n_bytes + 50
    assert len(fill(manifest, folder)[1]) == 3


def test_who_stops_early_keeps_what_was_done(originals, folder):
    manifest = make_manifest(originals, *SOUND)
    steps = build_cache(plan(manifest, folder), n_workers=2)
    next(steps)
    next(steps)
    steps.close()
    cache = ClipCache(manifest, sample_rate=RATE, folder=folder)
    assert set(cache.missing) == {2, 3, 4}
    assert_right(cache, rows=[0, 1])


def test_the_folder_is_one_for_each_root_rate_and_length(originals, tmp_path):
    manifest = make_manifest(originals, "c.wav")
    other = shutil.copytree(originals, tmp_path / "other")
    plans = [
        plan_cache(manifest, sample_rate=8000),
        plan_cache(manifest, sample_rate=12_000),
        plan_cache(manifest, sample_rate=8000, max_seconds=30.0),
        plan_cache(make_manifest(other, "c.wav"), sample_rate=8000),
    ]
    assert len({planned.folder for planned in plans}) == 4
    assert plan_cache(manifest, sample_rate=8000).folder == plans[0].folder
    assert all(planned.folder.is_relative_to(os.environ["XDG_CACHE_HOME"]) for planned in plans)
    list(build_cache(plans[0], n_workers=1))
    assert_right(ClipCache(manifest, sample_rate=RATE))


def test_a_folder_that_was_made_for_something_else_is_refused(originals, tmp_path, folder):
    manifest = make_manifest(originals, "c.wav")
    fill(manifest, folder)
    other = shutil.copytree(originals, tmp_path / "other")
    for options in (
        {"manifest": manifest, "sample_rate": 12_000},
        {"manifest": manifest, "sample_rate": RATE, "max_seconds": 30.0},
        {"manifest": make_manifest(other, "c.wav"), "sample_rate": RATE},
    ):
        for use in (plan_cache, ClipCache):
            with pytest.raises(DatasetError, match=r"was made for .* name another folder"):
                use(folder=folder, **options)


def test_another_format_is_refused(originals, folder, monkeypatch):
    manifest = make_manifest(originals, "c.wav")
    monkeypatch.setattr("tagcli.datasets.clip_index.FORMAT_VERSION", 2)
    fill(manifest, folder)
    monkeypatch.undo()
    with pytest.raises(DatasetError, match="has the format 2, not 1; delete this folder"):
        plan(manifest, folder)


def test_a_cache_that_is_no_folder_is_one_sentence(originals, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(DatasetError, match="cannot be used"):
            fill(make_manifest(originals, "c.wav"), place)


@pytest.fixture(scope="session")
def filled(originals, tmp_path_factory):
    """A cache of three short excerpts and a failure in between, its manifest, and the ends of its records."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    manifest = make_manifest(originals, ("c.wav", 0.0, 0.05), ("b.flac", 0.5, 0.05), "empty.mp3", ("c.wav", 0.7, 0.004))
    cache, _ = fill(manifest, folder)
    waveforms = {row: cache.read(row) for row in (0, 1, 3)}
    return folder, manifest, waveforms


def open_changed(filled, folder, *, index=None, data=None):
    """Open a cache whose files have other contents."""
    whole, manifest, _ = filled
    folder.mkdir(exist_ok=True)
    (folder / INDEX_NAME).write_bytes((whole / INDEX_NAME).read_bytes() if index is None else index)
    (folder / DATA_NAME).write_bytes((whole / DATA_NAME).read_bytes() if data is None else data)
    return ClipCache(manifest, sample_rate=RATE, folder=folder)


def test_an_index_that_is_torn_anywhere_lacks_its_last_records_only(filled, folder):
    whole, _, waveforms = filled
    index = (whole / INDEX_NAME).read_bytes()
    ends = [position + 1 for position, byte in enumerate(index) if byte == ord("\n")]
    for n_bytes in range(len(index) + 1):
        cache = open_changed(filled, folder, index=index[:n_bytes])
        n_there = sum(end <= n_bytes for end in ends) - 1  # the first line is the head
        for row in range(4):
            if row < n_there and row in waveforms:
                assert np.array_equal(cache.read(row), waveforms[row])
            else:
                assert row in cache.missing


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_a_crash_leaves_is_cut_off_and_decoded_again(filled, tmp_path_factory, data):
    """The samples of a record may be there in part or as a whole, its line in part or not at all; or rubbish."""
    whole, manifest, waveforms = filled
    folder = tmp_path_factory.mktemp("torn") / "cache"
    index, samples = (whole / INDEX_NAME).read_bytes(), (whole / DATA_NAME).read_bytes()
    last_line = index.rfind(b"\n", 0, -1) + 1
    last_samples = len(samples) - 2 * len(waveforms[3])
    n_index = data.draw(st.integers(last_line, len(index) - 1))
    n_data = data.draw(st.integers(last_samples, len(samples)))
    rubbish = data.draw(st.binary(max_size=40))
    cache = open_changed(filled, folder, index=index[:n_index] + rubbish, data=samples[:n_data] + rubbish)
    assert set(cache.missing) == {2, 3}
    cache, progress = fill(manifest, folder)
    assert len(progress) == 1
    assert (folder / DATA_NAME).read_bytes() == samples
    assert (folder / INDEX_NAME).read_bytes() == index
    for row, waveform in waveforms.items():
        assert np.array_equal(cache.read(row), waveform)


def test_a_flipped_bit_in_the_index_never_gives_wrong_audio(filled, folder):
    whole, _, waveforms = filled
    index = (whole / INDEX_NAME).read_bytes()
    last_line = index.rfind(b"\n", 0, -1) + 1
    generator = np.random.default_rng(0)
    for position in range(len(index)):
        changed = bytearray(index)
        changed[position] ^= 1 << int(generator.integers(8))
        if position < last_line - 1:
            with pytest.raises(DatasetError, match=r"is damaged .* delete this folder"):
                open_changed(filled, folder, index=bytes(changed))
        else:  # as a power cut would leave it, also without the end of the line before
            cache = open_changed(filled, folder, index=bytes(changed))
            assert 3 in cache.missing
            assert all(np.array_equal(cache.read(row), waveforms[row]) for row in (0, 1))


def test_a_flipped_bit_in_the_samples_is_seen_at_the_first_reading(filled, folder):
    whole, _, waveforms = filled
    samples = (whole / DATA_NAME).read_bytes()
    ends = np.cumsum([2 * len(waveforms[row]) for row in (0, 1, 3)])
    for position in range(0, len(samples), 7):
        changed = bytearray(samples)
        changed[position] ^= 4
        hit = (0, 1, 3)[int(np.searchsorted(ends, position, side="right"))]
        cache = open_changed(filled, folder, data=bytes(changed))
        for row in waveforms:
            if row == hit:
                with pytest.raises(DatasetError, match=r"samples of .* are not those .* delete this folder"):
                    cache.read_part(row, 0, 1)
            else:
                assert np.array_equal(cache.read(row), waveforms[row])


def test_samples_that_are_cut_off_are_seen_at_once(filled, folder):
    whole, manifest, _ = filled
    samples = (whole / DATA_NAME).read_bytes()
    for n_bytes in (0, 1, len(samples) // 2, len(samples) - 1):
        with pytest.raises(DatasetError, match="samples are missing at its end"):
            open_changed(filled, folder, data=samples[:n_bytes])
        with pytest.raises(DatasetError, match="samples are missing at its end"):
            fill(manifest, folder)
    (folder / DATA_NAME).unlink()
    with pytest.raises(DatasetError, match="samples are missing at its end"):
        ClipCache(manifest, sample_rate=RATE, folder=folder)


def test_a_lost_index_is_a_new_beginning(filled, folder):
    _, manifest, waveforms = filled
    open_changed(filled, folder)
    (folder / INDEX_NAME).unlink()
    cache, progress = fill(manifest, folder)
    assert len(progress) == 4
    assert np.array_equal(cache.read(3), waveforms[3])


def line(text):
    """A line of an index that says something else."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    "head",
    [b"rubbish\n", b"[1]\n", b"\n", b"00000000 []\n", b"\xff\xfe" * 9 + b"\n", line(b"7"), line(b"[]"), line(b"{")],
)
def test_what_is_no_index_is_refused(originals, folder, head):
    folder.mkdir()
    (folder / INDEX_NAME).write_bytes(head)
    with pytest.raises(DatasetError, match="its index is damaged"):
        fill(make_manifest(originals, "c.wav"), folder)


def test_names_that_are_not_utf8_and_lines_in_names_are_kept_apart(originals, tmp_path, folder):
    names = [os.fsdecode(b"\xff\xfe.wav"), "two\nlines.wav", "ünï\u2028.wav"]
    (tmp_path / "audio").mkdir()
    for name in names:
        shutil.copy(originals / "c.wav", tmp_path / "audio" / name)
    manifest = make_manifest(tmp_path / "audio", *names)
    fill(manifest, folder)
    cache, progress = fill(manifest, folder)
    assert progress == []
    assert_right(cache)


@pytest.mark.parametrize("kind", [ClipCache, DecodedAudio])
def test_threads_may_read_at_the_same_time(originals, folder, kind):
    manifest = make_manifest(originals, *SOUND)
    fill(manifest, folder)
    options = {"folder": folder} if kind is ClipCache else {}
    wanted = [kind(manifest, sample_rate=RATE, **options).read(row) for row in range(5)]
    audio = kind(manifest, sample_rate=RATE, **options)
    rows = list(range(5)) * 40
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for row, waveform in zip(rows, pool.map(audio.read, rows), strict=True):
                assert np.array_equal(waveform, wanted[row])
    finally:
        sys.setswitchinterval(interval)


def test_each_thread_keeps_what_it_has_decoded_last(originals):
    audio = DecodedAudio(make_manifest(originals, "a.mp3", "b.flac"), sample_rate=RATE)
    first = audio.read(0)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(audio.n_samples, 1).result() == 2 * RATE
    assert audio.read(0) is first


FILL = """
import sys
from pathlib import Path
from tests.test_clip_cache import RATE, make_manifest
from tagcli.datasets import clip_filling
clip_filling._COMMIT_SECONDS = 0.0
root, folder, *names = sys.argv[1:]
plan = clip_filling.plan_cache(make_manifest(Path(root), *names), sample_rate=RATE, folder=Path(folder))
print("ready", flush=True)
for step in clip_filling.build_cache(plan, n_workers=2):
    print(step.n_done, step.n_total, flush=True)
"""


def start_filling(root, folder, names):
    """Fill a cache in another process, and give it when it is about to begin."""
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, str(root), str(folder), *names],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def test_kill_9_at_any_moment_loses_what_was_in_flight_and_nothing_else(tmp_path, folder, encode, music):
    root = tmp_path / "audio"
    root.mkdir()
    names = [f"{number:03d}.wav" for number in range(60)]
    for number, name in enumerate(names):
        encode(root / name, music(0.5, 44_100, seed=number), 44_100)
    manifest = make_manifest(root, *names)
    moments = random.Random(5)
    n_there = 0
    for _ in range(4):
        process = start_filling(root, folder, names)
        time.sleep(moments.uniform(0, 0.12))
        process.kill()
        said = process.communicate(timeout=PATIENCE_SECONDS)[0].split("\n")
        cache = ClipCache(manifest, sample_rate=RATE, folder=folder)
        there = [row for row in range(60) if row not in cache.missing]
        assert len(there) >= n_there + max(0, len([line for line in said if line]) - 1)
        n_there = len(there)
        assert_right(cache, rows=there)
    cache, progress = fill(manifest, folder)
    assert len(progress) == 60 - n_there
    assert_right(cache)
    assert (folder / DATA_NAME).stat().st_size == 60 * 2 * 4000


def test_a_second_process_waits_for_the_first_and_finds_its_work_done(originals, folder):
    manifest = make_manifest(originals, *SOUND)
    steps = build_cache(plan(manifest, folder), n_workers=1)
    next(steps)
    other = start_filling(originals, folder, SOUND)
    assert "Another process fills the cache" in other.stderr.readline()
    assert other.poll() is None
    assert len(list(steps)) == 4
    said, _ = other.communicate(timeout=PATIENCE_SECONDS)
    assert (other.returncode, said) == (0, "")
    cache = ClipCache(manifest, sample_rate=RATE, folder=folder)
    assert_right(cache)
    assert (folder / DATA_NAME).stat().st_size == sum(2 * cache.n_samples(row) for row in range(5))


def test_a_reader_does_not_mind_a_process_that_fills(originals, folder):
    manifest = make_manifest(originals, *SOUND)
    steps = build_cache(plan(manifest, folder), n_workers=1)
    next(steps)
    assert_right(ClipCache(make_manifest(originals, "a.mp3"), sample_rate=RATE, folder=folder), rows=())
    list(steps)
    assert_right(ClipCache(manifest, sample_rate=RATE, folder=folder))


def test_the_head_is_written_before_the_first_excerpt(originals, folder):
    planned = plan(make_manifest(originals, "c.wav"), folder)
    steps = build_cache(planned, n_workers=1)
    next(steps)
    assert (folder / INDEX_NAME).read_bytes() == format_head(planned.settings)
    steps.close()
