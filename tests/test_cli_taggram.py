"""The command `taggram`, and what `predict --over-time` saves: the same scores, whole files, and wrong input."""

import csv
import io
import json
import sys

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.id3 import ID3, TIT2, TPE1
from typer.testing import CliRunner

from tagcli.checkpoint import read_header
from tagcli.cli import app
from tagcli.cli.extras import Extras
from tagcli.tagger import TagOptions, load_tagger
from tagcli.tags import TrackScores

TAGS = ["rock", "jazz", "guitar", "sad", "90s", "electronic"]
SCORES = 1e-6
"""Scores are printed with six decimals."""
SIGNATURES = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF-", "html": b"<!DOCTYPE html>"}


def run(*arguments, code=0):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result


def unfold(text):
    """What is said in a box, in one line."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def taggram(tiny_checkpoint):
    """Run `tagcli taggram` with the tiny tagger: 8 kHz, clips of 2 s."""
    return lambda *arguments, code=0: run(
        "taggram", "--model", tiny_checkpoint, "--device", "cpu", *arguments, code=code
    )


@pytest.fixture
def predict(tiny_checkpoint):
    """Run `tagcli predict` with the tiny tagger."""
    return lambda *arguments, code=0: run(
        "predict", "--model", tiny_checkpoint, "--device", "cpu", *arguments, code=code
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory, music, encode):
    """Two tracks that are heard, a short one, a silent one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("collection")
    encode(folder / "a.mp3", music(7.3, 44_100, seed=1), 44_100)
    encode(folder / "b.wav", music(1.5, 8000, n_channels=1, seed=2), 8000)
    encode(folder / "c.flac", music(4, 22_050, seed=3), 22_050)
    soundfile.write(folder / "d.wav", np.zeros(30_000), 8000)
    (folder / "e.mp3").write_text("not audio\n" * 400)
    tags = ID3(folder / "a.mp3")
    tags.add(TIT2(encoding=3, text="So <b>What</b>\u202e"))
    tags.add(TPE1(encoding=3, text="Miles\nDavis"))
    tags.save()
    return folder


@pytest.fixture(scope="module")
def mix(collection):
    """The first of them."""
    return collection / "a.mp3"


# predict --over-time


def test_scores_over_time_are_saved_as_arrays(predict, collection, tmp_path, tiny_checkpoint):
    predict(collection, "--over-time", tmp_path / "time.NPZ", code=3)
    options = TagOptions(with_taggram=True)
    paths = sorted(collection.iterdir())
    results = [
        result
        for result in load_tagger(tiny_checkpoint, device="cpu").score(paths, options)
        if isinstance(result, TrackScores)
    ]
    with np.load(tmp_path / "time.NPZ", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["duration_seconds", "paths", "scores", "start_seconds", "tags"]
        assert arrays["tags"].tolist() == TAGS
        assert arrays["paths"].tolist() == [str(result.path) for result in results for _ in range(result.n_clips)]
        assert arrays["scores"].dtype == np.float32
        expected = np.concatenate([result.taggram for result in results])
        np.testing.assert_allclose(arrays["scores"], expected, rtol=0, atol=SCORES)
        np.testing.assert_array_equal(
            arrays["start_seconds"], np.concatenate([result.clip_starts_seconds for result in results])
        )
        assert arrays["duration_seconds"].tolist() == [2.0] * results[0].n_clips + [1.5] + [2.0] * 2
    assert [file.name for file in tmp_path.iterdir()] == ["time.NPZ"]


def test_both_kinds_of_files_say_the_same(predict, collection, tmp_path):
    for name in ("a.csv", "a.npz"):
        predict(collection, "--over-time", tmp_path / name, code=3)
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert header == ["path", "start_seconds", *arrays["tags"].tolist()]
        assert [line[0] for line in lines] == arrays["paths"].tolist()
        numbers = np.array([line[1:] for line in lines], dtype=float)
        np.testing.assert_allclose(numbers[:, 0], arrays["start_seconds"], rtol=0, atol=5e-4)
        np.testing.assert_allclose(numbers[:, 1:], arrays["scores"], rtol=0, atol=2 * SCORES)


def test_nothing_heard_makes_empty_arrays(predict, collection, tmp_path):
    predict(collection / "d.wav", "--over-time", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["scores"].shape == (0, 6)
        assert (arrays["paths"].shape, arrays["start_seconds"].shape) == ((0,), (0,))
        assert arrays["tags"].tolist() == TAGS


def test_arrays_and_lines_go_to_stdout_when_they_are_asked_to(predict, mix, tmp_path):
    data = predict(mix, "-o", tmp_path / "rows", "--embeddings", "-").stdout_bytes
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert arrays["paths"].tolist() == [str(mix)]
    header, *_ = csv.reader(io.StringIO(predict(mix, "-o", tmp_path / "rows", "--over-time", "-").stdout))
    assert header == ["path", "start_seconds", *TAGS]


@pytest.mark.parametrize("name", ["time.txt", "time", "time.npz.gz"])
def test_other_endings_are_csv(predict, mix, tmp_path, name):
    predict(mix, "--over-time", tmp_path / name)
    assert (tmp_path / name).read_text().startswith("path,start_seconds,")


@pytest.mark.parametrize("option", ["--over-time", "--embeddings"])
def test_a_run_that_breaks_off_leaves_the_old_file(predict, collection, tmp_path, monkeypatch, option):
    def fail(*arguments):
        raise RuntimeError

    (tmp_path / "a.npz").write_text("what was there before")
    monkeypatch.setattr(Extras, "add", fail)
    with pytest.raises(RuntimeError):
        predict(collection, option, tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_text() == "what was there before"
    assert len(list(tmp_path.iterdir())) == 1


# taggram: numbers


def test_with_a_hop_as_long_as_a_clip_it_prints_what_predict_saves(taggram, predict, mix, tmp_path):
    predict(mix, "--over-time", tmp_path / "time.csv")
    printed = taggram(mix, "--hop", "2", "--tags", ",".join(TAGS), "--format", "csv").stdout
    assert printed == (tmp_path / "time.csv").read_text(encoding="utf-8")
    row = json.loads(predict(mix, "--format", "jsonl", "--top", "6").stdout)
    document = json.loads(taggram(mix, "--hop", "2", "--top", "6", "--format", "json").stdout)
    assert [tag["tag"] for tag in document["track"]["tags"]] == [tag["tag"] for tag in row["tags"]]
    for ours, theirs in zip(document["track"]["tags"], row["tags"], strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=2 * SCORES)
    assert document["track"] | {"tags": row["tags"]} == row


def test_json_is_one_document_with_the_scores_of_each_clip(taggram, mix, tiny_checkpoint):
    document = json.loads(taggram(mix, "--top", "3", "--format", "json").stdout)
    assert list(document) == ["format_version", "model", "track", "title", "taggram"]
    assert document["model"]["name"] == read_header(tiny_checkpoint).name
    found = document["taggram"]
    assert (found["clip_seconds"], found["hop_seconds"]) == (2.0, 0.5)
    assert found["tags"] == [tag["tag"] for tag in document["track"]["tags"]]
    assert np.shape(found["scores"]) == (len(found["start_seconds"]), 3) == (document["track"]["n_clips"], 3)
    assert np.diff(found["start_seconds"]).tolist() == [0.5] * (len(found["start_seconds"]) - 1)
    means = np.mean(found["scores"], axis=0)
    np.testing.assert_allclose([tag["score"] for tag in document["track"]["tags"]], means, rtol=0, atol=2 * SCORES)
    assert sorted(means, reverse=True) == means.tolist()


def test_tags_are_named_in_any_letters_and_keep_their_order(taggram, mix):
    header, *_ = csv.reader(io.StringIO(taggram(mix, "--tags", " 90S, ROCK,rock", "--format", "csv").stdout))
    assert header == ["path", "start_seconds", "90s", "rock"]


def test_the_bundled_weights_spell_tags_as_they_do(mix):
    printed = run("taggram", mix, "--device", "cpu", "--tags", "progressive ROCK", "--format", "csv").stdout
    assert printed.splitlines()[0] == "path,start_seconds,Progressive rock"


def test_a_table_tells_each_tag_and_where_it_is_highest(taggram, mix, collection):
    title, header, *lines = taggram(mix, "--hop", "1").stdout.splitlines()
    assert title == "Miles\ufffdDavis - So <b>What</b>\ufffd (0:07): 6 clips of 2 s, 1 s apart, by tiny"
    assert header.split() == ["tag", "mean", "score", "highest", "at"]
    assert sorted(line.split()[0] for line in lines if line) == sorted(TAGS)
    short = taggram(collection / "b.wav").stdout
    assert "b.wav (0:01): 1 clips of 2 s" in short
    assert "warnings: padded" in short
    assert json.loads(taggram(collection / "b.wav", "--format", "json").stdout)["track"]["warnings"] == ["padded"]


def test_the_title_is_found_in_every_kind_of_metadata(taggram, tmp_path, music, encode):
    for suffix in ("flac", "m4a", "ogg"):
        path = encode(tmp_path / f"x.{suffix}", music(2.5, 16_000, seed=4), 16_000)
        tags = mutagen.File(path, easy=True)
        tags["title"], tags["artist"] = "Aria", "Bach"
        tags.save()
        assert json.loads(taggram(path, "--format", "json").stdout)["title"] == "Bach - Aria"
        del tags["title"]
        tags.save()
        assert json.loads(taggram(path, "--format", "json").stdout)["title"] == path.name


# taggram: pictures


@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_picture_is_drawn_and_the_track_left_alone(taggram, mix, tmp_path, kind):
    before = mix.read_bytes()
    result = taggram(mix, "-o", tmp_path / f"a.{kind}", "--top", "3")
    assert (tmp_path / f"a.{kind}").read_bytes().startswith(SIGNATURES[kind])
    assert len(result.stdout.splitlines()) == 6
    assert result.stderr == ""
    assert mix.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [f"a.{kind}"]


def test_a_page_tells_title_model_and_clips(taggram, mix, tmp_path):
    taggram(mix, "-o", tmp_path / "a.HTML")
    page = (tmp_path / "a.HTML").read_text(encoding="utf-8")
    assert "<h1>Miles\ufffdDavis - So &lt;b&gt;What&lt;/b&gt;\ufffd</h1>" in page
    assert "<p>tiny, clips of 2 s, 0.5 s apart</p>" in page


def test_without_matplotlib_there_are_pages_and_one_sentence_for_pictures(taggram, mix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    taggram(mix, "-o", tmp_path / "a.HTML")
    monkeypatch.setattr("tagcli.tagger.open_tagger", lambda *_, **__: pytest.fail("it has begun to listen"))
    result = taggram(mix, "-o", tmp_path / "a.png", code=1)
    assert "tagcli[plots]" in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert not (tmp_path / "a.png").exists()


# taggram: nothing to draw, and wrong input


@pytest.mark.parametrize(
    ("name", "reason", "status", "code"),
    [
        ("d.wav", "silent", "skipped", 0),
        ("e.mp3", "not_audio", "failed", 3),
        ("none.wav", "missing", "failed", 3),
        ("short.wav", "too_short", "failed", 3),
    ],
)
def test_a_track_without_scores_has_a_reason_and_no_picture(taggram, collection, tmp_path, name, reason, status, code):
    soundfile.write(tmp_path / "short.wav", np.full(4000, 0.5), 8000)
    path = (tmp_path if name == "short.wav" else collection) / name
    result = taggram(path, "-o", tmp_path / "a.html", "--format", "json", code=code)
    document = json.loads(result.stdout)
    assert (document["track"]["reason"], document["track"]["status"]) == (reason, status)
    assert document["taggram"] is None
    assert str(path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.html").exists()
    assert taggram(path, "--format", "csv", code=code).stdout == "path,start_seconds\n"
    assert taggram(path, code=code).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a.gif"], "ends in none of .png, .svg, .pdf, .html"),
        (["-o", "-"], "ends in none of"),
        (["--hop", "0"], "--hop"),
        (["--hop", "3"], "3 s is longer than a clip of tiny, 2 s"),
        (["--hop", "nan"], "--hop"),
        (["--top", "0"], "--top"),
        (["--tags", "rock,polka"], "tiny does not know 'polka'; its tags are rock, jazz"),
        (["--tags", " , "], "asked for no tag"),
        (["--tags", "rock", "--top", "3"], "leave one of them out"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_heard(taggram, mix, arguments, words):
    result = taggram(mix, *arguments, code=2)
    assert result.stdout == ""
    assert words in unfold(result.stderr)


def test_a_folder_is_no_track_and_a_track_no_picture(taggram, collection, tmp_path, mix):
    assert "is a directory" in taggram(collection, code=2).stderr
    link = tmp_path / "a.png"
    link.symlink_to(mix)
    before = mix.read_bytes()
    assert "is a track" in taggram(mix, "-o", link, code=1).stderr
    assert mix.read_bytes() == before
    result = taggram(mix, "-o", tmp_path / "nowhere" / "a.html", code=1)
    assert "cannot be written" in result.stderr
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
