"""The command `eval`: every format, stored scores, two systems, thresholds, the library, and wrong input."""

import csv
import io
import json
import math
from pathlib import Path

import mutagen
import numpy as np
import pytest
from typer.testing import CliRunner

from tagcli import metrics
from tagcli.calibration import NEVER
from tagcli.checkpoint import read_header
from tagcli.cli import app
from tagcli.datasets import Manifest
from tagcli.datasets.manifest_file import write_manifest

TAGS = ("rock", "jazz", "Guitar", "shoegaze")


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
def dataset(tmp_path_factory, music, encode):
    """A manifest of 12 short files by 6 artists, half of them of the test split."""
    root = tmp_path_factory.mktemp("set")
    paths = tuple(f"{number}.wav" for number in range(12))
    for seed, path in enumerate(paths):
        encode(root / path, music(2.2, 8000, n_channels=1, seed=seed), 8000)
    labels = np.random.default_rng(0).random((12, 4)) < 0.5
    labels[:2] = [[True] * 4, [False] * 4]
    labels[6:8] = [[True] * 4, [False] * 4]
    manifest = Manifest(
        name="dozen",
        root=root,
        tags=TAGS,
        paths=paths,
        ids=paths,
        splits=("train",) * 6 + ("test",) * 6,
        artists=tuple(f"artist {number // 2}" for number in range(12)),
        starts_seconds=np.zeros(12),
        durations_seconds=np.full(12, math.nan),
        labels=labels,
        known=np.ones_like(labels),
    )
    write_manifest(manifest, root / "dozen.tsv")
    return root / "dozen.tsv"


@pytest.fixture(scope="module")
def labels(dataset):
    """Labels of the data set."""
    from tagcli.datasets import open_dataset

    return open_dataset(dataset).labels


@pytest.fixture
def stored(tmp_path, labels):
    """Scores of a system that is right about the first tags, for the examples of both splits."""
    generator = np.random.default_rng(1)
    scores = labels[:, :3] + generator.normal(size=(12, 3)) / 4
    ids = [f"{number}.wav" for number in range(12)]
    np.savez(tmp_path / "stored.npz", scores=scores, tags=["rock", "jazz", "guitar"], ids=ids)
    return tmp_path / "stored.npz"


def test_a_model_says_itself_what_kind_of_words_its_tags_are(dataset, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr("tagcli.evaluation.evaluating.find_category", lambda tag: pytest.fail(tag))
    run(tiny_checkpoint, dataset, "--device", "cpu", "--bootstrap", 0)


def test_a_model_is_evaluated_on_the_test_split(dataset, labels, tiny_checkpoint, tmp_path):
    arguments = [tiny_checkpoint, dataset, "--device", "cpu", "--bootstrap", 20, "--save-scores", tmp_path / "s.npz"]
    result = run(*arguments, "--format", "json")
    content = json.loads(result.stdout)
    assert content["model"]["name"] == "tiny"
    assert (content["dataset"], content["split"], content["is_seen"], content["n_examples"]) == (
        "dozen",
        "test",
        False,
        6,
    )
    assert [tag["tag"] for tag in content["per_tag"]] == ["rock", "jazz", "Guitar"]
    assert [tag["category"] for tag in content["per_tag"]] == ["genre", "genre", "instrument"]
    assert content["only_dataset"] == ["shoegaze"]
    assert content["only_system"] == ["sad", "90s", "electronic"]
    assert "Left out are 3 tags" in result.stderr
    assert content["comparison"] is content["thresholds"] is content["disagreements"] is None
    with np.load(tmp_path / "s.npz") as arrays:
        assert arrays["ids"].tolist() == [f"{number}.wav" for number in range(6, 12)]
        expected = metrics.measure(labels[6:, :3], arrays["scores"][:, :3])
    assert [tag["roc_auc"] for tag in content["per_tag"]] == expected.roc_auc.tolist()
    assert [tag["pr_auc"] for tag in content["per_tag"]] == expected.average_precision.tolist()
    assert content["macro"]["roc_auc"]["value"] == pytest.approx(expected.roc_auc.mean())
    assert set(content["macro"]["pr_auc"]) == {"value", "low", "high"}
    assert content["bootstrap"] == {"confidence": 0.95, "by": "artist", "n_groups": 3, "n_replicates": 20, "seed": 0}
    again = run(dataset, "--scores", tmp_path / "s.npz", "--bootstrap", 20, "--format", "json")
    for key in ("macro", "micro", "per_tag", "by_category"):
        assert json.loads(again.stdout)[key] == content[key]


def test_the_same_seed_gives_the_same_text_another_one_other_intervals(dataset, stored):
    one, same, other = (
        run(dataset, "--scores", stored, "--bootstrap", 30, "--seed", seed, "--by", "track").stdout
        for seed in (4, 4, 5)
    )
    assert one == same
    assert one != other


def test_what_is_undefined_is_null_and_counted_out(dataset, tmp_path):
    scores = np.array([[0.9, 0.1], [0.2, 0.5]])
    np.savez(tmp_path / "a.npz", scores=scores, tags=["rock", "jazz"], ids=["6.wav", "6.wav#"])
    content = json.loads(run(dataset, "--scores", tmp_path / "a.npz", "--format", "json").stdout)
    assert content["n_missing"] == 5
    assert content["undefined"] == ["rock", "jazz"]
    assert [tag["roc_auc"] for tag in content["per_tag"]] == [None, None]
    assert content["macro"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert "NaN" not in json.dumps(content)


def test_the_table_names_the_split_and_what_was_seen(dataset, stored):
    test = run("mine", dataset, "--scores", stored, before=["-q"])
    assert test.stdout.startswith("mine on dozen, split test: 6 examples\n")
    assert "SEEN" not in test.stdout
    assert test.stderr == ""
    seen = run("-", dataset, "--scores", stored, "--split", "train", "--bootstrap", 0)
    assert seen.stdout.startswith("stored on dozen, split train: 6 examples, SEEN DATA")
    assert "no intervals" in seen.stdout
    lines = [line.split() for line in seen.stdout.splitlines()]
    assert [line[0] for line in lines if line][2:] == ["macro"] * 1 + ["micro"] + ["macro"] * 2 + [
        "rock",
        "jazz",
        "Guitar",
        "no",
    ]


def test_without_a_test_split_all_examples_are_taken(dataset, stored, tmp_path):
    lines = dataset.read_text(encoding="utf-8").replace("\ttest\t", "\tlast\t")
    (tmp_path / "other.tsv").write_text(lines, encoding="utf-8")
    result = run(tmp_path / "other.tsv", "--scores", stored, "--format", "json", "--bootstrap", 0)
    assert json.loads(result.stdout)["split"] is None
    assert json.loads(result.stdout)["n_examples"] == 12
    assert "no split 'test'" in result.stderr


def test_csv_has_a_line_for_each_figure(dataset, stored):
    arguments = [dataset, "--scores", stored, "--format", "csv", "--compare", stored, "--calibrate", "precision=0.5"]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--split", "train").stdout)))
    assert [(row["scope"], row["tag"] or row["category"]) for row in rows] == [
        ("macro", ""),
        ("micro", ""),
        ("category", "genre"),
        ("category", "instrument"),
        ("tag", "rock"),
        ("tag", "jazz"),
        ("tag", "Guitar"),
    ]
    assert {row["roc_auc_difference"] for row in rows if row["scope"] != "category"} == {"0.0"}
    assert all(row["roc_auc"] and row["pr_auc_low"] for row in rows)


def test_two_systems_are_compared(dataset, labels, stored, tmp_path, tiny_checkpoint):
    content = json.loads(
        run(dataset, "--scores", stored, "--compare", tiny_checkpoint, "--format", "json", "--device", "cpu").stdout
    )
    comparison = content["comparison"]
    assert comparison["other"] == str(tiny_checkpoint)
    assert comparison["n_tags"] == 3
    macro = comparison["macro"]["roc_auc"]
    assert macro["difference"] == pytest.approx(macro["value"] - macro["other"])
    assert macro["value"] == content["macro"]["roc_auc"]["value"]
    assert 0 < macro["p"] <= 1
    table = run(dataset, "--scores", stored, "--compare", stored, before=["-q"]).stdout
    assert "stored less stored: 6 examples, 3 tags" in table
    assert "+0.0000 to +0.0000" in table


def test_thresholds_are_found_and_saved(dataset, tiny_checkpoint, tmp_path):
    target = tmp_path / "calibrated.safetensors"
    arguments = [tiny_checkpoint, dataset, "--split", "train", "--device", "cpu", "--calibrate", "precision=0.01"]
    content = json.loads(run(*arguments, "--save", target, "--format", "json").stdout)
    thresholds = {found["tag"]: found["threshold"] for found in content["thresholds"]}
    stored = dict(zip(read_header(target).vocabulary.tags, read_header(target).thresholds, strict=True))
    assert list(thresholds) == ["rock", "jazz", "Guitar"]
    for tag, threshold in thresholds.items():
        assert stored[tag.casefold()] == (NEVER if threshold is None else threshold)
    assert stored["sad"] == 0.1
    assert "never" in run(*arguments[:-1], "precision=1").stdout
    assert read_header(tiny_checkpoint).thresholds is None


def test_files_that_cannot_be_heard_are_counted_and_left_out(dataset, tiny_checkpoint, tmp_path):
    for path in dataset.parent.glob("*.wav"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "7.wav").write_bytes(b"")
    (tmp_path / "8.wav").unlink()
    arguments = [tiny_checkpoint, dataset, "--audio", tmp_path, "--device", "cpu", "--format", "json"]
    result = run(*arguments, "--save-scores", tmp_path / "s.npz", code=3)
    content = json.loads(result.stdout)
    assert (content["n_examples"], content["n_unheard"]) == (4, 2)
    assert "7.wav is empty" in result.stderr
    assert "8.wav does not exist" in result.stderr
    assert "Left out are 2 examples that could not be heard." in result.stderr
    stored = json.loads(run(dataset, "--scores", tmp_path / "s.npz", "--format", "json").stdout)
    assert stored["n_unheard"] == 2
    assert stored["per_tag"] == content["per_tag"]
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    assert "has heard no example" in run(*arguments, code=1).stderr


def test_a_library_is_judged_by_its_own_genres(tmp_path, tiny_checkpoint, music, encode):
    for number in range(12):
        path = encode(tmp_path / f"{number}.flac", music(2.1, 8000, n_channels=1, seed=number), 8000)
        tags = mutagen.File(path, easy=True)
        tags["genre"] = ["Rock"] if number < 6 else ["Jazz"]
        tags.save()
    arguments = [tiny_checkpoint, tmp_path, "--library", "--device", "cpu"]
    content = json.loads(run(*arguments, "--format", "json", "--top-disagreements", 3).stdout)
    assert [tag["n_positive"] for tag in content["per_tag"]] == [6, 6]
    assert len(content["disagreements"]) == 3
    assert set(content["disagreements"][0]) == {"path", "id", "tag", "is_labelled", "score", "share"}
    table = run(*arguments, before=["-q"]).stdout
    assert "Labels and scores that disagree most" in table
    assert "does not carry it" in table


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_drawn(dataset, stored, tmp_path, kind):
    run(dataset, "--scores", stored, "--figure", tmp_path / f"a.{kind}", "-o", tmp_path / "a.txt")
    assert (tmp_path / f"a.{kind}").stat().st_size > 1000
    assert "macro" in (tmp_path / "a.txt").read_text(encoding="utf-8")


# Wrong input


def test_wrong_input_is_one_sentence(dataset, stored, tmp_path, tiny_checkpoint):
    assert "has no split 'dev' (it has: test, train)" in fail(dataset, "--scores", stored, "--split", "dev")
    assert "cannot be read" in fail(tmp_path / "none.tsv", "--scores", stored)
    assert "cannot be read" in fail(dataset, "--scores", tmp_path / "none.npz")
    assert "There are no weights 'nothing'" in fail("nothing", dataset)
    assert "There are no weights 'nothing'" in fail(dataset, "--scores", stored, "--compare", "nothing")
    np.savez(tmp_path / "a.npz", scores=np.zeros((1, 1)), tags=["polka"], ids=["6.wav"])
    assert "no tag in common" in fail(dataset, "--scores", tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", scores=np.zeros((3, 1)), tags=["rock"], ids=["6.wav"])
    assert "not (3, 1)" in fail(dataset, "--scores", tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", scores=np.array([[{}]]), tags=["rock"], ids=["6.wav"])
    assert "Object arrays" in fail(dataset, "--scores", tmp_path / "c.npz")
    (tmp_path / "d.safetensors").write_bytes(b"no checkpoint")
    assert "not a safetensors file" in fail(tmp_path / "d.safetensors", dataset)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_checkpoint.read_bytes()[:-1000])
    assert "cannot be read" in fail(cut, dataset, "--device", "cpu")
    assert "is wanted for two things" in fail(dataset, "--scores", stored, "-o", stored)
    same = tmp_path / "same"
    assert "is wanted for two things" in fail(dataset, "--scores", stored, "-o", same, "--save-scores", same)


def test_artists_that_are_not_known_cannot_be_drawn(dataset, stored, tmp_path):
    text = "\n".join(
        "\t".join([*line.split("\t")[:2], "", *line.split("\t")[3:]]) if number else line
        for number, line in enumerate(dataset.read_text(encoding="utf-8").splitlines())
    )
    (tmp_path / "anonymous.tsv").write_text(text, encoding="utf-8")
    assert "use --by track" in fail(tmp_path / "anonymous.tsv", "--scores", stored, "--by", "artist")
    content = json.loads(run(tmp_path / "anonymous.tsv", "--scores", stored, "--format", "json").stdout)
    assert content["bootstrap"]["by"] == "track"


@pytest.mark.parametrize(
    "arguments",
    [
        ["set.tsv"],
        ["m", "set.tsv", "--calibrate", "recall=0.5"],
        ["m", "set.tsv", "--calibrate", "precision=1.5"],
        ["m", "set.tsv", "--calibrate", "precision=many"],
        ["m", "set.tsv", "--save", "x.safetensors"],
        ["m", "set.tsv", "--scores", "a.npz", "--calibrate", "precision=1", "--save", "x.safetensors"],
        ["m", "set.tsv", "--figure", "a.gif"],
        ["m", "set.tsv", "--clips", "some"],
        ["m", "set.tsv", "--bootstrap", "-1"],
        ["m", "set.tsv", "--by", "album"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(arguments):
    run(*arguments, code=2)
    assert not Path("x.safetensors").exists()
