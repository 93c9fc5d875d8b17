"""Published formats become checkpoints: every tensor in its place, nothing believed, nothing executed."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import (
    SHARED,
    WON2020,
    keras2_arrays,
    keras2_layers,
    needs_published_files,
    won2020_state,
    write_keras2,
)

from tagcli.checkpoint import Provenance, load_tensors, save_checkpoint
from tagcli.errors import CheckpointError
from tagcli.weights.entries import CATALOGUE
from tagcli.weights.importers import convert
from tagcli.weights.vocabularies import load_vocabulary

PROVENANCE = Provenance(source="x", source_sha256="00", licence="MIT", citation="none", training_data="noise")

LOGITS_TOLERANCE = 1e-4
"""Of scores against the stored ones: float32 sums in another order."""

LOG_MEL_TOLERANCE_DB = 0.006
"""Above -60 dB, against a double precision front end."""

fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def import_won2020(path, name="odd", kind="fcn"):
    return convert(path, f"won2020-{kind}", name=name, vocabulary=load_vocabulary("msd50"), provenance=PROVENANCE)


def import_keras2(path, name="odd"):
    return convert(path, "keras2", name=name, vocabulary=load_vocabulary("msd50"), provenance=PROVENANCE)


def save_state(path, state):
    torch.save(state, path)
    return path


# The published figures, written out once more and without tagcli's modules


def blocks(x, tensors, *, eps, pools, activation):
    """Each block's map before and after its pooling, from a map (1, 1, n_mels, n_frames)."""
    for index, pool in enumerate(pools):
        block = f"model.blocks.{index}"
        x = F.conv2d(x, tensors[f"{block}.conv.weight"], tensors[f"{block}.conv.bias"], padding=1)
        mean, variance = tensors[f"{block}.norm.running_mean"], tensors[f"{block}.norm.running_var"]
        x = F.batch_norm(x, mean, variance, tensors[f"{block}.norm.weight"], tensors[f"{block}.norm.bias"], eps=eps)
        before = activation(x)
        x = F.max_pool2d(before, pool)
        yield before, x


def fcn(log_mel, tensors):
    """Embedding (64,) and scores (50,) of a log-mel (96, 1813) in dB."""
    norm = {part: tensors[f"front_end.input_norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    x = F.batch_norm(log_mel[None, None], norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"])
    pools = ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4))
    *_, (_, last) = blocks(x, tensors, eps=1e-5, pools=pools, activation=F.relu)
    embedding = last.flatten()
    return embedding, torch.sigmoid(tensors["model.dense.weight"] @ embedding + tensors["model.dense.bias"])


def crnn(log_mel, tensors):
    """Embedding (32,) and scores (50,) of a log-mel (96, 1813) in dB."""
    norm = {part: tensors[f"front_end.input_norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    x = F.batch_norm(log_mel[None, None], norm["running_mean"], norm["running_var"], norm["weight"], norm["bias"])
    pools = ((2, 2), (3, 3), (4, 4), (4, 4))
    *_, (_, last) = blocks(x, tensors, eps=1e-5, pools=pools, activation=F.relu)
    sequence = last[0, :, 0].T
    assert sequence.shape == (18, 128)
    for layer in (0, 1):
        gru = {part: tensors[f"model.gru.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        state, states = torch.zeros(32), []
        for step in sequence:
            of_input = gru["weight_ih"] @ step + gru["bias_ih"]
            of_state = gru["weight_hh"] @ state + gru["bias_hh"]
            reset, update = torch.sigmoid(of_input + of_state)[:64].chunk(2)
            candidate = torch.tanh(of_input[64:] + reset * of_state[64:])
            state = update * state + (1 - update) * candidate
            states.append(state)
        sequence = torch.stack(states)
    return state, torch.sigmoid(tensors["model.dense.weight"] @ state + tensors["model.dense.bias"])


def keras2(log_mel, tensors):
    """Embeddings (5, 32) and scores (50,) of a log-mel (96, n_frames) in dB below its maximum."""
    x = ((log_mel - log_mel.mean()) / log_mel.std(correction=0))[None, None]
    pools = ((2, 4), (3, 4), (2, 5), (2, 4), (4, 4))
    maps = list(blocks(x, tensors, eps=1e-3, pools=pools, activation=F.elu))
    features = maps[-1][1].amax(dim=(2, 3))[0]
    scores = torch.sigmoid(tensors["model.dense.weight"] @ features + tensors["model.dense.bias"])
    return torch.stack([before.mean(dim=(2, 3))[0] for before, _ in maps]), scores


def mel_power(waveform, bank, *, left, right, mode):
    """Mel power (96, n_frames) of a waveform, in double precision."""
    padded = F.pad(waveform.double()[None, None], (left, right), mode=mode)[0, 0]
    frames = padded.unfold(0, 512, 256) * torch.hann_window(512, dtype=torch.float64)
    return bank.double() @ torch.fft.rfft(frames).abs().square().T


# Random weights in the published layout


def test_won2020_tensors_go_where_the_tagger_looks(tmp_path):
    state = won2020_state()
    header, tensors = import_won2020(save_state(tmp_path / "best_model.pth", state), name="mine")
    assert header.name == "mine"
    assert header.provenance == PROVENANCE
    assert (header.front_end.sample_rate, header.front_end.padding, header.front_end.mel_norm) == (
        16_000,
        "reflect",
        "none",
    )
    assert (header.clip.n_samples, header.clip.short) == (464_000, "repeat")
    assert torch.equal(tensors["front_end.mel_filter_bank"], state["spec.mel_scale.fb"].T)
    assert torch.equal(tensors["front_end.input_norm.running_var"], state["spec_bn.running_var"])
    assert torch.equal(tensors["model.blocks.2.conv.weight"], state["layer3.conv.weight"])
    assert torch.equal(tensors["model.blocks.4.norm.bias"], state["layer5.bn.bias"])
    assert tensors["model.blocks.0.norm.num_batches_tracked"] == 7
    assert torch.equal(tensors["model.dense.weight"], state["dense.weight"])
    assert len(tensors) == len(state) - 1  # the window is checked, not kept


def test_the_crnns_tensors_go_where_the_tagger_looks(tmp_path):
    state = won2020_state(kind="crnn")
    header, tensors = import_won2020(save_state(tmp_path / "best_model.pth", state), kind="crnn")
    assert header.architecture.architecture == "crnn"
    assert (header.clip.n_samples, header.clip.short, header.front_end.fmax) == (464_000, "repeat", 8000.0)
    assert torch.equal(tensors["model.blocks.3.conv.weight"], state["layer4.conv.weight"])
    assert torch.equal(tensors["model.blocks.3.norm.running_mean"], state["layer4.bn.running_mean"])
    for part in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "weight_ih_l1", "bias_hh_l1"):
        assert torch.equal(tensors[f"model.gru.{part}"], state[f"layer5.{part}"])
    assert torch.equal(tensors["model.dense.bias"], state["dense.bias"])
    assert len(tensors) == len(state) - 1


def test_keras2_tensors_go_where_the_tagger_looks(tmp_path):
    arrays = keras2_arrays()
    header, tensors = import_keras2(write_keras2(tmp_path / "model_best.hdf5", arrays, keras2_layers()))
    assert (header.front_end.sample_rate, header.front_end.padding) == (12_000, "tensorflow_same")
    assert (header.front_end.db_reference, header.front_end.normalisation) == ("clip_maximum", "clip")
    assert (header.architecture.head, header.architecture.embedding_tap) == ("global_max", "after_activation")
    assert (header.clip.n_samples, header.clip.short) == (348_000, "zeros")
    kernel = arrays["conv2d_2/conv2d_2/kernel:0"]
    assert tensors["model.blocks.1.conv.weight"][5, 9, 0, 2] == kernel[0, 2, 9, 5]
    assert np.array_equal(tensors["front_end.mel_filter_bank"], arrays["melgram/melgram/Variable:0"].T)
    assert np.array_equal(tensors["model.dense.weight"], arrays["dense_1/dense_1/kernel:0"].T)
    norm = "batch_normalization_5/batch_normalization_5"
    assert np.array_equal(tensors["model.blocks.4.norm.running_var"], arrays[f"{norm}/moving_variance:0"])
    assert all(tensor.dtype == torch.float32 for name, tensor in tensors.items() if "num_batches" not in name)


def test_conversion_gives_the_same_bytes_each_time(tmp_path):
    won2020 = save_state(tmp_path / "a.pth", won2020_state())
    keras = write_keras2(tmp_path / "a.hdf5", keras2_arrays(), keras2_layers())
    for source, reader in ((won2020, import_won2020), (keras, import_keras2)):
        for target in ("first", "second"):
            save_checkpoint(tmp_path / target, *reader(source))
        assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("layer3.conv.bias", None, "has no tensor layer3.conv.bias"),
        ("layer6.conv.bias", torch.zeros(3), "has a tensor layer6.conv.bias that its format does not know"),
        ("dense.weight", torch.zeros(50, 32), r"dense.weight .* float32 \(50, 32\) in place of float32 \(50, 64\)"),
        ("dense.bias", torch.zeros(50, dtype=torch.float64), "dense.bias .* float64"),
        ("spec.mel_scale.fb", torch.zeros(96, 257), "spec.mel_scale.fb"),
        ("spec.spectrogram.window", torch.hann_window(512, periodic=False), "not the periodic Hann window"),
        ("layer1.bn.running_var", torch.full((64,), float("nan")), "layer1.bn.running_var .* not finite"),
        ("dense.bias", [0.0] * 50, "not a state dict"),
        ("dense.bias", torch.zeros(50).to_sparse(), "not a state dict"),
    ],
)
def test_another_layout_than_won2020s_is_refused(key, value, reason, tmp_path):
    state = won2020_state()
    state[key] = value
    if value is None:
        del state[key]
    path = save_state(tmp_path / "other.pth", state)
    with pytest.raises(CheckpointError, match=reason) as caught:
        import_won2020(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("layer5.weight_hh_l1", None, "has no tensor layer5.weight_hh_l1"),
        ("layer5.weight_ih_l2", torch.zeros(96, 32), "has a tensor layer5.weight_ih_l2 that its format does not know"),
        ("layer5.weight_ih_l0", torch.zeros(96, 64), r"layer5.weight_ih_l0 .* \(96, 64\) in place of .* \(96, 128\)"),
        ("layer5.bias_hh_l0", torch.full((96,), float("inf")), "layer5.bias_hh_l0 .* not finite"),
        ("dense.weight", torch.zeros(50, 64), r"dense.weight .* \(50, 64\) in place of float32 \(50, 32\)"),
    ],
)
def test_another_layout_than_the_crnns_is_refused(key, value, reason, tmp_path):
    state = won2020_state(kind="crnn")
    state[key] = value
    if value is None:
        del state[key]
    path = save_state(tmp_path / "other.pth", state)
    with pytest.raises(CheckpointError, match=reason) as caught:
        import_won2020(path, kind="crnn")
    assert caught.value.path == path


@pytest.mark.parametrize(("kind", "other"), [("fcn", "crnn"), ("crnn", "fcn")])
def test_one_of_wons_networks_is_not_taken_for_another(kind, other, tmp_path):
    path = save_state(tmp_path / "other.pth", won2020_state(kind=other))
    with pytest.raises(CheckpointError, match="so it is not of this format"):
        import_won2020(path, kind=kind)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("conv2d_4/conv2d_4/kernel:0", None, "has no tensor conv2d_4/conv2d_4/kernel:0"),
        ("conv2d_6/conv2d_6/kernel:0", np.zeros(3), "has a tensor conv2d_6/conv2d_6/kernel:0"),
        ("dense_1/dense_1/bias:0", np.zeros(49, np.float32), "dense_1/dense_1/bias:0"),
        ("dense_1/dense_1/bias:0", np.zeros(50, np.float64), "float64"),
        ("dense_1/dense_1/bias:0", np.full(50, np.inf, np.float32), "not finite"),
        ("melgram/melgram/imag_kernels:0", np.zeros((512, 1, 1, 257), np.float32), "not a Hann-windowed"),
    ],
)
def test_another_layout_than_keras2s_is_refused(key, value, reason, tmp_path):
    arrays = keras2_arrays()
    arrays[key] = value
    if value is None:
        del arrays[key]
    path = write_keras2(tmp_path / "other.hdf5", arrays, keras2_layers())
    with pytest.raises(CheckpointError, match=reason) as caught:
        import_keras2(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("layer", "setting", "value"),
    [
        ("melgram", "sr", 16_000),
        ("melgram", "power_melgram", 1.0),
        ("MP_3", "pool_size", [4, 4]),
        ("batch_normalization_2", "epsilon", 1e-5),
        ("dense_1", "activation", "softmax"),
    ],
)
def test_a_keras_model_with_other_settings_is_refused(layer, setting, value, tmp_path):
    layers = keras2_layers()
    layers[layer][setting] = value
    path = write_keras2(tmp_path / "other.hdf5", keras2_arrays(), layers)
    with pytest.raises(CheckpointError, match=f"says {setting} = .* of its layer {layer}"):
        import_keras2(path)


def test_a_keras_file_of_weights_alone_is_refused(tmp_path):
    path = write_keras2(tmp_path / "other.hdf5", keras2_arrays(), keras2_layers())
    import h5py

    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(CheckpointError, match="no model_config"):
        import_keras2(path)


# Hostile and damaged files


class Hostile:
    """Unpickled by a trusting reader, it makes a folder."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"mkdir '{self.trace}'",)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_a_pickle_is_never_executed(form, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    state = {**won2020_state(), "dense.bias": Hostile(trace)}
    if form == "bare":
        path.write_bytes(pickle.dumps(Hostile(trace)))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    assert zipfile.is_zipfile(path) == (form == "zip")
    with pytest.raises(CheckpointError, match=r"evil\.pth cannot be read as a PyTorch state dict") as caught:
        import_won2020(path)
    assert not trace.exists()
    assert "\n" not in str(caught.value)
    # the file is a live one: a trusting reader would have run it
    torch.load(path, weights_only=False) if form != "bare" else pickle.loads(path.read_bytes())
    assert trace.exists()


@fuzz
@given(content=st.binary(max_size=300))
def test_random_bytes_give_checkpoint_errors_only(content, tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(content)
    for reader in (import_won2020, import_keras2):
        with pytest.raises(CheckpointError):
            reader(path)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    torch.save(won2020_state(), folder / "zip.pth")
    torch.save(won2020_state(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    write_keras2(folder / "model.hdf5", keras2_arrays(), keras2_layers())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@fuzz
@given(part=st.floats(0, 0.999), name=st.sampled_from(["zip.pth", "legacy.pth", "model.hdf5"]))
def test_truncated_files_give_checkpoint_errors_only(part, name, whole_files, tmp_path):
    content = whole_files[name]
    path = tmp_path / name
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(CheckpointError):
        (import_keras2 if name.endswith("hdf5") else import_won2020)(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for reader in (import_won2020, import_keras2):
        for path in (tmp_path / "missing", tmp_path):
            with pytest.raises(CheckpointError):
                reader(path)


# The real files


def import_published(name, tmp_path):
    entry = CATALOGUE[name]
    header, tensors = convert(
        SHARED / "weights" / entry.path,
        entry.importer,
        name=name,
        vocabulary=load_vocabulary(entry.vocabulary),
        provenance=entry.provenance,
    )
    save_checkpoint(tmp_path / name, header, tensors)
    return load_tensors(tmp_path / name)


@needs_published_files
@pytest.mark.parametrize(
    ("name", "track"),
    [
        *((name, track) for name in WON2020 if name.endswith("-fcn") for track in ("0003", "0119", "0293")),
        ("won2020-msd-crnn", "0293"),
    ],
)
def test_won2020_gives_the_published_scores(name, track, tmp_path):
    tensors = import_published(name, tmp_path)
    model = name.removeprefix("won2020-").replace("-", "_")
    network = fcn if name.endswith("-fcn") else crnn
    with np.load(SHARED / "golden" / f"won2020_{track}.npz", allow_pickle=False) as golden:
        embedding, scores = network(torch.from_numpy(golden["logmel_db_29s"]), tensors)
        np.testing.assert_allclose(scores, golden[model], atol=LOGITS_TOLERANCE, rtol=0)
        np.testing.assert_allclose(embedding, golden[f"{model}_emb"], rtol=1e-3, atol=1e-4)


@needs_published_files
def test_won2020s_filter_bank_gives_the_published_log_mel(tmp_path):
    tensors = import_published("won2020-msd-fcn", tmp_path)
    waveform = torch.from_numpy(np.load(SHARED / "golden" / "clip_magnatune_0119_16k.npy"))[800 : 800 + 464_000]
    mel = mel_power(waveform, tensors["front_end.mel_filter_bank"], left=256, right=256, mode="reflect")
    log_mel = 10 * mel.clamp(min=1e-10).log10().numpy()
    with np.load(SHARED / "golden" / "won2020_0119.npz", allow_pickle=False) as golden:
        expected = golden["logmel_db_29s"]
    assert log_mel.shape == expected.shape
    heard = expected > -60
    assert np.abs(log_mel - expected)[heard].max() < LOG_MEL_TOLERANCE_DB


@needs_published_files
def test_keras2_gives_the_published_scores_and_features(tmp_path):
    tensors = import_published("choi2017-keras2", tmp_path)
    waveform = torch.from_numpy(np.load(SHARED / "golden" / "clip_1100103_12k.npy"))
    mel = mel_power(waveform, tensors["front_end.mel_filter_bank"], left=208, right=208, mode="constant")
    log_mel = 10 * mel.clamp(min=1e-10).log10()
    log_mel = (log_mel - log_mel.max()).clamp(min=-80).float()
    with np.load(SHARED / "golden" / "choi2017_1100103.npz", allow_pickle=False) as golden:
        np.testing.assert_allclose(log_mel, golden["keras2_logmel_db"], atol=1e-3, rtol=0)
        features, scores = keras2(torch.from_numpy(golden["keras2_logmel_db"]), tensors)
        np.testing.assert_allclose(features, golden["keras2_feats_elu_gap_5x32"], atol=1e-4, rtol=0)
        np.testing.assert_allclose(scores, golden["keras2_probs"], atol=1e-5, rtol=0)
