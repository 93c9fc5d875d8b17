"""The compact network as it was published first: Theano's form of the front end, the importer, the golden values."""

import json

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import UNCALIBRATED, keras2_arrays
from typer.testing import CliRunner

from tagcli import load_tagger
from tagcli.checkpoint import Provenance, load_tensors, save_checkpoint
from tagcli.cli import app
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel
from tagcli.weights.importers import convert
from tagcli.weights.intake import import_weights
from tagcli.weights.vocabularies import load_vocabulary

PROVENANCE = Provenance(source="x", source_sha256="00", licence="MIT", citation="none", training_data="noise")
FILE = "choi2017/weights_theano.hdf5"

LOG_MEL_DB = 1e-3
"""float32 against double precision."""
EMBEDDINGS = 1e-4
SCORES = 1e-5

fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)


def compact_arrays(seed=0):
    """Tensors of an untrained model, by their names in the file."""
    random = np.random.default_rng(seed)
    melgram = [keras2_arrays()[f"melgram/melgram/{name}:0"] for name in ("real_kernels", "imag_kernels", "Variable")]
    arrays = {f"melgram/param_{number}": array for number, array in enumerate(melgram)}
    arrays["dense_1/dense_1_W"], arrays["dense_1/dense_1_b"] = random.normal(size=(32, 50)), random.normal(size=50)
    for number in range(1, 6):
        conv, norm = f"ConvBNEluDr/convolution2d_{number}", f"ConvBNEluDr/batchnormalization_{number}"
        arrays[f"{conv}_W"] = random.normal(size=(32, 1 if number == 1 else 32, 3, 3)) / 10
        arrays[f"{conv}_b"], arrays[f"{norm}_beta"] = random.normal(size=32), random.normal(size=32)
        arrays[f"{norm}_gamma"] = random.normal(size=32)
        arrays[f"{norm}_running_mean"], arrays[f"{norm}_running_std"] = np.zeros(32), np.ones(32)
    return {key: np.asarray(array, dtype=np.float32) for key, array in arrays.items()}


def write_compact(path, arrays):
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
        file.create_group("flatten_1")
    return path


def read(path):
    return convert(path, "compact-theano", name="odd", vocabulary=load_vocabulary("msd50"), provenance=PROVENANCE)


# Theano's form of the front end


@given(
    n_samples=st.integers(1, 900),
    n_fft=st.sampled_from([16, 33, 64]),
    hop_length=st.sampled_from([8, 15, 32]),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_theanos_frames_are_those_of_a_true_convolution(n_samples, n_fft, hop_length, seed):
    """Windowed cosines and sines, convolved as Theano's "half" border and Keras' crop do it."""
    waveform = np.random.default_rng(seed).standard_normal(n_samples)
    n_frames, n_bins = -(-n_samples // hop_length), 1 + n_fft // 2
    sample = np.arange(n_fft)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * sample / n_fft)
    padded = np.pad(waveform, n_fft // 2)
    expected = np.zeros((n_bins, n_frames))
    for bin_ in range(n_bins):
        for wave in (np.cos, np.sin):
            convolved = np.convolve(padded, hann * wave(2 * np.pi * sample * bin_ / n_fft), "valid")
            expected[bin_] += convolved[::hop_length][:n_frames] ** 2
    config = FrontEndConfig(
        sample_rate=8000,
        n_fft=n_fft,
        hop_length=hop_length,
        n_mels=n_bins,
        fmax=4000.0,
        padding="theano_same",
        filter_bank="stored",
        amin=1e-30,
    )
    front_end = LogMel(config)
    front_end.mel_filter_bank.copy_(torch.eye(n_bins))
    decibels = front_end(torch.from_numpy(waveform).float()[None])[0]
    assert decibels.shape == (n_bins, config.n_frames(n_samples)) == expected.shape
    np.testing.assert_allclose(10 ** (decibels.double() / 10), expected, rtol=1e-4, atol=1e-4)


# Random weights in the published layout


def test_tensors_go_where_the_tagger_looks(tmp_path):
    arrays = compact_arrays()
    header, tensors = read(write_compact(tmp_path / "x.hdf5", arrays))
    front_end, architecture = header.front_end, header.architecture
    assert (front_end.sample_rate, front_end.padding, front_end.normalisation) == (12_000, "theano_same", "none")
    assert (front_end.db_reference, front_end.dynamic_range_db) == ("clip_maximum", 80.0)
    assert (header.clip.n_samples, header.clip.short) == (348_000, "zeros")
    assert (architecture.head, architecture.embedding_tap) == ("flatten", "after_pooling")
    assert (architecture.batch_norm_statistics, architecture.batch_norm_eps) == ("clip", 1e-3)
    kernel = arrays["ConvBNEluDr/convolution2d_2_W"]
    assert tensors["model.blocks.1.conv.weight"][5, 9, 0, 1] == kernel[5, 9, 2, 1]
    assert np.array_equal(tensors["model.blocks.4.norm.weight"], arrays["ConvBNEluDr/batchnormalization_5_gamma"])
    assert np.array_equal(tensors["model.blocks.0.norm.bias"], arrays["ConvBNEluDr/batchnormalization_1_beta"])
    assert np.array_equal(tensors["front_end.mel_filter_bank"], arrays["melgram/param_2"].T)
    assert np.array_equal(tensors["model.dense.weight"], arrays["dense_1/dense_1_W"].T)
    assert not [name for name in tensors if "running" in name]
    save_checkpoint(tmp_path / "x.safetensors", header, tensors)
    assert load_tagger(tmp_path / "x.safetensors").module.header == header


def test_conversion_gives_the_same_bytes_each_time(tmp_path):
    source = write_compact(tmp_path / "x.hdf5", compact_arrays())
    for target in ("first", "second"):
        save_checkpoint(tmp_path / target, *read(source))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("dense_1/dense_1_W", None, "has no tensor dense_1/dense_1_W"),
        ("ConvBNEluDr/convolution2d_6_W", np.zeros(3), "has a tensor ConvBNEluDr/convolution2d_6_W"),
        ("dense_1/dense_1_b", np.zeros(49, np.float32), "dense_1/dense_1_b"),
        ("dense_1/dense_1_b", np.full(50, np.nan, np.float32), "not finite"),
        ("melgram/param_1", np.zeros((512, 1, 1, 257), np.float32), "not a Hann-windowed"),
        ("ConvBNEluDr/batchnormalization_3_running_std", np.full(32, 2, np.float32), "holds batch-norm statistics"),
    ],
)
def test_another_layout_is_refused(key, value, reason, tmp_path):
    arrays = {**compact_arrays(), key: value}
    path = write_compact(tmp_path / "x.hdf5", {key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(CheckpointError, match=reason) as caught:
        read(path)
    assert caught.value.path == path


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    return write_compact(tmp_path_factory.mktemp("whole") / "x.hdf5", compact_arrays()).read_bytes()


@fuzz
@given(part=st.floats(0, 0.999), noise=st.binary(max_size=200))
def test_damaged_files_give_checkpoint_errors_only(part, noise, whole_file, tmp_path):
    for content in (whole_file[: int(part * len(whole_file))], noise):
        path = tmp_path / "x.hdf5"
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError):
            read(path)


# The real file


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    return import_weights(shared / "weights" / FILE, output=tmp_path_factory.mktemp("published") / "x.safetensors")


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "choi2017_1100103.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_published_scores_and_features(published, golden, shared):
    module = load_tagger(published, device="cpu").module
    waveform = torch.from_numpy(np.load(shared / "golden" / "clip_1100103_12k.npy"))[None]
    with torch.inference_mode():
        log_mel = module.front_end(waveform)
        last_map = module.model.blocks(log_mel[:, None])
    np.testing.assert_allclose(log_mel[0], golden["logmel_theano_db"], rtol=0, atol=LOG_MEL_DB)
    np.testing.assert_allclose(last_map[0], golden["compact_b1_block5"], rtol=0, atol=EMBEDDINGS)
    output = module.score(waveform, with_embeddings=True)
    embeddings = torch.cat(output.embeddings)
    np.testing.assert_allclose(embeddings, golden["compact_b1_feats_5x32"], rtol=0, atol=EMBEDDINGS)
    np.testing.assert_allclose(output.scores[0], golden["compact_b1_probs"], rtol=0, atol=SCORES)
    np.testing.assert_allclose(module(waveform)[0], golden["compact_b1_probs"], rtol=0, atol=SCORES)


def test_its_label_vectors_are_those_of_the_paper(published, shared):
    """Cosines of the dense layer's columns: the 20 most similar pairs, in order."""
    paper = json.loads((shared / "golden" / "label_vectors.json").read_text())
    vectors = load_tensors(published)["model.dense.weight"].double().numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tags = load_vocabulary("msd50").tags
    pairs = [(a, b) for a in range(50) for b in range(a + 1, 50)]
    best = sorted(pairs, key=lambda pair: -(vectors[pair[0]] @ vectors[pair[1]]))[:20]
    assert [{tags[a], tags[b]} for a, b in best] == [set(pair) for pair in paper["paper_table3_row2_pairs_in_order"]]


def test_it_is_uncalibrated_where_it_lies_and_refused(shared):
    import_weights(shared / "weights" / FILE)
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["weights", "list", "--format", "json"]).stdout)
    (row,) = [row for row in listed if row["name"] == UNCALIBRATED]
    assert row["state"] == "uncalibrated"
    told = runner.invoke(app, ["weights", "info", UNCALIBRATED]).stdout
    assert "tagcli weights calibrate choi2017-compact-cnn FOLDER" in told
    audio = str(shared / "data" / "magnatune" / "audio" / "0001.mp3")
    result = runner.invoke(app, ["predict", "-m", UNCALIBRATED, audio])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "`tagcli weights calibrate choi2017-compact-cnn FOLDER`" in result.stderr
