"""A musicnn is the paper's figure, says what its published files say, and goes every way that a tagger goes."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tomli_w
import torch
import torch.nn.functional as F
from published import needs_published_files, won2020_state
from torch import nn
from toy_dataset import N_TRAIN, TINY
from typer.testing import CliRunner

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance, load_tensors, read_header, save_checkpoint
from tagcli.cli import app
from tagcli.errors import CheckpointError, TrainingError
from tagcli.features.config import FRONT_ENDS
from tagcli.features.log_mel import LogMel
from tagcli.models.forms import build_model, to_inference_form
from tagcli.models.musicnn_config import MusicnnConfig, musicnn_config
from tagcli.tagger import load_tagger
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import begin_fresh, make_header
from tagcli.training.learner import Learner
from tagcli.training.optimisation import make_optimizer
from tagcli.training.recipe import OptimisationRecipe, TransferRecipe
from tagcli.training.recipe_document import resolve_recipe
from tagcli.training.reports import EpochReport
from tagcli.training.run_folder import RunFolder
from tagcli.training.session import run_training
from tagcli.weights.importers import convert
from tagcli.weights.intake import pull
from tagcli.weights.vocabularies import load_vocabulary

SCORES = 1e-4
"""Against stored scores of another float32 implementation."""
EMBEDDINGS = 1e-3
"""Relative to the largest, for the same reason."""
HEARD_DB = -60.0
WON_DB = 0.01
"""Above `HEARD_DB`; nearer to the floor float32 transforms differ more."""
ROUNDING = 1e-5
"""The same float32 sums in another order, of numbers about 1."""
AGREEMENT = 0.5
"""Correlation of the logits of two networks of one data set; shuffled tags do not reach it."""

SMALL = MusicnnConfig(
    architecture="musicnn",
    n_mels=24,
    n_frames=50,
    vertical_bands=(17, 9, 24),
    vertical_frames=5,
    n_vertical=6,
    horizontal_frames=(33, 7),
    n_horizontal=3,
    n_middle_layers=4,
    middle_frames=3,
    n_middle=5,
    n_hidden=8,
    n_tags=7,
    batch_norm_eps=1e-3,
)
N_FRONT = 3 * 6 + 2 * 3
PROVENANCE = Provenance(source="x", source_sha256="00", licence="MIT", citation="none", training_data="noise")


def randomise_norms(model):
    """Give batch norms statistics, scales and shifts that are far from 0 and 1, and of both signs."""
    generator = torch.Generator().manual_seed(3)
    for norm in (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)):
        for tensor, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -1, 1), (norm.running_mean, -1, 1)):
            tensor.data.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
        norm.running_var.copy_(0.2 + torch.rand(norm.running_var.shape, generator=generator))
        norm.weight.data[::2] *= -1
    return model.eval()


def musicnn(log_mel, state):
    """Layers, pooled features and scores of a log-mel (n_clips, 96, n_frames) in dB, from the authors' own tensors."""

    def normed(x, prefix):
        norm = [state[f"{prefix}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm)

    x = normed(log_mel[:, None], "spec_bn")
    front = []
    for index in (0, 1):
        layer = f"layers.{index}"
        y = F.conv2d(x, state[f"{layer}.conv.weight"], state[f"{layer}.conv.bias"], padding=(0, 3))
        front.append(F.relu(normed(y, f"{layer}.bn")).max(dim=2).values)
    for index in (2, 3, 4):
        layer, weight = f"layers.{index}", state[f"layers.{index}.conv.weight"]
        y = F.conv1d(x.mean(dim=2), weight, state[f"{layer}.conv.bias"], padding=weight.shape[2] // 2)
        front.append(F.relu(normed(y, f"{layer}.bn")))
    layers = [torch.cat(front, dim=1)]
    for number in (1, 2, 3):
        layer = f"layer{number}"
        y = F.conv1d(layers[-1], state[f"{layer}.conv.weight"], state[f"{layer}.conv.bias"], padding=3)
        y = F.relu(normed(y, f"{layer}.bn"))
        layers.append(y if number == 1 else y + layers[-1])
    features = torch.cat(layers, dim=1)
    pooled = torch.cat([features.max(dim=2).values, features.mean(dim=2)], dim=1)
    hidden = F.relu(normed(F.linear(pooled, state["dense1.weight"], state["dense1.bias"]), "bn"))
    return layers, pooled, torch.sigmoid(F.linear(hidden, state["dense2.weight"], state["dense2.bias"]))


def import_musicnn(path, kind="musicnn"):
    return convert(path, f"won2020-{kind}", name="odd", vocabulary=load_vocabulary("mtat50"), provenance=PROVENANCE)


# The network


def test_the_numbers_are_those_of_the_paper():
    config = musicnn_config()
    assert (config.n_front, config.n_features) == (561, 1506)
    modules = (build_model(config), LogMel(FRONT_ENDS["mel96-16k"]))
    assert sum(parameter.numel() for module in modules for parameter in module.parameters()) == 784_300


@pytest.mark.parametrize("config", [SMALL, musicnn_config()], ids=["small", "published"])
@pytest.mark.usefixtures("seeded")
def test_the_inference_form_is_the_same(config):
    model = randomise_norms(build_model(config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inference = to_inference_form(model)
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in inference.modules())
    log_mel = torch.randn(3, config.n_mels, config.n_frames)
    with torch.no_grad():
        expected, found = model.embed(log_mel), inference.embed(log_mel)
        torch.testing.assert_close(model(log_mel), expected.logits, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(inference(log_mel), found.logits, rtol=0, atol=ROUNDING)
    assert expected.logits.std() > 0.01, "the network says the same of everything"
    torch.testing.assert_close(torch.sigmoid(found.logits), torch.sigmoid(expected.logits), rtol=0, atol=ROUNDING)
    n_channels = [config.n_front, *[config.n_middle] * config.n_middle_layers, config.n_features]
    assert [embedding.shape for embedding in found.embeddings] == [(3, n) for n in n_channels]
    for ours, theirs in zip(found.embeddings, expected.embeddings, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=SCORES, atol=SCORES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in inference.parameters())


@pytest.mark.usefixtures("seeded")
def test_weights_of_no_weight_are_flushed_and_statistics_are_needed():
    model = randomise_norms(build_model(SMALL))
    with torch.no_grad():
        model.blocks[2].layer.weight[0] = 1e-39
    assert not to_inference_form(model).blocks[2].layer.weight[0].any()
    model.hidden.norm = nn.BatchNorm1d(SMALL.n_hidden, track_running_stats=False)
    with pytest.raises(ValueError, match="without running statistics"):
        to_inference_form(model)


@pytest.mark.usefixtures("seeded")
def test_a_clip_scores_the_same_alone_in_any_company_and_at_any_length():
    model = to_inference_form(randomise_norms(build_model(SMALL)))
    for n_frames in (1, 49, 50, 300):
        log_mel = torch.randn(3, 24, n_frames)
        together = torch.sigmoid(model(log_mel))
        alone = torch.sigmoid(torch.cat([model(clip[None]) for clip in log_mel]))
        torch.testing.assert_close(alone, together, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(torch.sigmoid(model(log_mel.flip(0))).flip(0), together, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("shape", [(24, 50), (1, 1, 24, 50), (1, 50, 24), (1, 23, 50)])
def test_a_map_of_another_height_is_refused(shape):
    model = build_model(SMALL).eval()
    for network in (model, model.embed, to_inference_form(model)):
        with pytest.raises(ValueError, match=r"takes \(n_clips, 24, n_frames\), not"):
            network(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vertical_bands": ()}, "there are vertical and horizontal filters"),
        ({"horizontal_frames": ()}, "there are vertical and horizontal filters"),
        ({"n_vertical": 0}, "begin at 1"),
        ({"n_middle_layers": 0}, "begin at 1"),
        ({"vertical_bands": (3, 0)}, "begin at 1"),
        ({"vertical_bands": (3, 25)}, "25 bands is taller than a map of 24"),
        ({"vertical_frames": 6}, "odd"),
        ({"middle_frames": 2}, "odd"),
        ({"horizontal_frames": (3, 4)}, "odd"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(SMALL, **change)


@pytest.mark.usefixtures("seeded")
def test_half_precision_changes_little():
    model = to_inference_form(randomise_norms(build_model(SMALL)))
    log_mel = torch.randn(2, 24, 50)
    expected = torch.sigmoid(model(log_mel))
    halved = model.half()(log_mel.half())
    assert halved.dtype == torch.float16
    torch.testing.assert_close(torch.sigmoid(halved.float()), expected, rtol=0, atol=0.02)


# The published files


@pytest.fixture(scope="module")
def state():
    return won2020_state(kind="musicnn")


@pytest.mark.usefixtures("seeded")
def test_tensors_of_the_published_layout_do_what_they_did_there(state, tmp_path):
    torch.save(state, tmp_path / "best_model.pth")
    header, tensors = import_musicnn(tmp_path / "best_model.pth")
    assert header.architecture == musicnn_config()
    assert header.front_end == FRONT_ENDS["mel96-16k"]
    assert header.clip == ClipRule(n_samples=48_000, short="repeat")
    assert len(tensors) == len(state) - 1  # the window is checked, not kept
    save_checkpoint(tmp_path / "x.safetensors", header, tensors)
    assert read_header(tmp_path / "x.safetensors") == header
    module = TaggerModule.from_checkpoint(tmp_path / "x.safetensors")
    waveforms = 0.1 * torch.randn(2, 48_000)
    output = module.score(waveforms, with_embeddings=True)
    with torch.no_grad():
        layers, pooled, scores = musicnn(module.front_end.decibels(waveforms), state)
    assert [maps.shape for maps in layers] == [(2, n, 188) for n in (561, 64, 64, 64)]
    assert scores.std() > 0.05, "the network says the same of everything"
    torch.testing.assert_close(output.scores, scores, rtol=0, atol=SCORES)
    for embedding, expected in zip(output.embeddings, [*(maps.mean(dim=2) for maps in layers), pooled], strict=True):
        torch.testing.assert_close(embedding, expected, rtol=EMBEDDINGS, atol=EMBEDDINGS)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("layers.4.conv.weight", None, "has no tensor layers.4.conv.weight"),
        ("layers.5.conv.bias", torch.zeros(51), "has a tensor layers.5.conv.bias that its format does not know"),
        ("layers.0.conv.weight", torch.zeros(204, 1, 86, 7), r"layers.0.conv.weight .* in place of .*67"),
        ("bn.running_var", torch.full((200,), float("nan")), "bn.running_var .* not finite"),
        ("dense2.weight", torch.zeros(50, 100), r"dense2.weight .* \(50, 100\) in place of float32 \(50, 200\)"),
    ],
)
def test_another_layout_is_refused(key, value, reason, state, tmp_path):
    changed = {name: tensor for name, tensor in {**state, key: value}.items() if tensor is not None}
    torch.save(changed, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=reason) as caught:
        import_musicnn(tmp_path / "other.pth")
    assert caught.value.path == tmp_path / "other.pth"


@pytest.mark.parametrize(("kind", "other"), [("fcn", "musicnn"), ("crnn", "musicnn"), ("musicnn", "fcn")])
def test_one_of_wons_networks_is_not_taken_for_another(kind, other, tmp_path):
    torch.save(won2020_state(kind=other), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="check which file it is"):
        import_musicnn(tmp_path / "other.pth", kind=kind)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("architecture", "fcn"),
        ("vertical_bands", [17, 25]),
        ("horizontal_frames", 33),
        ("channels", [3]),
        ("n_frames", 51),
        ("n_middle", 5.0),
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(setting, value, tmp_path):
    header = CheckpointHeader(
        name="odd",
        front_end=dataclasses.replace(FRONT_ENDS["mel96-16k"], n_mels=24),
        clip=ClipRule(n_samples=49 * 256, short="repeat"),
        architecture=dataclasses.replace(SMALL, n_tags=50),
        vocabulary=load_vocabulary("mtat50"),
        provenance=PROVENANCE,
    )
    save_checkpoint(tmp_path / "x.safetensors", header, {})
    assert read_header(tmp_path / "x.safetensors") == header
    fields = json.loads(header.to_json())
    fields["architecture"][setting] = value
    with pytest.raises((ValueError, TypeError, KeyError)):
        CheckpointHeader.from_json(json.dumps(fields))


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
        return SimpleNamespace(
            mtat=pull("won2020-mtat-musicnn"),
            jamendo=pull("won2020-jamendo-musicnn"),
            jamendo_fcn=pull("won2020-jamendo-fcn"),
        )


@pytest.fixture(scope="module", params=["0003", "0119", "0293"])
def golden(shared, request):
    """A stored waveform, and what the published network makes of it."""
    waveform = np.load(shared / "golden" / f"clip_magnatune_{request.param}_16k.npy", allow_pickle=False)
    with np.load(shared / "golden" / f"won2020_{request.param}.npz", allow_pickle=False) as arrays:
        return SimpleNamespace(waveform=waveform, **arrays)


def cut_chunks(waveform):
    return torch.from_numpy(np.stack([waveform[start : start + 48_000] for start in range(0, 16 * 26_100, 26_100)]))


@needs_published_files
def test_the_published_weights_give_the_stored_scores(published, golden):
    module = TaggerModule.from_checkpoint(published.mtat)
    output = module.score(cut_chunks(golden.waveform), with_embeddings=True)
    np.testing.assert_allclose(output.scores, golden.mtat_musicnn_chunks, rtol=0, atol=SCORES)
    np.testing.assert_allclose(output.scores.mean(dim=0), golden.mtat_musicnn, rtol=0, atol=SCORES)
    embedding = golden.mtat_musicnn_emb_chunk0
    tolerance = EMBEDDINGS * np.abs(embedding).max()
    np.testing.assert_allclose(output.embeddings[-1][0], embedding, rtol=0, atol=tolerance)


@needs_published_files
def test_the_front_end_gives_the_stored_log_mel(published, golden):
    front_end = TaggerModule.from_checkpoint(published.mtat).front_end
    found = front_end.decibels(cut_chunks(golden.waveform)[:1])[0].numpy()
    assert found.shape == golden.logmel_db_3s_chunk0.shape == (96, 188)
    heard = golden.logmel_db_3s_chunk0 > HEARD_DB
    assert np.abs(found - golden.logmel_db_3s_chunk0)[heard].max() < WON_DB


@needs_published_files
def test_sixteen_clips_of_a_file_get_the_stored_mean(published, golden, tmp_path):
    """The protocol of the paper, from the command line."""
    soundfile.write(tmp_path / "x.wav", golden.waveform, 16_000, subtype="FLOAT")
    assert ClipChoice.parse("16").starts(len(golden.waveform), 48_000) == list(range(0, 16 * 26_100, 26_100))
    options = ("--clips", "16", "--top", "50", "--threshold", "0", "--format", "jsonl", "--no-cache", "--device", "cpu")
    result = CliRunner().invoke(app, ["predict", "-m", str(published.mtat), *options, str(tmp_path / "x.wav")])
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["n_clips"] == 16
    tags = load_tagger(published.mtat, device="cpu").header.vocabulary.tags
    found = {each["tag"]: each["score"] for each in row["tags"]}
    np.testing.assert_allclose([found[tag] for tag in tags], golden.mtat_musicnn, rtol=0, atol=SCORES)


@needs_published_files
def test_jamendos_musicnn_hears_what_jamendos_fcn_hears(published, golden):
    musicnn, fcn = (TaggerModule.from_checkpoint(path) for path in (published.jamendo, published.jamendo_fcn))
    ours = torch.logit(musicnn(cut_chunks(golden.waveform)).mean(dim=0))
    theirs = torch.logit(fcn(torch.from_numpy(golden.waveform[None, 800:464_800]))[0])
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > AGREEMENT


# It learns

MODEL = {
    "architecture": "musicnn",
    "vertical_bands": [20, 10],
    "vertical_frames": 3,
    "n_vertical": 4,
    "horizontal_frames": [9],
    "n_horizontal": 2,
    "n_middle": 5,
    "n_middle_layers": 2,
    "n_hidden": 16,
}
TINY_MUSICNN = {**TINY, "model": MODEL}
RECIPE = resolve_recipe(TINY_MUSICNN, n_tags=2, place="x")


def run(manifest, folder, document, **options):
    """Train, and give the reports of the epochs."""
    defaults = {"place": "x", "resumes": False, "device_name": "cpu", "n_workers": 2}
    reports = run_training(manifest, document, folder=folder, **{**defaults, **options})
    return [report for report in reports if isinstance(report, EpochReport)]


def with_optimisation(**changes):
    return {**TINY_MUSICNN, "optimisation": {**TINY["optimisation"], **changes}}


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """The folder of a run that learned what is easy, and what it reported."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return SimpleNamespace(
        folder=folder, reports=run(toy, folder, with_optimisation(epochs=12, learning_rate=3e-2, batch_size=7))
    )


def invoke(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_by_its_name_it_is_the_published_one():
    recipe = resolve_recipe({"model": {"architecture": "musicnn"}}, n_tags=50, place="x")
    assert recipe.model == musicnn_config()
    assert recipe.front_end == FRONT_ENDS["mel96-16k"]
    assert recipe.clip == ClipRule(n_samples=48_000, short="repeat")
    assert resolve_recipe(recipe.to_document(), n_tags=50, place="x") == recipe


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("n_middle", 0, "[model]: there are vertical"),
        ("vertical_bands", [97], "[model]: a filter of 97 bands"),
        ("middle_frames", "many", "[model] middle_frames"),
        ("head", "flatten", "[model] has no 'head'; it has architecture"),
    ],
)
def test_table_and_key_are_named(key, value, named):
    with pytest.raises(TrainingError) as caught:
        resolve_recipe({"model": {"architecture": "musicnn", key: value}}, n_tags=2, place="x")
    assert named in str(caught.value)


def test_fresh_weights_follow_the_seed(toy):
    header = make_header(Path("tiny"), RECIPE, toy, toy.select("train"))
    one, two = (begin_fresh(header, RECIPE).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = dataclasses.replace(RECIPE, optimisation=dataclasses.replace(RECIPE.optimisation, seed=5))
    for name, tensor in begin_fresh(header, other).state_dict().items():
        if name.endswith("layer.weight"):
            assert not torch.equal(tensor, one[name]), name
            assert 0.5 < tensor.std() * (tensor[0].numel() / 2) ** 0.5 < 2, name
        if name.endswith("layer.bias"):
            assert not tensor.any(), name


@pytest.mark.parametrize("n_frozen", [0, 1, 3])
def test_what_is_frozen_stays(toy, n_frozen):
    header = make_header(Path("tiny"), RECIPE, toy, toy.select("train"))
    transfer = TransferRecipe(n_frozen_blocks=n_frozen)
    learner = Learner(header.front_end, header.architecture, transfer)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    optimizer = make_optimizer(learner, OptimisationRecipe(learning_rate=0.1), transfer)
    learner.train()
    learner.model(torch.randn(3, 32, 63)).square().sum().backward()
    optimizer.step()
    for name, tensor in learner.state_dict().items():
        is_frozen = any(name.startswith(f"model.blocks.{index}.") for index in range(n_frozen))
        if not name.endswith("layer.bias"):  # a batch norm takes them away again, so their gradient is rounding
            assert torch.equal(tensor, before[name]) == (is_frozen or name.startswith("front_end.")), name


def test_it_learns_what_is_easy(trained):
    assert trained.reports[-1].loss < 0.5 * trained.reports[0].loss
    assert max(report.roc_auc for report in trained.reports) == 1.0


def test_it_learns_in_bfloat16(toy, tmp_path):
    reports = run(toy, tmp_path / "run", with_optimisation(epochs=4, batch_size=7, precision="bfloat16"))
    assert reports[-1].loss < reports[0].loss


def test_a_training_that_was_stopped_goes_on_exactly(toy, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(toy, whole, TINY_MUSICNN)
    reports = run_training(toy, TINY_MUSICNN, place="x", folder=broken, resumes=False, device_name="cpu", n_workers=2)
    for report in reports:
        if isinstance(report, EpochReport):
            break
    reports.close()
    assert len(run(toy, broken, None, resumes=True)) == 2
    one, two = (RunFolder(folder).load_state()["learner"] for folder in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_is_trained_from_the_command_line(toy, tmp_path):
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps({**TINY_MUSICNN, "model": {**MODEL, "architecture": "compact"}}))
    options = ("--out", tmp_path / "run", "--config", tmp_path / "tiny.toml", "--epochs", 1)
    assert "Learning musicnn on cpu" in invoke("train", toy.root / "toy.tsv", "--model", "musicnn", *options).stderr
    assert read_header(tmp_path / "run" / "best.safetensors").architecture == RECIPE.model


def test_batches_of_one_are_refused_in_a_sentence(toy, tmp_path):
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(with_optimisation(batch_size=1)))
    options = ("--out", tmp_path / "run", "--config", tmp_path / "tiny.toml")
    refused = invoke("train", toy.root / "toy.tsv", *options, code=1)
    assert f"{N_TRAIN} batches are too few for" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_it_is_finetuned_with_frozen_blocks(toy, trained, tmp_path):
    settings = ("--set", "optimisation.batch_size=4", "--set", "data.validation_clips=middle", "--epochs", 1)
    invoke("finetune", trained.folder, toy.root / "toy.tsv", "--out", tmp_path / "run", "--freeze", 3, *settings)
    old, new = (load_tensors(folder / "best.safetensors") for folder in (trained.folder, tmp_path / "run"))
    moved = {name for name, tensor in old.items() if not torch.equal(tensor, new[name])}
    assert moved
    assert all(name.startswith(("model.hidden.", "model.dense.")) for name in moved)


def test_it_tags_gives_its_embeddings_and_is_judged(toy, trained, tmp_path):
    paths = [toy.locate(row) for row in (0, 1)]
    options = ("--format", "jsonl", "--no-cache", "--device", "cpu", "--embeddings", tmp_path / "x.npz")
    result = invoke("predict", "-m", trained.folder, *options, *paths)
    assert [json.loads(line)["tags"][0]["tag"] for line in result.stdout.splitlines()] == ["low", "high"]
    with np.load(tmp_path / "x.npz") as arrays:
        shapes = {name: array.shape for name, array in arrays.items() if name != "paths"}
    assert shapes == {"block_1": (2, 10), "block_2": (2, 5), "block_3": (2, 5), "block_4": (2, 40)}
    judged = invoke("eval", trained.folder, toy.root / "toy.tsv", "--split", "validation", "--format", "json")
    assert json.loads(judged.stdout)["macro"]["roc_auc"]["value"] == 1.0
