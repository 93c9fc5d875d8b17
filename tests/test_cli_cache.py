"""The program's memory as people meet it: what a second run does, the commands that look after it, and its troubles."""

import base64
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import mutagen
import numpy as np
import pytest
from conftest import make_tiny_checkpoint
from typer.testing import CliRunner

import tagcli.database
import tagcli.tagger.memory
from tagcli.cli import app
from tagcli.cli.options import ResultFormat

PATIENCE_SECONDS = 60
RERUN_SECONDS = 20
"""A run after a killed one waits for nobody; who waits for a dead claim waits for ever."""
N_TRACKS = 12


def run(*arguments, code=0):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result


def start(*arguments, before=(), **options):
    """Start the program in a process of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "tagcli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's file, that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))
    return tmp_path / "cache home" / "tagcli" / "scores.sqlite3"


@pytest.fixture(scope="module")
def sources(music, encode, tmp_path_factory):
    """Three tracks that are tagged, a silent one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("sources")
    encode(folder / "a.mp3", music(5, 44_100, seed=1), 44_100)
    encode(folder / "b.wav", music(3, 8000, n_channels=1, seed=2), 8000)
    encode(folder / "c.mp3", music(2.5, 44_100, seed=3), 44_100)
    encode(folder / "d.wav", np.zeros((1, 20_000), dtype=np.float32), 8000)
    (folder / "e.mp3").write_text("not audio\n" * 400)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def collection(sources, tmp_path):
    folder = tmp_path / "collection"
    folder.mkdir()
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def predict(tiny_checkpoint):
    """Run `tagcli predict` with the tiny tagger; what it says as JSON."""

    def run_predict(*arguments, code=3):
        result = run(
            "predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", *arguments, code=code
        )
        return json.loads(result.stdout)

    return run_predict


def recalled(document):
    return document["summary"]["recalled"]


def make_many(folder, source, n_tracks):
    """Make tracks that differ in their last sample."""
    folder.mkdir()
    for number in range(n_tracks):
        (folder / f"{number:03}.wav").write_bytes(source[:-2] + number.to_bytes(2, "little"))
    return folder


# The second run


def test_a_second_run_says_the_same_and_hears_nothing(predict, collection, cache):
    first = predict(collection)
    assert (recalled(first), first["summary"]["device"]) == (0, "cpu")
    assert first["summary"]["reasons"] == {"silent": 1, "not_audio": 1}
    assert cache.is_file()
    again = predict(collection)
    assert (recalled(again), again["summary"]["device"]) == (5, None)
    assert again["tracks"] == first["tracks"]
    for key in ("tagged", "skipped", "failed", "reasons", "audio_seconds"):
        assert again["summary"][key] == first["summary"][key]


def test_a_second_run_loads_no_torch(predict, collection, tiny_checkpoint):
    first = predict(collection)
    arguments = ["predict", "--model", str(tiny_checkpoint), "--format", "json", str(collection)]
    code = (
        "import sys, tagcli.cli\n"
        f"try: tagcli.cli.app({arguments!r})\n"
        "except SystemExit as end: assert end.code == 3, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tracks"] == first["tracks"]
    assert "remembered" in done.stderr


def test_what_is_printed_is_no_matter_of_the_cache(predict, collection, tiny_checkpoint):
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", collection)
    choices = [("--top", "2"), ("--threshold", "0.5")] + [("--format", format_.value) for format_ in ResultFormat]
    fresh = [run(*arguments, *choice, "--no-cache", code=3).stdout for choice in choices]
    predict(collection)
    assert recalled(predict(collection, "--top", "2")) == 5
    assert recalled(predict(collection, "--threshold", "0.5")) == 5
    for choice, expected in zip(choices, fresh, strict=True):
        cached = run(*arguments, *choice, code=3).stdout
        if choice == ("--format", "json"):
            assert json.loads(cached)["tracks"] == json.loads(expected)["tracks"]
        else:
            assert cached == expected


def test_other_clips_and_another_model_are_heard_anew(predict, collection, tmp_path):
    predict(collection)
    other = make_tiny_checkpoint(tmp_path / "other.safetensors", name="other")
    for choice in (("--clips", "middle"), ("--clips", "2"), ("--model", other)):
        first = predict(collection, *choice)
        assert recalled(first) == 0
        assert first["tracks"] == predict(collection, *choice, "--no-cache")["tracks"]
        assert recalled(predict(collection, *choice)) == 5
    assert recalled(predict(collection)) == 5


def test_without_the_cache_nothing_is_read_or_written(predict, collection, cache):
    predict(collection, "--no-cache")
    assert not cache.parent.exists()
    predict(collection)
    before = cache.read_bytes()
    assert recalled(predict(collection, "--no-cache")) == 0
    assert cache.read_bytes() == before
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]


def test_embeddings_and_scores_over_time_are_as_fresh(predict, collection, tmp_path):
    def extras(*more):
        files = tmp_path / "out.npz", tmp_path / "out.csv"
        document = predict(collection, "--embeddings", files[0], "--over-time", files[1], *more)
        with np.load(files[0]) as arrays:
            return document, {name: arrays[name].tobytes() for name in arrays}, files[1].read_text()

    fresh, *expected = extras("--no-cache")
    for _ in range(2):
        document, *found = extras()
        assert (recalled(document), found) == (0, expected)
        assert document["tracks"] == fresh["tracks"]
    document = predict(collection)
    assert (recalled(document), document["tracks"]) == (5, fresh["tracks"])


def test_written_files_are_known_by_sight_and_written_once(predict, collection, monkeypatch):
    written = predict(collection, "--write", "--threshold", "0")
    assert [row["written"] for row in written["tracks"]] == ["written", "written", "written", None, None]

    def refuse(path):
        raise AssertionError(path)

    monkeypatch.setattr(tagcli.tagger.memory, "hash_payload", refuse)
    again = predict(collection, "--write", "--threshold", "0")
    assert recalled(again) == 5
    assert [row["written"] for row in again["tracks"]] == ["unchanged", "unchanged", "unchanged", None, None]
    assert [row["tags"] for row in again["tracks"]] == [row["tags"] for row in written["tracks"]]


def test_remembered_scores_can_be_written_later(predict, collection):
    first = predict(collection)
    written = predict(collection, "--write", "--threshold", "0")
    assert recalled(written) == 5
    assert [row["written"] for row in written["tracks"]][::2] == ["written", "written", None]
    assert [row["tags"] for row in written["tracks"]] == [row["tags"] for row in first["tracks"]]
    assert "TXXX:TAGCLI_TAGS" in mutagen.File(collection / "a.mp3").tags


def test_a_collection_that_was_moved_and_edited_is_not_heard_again(predict, collection):
    first = predict(collection)
    moved = collection.rename(collection.with_name("another name"))
    file = mutagen.File(moved / "a.mp3")
    file.tags.add(mutagen.id3.TIT2(encoding=3, text=["A title"]))
    file.save(v1=2)
    shutil.copyfile(moved / "a.mp3", moved / "a copy.mp3")
    os.utime(moved / "b.wav", ns=(0, -1))
    found = predict(moved)
    assert recalled(found) == 6
    tags = {Path(row["path"]).name: row["tags"] for row in found["tracks"]}
    assert tags == {Path(row["path"]).name: row["tags"] for row in first["tracks"]} | {"a copy.mp3": tags["a.mp3"]}
    assert str(moved / "e.mp3") in found["tracks"][-1]["message"]


def test_edited_metadata_inside_a_container_is_no_matter(predict, tmp_path, music, encode):
    paths = [tmp_path / "music" / name for name in ("a.flac", "b.m4a", "c.ogg")]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        encode(path, music(3, 44_100, seed=seed), 44_100)
    first = predict(paths[0].parent, code=0)
    assert recalled(first) == 0
    for path, field in zip(paths, ("title", "\xa9nam", "title"), strict=True):
        n_bytes = path.stat().st_size
        file = mutagen.File(path)
        file[field] = ["A long title " * 1000]
        file.save()
        assert path.stat().st_size > n_bytes
    found = predict(paths[0].parent, code=0)
    assert recalled(found) == len(paths)
    assert found["tracks"] == first["tracks"]


def test_changed_audio_of_the_same_size_and_time_is_heard_again(predict, collection, sources):
    first = predict(collection)
    status = (collection / "b.wav").stat()
    (collection / "new").write_bytes(sources["b.wav"][:44] + sources["b.wav"][:43:-1])
    (collection / "new").replace(collection / "b.wav")
    os.utime(collection / "b.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    found = predict(collection)
    assert recalled(found) == 4
    assert found["tracks"][1]["tags"] != first["tracks"][1]["tags"]
    assert found["tracks"] == predict(collection, "--no-cache")["tracks"]


def test_a_time_past_all_reckoning_is_no_trouble(predict, collection):
    path = collection / "b.wav"
    try:
        os.utime(path, ns=(0, 99_999_999_999_999 * 10**9))
    except OverflowError:
        pytest.skip("no such time can be set here")
    predict(path, code=0)
    assert recalled(predict(path, code=0)) == 1


# Several processes


@pytest.fixture
def many(tmp_path, music, encode):
    """Short tracks, all different, and how long a run of one worker takes does not matter."""
    source = encode(tmp_path / "source.wav", music(8, 8000, n_channels=1, seed=7), 8000).read_bytes()
    return make_many(tmp_path / "many", source, N_TRACKS)


def test_two_processes_on_one_folder_hear_each_track_once(many, predict, tiny_checkpoint):
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", "-j", "1", many)
    processes = [start(*arguments) for _ in range(2)]
    documents = []
    for process in processes:
        data, talk = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, talk
        documents.append(json.loads(data))
    expected = predict(many, "--no-cache", code=0)["tracks"]
    assert len(expected) == N_TRACKS
    assert [document["tracks"] for document in documents] == [expected, expected]
    assert sum(map(recalled, documents)) == N_TRACKS


def test_after_a_killed_run_the_next_goes_on_at_once(tmp_path, music, encode, predict, tiny_checkpoint, cache):
    source = encode(tmp_path / "source.wav", music(20, 8000, n_channels=1, seed=7), 8000).read_bytes()
    many = make_many(tmp_path / "many", source, 150)
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "jsonl", "-j", "1", many)
    with start(*arguments) as process:
        done = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.kill()
        done += [json.loads(line) for line in process.stdout if line.endswith("\n")]
    assert len(done) < 150
    assert len(list(cache.parent.glob("*.lock"))) == 1
    began = time.monotonic()
    document = predict(many, code=0)
    assert time.monotonic() - began < RERUN_SECONDS
    assert 3 <= len(done) <= recalled(document) < 150
    assert document["tracks"][: len(done)] == done
    assert document["tracks"] == predict(many, "--no-cache", code=0)["tracks"]
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]


def test_an_interrupted_run_leaves_its_results_and_no_claims(tmp_path, music, encode, predict, tiny_checkpoint, cache):
    source = encode(tmp_path / "source.wav", music(20, 8000, n_channels=1, seed=7), 8000).read_bytes()
    many = make_many(tmp_path / "many", source, 150)
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "jsonl", "-j", "1", many)
    with start(*arguments) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        done = [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]
    with contextlib.closing(sqlite3.connect(cache)) as connection:
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    document = predict(many, code=0)
    assert len(done) <= recalled(document) < 150
    assert document["tracks"][1 : len(done) + 1] == done


# Failures


def test_failures_are_remembered_and_tried_again_when_asked(predict, collection, sources):
    bad = collection / "e.mp3"
    first = predict(bad)
    renamed = bad.rename(collection / "\N{LATIN SMALL LETTER E WITH ACUTE}.mp3")
    again = predict(renamed)
    assert recalled(again) == 1
    assert again["tracks"] == predict(renamed, "--no-cache")["tracks"]
    assert again["tracks"][0]["message"] == first["tracks"][0]["message"].replace(str(bad), str(renamed))
    assert recalled(predict(renamed, "--retry-failed")) == 0
    assert recalled(predict(renamed)) == 1
    renamed.write_bytes(sources["b.wav"])
    assert predict(renamed, code=0)["tracks"][0]["status"] == "ok"


def test_missing_and_empty_files_are_looked_at_each_time(predict, collection):
    empty, missing = collection / "empty.mp3", collection / "missing.mp3"
    empty.touch()
    for _ in range(2):
        document = predict(empty, missing)
        assert recalled(document) == 0
        assert [row["reason"] for row in document["tracks"]] == ["empty", "missing"]
    assert run("errors").stdout == ""


def without_roots_powers():
    """What is put before a command so that permissions hold for root, too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may read everything here")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions of this kind here")
def test_what_may_not_be_read_is_looked_at_each_time(tiny_checkpoint, collection, predict):
    path = collection / "b.wav"
    path.chmod(0)
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", path)
    with start(*arguments, before=without_roots_powers()) as process:
        data, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3, talk
    assert json.loads(data)["tracks"][0]["reason"] == "unreadable"
    path.chmod(0o644)
    document = predict(path, code=0)
    assert (recalled(document), document["summary"]["tagged"]) == (0, 1)


def test_silence_is_remembered_and_is_no_error(predict, collection):
    predict(collection / "d.wav", code=0)
    for more in ((), ("--retry-failed",)):
        document = predict(collection / "d.wav", *more, code=0)
        assert (recalled(document), document["tracks"][0]["reason"]) == (1, "silent")
    assert run("errors").stdout == ""


# The command `errors`


@pytest.fixture
def failed(predict, collection):
    """A collection with five files that fail, in folders whose names begin alike."""
    names = [b"one/e.mp3", b"one/caf\xe9.mp3", b"one more/x\n\x1b[31m.mp3", b"one/deeper/y.mp3"]
    paths = [collection / "e.mp3", *(collection / os.fsdecode(name) for name in names)]
    for number, path in enumerate(paths[1:]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not audio\n" * (300 + number))
    predict(collection)
    return sorted(paths, key=os.fsencode)


def listed(*arguments):
    """What `errors` lists, by the bytes of their names."""
    tracks = json.loads(run("errors", "--format", "json", *arguments).stdout)["tracks"]
    return [base64.b64decode(row["path_b64"]) if "path_b64" in row else os.fsencode(row["path"]) for row in tracks]


def test_errors_are_listed(failed):
    document = json.loads(run("errors", "--format", "json").stdout)
    assert document["format_version"] == 1
    assert listed() == [os.fsencode(path) for path in failed]
    for row in document["tracks"]:
        assert set(row) <= {"path", "path_b64", "reason", "message"}
        assert row["reason"] == "not_audio"
        assert row["message"].startswith(row["path"])
    lines = run("errors").stdout.splitlines()
    assert len(lines) == len(failed)
    assert all(line.startswith("not_audio\t/") for line in lines)
    assert "\x1b" not in "".join(lines)  # no name steers the terminal


def test_errors_make_a_playlist(failed, monkeypatch):
    monkeypatch.chdir(failed[0].parent)
    one_line = [os.fsencode(path) for path in failed if "\n" not in path.name]
    content = run("errors", "--m3u", *{path.parent for path in failed if "\n" not in path.name}).stdout_bytes
    head, *lines = content.splitlines()
    assert head == b"#EXTM3U"
    assert [line for line in lines if line in one_line] == one_line
    assert b"caf\xe9.mp3" in content
    assert run("errors", "--m3u", "--format", "json", code=2).stdout == ""


def test_errors_are_listed_below_a_path_only(failed, collection, monkeypatch):
    def below(*names):
        return [
            os.fsencode(path) for path in failed if any(collection / name in (path, *path.parents) for name in names)
        ]

    assert len(below("one")) == 3
    assert listed(collection / "one") == below("one")  # not `one more`
    assert listed(f"{collection / 'one'}/") == below("one")
    assert listed(collection / "one" / ".." / "one more") == below("one more")
    assert listed(collection / "one more", collection / "e.mp3") == below("one more", "e.mp3")
    assert listed("/") == below("")
    assert listed(collection / "nowhere") == []
    monkeypatch.chdir(collection / "one")
    assert listed(".") == below("one")
    assert listed("deeper") == below("one/deeper")


def test_files_that_were_mended_moved_or_removed_are_not_listed(failed, collection, sources, predict):
    first, second, third, *others = failed
    first.unlink()
    second.write_bytes(sources["b.wav"])
    third.rename(third.with_name("renamed.mp3"))
    rest = [os.fsencode(path) for path in others]
    assert listed() == rest
    predict(collection)
    assert listed() == sorted([os.fsencode(third.with_name("renamed.mp3")), *rest])
    (collection.parent / "away").mkdir()
    shutil.move(collection, collection.parent / "away")
    assert listed() == []


def test_before_there_is_a_cache_there_are_no_errors():
    assert run("errors").stdout == ""
    assert run("errors", "--m3u").stdout == "#EXTM3U\n"
    assert listed() == []


# The command `cache`


def test_the_cache_tells_of_itself(predict, collection, cache):
    predict(collection)
    predict(collection, "--clips", "middle")
    shutil.copyfile(collection / "a.mp3", collection / "copy.mp3")
    predict(collection)
    facts = json.loads(run("cache", "info", "--format", "json").stdout)
    assert facts["path"] == str(cache)
    assert facts["size"] >= cache.stat().st_size
    assert (facts["n_files"], facts["n_payloads"], facts["n_failures"]) == (6, 5, 2)
    assert [(row["model"], row["n"]) for row in facts["n_results"]] == [("tiny", 5), ("tiny", 5)]
    assert ["clips=all" in row["settings"] for row in facts["n_results"]] == [True, False]
    lines = run("cache", "info").stdout.splitlines()
    assert (
        any(line.split() == ["file", str(cache)] for line in lines if " " not in str(cache)) or str(cache) in lines[0]
    )
    assert any("5 in 6 files" in line for line in lines)
    assert sum("tiny" in line for line in lines) == 2


def test_gone_files_are_pruned(predict, collection, cache):
    predict(collection)
    (collection / "a.mp3").unlink()
    (collection / "c.mp3").rename(collection / "renamed.mp3")
    assert run("cache", "prune", "--dry-run").stdout == "2 files and 2 results would be forgotten.\n"
    assert run("cache", "prune", "--dry-run").stdout == "2 files and 2 results would be forgotten.\n"
    predict(collection)
    assert run("cache", "prune").stdout == "2 files and 1 results are forgotten.\n"
    assert run("cache", "prune").stdout == "0 files and 0 results are forgotten.\n"
    assert recalled(predict(collection)) == 4
    shutil.rmtree(collection)
    assert run("cache", "prune").stdout == "4 files and 4 results are forgotten.\n"
    facts = json.loads(run("cache", "info", "--format", "json").stdout)
    assert (facts["n_files"], facts["n_payloads"], facts["n_results"]) == (0, 0, [])


def test_what_another_version_heard_is_pruned_and_its_failures_are_not_told(predict, collection, cache, monkeypatch):
    with monkeypatch.context() as other:
        other.setattr(tagcli.tagger.memory, "SETTINGS_END", " numbers=0")
        predict(collection)
        assert run("errors").stdout
    assert run("errors").stdout == ""
    assert json.loads(run("cache", "info", "--format", "json").stdout)["n_failures"] == 0
    assert recalled(predict(collection)) == 0
    assert run("errors").stdout
    assert run("cache", "prune").stdout == "0 files and 5 results are forgotten.\n"
    assert recalled(predict(collection)) == 5


@pytest.mark.parametrize("damage", [None, b"no database at all", b""])
def test_the_cache_is_cleared(damage, predict, collection, cache):
    predict(collection)
    if damage is not None:
        cache.write_bytes(damage)
    assert "free again" in run("cache", "clear").stdout
    assert list(cache.parent.iterdir()) == []
    assert recalled(predict(collection)) == 0


def test_before_there_is_a_cache_there_is_nothing_to_look_after(cache):
    assert "0.0 MB" in run("cache", "clear").stdout
    assert not cache.exists()
    assert run("cache", "prune", "--dry-run").stdout == "0 files and 0 results would be forgotten.\n"
    assert run("cache", "prune").stdout == "0 files and 0 results are forgotten.\n"
    assert "0 in 0 files" in run("cache", "info").stdout


@pytest.mark.parametrize("arguments", [("cache", "info"), ("cache", "prune"), ("errors",)])
def test_a_cache_that_is_none_is_one_sentence_for_those_who_look_at_it(arguments, cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("no database" * 100)
    result = run(*arguments, code=1)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "tagcli cache clear" in result.stderr


# Trouble


def put_a_file_in_the_way(cache):
    cache.parent.parent.write_text("a file")


def put_a_folder_in_the_way(cache):
    cache.mkdir(parents=True)


def put_something_else(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("no database" * 1000)


def put_another_version(cache):
    cache.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(cache)) as connection:
        connection.execute("PRAGMA user_version = 77")


def put_other_tables(cache):
    cache.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(cache)) as connection:
        connection.execute("CREATE TABLE files (name)")


TROUBLES = [put_a_file_in_the_way, put_a_folder_in_the_way, put_something_else, put_another_version, put_other_tables]


@pytest.mark.parametrize("put", TROUBLES)
def test_a_run_goes_on_without_a_cache_that_cannot_be_used(put, predict, collection, tiny_checkpoint, cache):
    expected = predict(collection, "--no-cache")["tracks"]
    put(cache)
    before = cache.read_bytes() if cache.is_file() else None
    result = run("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", collection, code=3)
    assert json.loads(result.stdout)["tracks"] == expected
    told = [line for line in result.stderr.splitlines() if "cache" in line]
    assert len(told) == 1
    assert str(cache) in told[0]
    assert "goes on without it" in told[0]
    assert before is None or cache.read_bytes()[100:] == before[100:]  # behind SQLite's own header
    (collection / "e.mp3").unlink()
    predict(collection, code=0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions of this kind here")
def test_a_run_goes_on_where_nothing_may_be_written(predict, collection, tiny_checkpoint, cache):
    predict(collection)
    (collection / "b.wav").touch()
    os.utime(collection / "b.wav", ns=(0, 0))
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", collection)
    for folder in (cache.parent, cache.parent.parent):
        shutil.rmtree(cache.parent) if folder == cache.parent.parent else None
        folder.chmod(0o555)
        with start(*arguments, before=without_roots_powers()) as process:
            data, talk = process.communicate(timeout=PATIENCE_SECONDS)
        folder.chmod(0o755)
        assert process.returncode == 3, talk
        assert json.loads(data)["summary"]["tagged"] == 3
        assert len([line for line in talk.splitlines() if "cannot be used" in line]) == 1


@contextlib.contextmanager
def small_disk(folder):
    """A disk of a megabyte; only root can have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("no small disk can be had here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_becomes_full_is_told_of_once(many, predict, tiny_checkpoint, tmp_path, monkeypatch):
    expected = predict(many, "--no-cache", code=0)["tracks"]
    with small_disk(tmp_path / "disk"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "disk"))
        predict(many / "000.wav", code=0)
        with (tmp_path / "disk" / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        result = run("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "json", many)
        assert json.loads(result.stdout)["tracks"] == expected
        assert result.stderr.count("goes on without it") == 1
        (tmp_path / "disk" / "filler").unlink()
        document = predict(many, code=0)
        assert recalled(document) >= 1
        assert document["tracks"] == expected
        assert recalled(predict(many, code=0)) == N_TRACKS


def test_a_cache_that_is_removed_in_the_middle_is_no_trouble(many, predict, tiny_checkpoint, cache):
    expected = predict(many, "--no-cache", code=0)["tracks"]
    arguments = ("predict", "--model", tiny_checkpoint, "--device", "cpu", "--format", "jsonl", "-j", "1", many)
    with start(*arguments) as process:
        rows = [json.loads(process.stdout.readline())]
        assert run("cache", "clear").exit_code == 0
        rows += [json.loads(line) for line in process.stdout]
    assert process.returncode == 0
    assert rows == expected
    assert predict(many, code=0)["tracks"] == expected


def test_a_cache_that_another_holds_is_waited_for_a_while(many, predict, cache, monkeypatch, tiny_checkpoint):
    predict(many / "000.wav", code=0)
    other = sqlite3.connect(cache, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    timer.start()
    assert recalled(predict(many, code=0)) == 1
    timer.join()
    monkeypatch.setattr(tagcli.database, "PATIENCE_SECONDS", 0.1)
    other.execute("BEGIN IMMEDIATE")
    result = run("predict", "--model", tiny_checkpoint, "--device", "cpu", many)
    assert result.stderr.count("database is locked") == result.stderr.count("goes on without it") == 1
    other.execute("ROLLBACK")
    other.close()
    assert recalled(predict(many, code=0)) == N_TRACKS


def test_what_trainings_have_kept_is_measured_and_deleted_and_nothing_else_is(cache):
    for name, size in (("clips/a/waveforms.int16", 3_000_000), ("lessons/b/cd/e.safetensors", 1_500_000)):
        path = cache.parent / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(size))
    cache.parent.joinpath("other").mkdir()
    facts = json.loads(run("cache", "info", "--format", "json").stdout)
    assert [(kept["kind"], kept["size"]) for kept in facts["training"]] == [
        ("clips", 3_000_000),
        ("lessons", 1_500_000),
    ]
    assert f"lessons    1.5 MB in {cache.parent / 'lessons'}, for training" in run("cache", "info").stdout
    assert run("cache", "clear", "--training").stdout == "4.5 MB are free again.\n"
    assert sorted(path.name for path in cache.parent.iterdir() if path.is_dir()) == ["other"]
    assert cache.exists()
    assert run("cache", "clear", "--training").stdout == "0.0 MB are free again.\n"
