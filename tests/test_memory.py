"""What was heard once is not heard again, and what is recalled is what would be heard."""

import dataclasses
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import mutagen
import numpy as np
import pytest
from conftest import make_tiny_checkpoint

import tagcli.database
import tagcli.tagger
import tagcli.tagger.memory
from tagcli.annotate import make_policy, store_row
from tagcli.audio.clips import ClipChoice
from tagcli.audio.reading import ThreadReader
from tagcli.errors import FailureCode, SkipCode, WarningCode
from tagcli.journal import Journal, Recorder, default_journal_path
from tagcli.payload import hash_payload
from tagcli.rows import Written, make_row
from tagcli.store import Store, StoredResult, default_store_path
from tagcli.tagger import TagOptions, open_tagger
from tagcli.tagger.memory import Ticket
from tagcli.tags import Failure, TrackScores

PATIENCE_SECONDS = 30
SCORES = 1e-5
"""Between a track's scores and the mean of its taggram, which is taken in another precision."""
ONE_WORKER = TagOptions(n_workers=1)

heard: Counter[str] = Counter()
"""Names of the tracks that were decoded, and how often."""


class CountingReader(ThreadReader):
    """Reads tracks, and counts them."""

    def open(self, path):
        heard[path.name] += 1
        return super().open(path)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))
    monkeypatch.setattr(tagcli.tagger, "ThreadReader", CountingReader)
    heard.clear()


@pytest.fixture(scope="module")
def sources(music, encode, tmp_path_factory):
    """Two tracks that are tagged, one of them padded, a silent one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("sources")
    encode(folder / "a.mp3", music(5, 44_100, seed=1), 44_100)
    encode(folder / "b.wav", music(1.5, 8000, n_channels=1, seed=2), 8000)
    encode(folder / "c.wav", np.zeros((1, 20_000), dtype=np.float32), 8000)
    (folder / "d.mp3").write_text("not audio\n" * 400)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def folder(sources, tmp_path):
    folder = tmp_path / "collection"
    folder.mkdir()
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def tagger(tiny_checkpoint):
    return open_tagger(tiny_checkpoint, device="cpu")


def listen(tagger, paths, options=ONE_WORKER, **more):
    """Tag tracks with what is remembered; the results, and what was heard for them."""
    heard.clear()
    with Store(default_store_path()) as store:
        memory = tagger.remember(store, options, **more)
        results = list(tagger.score(tracks_of(paths), options, memory=memory))
    return results, dict(heard)


def tracks_of(paths):
    return sorted(paths.iterdir()) if isinstance(paths, Path) else paths


def listen_afresh(tagger, paths, options=ONE_WORKER):
    return list(tagger.score(tracks_of(paths), options))


def assert_same(results, expected):
    """Everything is the same to the last bit, but for the identity of the file."""
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        if isinstance(theirs, Failure):
            assert ours == theirs
            continue
        assert isinstance(ours, TrackScores)
        assert (ours.scores.dtype, ours.scores.tobytes()) == (theirs.scores.dtype, theirs.scores.tobytes())
        told = ("path", "n_clips", "duration_seconds", "warnings", "identity")
        assert [getattr(ours, name) for name in told] == [getattr(theirs, name) for name in told]


def renamed(results, names):
    """The results as they are when the files have other names."""
    return [
        dataclasses.replace(result, path=names[result.path])
        if isinstance(result, TrackScores)
        else dataclasses.replace(
            result,
            path=names[result.path],
            message=result.message.replace(str(result.path), str(names[result.path])),
        )
        for result in results
    ]


ALL = {"a.mp3": 1, "b.wav": 1, "c.wav": 1, "d.mp3": 1}


def test_a_second_run_hears_nothing_and_says_the_same(tagger, folder):
    expected = listen_afresh(tagger, folder)
    assert [getattr(result, "code", None) for result in expected] == [
        None,
        None,
        SkipCode.SILENT,
        FailureCode.NOT_AUDIO,
    ]
    assert expected[1].warnings == (WarningCode.PADDED,)
    first, heard_first = listen(tagger, folder)
    assert heard_first == ALL
    assert_same(first, expected)
    for n_workers in (1, 3):
        again, heard_again = listen(tagger, folder, TagOptions(n_workers=n_workers))
        assert heard_again == {}
        assert_same(again, expected)


def test_what_is_remembered_needs_no_device(tiny_checkpoint, tagger, folder):
    listen(tagger, folder)
    other = open_tagger(tiny_checkpoint, device="cuda:999")  # not there, and never looked for
    assert listen(other, folder)[1] == {}
    assert other.device_description is None


def test_a_mixture_of_heard_and_recalled_keeps_its_order(tagger, sources, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.wav").write_bytes(sources["b.wav"][:-2] + number.to_bytes(2, "little"))
    tracks = tracks_of(folder)
    listen(tagger, tracks[::3])
    options = TagOptions(n_workers=2)
    results, heard_now = listen(tagger, folder, options)
    assert set(heard_now) == {path.name for path in tracks} - {path.name for path in tracks[::3]}
    assert_same(results, listen_afresh(tagger, folder, options))


# What is heard again


def test_other_clips_and_another_checkpoint_are_heard_again(tagger, folder, tmp_path):
    listen(tagger, folder)
    other = open_tagger(make_tiny_checkpoint(tmp_path / "other.safetensors", name="other"), device="cpu")
    middle = TagOptions(n_workers=1, clips=ClipChoice.parse("middle"))
    for another, options in ((tagger, middle), (other, ONE_WORKER), (other, middle)):
        results, heard_first = listen(another, folder, options)
        assert heard_first == ALL
        assert_same(results, listen_afresh(another, folder, options))
        assert listen(another, folder, options)[1] == {}
    assert listen(tagger, folder)[1] == {}


def test_batches_and_workers_are_the_same_memory(tagger, folder):
    listen(tagger, folder)
    assert listen(tagger, folder, TagOptions(n_workers=4, batch_size=3))[1] == {}


@pytest.mark.parametrize("what", ["with_taggram", "with_embeddings"])
def test_more_than_scores_is_heard_again_and_the_scores_are_kept(what, tagger, folder):
    options = dataclasses.replace(ONE_WORKER, **{what: True})
    for _ in range(2):
        results, heard_now = listen(tagger, folder, options)
        assert heard_now == ALL
        for result, expected in zip(results, listen_afresh(tagger, folder, options), strict=True):
            if isinstance(expected, Failure):
                assert result == expected
                continue
            assert result.scores.tobytes() == expected.scores.tobytes()
            if expected.taggram is not None:
                np.testing.assert_array_equal(result.taggram, expected.taggram)
                np.testing.assert_allclose(result.taggram.mean(axis=0), result.scores, rtol=0, atol=SCORES)
            for ours, theirs in zip(result.embeddings, expected.embeddings, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert (result.taggram is None) == (what != "with_taggram")
    results, heard_now = listen(tagger, folder)
    assert heard_now == {}
    assert_same(results, listen_afresh(tagger, folder))


def replace_by_another(path, content):
    """Same size and time, another inode."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def write_in_place(path, content):
    with path.open("r+b") as file:
        file.write(content)


@pytest.mark.parametrize("change", [replace_by_another, write_in_place])
def test_other_audio_of_the_same_size_is_heard_again(change, tagger, folder, music, encode, tmp_path):
    listen(tagger, folder)
    path, before = folder / "b.wav", (folder / "b.wav").stat()
    other = encode(tmp_path / "other.wav", music(1.5, 8000, n_channels=1, seed=9), 8000).read_bytes()
    change(path, other)
    is_new_file = path.stat().st_ino != before.st_ino
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (0 if is_new_file else 1)))
    assert path.stat().st_size == before.st_size
    results, heard_now = listen(tagger, folder)
    assert heard_now == {"b.wav": 1}
    assert_same(results, listen_afresh(tagger, folder))


def test_a_time_that_is_put_back_is_noticed_by_the_other_file(tagger, folder):
    """A file moved over another brings its own time along, older or not."""
    listen(tagger, folder)
    (folder / "a.mp3").replace(folder / "b.wav")
    results, heard_now = listen(tagger, folder)
    assert heard_now == {}  # known by its bytes
    assert_same(results, listen_afresh(tagger, folder))


# What is not


def rename(folder):
    names = {}
    for path in tracks_of(folder):
        names[path] = path.with_name(os.fsdecode(b"renamed \xff ") + path.name)
        path.rename(names[path])
    return names


def move(folder):
    (folder / "deeper").mkdir()
    names = {path: folder / "deeper" / path.name for path in tracks_of(folder) if path.is_file()}
    for path, name in names.items():
        path.rename(name)
    return names


def copy(folder):
    (folder.parent / "copy").mkdir()
    names = {path: folder.parent / "copy" / path.name for path in tracks_of(folder)}
    for path, name in names.items():
        shutil.copyfile(path, name)
    return names


def touch(folder):
    for number, path in enumerate(tracks_of(folder)):
        os.utime(path, ns=(0, (-1) ** number * 10**18))
    return {path: path for path in tracks_of(folder)}


def edit_tags(folder):
    file = mutagen.File(folder / "a.mp3")
    file.tags.add(mutagen.id3.TIT2(encoding=3, text=["A title " * 50]))
    file.save(v1=2)
    return {path: path for path in tracks_of(folder)}


@pytest.mark.parametrize("change", [rename, move, copy, touch, edit_tags])
def test_files_that_sound_the_same_are_not_heard_again(change, tagger, folder, monkeypatch):
    first, _ = listen(tagger, folder)
    names = change(folder)
    expected = renamed(first, names)
    results, heard_now = listen(tagger, list(names.values()))
    assert heard_now == {}
    for ours, theirs in zip(results, expected, strict=True):
        if isinstance(theirs, Failure):
            assert (ours.path, ours.code, ours.duration_seconds) == (theirs.path, theirs.code, theirs.duration_seconds)
            assert os.fsencode(ours.message) == os.fsencode(theirs.message)
        else:
            assert (ours.path, ours.scores.tobytes()) == (theirs.path, theirs.scores.tobytes())
            assert ours.identity.has_same_content(type(ours.identity).from_status(ours.path.stat()))
    forbid_hashing(monkeypatch)
    assert listen(tagger, list(names.values()))[1] == {}  # now they are known by sight


def forbid_hashing(monkeypatch):
    def refuse(path):
        raise AssertionError(repr(path))

    monkeypatch.setattr(tagcli.tagger.memory, "hash_payload", refuse)


def test_after_our_own_write_a_file_is_known_by_sight(tagger, folder, monkeypatch):
    path, policy = folder / "a.mp3", policy_of(tagger)
    for state in (Written.WRITTEN, Written.UNCHANGED):
        with Store(default_store_path()) as store:
            memory = tagger.remember(store, ONE_WORKER)
            (result,) = tagger.score([path], ONE_WORKER, memory=memory)
            row = make_row(result, tagger.header.vocabulary, top_n=5, thresholds=0.0)
            with Journal(default_journal_path()) as journal:
                recorder = Recorder(journal, "test")
                row = store_row(row, policy, recorder=recorder, heard=result.identity, on_written=memory.note_change)
        assert row.written is state
        forbid_hashing(monkeypatch)
    assert heard == {"a.mp3": 1}
    assert listen(tagger, [path])[1] == {}


def policy_of(tagger):
    return make_policy(tagger.header, tagger.sha256, clips="all", top_n=5, threshold=0.0)


@pytest.mark.parametrize("n_workers", [1, 4])
def test_equal_tracks_are_heard_once(n_workers, tagger, folder):
    for number in range(6):
        shutil.copyfile(folder / "a.mp3", folder / f"same {number}.mp3")
    expected = listen_afresh(tagger, folder, TagOptions(n_workers=1))
    results, heard_now = listen(tagger, folder, TagOptions(n_workers=n_workers))
    assert sum(n for name, n in heard_now.items() if name == "a.mp3" or "same" in name) == 1
    assert_same(results, expected)


def test_links_to_a_track_are_heard_once(tagger, folder):
    (folder / "link.mp3").symlink_to(folder / "a.mp3")
    os.link(folder / "a.mp3", folder / "name.mp3")
    assert sum(listen(tagger, folder)[1].values()) == len(ALL)
    assert listen(tagger, folder)[1] == {}


# Failures


def fail(path):
    path.write_text("not audio\n" * 300)
    return path


@pytest.mark.parametrize("name", ["d.mp3", "e", "audio", "o i.mp3"])
def test_the_message_of_a_failure_names_the_file_as_it_is_now(name, tagger, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (first,), _ = listen(tagger, [fail(Path(name))])
    Path(name).rename("another.mp3")
    for path in (Path("another.mp3"), tmp_path / "another.mp3"):
        (result,), heard_now = listen(tagger, [path])
        assert heard_now == {}
        assert result.code is FailureCode.NOT_AUDIO
        assert result.message == str(path) + first.message.removeprefix(name)
        assert (result,) == tuple(listen_afresh(tagger, [path]))


def test_a_failure_is_tried_again_when_that_is_asked_for(tagger, folder):
    for number in range(5):
        fail(folder / f"same {number}.mp3")
    first, _ = listen(tagger, folder)
    began = time.monotonic()
    again, heard_again = listen(tagger, folder, retries_failures=True)
    assert time.monotonic() - began < 1  # equal ones are tried once, and do not wait for one another
    assert len(heard_again) == 2
    assert "c.wav" not in heard_again  # silence is no failure
    assert_same(again, first)
    assert listen(tagger, folder)[1] == {}


def test_a_failure_is_tried_again_when_its_bytes_change(tagger, folder, sources):
    listen(tagger, folder)
    (folder / "d.mp3").write_bytes(sources["a.mp3"])
    (folder / "a.mp3").unlink()
    results, heard_now = listen(tagger, folder)
    assert isinstance(results[-1], TrackScores)
    assert heard_now == {}  # even these bytes are known
    fail(folder / "b.wav").write_text("something else\n" * 200)
    assert listen(tagger, folder)[1] == {"b.wav": 1}


def test_what_is_missing_or_empty_is_not_remembered(tagger, folder, sources):
    empty, missing, loop = folder / "0.wav", folder / "1.wav", folder / "2.wav"
    paths = [empty, missing, loop]
    empty.touch()
    loop.symlink_to(loop)
    for _ in range(2):
        results, _ = listen(tagger, paths)
        assert [result.code for result in results][:2] == [FailureCode.EMPTY, FailureCode.MISSING]
        assert heard[empty.name] == 1
        with Store(default_store_path()) as store:
            assert store.describe(settings_end="").n_files == store.describe(settings_end="").n_failures == 0
    for path in paths:
        path.unlink(missing_ok=True)
        path.write_bytes(sources["a.mp3"])
    assert all(isinstance(result, TrackScores) for result in listen(tagger, paths)[0])


def test_many_empty_files_do_not_wait_for_one_another(tagger, tmp_path):
    paths = [tmp_path / f"{number}.mp3" for number in range(40)]
    for path in paths:
        path.touch()
    listen(tagger, paths[:1])
    began = time.monotonic()
    results, _ = listen(tagger, paths, TagOptions(n_workers=2))
    assert {result.code for result in results} == {FailureCode.EMPTY}
    assert time.monotonic() - began < 2  # they took 0.25 s each


# Files that change meanwhile


def test_a_file_that_changes_while_it_is_heard_is_not_remembered(tagger, folder, sources):
    path = folder / "a.mp3"
    (result,) = listen_afresh(tagger, [path])
    with Store(default_store_path()) as store:
        memory = tagger.remember(store, ONE_WORKER)
        ticket = memory.recall(path)
        assert isinstance(ticket, Ticket)
        assert ticket.is_claimed
        path.write_bytes(sources["b.wav"])
        memory.keep(ticket, result)
        assert store.describe(settings_end="").n_payloads == 0
        path.write_bytes(sources["a.mp3"])
        again = memory.recall(path)
        assert isinstance(again, Ticket)
        assert again.is_claimed  # and the claim has ended


def test_tags_written_into_a_file_that_had_changed_bring_no_old_scores_back(tagger, folder, sources):
    """The path led to other bytes before; those scores must not become the scores of the file that was written."""
    path = folder / "a.mp3"
    listen(tagger, [path])
    (result,) = listen_afresh(tagger, [path])
    with Store(default_store_path()) as store:
        memory = tagger.remember(store, ONE_WORKER)
        path.write_bytes(sources["b.wav"])
        os.utime(path, ns=(1, 1))
        ticket = memory.recall(path)
        os.utime(path, ns=(2, 2))  # changed while it was heard
        memory.keep(ticket, result)
        os.utime(path, ns=(3, 3))  # written by us
        memory.note_change(path, ticket.identity.from_status(path.stat()))
        assert memory.recall_by_file(path) is None


# Several at once


def test_two_runs_at_once_hear_each_track_once(tiny_checkpoint, sources, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.wav").write_bytes(sources["b.wav"][:-2] + number.to_bytes(2, "little"))
    taggers = [open_tagger(tiny_checkpoint, device="cpu") for _ in range(2)]
    for tagger in taggers:
        _ = tagger.module
    found, together = [], threading.Barrier(2)

    def work(tagger):
        with Store(default_store_path()) as store:
            memory = tagger.remember(store, ONE_WORKER)
            together.wait()
            found.append(list(tagger.score(tracks_of(folder), ONE_WORKER, memory=memory)))

    threads = [threading.Thread(target=work, args=(tagger,)) for tagger in taggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert heard == {path.name: 1 for path in tracks_of(folder)}
    expected = listen_afresh(taggers[0], folder)
    for results in found:
        assert_same(results, expected)


def test_what_another_keeps_just_before_it_is_claimed_is_recalled(tagger, folder):
    (expected,) = listen_afresh(tagger, [folder / "b.wav"])
    with Store(default_store_path()) as store:
        other = tagger.remember(store, ONE_WORKER)
        others_ticket = other.recall(folder / "b.wav")

        class LateStore(Store):
            def claim(self, sha256, settings):
                other.keep(others_ticket, expected)
                return super().claim(sha256, settings)

        with LateStore(default_store_path()) as late:
            memory = tagger.remember(late, ONE_WORKER)
            assert_same([memory.recall(folder / "b.wav")], [expected])
            assert store.claim(others_ticket.sha256, other.settings_number)  # nobody holds it


def test_whoever_waits_for_a_killed_process_takes_over(tagger, tiny_checkpoint, folder, sources):
    code = """
import sys
from pathlib import Path
from tagcli.store import Store, default_store_path
from tagcli.tagger import TagOptions, open_tagger
with Store(default_store_path()) as store:
    memory = open_tagger(sys.argv[1], device="cpu").remember(store, TagOptions(n_workers=1))
    print([memory.recall(Path(path)).is_claimed for path in sys.argv[2:]], flush=True)
    sys.stdin.readline()
"""
    paths = [folder / "a.mp3", folder / "b.wav"]
    other = folder / "other.wav"
    other.write_bytes(sources["b.wav"][:-2] + b"\1\1")
    command = [sys.executable, "-c", code, tiny_checkpoint, *paths]
    found = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "[True, True]\n"
        waiting = threading.Thread(target=lambda: found.append(listen(tagger, [*paths, other])))
        waiting.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(1.5)  # longer than claims are left unlooked after
        assert heard == {"other.wav": 1}  # the work of the living is left to them
        assert waiting.is_alive()
        process.kill()
        waiting.join(PATIENCE_SECONDS)
    ((results, heard_now),) = found
    assert heard_now == {"a.mp3": 1, "b.wav": 1, "other.wav": 1}
    assert_same(results, listen_afresh(tagger, [*paths, other]))


# Trouble


@pytest.mark.parametrize(
    "unknown",
    [
        {"scores": None, "code": "of_a_later_version", "message": "no"},
        {"warnings": ("of_a_later_version",)},
        {"scores": b"123"},
    ],
)
def test_what_another_version_stored_and_this_one_does_not_know_is_heard_again(unknown, tagger, folder):
    expected, _ = listen(tagger, [folder / "b.wav"])
    with Store(default_store_path()) as store:
        memory = tagger.remember(store, ONE_WORKER)
        (path,) = store.list_paths()
        known = StoredResult(scores=expected[0].scores.tobytes(), n_clips=1, duration_seconds=1.0)
        store.keep(
            hash_payload(folder / "b.wav"),
            memory.settings_number,
            dataclasses.replace(known, **unknown),
            path=path,
            identity=expected[0].identity,
        )
    results, heard_now = listen(tagger, [folder / "b.wav"])
    assert heard_now == {"b.wav": 1}
    assert_same(results, expected)


def test_a_store_that_fails_in_the_middle_is_told_of_once_and_done_without(tagger, folder, monkeypatch, caplog):
    monkeypatch.setattr(tagcli.database, "PATIENCE_SECONDS", 0.1)
    expected = listen_afresh(tagger, folder)
    with Store(default_store_path()) as store:
        memory = tagger.remember(store, ONE_WORKER)
        blocking = sqlite3.connect(default_store_path(), isolation_level=None, check_same_thread=False)
        keep, kept = Store.keep, []

        def keep_and_block(store, sha256, number, result, *, path, **more):
            keep(store, sha256, number, result, path=path, **more)
            kept.extend([Path(os.fsdecode(path)).name] if result.scores is not None else [])
            if len(kept) == 1:  # here, as the worker is ahead of whoever takes the results
                blocking.execute("BEGIN IMMEDIATE")

        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="tagcli"):
            patch.setattr(Store, "keep", keep_and_block)
            results = list(tagger.score(tracks_of(folder), ONE_WORKER, memory=memory))
        blocking.execute("ROLLBACK")
        blocking.close()
    assert_same(results, expected)
    (record,) = caplog.records
    assert "database is locked" in record.getMessage()
    assert str(default_store_path()) in record.getMessage()
    results, heard_now = listen(tagger, folder)
    assert not heard_now.keys() & set(kept)
    assert_same(results, expected)


# Runs that are given up, and processes that stand still


def test_a_run_that_is_given_up_leaves_nothing_claimed(tagger, folder):
    expected = listen_afresh(tagger, folder)
    with Store(default_store_path()) as store:
        results = tagger.score(tracks_of(folder), ONE_WORKER, memory=tagger.remember(store, ONE_WORKER))
        next(results)
        results.close()
        memory = tagger.remember(store, ONE_WORKER)
        assert_same(list(tagger.score(tracks_of(folder), ONE_WORKER, memory=memory)), expected)


def test_what_a_process_that_stands_still_has_in_work_is_heard_here(tagger, folder, monkeypatch, caplog):
    expected = listen_afresh(tagger, folder)
    monkeypatch.setattr(tagcli.tagger.pipeline, "_PATIENCE_SECONDS", 0.6)
    with Store(default_store_path()) as other:
        memory = tagger.remember(other, ONE_WORKER)
        tickets = [memory.recall(folder / name) for name in ("a.mp3", "b.wav")]
        assert all(ticket.is_claimed for ticket in tickets)
        results, heard_here = listen(tagger, folder)
        assert_same(results, expected)
        assert heard_here == ALL
        assert [record.message for record in caplog.records if "does not go on" in record.message]
        memory.keep(tickets[0], expected[0])  # it goes on after all
    assert_same(listen(tagger, folder)[0], expected)
    assert heard == {}
