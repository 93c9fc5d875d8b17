"""The MusicTaggerCRNN says what its authors published, of both of their files, and goes every way of a tagger."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import choi2016_arrays, entry_for, needs_published_files, to_tensorflow, write_arrays
from torch import nn
from toy_dataset import TINY
from typer.testing import CliRunner

import tagcli.weights.catalogue
import tagcli.weights.intake
from tagcli.audio.clips import ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance, load_tensors, read_header, save_checkpoint
from tagcli.cli import app
from tagcli.errors import CheckpointError, TrainingError, WeightsError
from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel
from tagcli.models.choi2016 import KerasGru
from tagcli.models.config import Choi2016Config, choi2016_config
from tagcli.models.forms import build_model, to_inference_form
from tagcli.tagger import load_tagger
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import begin_fresh, make_header
from tagcli.training.recipe_document import resolve_recipe
from tagcli.training.reports import EpochReport
from tagcli.training.session import run_training
from tagcli.weights.entries import CATALOGUE
from tagcli.weights.importers import convert
from tagcli.weights.importers.choi2016 import CLIP, FRONT_END
from tagcli.weights.intake import import_weights, pull
from tagcli.weights.vocabularies import load_vocabulary

NAME = "choi2016-crnn"
SCORES = 1e-4
"""Against stored scores of another float32 implementation."""
ROUNDING = 1e-5
"""The same float32 sums in another order, of numbers about 1."""
DB = 1e-3
"""Of a float32 transform against librosa in double precision; 80 dB are left above the floor."""

SMALL = Choi2016Config(
    architecture="choi2016-crnn",
    n_mels=24,
    n_frames=44,
    n_padded_frames=3,
    channels=(3, 5, 4),
    pools=((2, 2), (3, 2), (2, 2)),
    activation="elu",
    n_gru_layers=2,
    n_gru_units=6,
    n_tags=7,
    batch_norm_eps=1e-3,
)
PROVENANCE = Provenance(source="x", source_sha256="00", licence="MIT", citation="none", training_data="noise")

fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


def import_choi2016(path):
    return convert(path, "choi2016", name="odd", vocabulary=load_vocabulary("msd50"), provenance=PROVENANCE)


def randomise(model):
    """Draw all weights and statistics, far from 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(0.2 + torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5)
    return model.eval()


def published_network(log_mel, arrays):
    """State and scores of a log-mel (96, 1366) in dB, from the authors' own tensors, in double precision."""
    w = {key.partition("/")[2]: torch.from_numpy(array).double() for key, array in arrays.items()}

    def norm(x, name):
        parts = [w[f"{name}_{part}"] for part in ("running_mean", "running_std", "gamma", "beta")]
        return F.batch_norm(x, *parts, eps=1e-5)

    def hard_sigmoid(x):
        return (0.2 * x + 0.5).clamp(0, 1)

    frames = F.pad(log_mel.double(), (37, 37)).T
    x = norm(frames[None], "bn_0_freq")[0].T[None, None]
    for number, pool in enumerate(((2, 2), (3, 3), (4, 4), (4, 4)), start=1):
        x = F.conv2d(x, w[f"conv{number}_W"].flip(2, 3), w[f"conv{number}_b"], padding=1)  # Theano convolves
        x = F.max_pool2d(F.elu(norm(x, f"bn{number}")), pool)
    assert x.shape == (1, 128, 1, 15)
    sequence = x[0, :, 0].T
    for gru in ("gru1", "gru2"):
        state, states = torch.zeros(32, dtype=torch.float64), []
        for step in sequence:
            update, reset = (
                hard_sigmoid(step @ w[f"{gru}_W_{gate}"] + state @ w[f"{gru}_U_{gate}"] + w[f"{gru}_b_{gate}"])
                for gate in "zr"
            )
            candidate = torch.tanh(step @ w[f"{gru}_W_h"] + (reset * state) @ w[f"{gru}_U_h"] + w[f"{gru}_b_h"])
            state = update * state + (1 - update) * candidate
            states.append(state)
        sequence = torch.stack(states)
    return state.float(), torch.sigmoid(state @ w["output_W"] + w["output_b"]).float()


# The network


def test_the_numbers_are_the_published_ones():
    config = choi2016_config()
    assert (config.n_block_frames, config.output_size, config.n_features) == (1440, (1, 15), 128)
    assert sum(parameter.numel() for parameter in build_model(config).parameters()) == 396_786


@pytest.mark.parametrize("config", [SMALL, choi2016_config()], ids=["small", "published"])
@pytest.mark.usefixtures("seeded")
def test_the_inference_form_is_the_same(config):
    model = randomise(build_model(config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inference = to_inference_form(model)
    log_mel = torch.randn(3, config.n_mels, config.n_frames)
    with torch.no_grad():
        expected, found = model.embed(log_mel), inference.embed(log_mel)
        torch.testing.assert_close(model(log_mel), expected.logits, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(inference(log_mel), found.logits, rtol=0, atol=ROUNDING)
    assert expected.logits.std() > 0.01, "the network says the same of everything"
    torch.testing.assert_close(torch.sigmoid(found.logits), torch.sigmoid(expected.logits), rtol=0, atol=ROUNDING)
    sizes = [(3, n) for n in (*config.channels, config.n_gru_units)]
    assert [embedding.shape for embedding in found.embeddings] == sizes
    for ours, theirs in zip(found.embeddings, expected.embeddings, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=SCORES, atol=SCORES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in inference.parameters())


@pytest.mark.usefixtures("seeded")
def test_a_clip_scores_the_same_alone_and_in_any_company():
    model = to_inference_form(randomise(build_model(SMALL)))
    log_mel = torch.randn(3, 24, 44)
    together = torch.sigmoid(model(log_mel))
    alone = torch.sigmoid(torch.cat([model(clip[None]) for clip in log_mel]))
    torch.testing.assert_close(alone, together, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(torch.sigmoid(model(log_mel.flip(0))).flip(0), together, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("seeded")
def test_frames_of_nothing_surround_the_map_before_each_frame_is_normalised():
    model = randomise(build_model(SMALL))
    log_mel = torch.randn(2, 24, 44)
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(log_mel)
    norm = model.input_norm
    scale = norm.weight / torch.sqrt(norm.running_var + 1e-3)
    for frame in range(50):
        column = log_mel[:, :, frame - 3] if 3 <= frame < 47 else torch.zeros(2, 24)
        expected = (column - norm.running_mean[frame]) * scale[frame] + norm.bias[frame]
        torch.testing.assert_close(seen[0][:, 0, :, frame], expected, rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("seeded")
def test_the_recurrent_units_are_keras():
    gru, other = KerasGru(4, 6, 1), nn.GRU(4, 6, batch_first=True)
    for parameter in gru.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        for part in ("weight_ih_l0", "weight_hh_l0"):
            getattr(other, part).copy_(getattr(gru, part))
        other.bias_ih_l0.copy_(gru.bias_l0)
        other.bias_hh_l0.zero_()
        steps = torch.randn(3, 5, 4)
        found, torchs = gru(steps), other(steps)[0]
        assert (found - torchs).abs().max() > 0.05, "reset and gates are those of torch.nn.GRU"
        reset, update, of_candidate = (weight.double() for weight in gru.weight_hh_l0.chunk(3))
        for clip, states in zip(steps.double(), found, strict=True):
            state = torch.zeros(6, dtype=torch.float64)
            for step, ours in zip(clip, states, strict=True):
                reset_in, update_in, candidate_in = (gru.weight_ih_l0.double() @ step + gru.bias_l0).chunk(3)
                r = (0.2 * (reset_in + reset @ state) + 0.5).clamp(0, 1)
                z = (0.2 * (update_in + update @ state) + 0.5).clamp(0, 1)
                state = z * state + (1 - z) * torch.tanh(candidate_in + of_candidate @ (r * state))
                torch.testing.assert_close(ours.double(), state, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("shape", [(24, 44), (1, 24, 43), (1, 24, 50), (1, 23, 44)])
def test_a_map_of_another_size_is_refused(shape):
    model = build_model(SMALL).eval()
    for network in (model, model.embed, to_inference_form(model)):
        with pytest.raises(ValueError, match=r"takes \(n_clips, 24, 44\), not"):
            network(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_padded_frames": -1}, "n_padded_frames is not negative"),
        ({"n_gru_layers": 0}, "begin at 1"),
        ({"n_frames": 1, "n_padded_frames": 3}, "vanishes"),
        ({"pools": ((2, 2),)}, "3 blocks of maps but 1 poolings"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(SMALL, **change)


@pytest.mark.usefixtures("seeded")
def test_half_precision_changes_little():
    model = to_inference_form(randomise(build_model(SMALL)))
    log_mel = torch.randn(2, 24, 44)
    expected = torch.sigmoid(model(log_mel))
    halved = model.half()(log_mel.half())
    assert halved.dtype == torch.float16
    torch.testing.assert_close(torch.sigmoid(halved.float()), expected, rtol=0, atol=0.02)


# The front end


def in_librosa(waveform):
    mel = librosa.feature.melspectrogram(
        y=waveform.astype(np.float64), sr=12_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    return librosa.power_to_db(mel**2, ref=1.0, top_db=80.0)


def test_the_log_mel_is_the_authors(music):
    waveform = music(29.12, 12_000, n_channels=1)[0]
    waveform[200_000:] *= 1e-6  # what is next to silent is 80 dB below the rest
    assert FRONT_END.n_frames(len(waveform)) == 1366
    found = LogMel(dataclasses.replace(FRONT_END, filter_bank="computed"))(torch.from_numpy(waveform[None]))[0].numpy()
    expected = in_librosa(waveform)
    assert expected.min() == pytest.approx(expected.max() - 80)
    np.testing.assert_allclose(found, expected, rtol=0, atol=DB)


def test_silence_is_finite_and_squares_are_as_low_as_they_may_be():
    config = FrontEndConfig(sample_rate=12_000, fmax=6000.0, squares_mel=True)
    assert (LogMel(config)(torch.zeros(1, 12_000)) == -100).all()


def test_headers_from_before_the_square_are_known():
    config = FrontEndConfig(sample_rate=12_000, fmax=6000.0)
    assert repr(config) != repr(dataclasses.replace(config, squares_mel=True))  # a run is known by it
    fields = dataclasses.asdict(config)
    del fields["squares_mel"]
    assert FrontEndConfig(**fields) == config


# Files of the published layout


@pytest.fixture(scope="module")
def arrays():
    return choi2016_arrays()


@pytest.mark.usefixtures("seeded")
def test_tensors_of_the_published_layout_do_what_they_did_there(arrays, tmp_path):
    header, tensors = import_choi2016(write_arrays(tmp_path / "theano.h5", arrays))
    assert header.architecture == choi2016_config()
    assert (header.front_end, header.clip) == (FRONT_END, ClipRule(n_samples=349_440, short="zeros"))
    kernel = arrays["conv2/conv2_W"]
    assert tensors["model.blocks.1.conv.weight"][5, 9, 0, 2] == kernel[5, 9, 2, 0]
    save_checkpoint(tmp_path / "x.safetensors", header, tensors)
    assert read_header(tmp_path / "x.safetensors") == header
    module = TaggerModule.from_checkpoint(tmp_path / "x.safetensors")
    log_mel = torch.randn(96, 1366)
    output = module.model.embed(log_mel[None])
    state, scores = published_network(log_mel, arrays)
    assert scores.std() > 0.05, "the network says the same of everything"
    torch.testing.assert_close(torch.sigmoid(output.logits[0]), scores, rtol=0, atol=SCORES)
    torch.testing.assert_close(output.embeddings[-1][0], state, rtol=0, atol=SCORES)


def test_both_layouts_give_the_same_checkpoint(arrays, tmp_path):
    for name, content in (("theano", arrays), ("tensorflow", to_tensorflow(arrays))):
        save_checkpoint(tmp_path / name, *import_choi2016(write_arrays(tmp_path / f"{name}.h5", content)))
    assert (tmp_path / "theano").read_bytes() == (tmp_path / "tensorflow").read_bytes()


@pytest.mark.parametrize("changes", [dict, to_tensorflow], ids=["theano", "tensorflow"])
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("gru2/gru2_U_h", None, "has no tensor gru2/gru2_U_h"),
        ("conv5/conv5_b", np.zeros(128, np.float32), "has a tensor conv5/conv5_b that its format does not know"),
        ("bn_0_freq/bn_0_freq_beta", np.zeros(96, np.float32), r"bn_0_freq_beta .* \(96,\) in place of .* \(1440,\)"),
        ("output/output_b", np.zeros(50), "output/output_b .* float64"),
        ("conv1/conv1_W", np.full((64, 1, 3, 3), np.inf, np.float32), "conv1/conv1_W .* not finite"),
    ],
)
def test_another_layout_is_refused(key, value, reason, changes, arrays, tmp_path):
    changed = {name: array for name, array in {**arrays, key: value}.items() if array is not None}
    path = write_arrays(tmp_path / "other.h5", changes(changed))
    with pytest.raises(CheckpointError, match=reason) as caught:
        import_choi2016(path)
    assert caught.value.path == path


def test_tensors_of_one_name_are_refused(arrays, tmp_path):
    content = to_tensorflow(arrays)
    content["conv1/conv1_W:0"] = content["conv1/conv1_W_1:0"]
    with pytest.raises(CheckpointError, match="several tensors of one name"):
        import_choi2016(write_arrays(tmp_path / "other.h5", content))


@fuzz
@given(part=st.floats(0, 0.999))
def test_truncated_files_give_checkpoint_errors_only(part, whole_file, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(whole_file[: int(part * len(whole_file))])
    with pytest.raises(CheckpointError):
        import_choi2016(path)


@pytest.fixture(scope="module")
def whole_file(arrays, tmp_path_factory):
    return write_arrays(tmp_path_factory.mktemp("whole") / "x.h5", arrays).read_bytes()


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError):
            import_choi2016(path)


def test_both_published_files_are_known_by_their_hashes(arrays, tmp_path, monkeypatch):
    paths = [
        write_arrays(tmp_path / "theano.h5", arrays),
        write_arrays(tmp_path / "tensorflow.h5", to_tensorflow(arrays)),
    ]
    twin = entry_for(CATALOGUE[NAME], paths[1].read_bytes()).sha256
    entries = {NAME: entry_for(CATALOGUE[NAME], paths[0].read_bytes(), twin_sha256=twin)}
    for module in (tagcli.weights.catalogue, tagcli.weights.intake):
        monkeypatch.setattr(module, "CATALOGUE", entries)
    place = import_weights(paths[0])
    content = place.read_bytes()
    place.unlink()
    assert import_weights(paths[1], name=NAME) == place == pull(NAME)
    assert place.read_bytes() == content
    other = write_arrays(tmp_path / "other.h5", choi2016_arrays(1))
    with pytest.raises(WeightsError, match="none of the published files"):
        import_weights(other)
    assert read_header(import_weights(other, name=NAME, output=tmp_path / "mine.safetensors")).name == "mine"


# The published weights


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
        theano = pull(NAME)
        content = theano.read_bytes()
        tensorflow = import_weights(shared / "weights" / "choi2016" / "music_tagger_crnn_weights_tensorflow.h5")
        assert tensorflow == theano
        assert tensorflow.read_bytes() == content, "the two files do not hold the same weights"
        return theano


@needs_published_files
@pytest.mark.parametrize("name", ["cute", "dubstep"])
def test_the_published_scores_come_out(name, published, shared):
    golden = json.loads((shared / "golden" / "choi2016_crnn.json").read_text())[name]
    log_mel = torch.from_numpy(np.load(shared / "golden" / f"melgram_{name}.npy", allow_pickle=False)[0])
    module = TaggerModule.from_checkpoint(published)
    output = module.model.embed(log_mel)
    scores = dict(zip(module.header.vocabulary.tags, torch.sigmoid(output.logits[0]).tolist(), strict=True))
    best = sorted(scores, key=scores.get, reverse=True)[:10]
    assert [[tag, round(scores[tag], 3)] for tag in best] == golden["published_top10"]
    assert scores == pytest.approx(golden["our_probs"], rel=0, abs=SCORES)
    np.testing.assert_allclose(output.embeddings[-1][0], golden["our_feature32"], rtol=0, atol=SCORES)
    assert module.header.provenance.roc_auc == 0.8662


@needs_published_files
def test_a_file_is_heard_as_the_authors_heard_it(published, shared, tmp_path):
    waveform = np.load(shared / "golden" / "clip_1100103_12k.npy", allow_pickle=False)
    module = load_tagger(published, device="cpu").module
    log_mels = []
    long = np.concatenate([waveform[:100_000], waveform])[: CLIP.n_samples + 2 * 40_000]
    for name, samples, heard in (
        ("long", long, long[40_000 : 40_000 + CLIP.n_samples]),
        ("short", waveform[:200_000], np.pad(waveform[:200_000], (0, CLIP.n_samples - 200_000))),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, 12_000, subtype="FLOAT")
        log_mels.append(torch.from_numpy(in_librosa(heard)).float())
    expected = torch.sigmoid(module.model(torch.stack(log_mels)))
    options = ("--clips", "middle", "--top", "50", "--threshold", "0", "--format", "jsonl", "--no-cache")
    paths = [str(tmp_path / f"{name}.wav") for name in ("long", "short")]
    result = CliRunner().invoke(app, ["predict", "-m", str(published), *options, "--device", "cpu", *paths])
    assert result.exit_code == 0, result.output
    for line, scores in zip(result.stdout.splitlines(), expected, strict=True):
        found = {each["tag"]: each["score"] for each in json.loads(line)["tags"]}
        assert found == pytest.approx(
            dict(zip(module.header.vocabulary.tags, scores.tolist(), strict=True)), rel=0, abs=SCORES
        )


# It learns

MODEL = {"architecture": NAME, "channels": [4, 6], "pools": [[4, 4], [4, 3]], "n_gru_units": 8, "n_padded_frames": 5}
TINY_CHOI2016 = {
    **TINY,
    "model": MODEL,
    "optimisation": {**TINY["optimisation"], "epochs": 12, "batch_size": 7, "learning_rate": 3e-2},
}
RECIPE = resolve_recipe(TINY_CHOI2016, n_tags=2, place="x")


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """The folder of a run that learned what is easy, and what it reported."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    reports = run_training(toy, TINY_CHOI2016, folder=folder, place="x", resumes=False, device_name="cpu", n_workers=2)
    return SimpleNamespace(folder=folder, reports=[each for each in reports if isinstance(each, EpochReport)])


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_by_its_name_it_is_the_published_one():
    recipe = resolve_recipe({"model": {"architecture": NAME}}, n_tags=50, place="x")
    assert recipe.model == choi2016_config()
    assert (recipe.front_end.sample_rate, recipe.clip.n_samples) == (12_000, CLIP.n_samples)
    with pytest.raises(TrainingError, match=r"\[model\]: n_padded_frames is not negative"):
        resolve_recipe({"model": {"architecture": NAME, "n_padded_frames": -1}}, n_tags=50, place="x")


def test_fresh_recurrent_weights_are_drawn(toy):
    fresh = begin_fresh(make_header(Path("tiny"), RECIPE, toy, toy.select("train")), RECIPE).state_dict()
    of_state = fresh["model.gru.weight_hh_l0"]
    torch.testing.assert_close(of_state.T @ of_state, torch.eye(8))
    assert fresh["model.gru.weight_ih_l1"].abs().min() > 0
    assert not fresh["model.gru.bias_l0"].any()


def test_it_learns_what_is_easy(trained):
    assert trained.reports[-1].loss < 0.5 * trained.reports[0].loss
    assert max(report.roc_auc for report in trained.reports) == 1.0


def test_it_is_finetuned_tags_and_is_judged(toy, trained, tmp_path):
    settings = ("--set", "optimisation.batch_size=4", "--set", "data.validation_clips=middle", "--epochs", 1)
    invoke("finetune", trained.folder, toy.root / "toy.tsv", "--out", tmp_path / "run", "--freeze", 2, *settings)
    old, new = (load_tensors(folder / "best.safetensors") for folder in (trained.folder, tmp_path / "run"))
    moved = {name.rpartition(".")[0] for name, tensor in old.items() if not torch.equal(tensor, new[name])}
    assert moved == {"model.input_norm", "model.gru", "model.dense"}
    options = ("--format", "jsonl", "--no-cache", "--device", "cpu", "--embeddings", tmp_path / "x.npz")
    result = invoke("predict", "-m", trained.folder, *options, *(toy.locate(row) for row in (0, 1)))
    assert [json.loads(line)["tags"][0]["tag"] for line in result.stdout.splitlines()] == ["low", "high"]
    with np.load(tmp_path / "x.npz") as embeddings:
        assert embeddings["block_3"].shape == (2, 8)
    judged = invoke("eval", trained.folder, toy.root / "toy.tsv", "--split", "validation", "--format", "json")
    assert json.loads(judged.stdout)["macro"]["roc_auc"]["value"] == 1.0


def test_a_header_with_another_padding_is_refused(trained):
    header = read_header(trained.folder / "best.safetensors")
    for setting, value in (("n_padded_frames", -1), ("n_padded_frames", 5.0), ("architecture", "crnn")):
        fields = json.loads(header.to_json())
        fields["architecture"][setting] = value
        with pytest.raises((ValueError, TypeError, KeyError)):
            CheckpointHeader.from_json(json.dumps(fields))
