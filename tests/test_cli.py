"""The program as people and scripts meet it: data on stdout, talk on stderr, exit codes, files whole or not at all."""

import csv
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mutagen.flac import FLAC
from mutagen.id3 import ID3
from typer.testing import CliRunner

from tagcli import __version__
from tagcli.checkpoint import read_header
from tagcli.cli import app
from tagcli.cli.interrupts import Interrupts
from tagcli.cli.options import ResultFormat
from tagcli.cli.output import make_writer
from tagcli.metadata.players import Player
from tagcli.rows import Row, Status
from tagcli.tagger import TagOptions, load_tagger
from tagcli.tags import TrackScores

ROW_KEYS = ["path", "status", "reason", "message", "warnings", "duration_seconds", "n_clips", "tags", "written"]
TAGS = {"rock", "jazz", "guitar", "sad", "90s", "electronic"}
HELP_RATIO = 2.0
"""To the smallest program of the same kind; it is 1.5, and importing numpy alone makes it more than 2."""
SLOW_MODULES = ("torch", "librosa", "sklearn", "scipy", "numba", "numpy", "av", "soundfile", "h5py", "rich", "tqdm")
SCORES = 1e-5
"""Scores are printed with six decimals; batches of another size move the last one."""
PATIENCE_SECONDS = 60


def run(*arguments, code=0):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result


def start(*arguments, **options):
    """Start the program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tagcli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def sources(music, encode, tmp_path_factory):
    """A collection: five tracks that are tagged, one silent, one that is no audio."""
    folder = tmp_path_factory.mktemp("sources")
    encode(folder / "a.mp3", music(5, 44_100, seed=1), 44_100)
    encode(folder / "b.wav", music(3, 8000, n_channels=1, seed=2), 8000)
    encode(folder / "c, [x]\n.wav", music(1.5, 8000, n_channels=1, seed=3), 8000)
    encode(folder / "d.flac", music(4, 22_050, seed=4), 22_050)
    encode(folder / "e.mp3", music(2.5, 44_100, seed=5), 44_100)
    encode(folder / "f.wav", np.zeros((1, 20_000), dtype=np.float32), 8000)
    (folder / "g.mp3").write_text("not audio\n" * 400)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def collection(sources, tmp_path):
    """The collection, to be changed at will."""
    folder = tmp_path / "collection"
    folder.mkdir()
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def sound(collection):
    """The collection without the file that fails."""
    (collection / "g.mp3").unlink()
    return collection


@pytest.fixture
def predict(tiny_checkpoint):
    """Run `tagcli predict` with the tiny tagger."""

    def run_predict(*arguments, code=0, before=()):
        return run(*before, "predict", "--model", tiny_checkpoint, "--device", "cpu", *arguments, code=code)

    return run_predict


# Formats


def test_json_lines_are_rows_in_the_order_of_discovery(predict, collection):
    result = predict(collection, "--format", "jsonl", code=3)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in sorted(collection.iterdir())]
    for row in rows:
        assert list(row) == ROW_KEYS
        assert row["written"] is None
        scores = [tag["score"] for tag in row["tags"]]
        assert scores == sorted(scores, reverse=True)
        assert all(list(tag) == ["tag", "score"] and tag["tag"] in TAGS for tag in row["tags"])
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["skipped", "failed"]
    assert [row["reason"] for row in rows] == [None] * 5 + ["silent", "not_audio"]
    assert [len(row["tags"]) for row in rows] == [5] * 5 + [0, 0]
    assert [row["n_clips"] for row in rows] == [3, 2, 1, 2, 1, 0, 0]
    assert [row["warnings"] for row in rows] == [[], [], ["padded"], [], [], [], []]
    assert [row["duration_seconds"] for row in rows][1:3] == [3.0, 1.5]
    assert (rows[5]["duration_seconds"], rows[6]["duration_seconds"]) == (2.5, None)
    assert all(row["path"] in row["message"] for row in rows[5:])
    assert all(row["message"] is None for row in rows[:5])


def test_json_is_one_document_with_model_settings_and_summary(predict, collection, tiny_checkpoint):
    import hashlib

    content = json.loads(predict(collection, "--format", "json", "--clips", "2", "-n", "3", code=3).stdout)
    assert list(content) == ["format_version", "model", "settings", "tracks", "summary"]
    assert content["format_version"] == 1
    sha256 = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    assert content["model"] == {"name": "tiny", "sha256": sha256}
    assert content["settings"]["clips"] == "2"
    assert content["settings"]["top"] == 3
    assert [list(row) for row in content["tracks"]] == [ROW_KEYS] * 7
    assert {len(row["tags"]) for row in content["tracks"]} == {3, 0}
    summary = content["summary"]
    assert (summary["tagged"], summary["skipped"], summary["failed"]) == (5, 1, 1)
    assert summary["reasons"] == {"silent": 1, "not_audio": 1}
    assert summary["interrupted"] is False
    assert (summary["device"], summary["recalled"]) == ("cpu", 0)
    assert sum(summary["shares"].values()) == pytest.approx(1, abs=0.01)


def test_the_formats_say_the_same(predict, collection):
    rows = [json.loads(line) for line in predict(collection, "--format", "jsonl", code=3).stdout.splitlines()]
    document = json.loads(predict(collection, "--format", "json", code=3).stdout)
    assert document["tracks"] == rows
    lines = list(csv.reader(io.StringIO(predict(collection, "--format", "csv", code=3).stdout, newline="")))
    assert lines[0] == ["path", "status", "reason", "rank", "tag", "score"]
    expected = []
    for row in rows:
        start = [row["path"], row["status"], row["reason"] or ""]
        expected += [[*start, str(n), tag["tag"], str(tag["score"])] for n, tag in enumerate(row["tags"], start=1)]
        expected += [] if row["tags"] else [[*start, "", "", ""]]
    assert lines[1:] == expected
    table = predict(collection, code=3).stdout.splitlines()
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        path, middle, *notes = line.split("\t")
        assert path == row["path"].replace("\n", "\ufffd")
        said = ", ".join(f"{tag['tag']} {tag['score']:.2f}" for tag in row["tags"])
        assert middle == (said or f"{row['status']}: {row['reason']}")
        assert notes == [", ".join(row["warnings"])] * bool(row["warnings"])


def test_one_track_on_the_command_line(predict, sound):
    (line,) = predict(sound / "b.wav").stdout.splitlines()
    assert line.startswith(f"{sound / 'b.wav'}\t")


def test_a_name_that_is_not_utf8_is_told_whole(predict, sources, tmp_path, music):
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.wav", b"\xff.mp3"))
    good.write_bytes(sources["b.wav"])
    bad.touch()
    for format_ in ("table", "csv", "json"):
        assert "caf\ufffd.wav" in predict(good, bad, "--format", format_, code=3).stdout
    result = predict(good, bad, "--format", "jsonl", code=3)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert "\ufffd.mp3" in rows[1]["message"]
    assert all("path_b64" in row for row in rows)
    assert "\ufffd.mp3" in result.stderr
    shown = run("show", bad, "--format", "json")
    assert "\ufffd.mp3" in json.loads(shown.stdout)["tracks"][0]["unsupported"]


# Streams and files


def test_results_go_to_stdout_and_talk_to_stderr(predict, collection):
    result = predict(collection, "--format", "csv", code=3)
    assert "Done" in result.stderr
    assert "tiny on cpu" in result.stderr
    assert re.search(r"bottleneck .* (decoding|scoring|starting|looking up) \d+% of the workers' time", result.stderr)
    assert re.search(r"speed .* [\d,]+ x real time", result.stderr)
    assert "not_audio" in result.stderr
    assert str(collection / "g.mp3") in "".join(result.stderr.split("\n")).replace("│", "")
    assert "Done" not in result.stdout


def test_quiet_says_nothing_but_errors(predict, collection):
    result = predict(collection, "--format", "jsonl", code=3, before=["-q"])
    assert result.stderr == f"{collection / 'g.mp3'} is not audio, whatever its name says; remove it or exclude it.\n"
    assert len(result.stdout.splitlines()) == 7
    assert "No audio was found" in run("-q", "predict", collection, "--exclude", "*", code=1).stderr


def test_warnings_are_told_unless_quiet(predict, sound):
    os.link(sound / "a.mp3", sound.parent / "another name.mp3")
    arguments = (sound / "a.mp3", "--write", "--threshold", "0")
    assert "had 2 names (hard links)" in predict(*arguments).stderr
    os.link(sound / "e.mp3", sound.parent / "a third name.mp3")
    assert predict(sound / "e.mp3", *arguments[1:], before=["-q"]).stderr == ""


def test_each_row_of_json_lines_is_passed_on_at_once():
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, os.fdopen(writer, "w") as stream:
        make_writer(ResultFormat.JSONL, stream).write(Row(path=Path("a.mp3"), status=Status.OK))
        os.set_blocking(reader, False)
        assert json.loads(lines.readline())["path"] == "a.mp3"


@pytest.mark.parametrize("format_", ["table", "json", "jsonl", "csv"])
def test_results_go_into_a_file(format_, predict, collection, tmp_path):
    printed = predict(collection, "--format", format_, code=3).stdout
    target = tmp_path / "results"
    target.write_text("what was there before")
    result = predict(collection, "--format", format_, "-o", target, code=3)
    assert result.stdout == ""
    if format_ == "json":
        assert json.loads(target.read_text())["tracks"] == json.loads(printed)["tracks"]
    else:
        assert target.read_bytes().decode() == printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collection", "results"]


@pytest.mark.parametrize("option", ["-o", "--embeddings", "--over-time"])
def test_a_file_that_cannot_be_written_is_one_sentence(option, predict, sound, tmp_path):
    place = tmp_path / "nowhere" / "results.csv"
    result = predict(sound, option, place, code=1)
    assert str(place) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not place.parent.exists()


@pytest.fixture
def long_run(tiny_checkpoint, sources, tmp_path):
    """A run over many tracks that has begun to write its results file, and that file; the old one is still there."""
    folder, target = tmp_path / "many", tmp_path / "results.json"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number}.mp3").write_bytes(sources["a.mp3"])
    target.write_text("what was there before")
    with start("predict", "-m", tiny_checkpoint, "--format", "json", "-j", "1", "-o", target, folder) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(path.stat().st_size for path in tmp_path.glob(".results.json.*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process, target
        process.kill()


def test_a_killed_run_leaves_the_old_results_file(long_run):
    process, target = long_run
    process.kill()
    process.communicate(timeout=PATIENCE_SECONDS)
    assert target.read_text() == "what was there before"


def test_an_interrupted_run_says_so_and_keeps_its_results(long_run):
    process, target = long_run
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    content = json.loads(target.read_text(encoding="utf-8"))
    assert content["summary"]["interrupted"] is True
    assert 0 < len(content["tracks"]) == content["summary"]["tagged"] < 400
    assert "Interrupted" in talk
    assert "Traceback" not in talk
    assert sorted(path.name for path in target.parent.iterdir()) == ["many", "results.json"]


@pytest.mark.parametrize("format_", ["jsonl", "csv", "table"])
def test_a_reader_that_has_seen_enough_ends_the_run_without_a_traceback(format_, tiny_checkpoint, sources, tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.wav").write_bytes(sources["b.wav"])
    command = f'"{sys.executable}" -m tagcli predict -m "{tiny_checkpoint}" --format {format_} . | head -1'
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


# Exit codes and errors


def test_warnings_and_skips_are_no_failure(predict, sound):
    predict(sound)


def test_nothing_but_failures_is_some_failed(predict, collection):
    predict(collection / "g.mp3", collection / "nowhere.mp3", code=3)


def test_no_audio_is_an_error(predict, tmp_path):
    (tmp_path / "notes.txt").touch()
    result = predict(tmp_path, code=1)
    assert result.stdout == ""
    assert result.stderr == f"tagcli: No audio was found in {tmp_path}; give files, or folders with audio in them.\n"
    assert "No audio" in run("show", tmp_path, code=1).stderr


def test_missing_weights_are_an_error_with_the_command_that_brings_them(sound):
    result = run("predict", "-m", "won2020-msd-fcn", sound, code=1)
    assert result.stdout == ""
    assert "run `tagcli weights pull won2020-msd-fcn`" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "did you mean won2020-msd-fcn" in run("predict", "-m", "won2020-msd-fnc", sound, code=1).stderr


def test_without_a_bundled_model_one_sentence_says_what_to_do(sound, monkeypatch, tmp_path):
    import tagcli.weights.catalogue
    import tagcli.weights.places

    for module in (tagcli.weights.places, tagcli.weights.catalogue):
        monkeypatch.setattr(module, "bundled_folder", lambda: tmp_path / "bundled")
    result = run("predict", sound, code=1)
    assert result.stdout == ""
    assert "tagcli weights pull won2020-msd-fcn" in result.stderr
    assert "--model won2020-msd-fcn" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error(sound, tiny_checkpoint):
    run("predict", "-m", tiny_checkpoint, "--device", "cpu", sound)  # what is remembered needs no device
    assert "is not a device" in run("predict", "-m", tiny_checkpoint, "--device", "cuad", sound, code=2).stderr
    run("cache", "clear")
    result = run("predict", "-m", tiny_checkpoint, "--device", "cuda", sound, code=1)
    assert result.stdout == ""
    assert "There is no CUDA device here" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clips", "some"],
        ["--clips", "0"],
        ["--clips", "-1"],
        ["--threshold", "1.5"],
        ["--threshold", "-0.1"],
        ["--threshold", "x"],
        ["--threshold", "nan"],
        ["--top", "0"],
        ["--batch-size", "0"],
        ["--jobs", "0"],
        ["--format", "xml"],
        ["--genre", "always"],
        ["--nothing"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(arguments, predict, sound):
    result = predict(sound, *arguments, code=2)
    assert result.stdout == ""
    assert arguments[0] in result.stderr


@pytest.mark.parametrize("arguments", [["predict"], ["nothing"], ["show"], ["--nothing"]], ids=" ".join)
def test_wrong_commands_exit_with_two(arguments):
    assert run(*arguments, code=2).stdout == ""


# Choices


def test_top_threshold_and_exclude(predict, sound):
    def rows(*arguments):
        return [json.loads(line) for line in predict(sound, "--format", "jsonl", *arguments).stdout.splitlines()]

    everything = rows("--top", "100")
    assert {len(row["tags"]) for row in everything if row["status"] == "ok"} == {6}
    assert [row["tags"][:2] for row in everything] == [row["tags"] for row in rows("-n", "2")]
    middle = sorted(tag["score"] for row in everything for tag in row["tags"])[15]
    above = [[tag for tag in row["tags"] if tag["score"] >= middle] for row in everything]
    assert [row["tags"] for row in rows("-n", "100", "--threshold", middle - 1e-6)] == above
    rest = rows("--exclude", "*.mp3", "--exclude", "f*")
    assert [row["path"] for row in rest] == [str(sound / name) for name in ("b.wav", "c, [x]\n.wav", "d.flac")]
    assert [row["tags"] for row in rest] == [row["tags"][:5] for row in everything[1:4]]


def test_workers_and_batches_change_nothing(predict, sound):
    arguments = (sound, "--format", "csv")
    expected = predict(*arguments).stdout
    for more in (["-j", "1"], ["--jobs", "3", "--batch-size", "4"], ["--no-cache"]):
        found = predict(*arguments, *more).stdout
        for ours, theirs in zip(csv.reader(io.StringIO(found)), csv.reader(io.StringIO(expected)), strict=True):
            assert ours[:5] == theirs[:5]
            if theirs[0] != "path" and theirs[5]:
                assert float(ours[5]) == pytest.approx(float(theirs[5]), abs=SCORES)


@pytest.fixture
def scored(tiny_checkpoint):
    """What the library says of the tracks of a collection that can be tagged, with everything that can be saved."""

    def score(collection):
        options = TagOptions(with_taggram=True, with_embeddings=True)
        results = load_tagger(tiny_checkpoint, device="cpu").score(sorted(collection.iterdir()), options)
        return [result for result in results if isinstance(result, TrackScores)]

    return score


def test_embeddings_are_saved_by_track(predict, collection, tmp_path, scored):
    predict(collection, "--embeddings", tmp_path / "embeddings.npz", code=3)
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["block_1", "block_2", "block_3", "block_4", "block_5", "paths"]
        assert arrays["paths"].tolist() == [str(path) for path in sorted(collection.iterdir())[:5]]
        for number in range(1, 6):
            block = arrays[f"block_{number}"]
            assert (block.shape, block.dtype) == ((5, 4), np.float32)
            for saved, result in zip(block, scored(collection), strict=True):
                np.testing.assert_allclose(saved, result.embeddings[number - 1], rtol=1e-5, atol=1e-6)


def test_no_embeddings_make_a_file_all_the_same(predict, collection, tmp_path):
    predict(collection / "f.wav", "--embeddings", tmp_path / "embeddings.npz")
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as arrays:
        assert arrays["paths"].shape == (0,)


def test_scores_over_time_are_saved_by_clip(predict, collection, tmp_path, tiny_checkpoint, scored):
    predict(collection, "--over-time", tmp_path / "time.csv", code=3)
    with (tmp_path / "time.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    tags = list(read_header(tiny_checkpoint).vocabulary.tags)
    assert header == ["path", "start_seconds", *tags]
    results = scored(collection)
    assert [line[0] for line in lines] == [str(result.path) for result in results for _ in range(result.n_clips)]
    starts = np.concatenate([result.clip_starts_seconds for result in results])
    np.testing.assert_allclose([float(line[1]) for line in lines], starts, rtol=0, atol=0.0005)
    assert [line[1] for line in lines[:2]] == ["0.000", "2.000"]
    scores = np.array([line[2:] for line in lines], dtype=float)
    np.testing.assert_allclose(scores, np.concatenate([result.taggram for result in results]), rtol=0, atol=SCORES)


# Writing


def written(result):
    return [json.loads(line)["written"] for line in result.stdout.splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_plan_is_made_then_written_shown_and_found_unchanged(predict, sound, sources):
    arguments = (sound, "--format", "jsonl", "--threshold", "0")
    before = contents(sound)
    assert written(predict(*arguments)) == [None] * 6
    planned = ["planned"] * 5 + [None]
    assert written(predict(*arguments, "--dry-run")) == planned
    assert written(predict(*arguments, "--dry-run", "--write")) == planned
    assert contents(sound) == before

    result = predict(*arguments, "--write")
    assert written(result) == [state and state.replace("planned", "written") for state in planned]
    after = contents(sound)
    assert {name for name in before if after[name] != before[name]} == set(before) - {"f.wav"}
    for name in ("a.mp3", "d.flac"):
        assert after[name].endswith(before[name][-10_000:])

    rows = {row["path"]: row for row in map(json.loads, result.stdout.splitlines())}
    shown = json.loads(run("show", sound / "a.mp3", "--format", "json").stdout)
    assert shown["format_version"] == 1
    (track,) = shown["tracks"]
    fields = {field["field"]: field["values"] for field in track["fields"]}
    tags = rows[track["path"]]["tags"]
    assert fields["TXXX:TAGCLI_TAGS"] == [tag["tag"] for tag in tags]
    assert fields["TXXX:TAGCLI_SCORES"] == [f"{tag['score']:.3f}" for tag in tags]
    assert fields["TXXX:TAGCLI_MODEL"][0].startswith("tiny@")
    assert set(fields["TCON"]) <= {"rock", "jazz", "electronic"}
    (track,) = json.loads(run("show", sound / "d.flac", "--format", "json").stdout)["tracks"]
    fields = {field["field"]: field["values"] for field in track["fields"]}
    assert fields["TAGCLI_TAGS"] == [tag["tag"] for tag in rows[track["path"]]["tags"]]

    lines = run("show", sound / "a.mp3").stdout.splitlines()
    assert lines[0].startswith(str(sound / "a.mp3"))
    assert any(line.split()[0] == "TXXX:TAGCLI_TAGS" for line in lines[1:])

    again = written(predict(*arguments, "--write"))
    assert again == ["unchanged"] * 5 + [None]
    assert contents(sound) == after
    assert written(predict(*arguments, "--dry-run")) == again


def test_the_genre_is_filled_and_otherwise_left_as_told(predict, sound):
    def genre():
        (track,) = json.loads(run("show", sound / "a.mp3", "--format", "json").stdout)["tracks"]
        return [value for field in track["fields"] if field["field"] == "TCON" for value in field["values"]]

    arguments = (sound / "a.mp3", "--write", "--threshold", "0", "-n", "6")
    predict(*arguments, "--genre", "never")
    assert genre() == []
    predict(*arguments)
    assert sorted(genre()) == ["electronic", "jazz", "rock"]


def test_a_file_that_cannot_be_written_fails_and_the_others_are_written(predict, sound):
    (sound / "a.mp3").chmod(0o444)
    before = contents(sound)
    result = predict(sound, "--format", "jsonl", "--threshold", "0", "--write", code=3)
    row, *_, last, _ = map(json.loads, result.stdout.splitlines())
    assert (row["status"], row["reason"], row["written"]) == ("failed", "write_failed", "failed")
    assert len(row["tags"]) == 5
    assert str(sound / "a.mp3") in row["message"]
    assert last["written"] == "written"
    assert (sound / "a.mp3").read_bytes() == before["a.mp3"]
    assert "write_failed" in result.stderr


def test_show_tells_what_it_cannot_read(sound, music, encode):
    raw = encode(sound / "h.aac", music(1, 44_100), 44_100)
    result = run("show", sound / "a.mp3", raw)
    assert str(raw) in result.stdout
    assert "into which tagcli does not write" in result.stderr
    (sound / "a.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x20" + b"\x01" * 32 + (sound / "a.mp3").read_bytes())
    assert "damaged" in run("show", sound / "a.mp3", code=3).stderr


# Players


def seen_as(player, path):
    (track,) = json.loads(run("show", path, "--as", player, "--format", "json").stdout)["tracks"]
    return {seen["field"]: seen for seen in track["seen"]}


def test_show_tells_what_a_player_makes_of_a_file(sound, music, encode):
    raw = encode(sound / "h.aac", music(1, 44_100), 44_100)
    flac = FLAC(sound / "d.flac")
    flac["GENRE"], flac["MOOD"] = ["Drum, Bass", "Rock"], ["sad"]
    flac.save()
    shown = json.loads(run("show", sound / "d.flac", raw, "--as", "navidrome", "--format", "json").stdout)
    assert list(shown) == ["format_version", "as", "tracks"]
    assert shown["as"] == "navidrome"
    other, track = sorted(shown["tracks"], key=lambda track: "seen" in track)
    assert "unsupported" in other
    assert track["seen"] == [
        {
            "field": "genre",
            "values": ["Drum", "Bass", "Rock"],
            "warnings": ["navidrome splits the genre 'Drum, Bass' at ','."],
        },
        {"field": "mood", "values": ["sad"], "warnings": []},
    ]
    assert {"field": "GENRE", "values": ["Drum, Bass", "Rock"]} in track["fields"]

    lines = run("show", sound / "d.flac", "--as", "jellyfin").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["genre", "Drum,", "Bass", "|", "Rock"],
        ["mood"],
        ["jellyfin", "does", "not", "read", "the", "mood."],
    ]
    assert run("show", sound / "d.flac", "--as", "winamp", code=2).stdout == ""
    assert "as" not in json.loads(run("show", sound / "d.flac", "--format", "json").stdout)


@pytest.mark.parametrize("player", Player)
def test_what_is_written_for_a_player_is_shown_as_it_reads_it(predict, sound, player):
    options = ("--threshold", "0", "-n", "6", "--grouping", "fill", "--comment", "fill", "--format", "jsonl")
    paths = [sound / "a.mp3", sound / "d.flac"]
    result = predict(*paths, "--write", "--for", player, *options)
    for path, row in zip(paths, map(json.loads, result.stdout.splitlines()), strict=True):
        assert row["written"] == "written"
        tags = [tag["tag"] for tag in row["tags"]]
        genres = [tag for tag in tags if tag in ("rock", "jazz", "electronic")]
        seen = seen_as(player, path)
        if player is Player.ITUNES and path.suffix == ".flac":
            assert {tuple(one["values"]) for one in seen.values()} == {()}
            continue
        assert seen["genre"]["values"] == genres[: 1 if player is Player.ITUNES else None]
        assert seen["genre"]["warnings"] == []
        has_mood = player not in (Player.JELLYFIN, Player.ITUNES)
        assert seen["mood"]["values"] == (["sad"] if has_mood else [])
        if player is not Player.JELLYFIN:
            assert "; ".join(seen["grouping"]["values"]) == "; ".join(seen["comment"]["values"]) == "; ".join(tags)
    assert written(predict(*paths, "--write", "--for", player, *options)) == ["unchanged"] * 2


def test_the_version_of_a_new_tag_is_chosen_and_an_old_one_keeps_its_own(predict, sound, sources):
    def version():
        (track,) = json.loads(run("show", path, "--format", "json").stdout)["tracks"]
        return track["version"]

    path = sound / "a.mp3"
    untagged = ID3(path).size
    for options, expected in (
        ((), "ID3v2.4"),
        (("--id3-version", "2.3"), "ID3v2.3"),
        (("--for", "itunes"), "ID3v2.3"),
        (("--for", "itunes", "--id3-version", "2.4"), "ID3v2.4"),
    ):
        path.write_bytes(sources["a.mp3"][untagged:])
        predict(path, "--write", *options)
        assert version() == expected
        predict(path, "--write", "--id3-version", "2.3", "--threshold", "0", "-n", "6")
        assert version() == expected
    predict(path, "--id3-version", "2.2", code=2)


# Configuration


@pytest.fixture
def config(tmp_path, tiny_checkpoint):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text.replace("MODEL", str(tiny_checkpoint)), encoding="utf-8")
        return path

    return write


def test_the_configuration_gives_defaults_and_the_command_line_goes_before_them(config, sound):
    path = config('[predict]\nmodel = "MODEL"\ntop = 2\nformat = "jsonl"\nexclude = ["c*", "*.mp3"]\nbatch-size = 2\n')
    rows = [json.loads(line) for line in run("--config", path, "predict", sound).stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(sound / name) for name in ("b.wav", "d.flac", "f.wav")]
    assert [len(row["tags"]) for row in rows] == [2, 2, 0]
    result = run("--config", path, "predict", sound, "--top", "1", "--format", "csv")
    assert len(result.stdout.splitlines()) == 4


def test_the_users_own_configuration_is_found(config, sound, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "user" / "tagcli").mkdir(parents=True)
    config('[predict]\nmodel = "MODEL"\nformat = "csv"\n').rename(tmp_path / "user" / "tagcli" / "config.toml")
    assert run("predict", sound / "b.wav").stdout.startswith("path,status,reason")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[predict]\ntopp = 3\n", "topp"),
        ("[prediction]\ntop = 3\n", "prediction"),
        ("top = 3\n", "top"),
        ('[predict]\ntop = "many"\n', "--top"),
        ("[predict]\nthreshold = 2.0\n", "--threshold"),
        ("[predict\n", "config.toml"),
    ],
    ids=["option", "command", "no-table", "type", "range", "syntax"],
)
def test_a_wrong_configuration_is_wrong_usage(text, reason, config, sound):
    result = run("--config", config(text), "predict", sound, code=2)
    assert reason in result.stderr
    assert result.stdout == ""


def test_a_configuration_that_is_not_there_is_wrong_usage(sound, tmp_path):
    assert "nowhere.toml" in run("--config", tmp_path / "nowhere.toml", "predict", sound, code=2).stderr


# The program itself


def test_the_version_is_told():
    assert run("--version").stdout == f"tagcli {__version__}\n"


def test_the_environment_is_told_as_json_and_as_lines():
    facts = json.loads(run("env", "--format", "json").stdout)
    assert facts["tagcli"] == __version__
    assert facts["torch"] == torch.__version__
    assert {"python", "platform", "device", "weights folder", "config file"} <= set(facts)
    assert len(run("env").stdout.splitlines()) == len(facts)


def test_no_arguments_give_the_help():
    result = CliRunner().invoke(app, [])
    assert "predict" in result.output
    assert "--version" in result.output


def test_the_listing_of_weights_is_part_of_the_program():
    rows = json.loads(run("weights", "list", "--format", "json").stdout)
    assert "won2020-msd-fcn" in {row["name"] for row in rows}
    assert run("weights", "path", "nothing-like-it", code=1).stdout == ""


@pytest.fixture(scope="module")
def after_import():
    """What is loaded once the program's commands are."""
    code = "import sys, tagcli.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_commands_load_nothing_slow(after_import):
    assert after_import.isdisjoint(SLOW_MODULES)


def test_the_help_comes_at_once():
    smallest = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"
    pairs = [
        (measure_cpu_seconds(["-m", "tagcli", "--help"]), measure_cpu_seconds(["-c", smallest, "--help"]))
        for _ in range(5)
    ]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours <= HELP_RATIO * theirs


def measure_cpu_seconds(arguments):
    """CPU time of a run of Python, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_commands_that_run_no_model_load_no_torch(sound, tmp_path):
    for arguments in (["show", str(sound / "a.mp3")], ["weights", "list"], ["--version"], ["predict", "--help"]):
        code = (
            "import sys, tagcli.cli\n"
            f"try: tagcli.cli.app({arguments!r})\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert 'torch' not in sys.modules\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)


def test_a_process_prints_results_and_keeps_its_streams_apart(tiny_checkpoint, collection, sources):
    damaged = bytearray(sources["a.mp3"])
    for position in np.random.default_rng(0).integers(5000, len(damaged) - 3000, size=60):
        damaged[position] ^= 0xFF
    (collection / "h.mp3").write_bytes(damaged)  # the decoder's own complaints are many
    process = start("predict", "-m", tiny_checkpoint, "--format", "jsonl", "--device", "cpu", collection)
    data, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 3
    assert len([json.loads(line) for line in data.splitlines()]) == 8
    assert "Done" in talk
    assert "mpg123" not in talk
    assert "error:" not in talk


# What results must not be written over


def test_a_track_is_not_written_over_by_results(predict, sound, tmp_path):
    before = contents(sound)
    assert "is a track" in predict(sound, "-o", sound / "a.mp3", code=1).stderr
    (tmp_path / "link.jsonl").symlink_to(sound / "b.wav")
    assert "is a track" in predict(sound, "-o", tmp_path / "link.jsonl", code=1).stderr
    same = tmp_path / "same.csv"
    assert "each its own" in predict(sound, "-o", same, "--over-time", same, code=1).stderr
    assert contents(sound) == before
    assert not same.exists()


def test_pipes_devices_and_links_are_written_to_and_not_replaced(predict, sound, tmp_path):
    (tmp_path / "real.jsonl").write_text("old")
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "real.jsonl")
    predict(sound, "--format", "jsonl", "-o", link)
    assert link.is_symlink()
    assert json.loads((tmp_path / "real.jsonl").read_text().splitlines()[0])["status"] == "ok"
    predict(sound, "-o", os.devnull)
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_stdout_is_told_in_a_sentence(sound, tiny_checkpoint):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tagcli", "predict", "--model", tiny_checkpoint, "--format", "jsonl", sound]
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 1
    assert "cannot be written to stdout" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_warning_during_the_run_reaches_the_real_stderr(sound, tiny_checkpoint, tmp_path):
    os.link(sound / "a.mp3", tmp_path / "another name.mp3")
    arguments = ("predict", "--model", tiny_checkpoint, "--write", "--threshold", "0", sound / "a.mp3")
    with start(*arguments) as process:
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert "had 2 names (hard links)" in stderr


@pytest.fixture
def handlers():
    """Put the handlers back, which an interrupted run keeps."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_track_in_hand(number):
    interrupts, steps = Interrupts(), []

    def work():
        with interrupts.held():
            signal.raise_signal(number)
            steps.append("finished")
        steps.append("went on")

    with interrupts.watch(), pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["finished"]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_of_a_track_interrupts_at_once(number):
    with Interrupts().watch(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_dash_is_stdout(predict, sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(predict(sound, "--format", "jsonl", "-o", "-").stdout.splitlines()) == 6
    assert not (tmp_path / "-").exists()


def test_a_name_cannot_steer_the_terminal(predict, sound):
    (sound / "a.mp3").rename(sound / "\x1b[31ma.mp3")
    assert "\x1b" not in predict(sound).stdout
