"""The commands `analyze cooccurrence` and `analyze label-vectors`: every format, labels without audio, wrong input."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tagcli.cli import app
from tagcli.files import hash_file

ROCK_AND_JAZZ = """path,labels,split
1,rock|guitar,train
2,rock|guitar,train
3,rock,test
4,jazz|guitar,train
5,jazz|sad,test
"""
"""Neither files nor artists: labels only."""


def run(*arguments, code=0, before=()):
    """Run the program in this process."""
    result = CliRunner().invoke(app, [*before, "analyze", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def fail(*arguments, code=1):
    """Run the program in vain; give its one sentence."""
    result = run(*arguments, code=code, before=["-q"])
    assert result.stdout == ""
    if code == 1:
        assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def read(*arguments):
    return json.loads(run(*arguments, "--format", "json").stdout)


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(ROCK_AND_JAZZ)
    return path


# Co-occurrence


def test_labels_are_enough_to_find_what_comes_together(labels):
    content = read("cooccurrence", labels, "--top", 2)
    assert {key: content[key] for key in ("dataset", "split", "n_examples", "n_tags")} == {
        "dataset": "labels",
        "split": None,
        "n_examples": 5,
        "n_tags": 4,
    }
    assert content["interval"] == {"confidence": 0.95, "method": "wilson", "by": "track"}
    first, second = content["pairs"]
    assert list(first) == ["tag_a", "tag_b", "similarity", "low", "high", "n_together", "n_carriers"]
    assert (first["tag_a"], first["tag_b"], first["similarity"], first["n_carriers"]) == ("sad", "jazz", 1.0, 1)
    assert (first["low"], first["high"]) == (pytest.approx(0.2065, abs=1e-4), 1.0)
    assert (second["similarity"], second["n_together"], second["n_carriers"]) == (pytest.approx(2 / 3), 2, 3)
    assert {second["tag_a"], second["tag_b"]} == {"rock", "guitar"}


def test_a_split_is_counted_by_itself(labels):
    content = read("cooccurrence", labels, "--split", "train")
    assert (content["split"], content["n_examples"]) == ("train", 3)
    shares = {(pair["tag_a"], pair["tag_b"]): pair["similarity"] for pair in content["pairs"]}
    assert shares["rock", "guitar"] == 1.0
    assert not {"sad"} & {tag for pair in shares for tag in pair[:1]}  # of no example nothing is said


def test_a_manifest_of_labels_without_audio_will_do(labels, tmp_path):
    built = CliRunner().invoke(app, ["-q", "dataset", "build", str(labels), "-o", str(tmp_path / "built.tsv")])
    assert built.exit_code == 0, built.stderr
    assert read("cooccurrence", tmp_path / "built.tsv")["pairs"] == read("cooccurrence", labels)["pairs"]


def test_the_table_and_the_lines_say_the_same(labels, tmp_path):
    content = read("cooccurrence", labels)
    lines = list(csv.DictReader(io.StringIO(run("cooccurrence", labels, "--format", "csv").stdout)))
    assert [line["rank"] for line in lines] == [str(rank) for rank in range(1, len(lines) + 1)]
    for line, pair in zip(lines, content["pairs"], strict=True):
        assert {name: str(value) for name, value in pair.items()} == {name: line[name] for name in pair}
    run("cooccurrence", labels, "-o", tmp_path / "table.txt", "--split", "train")
    table = (tmp_path / "table.txt").read_text()
    assert "labels, split train: 3 examples, 4 tags" in table
    assert "tracks taken as independent" in table
    assert any(line.split()[:4] == ["1", "rock", "guitar", "1.0000"] for line in table.splitlines())


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_heat_map_is_drawn_of_the_tags_that_are_wanted(labels, tmp_path, kind):
    figure = tmp_path / f"pairs.{kind}"
    run("cooccurrence", labels, "--figure", figure, "--tags", "Jazz, sad")
    content = figure.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[kind])
    if kind == "svg":
        assert content.count(b"<!-- jazz -->") == content.count(b"<!-- sad -->") == 2
        assert b"<!-- rock -->" not in content
        assert b"<!-- 50 -->" in content  # of two examples of jazz, one is sad
        assert b"in % -->" in content


def test_a_split_of_the_million_songs_is_read_as_it_was_published(shared):
    result = run("cooccurrence", shared / "data" / "msd", "--format", "json")
    content = json.loads(result.stdout)
    assert (content["n_examples"], content["n_tags"], len(content["pairs"])) == (41174, 50, 20)
    assert (content["pairs"][0]["tag_a"], content["pairs"][0]["tag_b"]) == ("indie rock", "indie")


# Label vectors


def test_a_model_tells_its_most_similar_tags(tiny_checkpoint):
    content = read("label-vectors", tiny_checkpoint, "--top", 3)
    assert content["model"] == {"name": "tiny", "sha256": hash_file(tiny_checkpoint)}
    assert (content["measure"], content["n_tags"]) == ("cosine", 6)
    assert content["negative_pairs"] is content["cooccurrence"] is None
    assert [list(pair) for pair in content["pairs"]] == [["rank", "tag_a", "tag_b", "similarity"]] * 3
    similarities = [pair["similarity"] for pair in content["pairs"]]
    assert similarities == sorted(similarities, reverse=True)
    products = read("label-vectors", tiny_checkpoint, "--top", 3, "--measure", "dot")
    assert products["measure"] == "dot"
    assert [pair["similarity"] for pair in products["pairs"]] != similarities


def test_negative_pairs_are_listed_from_the_end(tiny_checkpoint):
    every = read("label-vectors", tiny_checkpoint, "--top", 15)["pairs"]
    content = read("label-vectors", tiny_checkpoint, "--top", 15, "--negative")
    assert content["negative_pairs"] == [pair for pair in reversed(every) if pair["similarity"] < 0]
    assert 0 < len(content["negative_pairs"]) < 15
    lines = run("label-vectors", tiny_checkpoint, "--top", 2, "--negative", "--format", "csv").stdout.splitlines()
    assert lines[0] == "rank,tag_a,tag_b,similarity"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "15", "14"]


def test_what_is_alike_is_compared_with_what_comes_together(tiny_checkpoint, labels):
    content = read("label-vectors", tiny_checkpoint, "--top", 4, "--cooccurrence", labels)
    match = content["cooccurrence"]
    assert (match["dataset"], match["split"], match["n_examples"], match["n_top"]) == ("labels", None, 5, 4)
    assert match["n_pairs"] == 6  # of rock, jazz, guitar and sad
    assert -1 <= match["rank_correlation"] <= 1
    assert match["n_common"] >= sum(pair["is_common"] for pair in content["pairs"])
    shares = {frozenset((pair["tag_a"], pair["tag_b"])): pair["cooccurrence"] for pair in content["pairs"]}
    for pair, share in shares.items():
        assert (share is None) is bool(pair & {"90s", "electronic"})
    table = run("label-vectors", tiny_checkpoint, "--cooccurrence", labels, "--split", "test").stdout
    assert "in labels, split test, 2 examples" in table
    assert "rank correlation with C over" in table
    columns = run("label-vectors", tiny_checkpoint, "--cooccurrence", labels, "--format", "csv").stdout.splitlines()[0]
    assert columns == "rank,tag_a,tag_b,similarity,cooccurrence,is_common"


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_a_heat_map_is_drawn_of_a_model(tiny_checkpoint, tmp_path, measure):
    run("label-vectors", tiny_checkpoint, "--figure", tmp_path / "map.svg", "--measure", measure)
    content = (tmp_path / "map.svg").read_bytes()
    assert content.count(b"<!-- electronic -->") == 2
    assert measure.encode() in content


def test_a_published_model_is_imported_and_compared(shared, tmp_path):
    published, target = shared / "weights" / "choi2017" / "model_best.hdf5", tmp_path / "keras2.safetensors"
    imported = CliRunner().invoke(app, ["weights", "import", str(published), "-o", str(target)])
    assert imported.exit_code == 0, imported.stderr
    content = read("label-vectors", target, "--cooccurrence", shared / "data" / "msd", "--top", 1225)
    with h5py.File(published) as file:
        columns = file["model_weights/dense_1/dense_1/kernel:0"][()]
    unit = columns / np.linalg.norm(columns, axis=0)
    tags = (shared / "weights" / "tags_msd50.txt").read_text().splitlines()
    for pair in content["pairs"]:
        expected = unit[:, tags.index(pair["tag_a"])] @ unit[:, tags.index(pair["tag_b"])]
        assert pair["similarity"] == pytest.approx(float(expected), abs=1e-6)
    assert len(content["pairs"]) == content["cooccurrence"]["n_pairs"] == 1225
    assert content["cooccurrence"]["rank_correlation"] == pytest.approx(0.5175, abs=1e-4)  # as found, for later changes


# Wrong input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cooccurrence", "nowhere.tsv"], "nowhere.tsv"),
        (["cooccurrence", "one.csv"], "fewer than two tags"),
        (["cooccurrence", "labels.csv", "--split", "dev"], "no split 'dev'"),
        (["cooccurrence", "labels.csv", "--figure", "a.svg", "--tags", "polka"], "'polka'"),
        (["cooccurrence", "labels.csv", "-o", "labels.csv"], "wanted for two things"),
        (["label-vectors", "no-such-weights"], "no weights 'no-such-weights'"),
        (["label-vectors", "damaged.safetensors"], "damaged.safetensors"),
        (["label-vectors", "tiny.safetensors", "--cooccurrence", "other.csv"], "no two tags in common"),
        (["label-vectors", "tiny.safetensors", "--figure", "a.svg", "--tags", "polka"], "'polka'"),
    ],
)
def test_what_cannot_be_analysed_is_told_in_one_sentence(
    labels, tiny_checkpoint, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    Path("one.csv").write_text("path,labels\n1,rock\n2,rock\n")
    Path("other.csv").write_text("path,labels\n1,polka\n2,waltz\n")
    Path("tiny.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    Path("damaged.safetensors").write_bytes(tiny_checkpoint.read_bytes()[:-50])
    assert words in fail(*arguments)
    assert not Path("a.svg").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cooccurrence", "x.tsv", "--tags", "rock"],
        ["cooccurrence", "x.tsv", "--figure", "a.gif"],
        ["cooccurrence", "x.tsv", "--top", "0"],
        ["label-vectors", "x", "--split", "test"],
        ["label-vectors", "x", "--measure", "angle"],
        ["label-vectors", "x", "--figure", "a.gif"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(arguments):
    fail(*arguments, code=2)


def test_a_missing_matplotlib_is_told_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "tagcli[plots]" in fail("cooccurrence", "nowhere.tsv", "--figure", "a.png")


def test_no_torch_is_loaded_for_what_runs_no_model(labels, tiny_checkpoint):
    for arguments in (["cooccurrence", labels], ["label-vectors", tiny_checkpoint, "--cooccurrence", labels]):
        program = (
            "import sys, tagcli.cli\n"
            f"try: tagcli.cli.app({['analyze', *map(str, arguments)]!r})\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
