"""Wrong input to the commands that learn and judge: one sentence that names it, exit code 1, no traceback."""

import sqlite3
from dataclasses import replace

import numpy as np
import platformdirs
import pytest
import tomli_w
from toy_dataset import TINY
from typer.testing import CliRunner

from tagcli.cli import app
from tagcli.datasets.manifest_file import write_manifest


@pytest.fixture
def refuse(tmp_path):
    """Run the program, see that it refuses in one sentence, and give the sentence."""

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert result.exception is None or isinstance(result.exception, SystemExit)
        said = [line for line in result.stderr.splitlines() if line.startswith("tagcli: ")]
        assert said
        assert "Traceback" not in result.stderr
        return said[-1]

    return run


@pytest.fixture
def recipe(tmp_path):
    """The fast recipe as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(TINY))
    return path


@pytest.fixture
def split_files(tmp_path):
    """A folder of split files in the form of the Million Song Dataset's."""
    folder = tmp_path / "msd"
    folder.mkdir()
    (folder / "tags.txt").write_text("rock\njazz\n")
    for split in ("valid", "test"):
        tracks = "".join(f"TRAAAAA{split.upper()[:4]:A<4}{row:07d}\n" for row in range(4))
        (folder / f"{split}_x_msd_id.txt").write_text(tracks)
        (folder / f"{split}_x_7d_id.txt").write_text("".join(f"{row + 100}\n" for row in range(4)))
        np.save(folder / f"{split}_y.npy", np.eye(4, 2, dtype=bool))
    return folder


def test_a_missing_split(toy, recipe, tmp_path, refuse):
    said = refuse(
        "train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--config", recipe, "--set", "data.train=['x']"
    )
    assert "'x'" in said
    assert not (tmp_path / "run" / "best.safetensors").exists()
    write_manifest(toy, tmp_path / "set.tsv")
    (tmp_path / "scores.npz").write_bytes(b"")
    assert "'x'" in refuse("eval", tmp_path / "set.tsv", "--scores", tmp_path / "scores.npz", "--split", "x")


def test_an_unknown_tag(toy, tmp_path, refuse):
    (tmp_path / "tags.txt").write_text("low\nflugelhorn\n")
    said = refuse("dataset", "build", toy.root / "toy.tsv", "-o", tmp_path / "b.tsv", "--tags", tmp_path / "tags.txt")
    assert "flugelhorn" in said
    lines = (toy.root / "toy.tsv").read_text().replace("\tlow\t", "\tflugelhorn\t")
    (tmp_path / "set.tsv").write_text(lines)
    (tmp_path / "set.toml").write_bytes((toy.root / "toy.toml").read_bytes())
    assert "flugelhorn" in refuse("train", tmp_path / "set.tsv", "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(3, 2, dtype=bool), "test_y.npy"),
        (np.eye(4, 3, dtype=bool), "test_y.npy"),
        (np.zeros(4, dtype=bool), "test_y.npy"),
        (np.array([[{}, {}]] * 4, dtype=object), "test_y.npy"),
    ],
)
def test_a_label_matrix_that_does_not_fit(split_files, tmp_path, refuse, labels, said):
    np.save(split_files / "test_y.npy", labels, allow_pickle=True)
    assert said in refuse("dataset", "build", split_files, "-o", tmp_path / "b.tsv")


def test_a_label_matrix_that_is_cut(split_files, tmp_path, refuse):
    path = split_files / "test_y.npy"
    path.write_bytes(path.read_bytes()[:-3])
    assert "test_y.npy" in refuse("dataset", "build", split_files, "-o", tmp_path / "b.tsv")


def test_a_vocabulary_that_does_not_fit(toy, tiny_checkpoint, tmp_path, refuse):
    said = refuse("eval", tiny_checkpoint, toy.root / "toy.tsv", "--split", "validation")
    assert "no tag in common" in said
    scores = np.zeros((len(toy), 1), dtype=np.float32)
    np.savez(tmp_path / "scores.npz", scores=scores, tags=["polka"], ids=list(toy.ids))
    said = refuse("eval", toy.root / "toy.tsv", "--scores", tmp_path / "scores.npz", "--split", "validation")
    assert "no tag in common" in said


def test_stored_scores_with_objects(toy, tmp_path, refuse):
    np.savez(tmp_path / "scores.npz", scores=np.array([[{}]], dtype=object), tags=["low"], ids=["a"])
    assert "scores.npz" in refuse("eval", toy.root / "toy.tsv", "--scores", tmp_path / "scores.npz")


@pytest.mark.parametrize("name", ["waveforms.int16", "index.jsonl"])
def test_a_corrupt_clip_cache(toy, recipe, tmp_path, refuse, name):
    first = CliRunner().invoke(
        app, ["train", str(toy.root / "toy.tsv"), "--out", str(tmp_path / "a"), "--config", str(recipe)]
    )
    assert first.exit_code == 0, first.output
    (path,) = (platformdirs.user_cache_path("tagcli") / "clips").glob(f"*/{name}")
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2):
        content[place] ^= 0x55
    path.write_bytes(content)
    said = refuse("train", toy.root / "toy.tsv", "--out", tmp_path / "b", "--config", recipe)
    assert str(path.parent) in said


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_cut_checkpoint(toy, tiny_checkpoint, tmp_path, refuse, share):
    cut = tmp_path / "cut.safetensors"
    content = tiny_checkpoint.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    assert "cut.safetensors" in refuse("finetune", cut, toy.root / "toy.tsv", "--out", tmp_path / "run")
    write_manifest(replace(toy, tags=("rock", "jazz")), tmp_path / "set.tsv")
    assert "cut.safetensors" in refuse("eval", cut, tmp_path / "set.tsv")


def test_a_cut_sqlite(tmp_path, refuse):
    path = tmp_path / "lastfm_tags.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("CREATE TABLE tids (tid TEXT); CREATE TABLE tags (tag TEXT);")
        connection.execute("CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT)")
        connection.executemany("INSERT INTO tids VALUES (?)", [(f"TR{row:016d}",) for row in range(2000)])
        connection.execute("INSERT INTO tags VALUES ('rock')")
        connection.executemany("INSERT INTO tid_tag VALUES (?, 1, 100)", [(row + 1,) for row in range(2000)])
    connection.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "lastfm_tags.db" in refuse("dataset", "build", path, "-o", tmp_path / "b.tsv")


@pytest.mark.parametrize("place", ["../outside.wav", "/etc/passwd", "a/../../outside.wav"])
def test_a_manifest_that_points_outside_of_its_root(toy, recipe, tmp_path, refuse, place):
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "outside.wav").write_bytes((toy.root / toy.paths[0]).read_bytes())
    (folder / "set.tsv").write_text(f"path\tsplit\tlabels\n{place}\ttrain\tlow\n")
    for command in (
        ("train", folder / "set.tsv", "--out", tmp_path / "run", "--config", recipe),
        ("eval", "-", folder / "set.tsv", "--scores", tmp_path / "scores.npz"),
        ("dataset", "info", folder / "set.tsv"),
    ):
        said = refuse(*command)
        assert place in said
        assert "--audio" in said


def test_a_data_set_that_is_not_there(tmp_path, refuse):
    for command in (("train", "--out", tmp_path / "run"), ("dataset", "info"), ("dataset", "check")):
        assert "nothing.tsv" in refuse(command[0], *command[1:], tmp_path / "nothing.tsv")


def test_nothing_to_learn(toy, recipe, tmp_path, refuse):
    empty = replace(toy, labels=np.zeros_like(toy.labels))
    write_manifest(replace(empty, root=toy.root), tmp_path / "set.tsv")
    said = refuse("train", tmp_path / "set.tsv", "--out", tmp_path / "run", "--config", recipe)
    assert "validate" in said
