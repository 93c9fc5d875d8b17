"""`eval --teacher`: folders without labels, every format, stored scores, and wrong input."""

import csv
import io
import json
import os
import subprocess
import sys

import mutagen
import numpy as np
import pytest
from conftest import make_tiny_checkpoint
from typer.testing import CliRunner

from tagcli.checkpoint import hash_artists, load_tensors, read_header, save_checkpoint
from tagcli.cli import app

TAGS = ["rock", "jazz", "guitar", "sad", "90s", "electronic"]


def run(*arguments, code=0, before=()):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [*before, "eval", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def fail(*arguments, code=1):
    """Run the program in vain; give its one sentence."""
    result = run(*arguments, code=code, before=["-q"])
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory, music, encode):
    """Twelve files by four artists, in one folder, of which nothing else is known."""
    root = tmp_path_factory.mktemp("music")
    for number in range(12):
        path = encode(root / f"{number:02}.flac", music(2.2, 8000, n_channels=1, seed=number), 8000)
        tags = mutagen.File(path, easy=True)
        tags["artist"] = [f"artist {number // 3}"]
        tags.save()
    return root


@pytest.fixture(scope="module")
def student(tmp_path_factory, tiny_checkpoint):
    """A checkpoint beside the teacher's: other weights in its last layer, and an artist that it was trained on."""
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    header, tensors = read_header(tiny_checkpoint), load_tensors(tiny_checkpoint)
    name = next(name for name in tensors if tensors[name].shape[:1] == (6,) and name.endswith("weight"))
    generator = np.random.default_rng(0)
    tensors[name] = tensors[name] + type(tensors[name])(generator.normal(0, 0.1, tensors[name].shape))
    object.__setattr__(header.provenance, "artists", hash_artists(["Artist 1"]))
    save_checkpoint(path, header, tensors)
    return path


@pytest.fixture
def stored(tmp_path, folder):
    """Scores of a student and of a teacher."""
    generator = np.random.default_rng(2)
    ids = sorted(path.name for path in folder.glob("*.flac"))
    scores = generator.random((12, 6))
    np.savez(tmp_path / "taught.npz", scores=scores, tags=TAGS, ids=ids)
    np.savez(
        tmp_path / "own.npz", scores=np.clip(scores + generator.normal(size=(12, 6)) / 9, 0, 1), tags=TAGS, ids=ids
    )
    return tmp_path


def test_a_student_is_compared_with_its_teacher_on_a_folder_without_labels(folder, student, tiny_checkpoint, tmp_path):
    arguments = [student, folder, "--teacher", tiny_checkpoint, "--device", "cpu", "--bootstrap", 20]
    result = run(*arguments, "--format", "json", "--save-scores", tmp_path / "own.npz")
    content = json.loads(result.stdout)
    assert (content["n_examples"], content["n_artists"], content["split"]) == (12, 4, None)
    assert (content["is_seen"], content["n_seen"]) == (True, 3)
    assert content["bootstrap"] == {"confidence": 0.95, "by": "artist", "n_groups": 4, "n_replicates": 20, "seed": 0}
    assert content["model"]["name"] == content["teacher_model"]["name"] == "tiny"
    assert content["model"]["sha256"] != content["teacher_model"]["sha256"]
    assert [tag["tag"] for tag in content["per_tag"]] == TAGS
    assert set(content["per_tag"][0]) == {
        *("tag", "n_top", "is_tested"),
        *(f"{name}{bound}" for name in ("pearson", "spearman", "roc_auc") for bound in ("", "_low", "_high")),
    }
    assert sum(tag["n_top"] for tag in content["per_tag"]) == 3 * 12
    assert content["untested"] == [tag["tag"] for tag in content["per_tag"] if tag["n_top"] < 10]
    assert content["macro"]["n_tags"] == 6 - len(content["untested"]) > 0
    assert set(content["macro"]["pearson"]) == {"value", "low", "high"}
    assert 4 <= content["top5_overlap"]["low"] <= content["top5_overlap"]["value"] <= 5
    again = json.loads(run(folder, "--scores", tmp_path / "own.npz", *arguments[2:], "--format", "json").stdout)
    assert again["model"] is None
    for key in ("macro", "per_tag", "top5_overlap"):
        assert again[key] == content[key]


def test_who_is_their_own_teacher_agrees(folder, tiny_checkpoint):
    arguments = [tiny_checkpoint, folder, "--teacher", tiny_checkpoint, "--device", "cpu", "--bootstrap", 0]
    content = json.loads(run(*arguments, "--format", "json").stdout)
    assert content["top5_overlap"] == {"value": 5.0, "low": None, "high": None}
    assert content["macro"]["pearson"]["value"] == pytest.approx(1)


def test_the_table_says_what_was_seen_and_what_is_untested(folder, student, tiny_checkpoint):
    arguments = [student, folder, "--teacher", tiny_checkpoint, "--device", "cpu", "--bootstrap", 20]
    table = run(*arguments, before=["-q"]).stdout
    title, header, macro, *_ = table.splitlines()
    assert title == (
        f"{student} after {tiny_checkpoint} on {folder.name}: 12 examples, 4 artists, "
        "SEEN DATA (3 by artists that it was trained on): an upper bound"
    )
    assert " ".join(header.split()) == "tag in top 3 Pearson 95 % Spearman 95 % ROC-AUC 95 %"
    assert macro.split()[0] == "macro"
    assert "top-5 overlap: " in table
    assert "untested, in the teacher's top 3 too seldom: " in table
    assert "95 % intervals: 20 replicates over 4 artists, seed 0" in table


def test_csv_has_a_line_for_the_means_and_one_for_each_tag(folder, stored):
    arguments = [folder, "--scores", stored / "own.npz", "--teacher", stored / "taught.npz", "--bootstrap", 10]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    content = json.loads(run(*arguments, "--format", "json").stdout)
    assert [(row["scope"], row["tag"]) for row in rows] == [("macro", ""), *(("tag", tag) for tag in TAGS)]
    assert float(rows[0]["top5_overlap_low"]) == content["top5_overlap"]["low"]
    assert float(rows[1]["pearson_high"]) == content["per_tag"][0]["pearson_high"]
    assert [row["n_top"] for row in rows[1:]] == [str(tag["n_top"]) for tag in content["per_tag"]]


def test_stored_scores_are_compared_without_torch(folder, stored):
    code = (
        "import sys; from tagcli.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = ["eval", "mine", folder, "--scores", stored / "own.npz", "--teacher", stored / "taught.npz"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"mine after taught on {folder.name}: 12 examples, 4 artists\n")


def test_a_split_of_a_manifest_is_taken_and_its_labels_are_not_looked_at(folder, stored):
    lines = [f"{number:02}.flac\t{'test' if number < 8 else 'train'}\t\t\t\tpolka\t*" for number in range(12)]
    header = "path\tsplit\tartist\tstart_seconds\tduration_seconds\tlabels\tknown"
    (stored / "set.tsv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    arguments = [stored / "set.tsv", "--scores", stored / "own.npz", "--teacher", stored / "taught.npz"]
    content = json.loads(run(*arguments, "--format", "json").stdout)
    assert (content["split"], content["n_examples"], content["is_seen"]) == ("test", 8, False)
    assert content["bootstrap"]["by"] == "track"
    table = run(*arguments, "--split", "train", before=["-q"]).stdout
    assert "split train: 4 examples, 0 artists, SEEN DATA: an upper bound" in table


def test_too_few_examples_test_nothing_and_that_is_said(folder, stored):
    with np.load(stored / "own.npz") as arrays:
        np.savez(stored / "one.npz", scores=arrays["scores"][:1], tags=TAGS, ids=arrays["ids"][:1])
    arguments = [folder, "--scores", stored / "one.npz", "--teacher", stored / "taught.npz"]
    result = run(*arguments, "--format", "json")
    assert "No tag is tested" in result.stderr
    assert "Left out are 11 examples that have no scores of one, or of taught." in result.stderr
    content = json.loads(result.stdout)
    assert content["macro"] == {
        **{name: {"value": None, "low": None, "high": None} for name in ("pearson", "spearman", "roc_auc")},
        "n_tags": 0,
    }
    assert content["untested"] == TAGS
    assert "NaN" not in result.stdout
    assert "0 tags" in run(*arguments).stdout


def test_a_file_that_cannot_be_heard_is_told_once(folder, tmp_path, tiny_checkpoint):
    for path in sorted(folder.glob("*.flac"))[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "00.flac").write_bytes(b"")
    arguments = [tiny_checkpoint, tmp_path, "--teacher", tiny_checkpoint, "--device", "cpu"]
    result = run(*arguments, "--format", "json", code=3)
    assert (json.loads(result.stdout)["n_examples"], json.loads(result.stdout)["n_unheard"]) == (2, 1)
    assert result.stderr.count("00.flac is empty") == 1
    assert "Left out are 1 examples that could not be heard." in result.stderr


# Wrong input


def test_wrong_input_is_one_sentence(folder, stored, tmp_path, tiny_checkpoint):
    own, taught = ["--scores", stored / "own.npz"], ["--teacher", stored / "taught.npz"]
    assert "There are no weights 'nothing'" in fail("nothing", folder, *taught)
    assert "There are no weights 'nothing'" in fail(folder, *own, "--teacher", "nothing")
    assert "none.npz cannot be read" in fail(folder, *own, "--teacher", tmp_path / "none.npz")
    assert "none.npz cannot be read" in fail(folder, "--scores", tmp_path / "none.npz", *taught)
    assert "has no split 'dev'" in fail(folder, *own, *taught, "--split", "dev")
    (tmp_path / "empty").mkdir()
    assert "No audio was found" in fail(tmp_path / "empty", *own, *taught)
    ids = [f"{number:02}.flac" for number in range(12)]
    np.savez(tmp_path / "a.npz", scores=np.zeros((12, 1)), tags=["polka"], ids=ids)
    assert "have no tag in common" in fail(folder, "--scores", tmp_path / "a.npz", *taught)
    np.savez(tmp_path / "b.npz", scores=np.full((12, 1), -2.5), tags=["rock"], ids=ids)
    assert "do not lie between 0 and 1" in fail(folder, "--scores", tmp_path / "b.npz", *taught)
    assert "is wanted for two things" in fail(folder, *own, *taught, "-o", stored / "taught.npz")
    anonymous = tmp_path / "anonymous"
    anonymous.mkdir()
    for path in folder.glob("*.flac"):
        (anonymous / path.name).write_bytes(path.read_bytes())
        mutagen.File(anonymous / path.name).delete()
    assert "use --by track" in fail(anonymous, *own, *taught, "--by", "artist")


def test_nothing_is_heard_when_no_tag_is_common(folder, tmp_path, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr("tagcli.evaluation.scoring.score_examples", lambda *_, **__: pytest.fail("something was heard"))
    np.savez(tmp_path / "a.npz", scores=np.zeros((1, 1)), tags=["polka"], ids=["a"])
    assert "have no tag in common" in fail(tiny_checkpoint, folder, "--teacher", tmp_path / "a.npz")
    other = make_tiny_checkpoint(tmp_path / "other.safetensors")
    assert "have no tag in common" in fail(folder, "--scores", tmp_path / "a.npz", "--teacher", other)


@pytest.mark.parametrize(
    "options",
    [
        ["--compare", "other"],
        ["--library"],
        ["--top-disagreements", "0"],
        ["--calibrate", "precision=0.8"],
        ["--save", "x.safetensors"],
        ["--figure", "x.png"],
    ],
)
def test_options_that_look_at_labels_are_refused_beside_a_teacher(options):
    error = run("m", "set.tsv", "--teacher", "t", *options, code=2, before=["-q"]).stderr
    assert f"{options[0]} has no meaning" in " ".join(error.replace("│", " ").split())


def test_a_dash_wants_stored_scores(folder):
    assert "which is missing" in run("-", folder, "--teacher", "t", code=2).stderr
    assert "which is missing" in run("-", folder, code=2).stderr
