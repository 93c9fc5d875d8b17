"""A checkpoint says everything, comes back bit for bit, and damage is said in one sentence."""

import dataclasses
import json
import os
import struct
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.audio.clips import ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance, load_tensors, read_header, save_checkpoint
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.models.config import ConvNetConfig, CrnnConfig
from tagcli.tags import Category, Vocabulary

HEADER = CheckpointHeader(
    name="tiny",
    front_end=FrontEndConfig(sample_rate=8_000, n_mels=4, fmax=4_000.0, dynamic_range_db=80.0),
    clip=ClipRule(n_samples=2_560, short="zeros"),
    architecture=ConvNetConfig(
        architecture="tiny",
        n_mels=4,
        n_frames=11,
        channels=(2, 3),
        pools=((2, 2), (2, 5)),
        activation="elu",
        head="flatten",
        n_tags=2,
        batch_norm_eps=1e-3,
        embedding_tap="after_pooling",
    ),
    vocabulary=Vocabulary(
        name="two",
        tags=("Señor Coconut", "80s"),
        categories=(Category.GENRE, Category.ERA),
        labels=("Señor Coconut", "80s"),
    ),
    provenance=Provenance(
        source="nowhere", source_sha256="00", licence="MIT", citation="none", training_data="noise", roc_auc=0.5
    ),
    thresholds=(0.25, 0.1),
)

CRNN = dataclasses.replace(
    HEADER,
    architecture=CrnnConfig(
        architecture="crnn",
        n_mels=4,
        n_frames=11,
        channels=(2, 3),
        pools=((2, 2), (2, 2)),
        activation="relu",
        n_gru_layers=2,
        n_gru_units=5,
        n_tags=2,
        batch_norm_eps=1e-5,
    ),
)

OF_VERSION_ONE = r"""
{"architecture": {"activation": "elu", "architecture": "tiny", "batch_norm_eps": 0.001, "channels": [2, 3],
"embedding_tap": "after_pooling", "head": "flatten", "n_frames": 11, "n_mels": 4, "n_tags": 2, "pools": [[2, 2], [2,
5]]}, "clip": {"n_samples": 2560, "short": "zeros"}, "format_version": 1, "front_end": {"amin": 1e-10,
"db_reference": "one", "dynamic_range_db": 80.0, "filter_bank": "computed", "fmax": 4000.0, "fmin": 0.0,
"hop_length": 256, "mel_norm": "slaney", "mel_scale": "slaney", "n_fft": 512, "n_mels": 4, "normalisation": "none",
"padding": "constant", "power": 2.0, "sample_rate": 8000}, "name": "tiny", "provenance": {"artists": [], "citation":
"none", "licence": "MIT", "pr_auc": null, "roc_auc": 0.5, "source": "nowhere", "source_sha256": "00",
"training_data": "noise"}, "thresholds": [0.25, 0.1], "vocabulary": {"categories": ["genre", "era"], "labels":
["Se\u00f1or Coconut", "80s"], "name": "two", "tags": ["Se\u00f1or Coconut", "80s"]}}"""
"""As the first tagcli wrote it, which knew one kind of network."""

fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


def tensors():
    generator = torch.Generator().manual_seed(1)
    return {
        "model.dense.weight": torch.randn(2, 3, generator=generator).T,
        "model.dense.bias": torch.tensor([float("nan"), -0.0]),
        "model.norm.num_batches_tracked": torch.tensor(3),
    }


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, HEADER, tensors())
    return path


def write_header(path, text, *, metadata_key="tagcli"):
    header = json.dumps({"__metadata__": {metadata_key: text}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_save_and_load_is_bit_exact(checkpoint):
    assert read_header(checkpoint) == HEADER
    loaded = load_tensors(checkpoint)
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()


@pytest.mark.parametrize("header", [HEADER, CRNN], ids=["convnet", "crnn"])
def test_the_kind_of_network_comes_back(header, tmp_path):
    save_checkpoint(tmp_path / "x.safetensors", header, {})
    assert read_header(tmp_path / "x.safetensors") == header


def test_a_header_from_before_there_were_kinds_is_read(tmp_path):
    assert read_header(write_header(tmp_path / "old.safetensors", OF_VERSION_ONE)) == HEADER


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("architecture", "rnn"),  # then it is no CRNN, and what is no kind of its own has no recurrent units
        ("architecture", None),
        ("n_gru_units", 0),
        ("n_gru_layers", 2.0),
        ("pools", [[2, 2], [2, 6]]),
        ("head", "flatten"),
        ("n_tags", 3),
        ("n_frames", 12),
    ],
)
def test_a_crnn_that_does_not_hold_together_is_refused(setting, value, tmp_path):
    fields = json.loads(CRNN.to_json())
    fields["architecture"][setting] = value
    with pytest.raises(CheckpointError, match=r"The header of .*odd\.safetensors cannot be understood"):
        read_header(write_header(tmp_path / "odd.safetensors", json.dumps(fields)))


def test_the_same_content_gives_the_same_bytes(checkpoint, tmp_path):
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, HEADER, dict(reversed(tensors().items())))
    assert again.read_bytes() == checkpoint.read_bytes()


def test_saving_replaces_and_leaves_nothing_else(checkpoint, tmp_path):
    save_checkpoint(checkpoint, dataclasses.replace(HEADER, name="other"), tensors())
    assert read_header(checkpoint).name == "other"
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_what_cannot_be_written_leaves_the_old_file(checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left") as caught:
        save_checkpoint(checkpoint, HEADER, {})
    assert caught.value.path == checkpoint
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_an_interruption_leaves_no_temporary_file(checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(checkpoint, HEADER, {})
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "nowhere" / "x.safetensors", HEADER, tensors())


def test_the_header_needs_no_torch(checkpoint):
    code = (
        "import sys, pathlib\n"
        "from tagcli.checkpoint import read_header\n"
        "print(read_header(pathlib.Path(sys.argv[1])).name, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, checkpoint], capture_output=True, text=True, check=True)
    assert done.stdout == "tiny False\n"


@pytest.mark.parametrize("reader", [read_header, load_tensors])
@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 8, b"\xff" * 64, struct.pack("<Q", 2) + b"{}"])
def test_what_is_no_checkpoint_is_refused(reader, content, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    if reader is load_tensors and content.endswith(b"{}"):
        assert reader(path) == {}
    else:
        with pytest.raises(CheckpointError, match=r"x\.safetensors") as caught:
            reader(path)
        assert caught.value.path == path


@pytest.mark.parametrize("reader", [read_header, load_tensors])
def test_a_missing_file_and_a_folder_are_refused(reader, tmp_path):
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            reader(path)


def test_tensors_of_others_are_sent_to_the_import(tmp_path):
    path = write_header(tmp_path / "foreign.safetensors", "{}", metadata_key="format")
    with pytest.raises(CheckpointError, match="tagcli weights import"):
        read_header(path)


def test_a_name_that_is_not_utf8_can_be_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    save_checkpoint(path, HEADER, tensors())
    assert read_header(path) == HEADER
    assert len(load_tensors(path)) == 3


@pytest.mark.parametrize("depth_of", ["file", "text"])
def test_bottomless_json_is_refused(depth_of, tmp_path):
    deep = "[" * 200_000
    path = tmp_path / "deep.safetensors"
    if depth_of == "text":
        write_header(path, deep)
    else:
        path.write_bytes(struct.pack("<Q", len(deep)) + deep.encode())
    with pytest.raises(CheckpointError, match="deep"):
        read_header(path)


@pytest.mark.parametrize(
    ("room", "setting", "value"),
    [
        (None, "format_version", 2),
        (None, "name", 3),
        (None, "unheard_of", 1),
        (None, "clip", []),
        (None, "thresholds", [0.5]),
        (None, "thresholds", "0.5"),
        ("front_end", "sample_rate", "8000"),
        ("front_end", "hop_length", 0),
        ("front_end", "padding", "mirror"),
        ("front_end", "fmax", None),
        ("front_end", "n_mels", 5),
        ("clip", "n_samples", 2_560.5),
        ("clip", "n_samples", 4_000),
        ("clip", "short", "silence"),
        ("architecture", "activation", "gelu"),
        ("architecture", "pools", [[2, 2], [0, 5]]),
        ("architecture", "pools", [[2, 2], [2, 5, 1]]),
        ("architecture", "pools", [[2, 2]]),
        ("architecture", "channels", "23"),
        ("architecture", "n_tags", 3),
        ("vocabulary", "tags", ["rock"]),
        ("vocabulary", "categories", ["genre", "epoch"]),
        ("vocabulary", "labels", ["a/b", "c"]),
        ("provenance", "roc_auc", "high"),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(room, setting, value, tmp_path):
    fields = json.loads(HEADER.to_json())
    (fields if room is None else fields[room])[setting] = value
    path = write_header(tmp_path / "odd.safetensors", json.dumps(fields))
    with pytest.raises(CheckpointError, match=r"The header of .*odd\.safetensors cannot be understood"):
        read_header(path)


def test_a_header_without_a_setting_is_refused(tmp_path):
    for room in ("front_end", "clip", "architecture", "vocabulary", "provenance", "name", "format_version"):
        fields = json.loads(HEADER.to_json())
        del fields[room]
        with pytest.raises(CheckpointError, match="cannot be understood"):
            read_header(write_header(tmp_path / "short.safetensors", json.dumps(fields)))


@fuzz
@given(content=st.binary(max_size=200))
def test_random_bytes_give_checkpoint_errors_only(content, tmp_path):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_header(path)
    # what is too short for its own header; safetensors reads an empty one as no tensors
    if len(content) < 10:
        with pytest.raises(CheckpointError):
            load_tensors(path)


@fuzz
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncation_gives_checkpoint_errors_only(part, checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError):
        load_tensors(path)


@fuzz
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_changed_byte_gives_a_header_or_a_checkpoint_error(place, byte, checkpoint, tmp_path):
    content = bytearray(checkpoint.read_bytes())
    content[int(place * len(content))] = byte
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    for reader in (read_header, load_tensors):
        with suppress(CheckpointError):
            reader(path)
