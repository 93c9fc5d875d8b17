"""The weights that come with tagcli: what they are, what they say, and how closely they follow their teacher."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from tagcli.checkpoint import hash_artists, load_tensors, read_header
from tagcli.cli import app
from tagcli.datasets import open_dataset
from tagcli.datasets.manifest_file import write_manifest
from tagcli.files import hash_file
from tagcli.weights.catalogue import DEFAULT_NAME, default_weights, list_weights
from tagcli.weights.intake import pull
from tagcli.weights.vocabularies import load_vocabulary

MAX_BYTES = 4_000_000
LEAST_PEARSON, LEAST_ROC_AUC, LEAST_OVERLAP = 0.75, 0.85, 3.3
"""About the lower bounds of the figures in the model card."""


@pytest.fixture(scope="module")
def header():
    return read_header(default_weights())


def test_they_are_a_small_network_of_five_layers_that_says_the_tags_of_msd(header):
    assert default_weights().stat().st_size <= MAX_BYTES
    assert header.name == DEFAULT_NAME
    assert len(header.architecture.channels) == 5
    assert header.vocabulary == load_vocabulary("msd50")
    assert all(torch.isfinite(tensor).all() for tensor in load_tensors(default_weights()).values())


def test_they_say_where_they_come_from_and_what_may_be_done_with_them(header):
    assert "won2020-msd-fcn" in header.provenance.source
    assert header.provenance.licence.startswith("CC BY-NC-SA 4.0: ")
    assert "Won" in header.provenance.citation
    assert len(header.provenance.artists) > 100


def test_a_tag_is_stored_from_a_score_on_that_is_neither_always_reached_nor_never(header):
    assert header.thresholds is not None
    assert min(header.thresholds) >= 0.05
    assert max(header.thresholds) <= 0.5


def test_they_are_listed_as_bundled():
    (row,) = [row for row in list_weights() if row.name == DEFAULT_NAME]
    assert (row.state, row.n_tags, row.licence) == ("bundled", 50, "CC BY-NC-SA 4.0")


def test_what_is_told_of_them_is_of_this_file(header):
    said = CliRunner().invoke(app, ["weights", "info", DEFAULT_NAME, "--format", "json"])
    facts = json.loads(said.stdout)
    assert facts["sha256"] == hash_file(default_weights())
    assert facts["thresholds"] == dict(zip(header.vocabulary.tags, header.thresholds, strict=True))
    assert (
        f"rock {facts['thresholds']['rock']:.3f}" in CliRunner().invoke(app, ["weights", "info", DEFAULT_NAME]).stdout
    )


def test_they_are_taken_when_none_are_named_and_that_is_said(music, encode, tmp_path):
    encode(tmp_path / "a.mp3", music(31, 22_050), 22_050)
    said = CliRunner().invoke(app, ["predict", str(tmp_path), "--format", "json"])
    assert said.exit_code == 0, said.output
    content = json.loads(said.stdout)
    assert content["model"]["name"] == DEFAULT_NAME
    assert [track["status"] for track in content["tracks"]] == ["ok"]
    (line,) = [line for line in said.stderr.splitlines() if DEFAULT_NAME in line and "pull" in line]
    assert "tagcli weights pull won2020-msd-fcn" in line
    named = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", DEFAULT_NAME, "--format", "json"])
    assert "weights pull" not in named.stderr


def test_no_network_is_touched(music, encode, tmp_path):
    """Whatever opens a socket of the internet fails."""
    encode(tmp_path / "a.mp3", music(31, 22_050), 22_050)
    program = (
        "import socket, sys\n"
        "def refuse(self, *_): raise AssertionError('a network was asked for')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
        "socket.getaddrinfo = refuse\n"
        "from tagcli.cli import app\n"
        f"sys.argv = ['tagcli', 'predict', '--write', {str(tmp_path)!r}]\n"
        "app()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "TAGCLI_TAGS" in CliRunner().invoke(app, ["show", str(tmp_path / "a.mp3"), "--format", "json"]).stdout


def test_no_tensor_is_one_of_a_published_network(shared, monkeypatch):
    monkeypatch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
    own = {name: tensor for name, tensor in load_tensors(default_weights()).items() if tensor.ndim > 1}
    for teacher in ("won2020-msd-fcn", "won2020-msd-crnn"):
        theirs = [tensor for tensor in load_tensors(pull(teacher)).values() if tensor.ndim > 1]
        for tensor in own.values():
            assert not any(tensor.shape == other.shape and torch.allclose(tensor, other, atol=1e-3) for other in theirs)


@pytest.mark.slow
def test_they_follow_their_teacher_on_artists_that_they_have_not_learned_from(shared, header, monkeypatch, tmp_path):
    """The least that the model card promises; it has the figures and their intervals."""
    monkeypatch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
    pull("won2020-msd-fcn")
    everything = open_dataset(shared / "data", wants_labels=False)
    seen = set(header.provenance.artists)
    rows = [row for row, artist in enumerate(everything.artists) if not seen & set(hash_artists([artist]))]
    assert len(rows) > 80
    held_out = replace(everything.take(rows), splits=("test",) * len(rows))
    write_manifest(held_out, tmp_path / "held-out.tsv")
    options = ["--teacher", "won2020-msd-fcn", "--bootstrap", "50", "--format", "json"]
    said = CliRunner().invoke(app, ["eval", DEFAULT_NAME, str(tmp_path / "held-out.tsv"), *options])
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert not found["is_seen"]
    assert found["macro"]["pearson"]["value"] > LEAST_PEARSON
    assert found["macro"]["roc_auc"]["value"] > LEAST_ROC_AUC
    assert found["top5_overlap"]["value"] > LEAST_OVERLAP
