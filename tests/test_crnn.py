"""A CRNN goes every way that a ConvNet goes: it learns, is stopped and goes on, is finetuned, tags and is judged."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from toy_dataset import TINY
from typer.testing import CliRunner

from tagcli.checkpoint import load_tensors, read_header
from tagcli.cli import app
from tagcli.models.config import CrnnConfig
from tagcli.tagger.device import prepare_device
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import begin_fresh, make_header
from tagcli.training.learner import Learner
from tagcli.training.optimisation import make_optimizer
from tagcli.training.recipe import OptimisationRecipe, TransferRecipe
from tagcli.training.recipe_document import resolve_recipe
from tagcli.training.reports import EpochReport
from tagcli.training.run_folder import RunFolder
from tagcli.training.session import run_training

MODEL = {
    "architecture": "crnn",
    "channels": [4, 6],
    "pools": [[4, 4], [4, 3]],
    "n_gru_units": 8,
}
TINY_CRNN = {**TINY, "model": MODEL}
RECIPE = resolve_recipe(TINY_CRNN, n_tags=2, place="x")


def run(manifest, folder, document, **options):
    """Train, and give the reports of the epochs."""
    defaults = {"place": "x", "resumes": False, "device_name": "cpu", "n_workers": 2}
    reports = run_training(manifest, document, folder=folder, **{**defaults, **options})
    return [report for report in reports if isinstance(report, EpochReport)]


def with_optimisation(**changes):
    return {**TINY_CRNN, "optimisation": {**TINY["optimisation"], **changes}}


@pytest.fixture
def header(toy):
    return make_header(Path("tiny"), RECIPE, toy, toy.select("train"))


@pytest.fixture(scope="module")
def teacher(toy, tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    run(toy, folder, with_optimisation(epochs=16, learning_rate=3e-2))
    return folder


@pytest.fixture
def invoke():
    """Run the program; it is to succeed."""

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result

    return call


def test_the_tiny_one_is_a_crnn():
    assert isinstance(RECIPE.model, CrnnConfig)
    assert RECIPE.model.output_size == (2, 5)


def test_fresh_weights_follow_the_seed_and_nothing_else(header):
    torch.manual_seed(1)
    one = begin_fresh(header, RECIPE).state_dict()
    torch.manual_seed(2)
    two = begin_fresh(header, RECIPE).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other_recipe = replace(RECIPE, optimisation=replace(RECIPE.optimisation, seed=5))
    other = begin_fresh(header, other_recipe).state_dict()
    for part in ("ih", "hh"):
        name = f"model.gru.weight_{part}_l1"
        assert not torch.equal(one[name], other[name])
        assert not one[f"model.gru.bias_{part}_l0"].any()
    from_state = one["model.gru.weight_hh_l0"]
    torch.testing.assert_close(from_state.T @ from_state, torch.eye(8))
    bound = math.sqrt(6 / (12 + 24))
    assert 0.8 * bound < one["model.gru.weight_ih_l0"].abs().max() < bound


@pytest.mark.parametrize("n_frozen", [0, 1, 2])
def test_what_is_frozen_stays(header, n_frozen):
    transfer = TransferRecipe(n_frozen_blocks=n_frozen)
    learner = Learner(header.front_end, header.architecture, transfer)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    optimizer = make_optimizer(learner, OptimisationRecipe(learning_rate=0.1), transfer)
    learner.train()
    learner.model(torch.randn(3, 32, 63)).square().sum().backward()
    optimizer.step()
    for name, tensor in learner.state_dict().items():
        is_frozen = any(name.startswith(f"model.blocks.{index}.") for index in range(n_frozen))
        stays = is_frozen or name.startswith("front_end.") or name == "model.blocks.0.conv.bias"  # the norm takes it
        assert torch.equal(tensor, before[name]) == stays, name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_what_is_easy(toy, tmp_path, precision):
    reports = run(toy, tmp_path / "run", with_optimisation(epochs=16, learning_rate=3e-2, precision=precision))
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert max(report.roc_auc for report in reports) == 1.0


def test_a_training_that_was_stopped_goes_on_exactly(toy, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(toy, whole, TINY_CRNN)
    reports = run_training(toy, TINY_CRNN, place="x", folder=broken, resumes=False, device_name="cpu", n_workers=2)
    for report in reports:
        if isinstance(report, EpochReport):
            break
    reports.close()
    assert len(run(toy, broken, None, resumes=True)) == 2
    one, two = (RunFolder(folder).load_state()["learner"] for folder in (whole, broken))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_validates_is_what_was_trained(teacher, header):
    learner = Learner(header.front_end, header.architecture, TransferRecipe())
    learner.load_state_dict(load_tensors(teacher / "best.safetensors"))
    waveforms = 0.1 * torch.randn(3, 8000)
    with torch.no_grad():
        expected = torch.sigmoid(learner.eval().model(learner.front_end(waveforms)))
        torch.testing.assert_close(learner.to_tagger(header)(waveforms), expected, rtol=0, atol=1e-5)


def test_it_is_trained_from_the_command_line(toy, tmp_path, invoke):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tomli_w.dumps({**TINY_CRNN, "model": {**MODEL, "architecture": "compact"}}))
    wrong = CliRunner().invoke(app, ["train", str(toy.root / "toy.tsv"), "--out", "x", "--config", str(recipe)])
    assert wrong.exit_code == 1
    assert "[model] has no 'n_gru_units'" in wrong.stderr
    options = ("--out", tmp_path / "run", "--config", recipe, "--model", "crnn", "--epochs", 1)
    result = invoke("train", toy.root / "toy.tsv", *options)
    assert "Learning crnn on cpu" in result.stderr
    assert read_header(tmp_path / "run" / "best.safetensors").architecture == RECIPE.model
    assert 'architecture = "crnn"' in (tmp_path / "run" / "config.toml").read_text()


def test_it_is_finetuned_with_frozen_blocks(toy, teacher, tmp_path, invoke):
    settings = ("--set", "optimisation.batch_size=4", "--set", "data.validation_clips=middle", "--epochs", 1)
    invoke("finetune", teacher, toy.root / "toy.tsv", "--out", tmp_path / "run", "--freeze", 2, *settings)
    old, new = (load_tensors(folder / "best.safetensors") for folder in (teacher, tmp_path / "run"))
    for name, tensor in old.items():
        assert torch.equal(tensor, new[name]) == name.startswith(("model.blocks.", "front_end.")), name
    refused = CliRunner().invoke(
        app, ["finetune", str(teacher), str(toy.root / "toy.tsv"), "--out", str(tmp_path / "b"), "--freeze", "3"]
    )
    assert refused.exit_code == 1
    assert "3 blocks cannot be frozen, there are 2" in refused.stderr


def test_it_tags_and_gives_its_embeddings(toy, teacher, tmp_path, invoke):
    paths = [toy.locate(row) for row in (0, 1)]
    options = ("--clips", "all", "--format", "jsonl", "--no-cache", "--device", "cpu")
    result = invoke("predict", "-m", teacher, *options, "--embeddings", tmp_path / "x.npz", *paths)
    best = [json.loads(line)["tags"][0]["tag"] for line in result.stdout.splitlines()]
    assert best == ["low", "high"]
    with np.load(tmp_path / "x.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "paths": (2,),
            "block_1": (2, 4),
            "block_2": (2, 6),
            "block_3": (2, 8),
        }
        module = TaggerModule.from_checkpoint(teacher / "best.safetensors")
        dense = module.model.dense
        # tanh and sigmoid keep a state within its bounds, and the head reads the mean state of two clips
        assert np.abs(arrays["block_3"]).max() <= 1
        assert np.argmax(arrays["block_3"] @ dense.weight.numpy().T + dense.bias.numpy(), axis=1).tolist() == [0, 1]


def test_it_is_judged(toy, teacher, invoke):
    result = invoke(
        "eval", teacher, toy.root / "toy.tsv", "--split", "validation", "--format", "json", "--device", "cpu"
    )
    assert json.loads(result.stdout)["macro"]["roc_auc"]["value"] == 1.0


def test_half_precision_changes_little(teacher):
    module = TaggerModule.from_checkpoint(teacher / "best.safetensors")
    waveforms = 0.1 * torch.randn(2, 8000)
    expected = module.score(waveforms, with_embeddings=True)
    halved = module.halve(torch.float16).score(waveforms, with_embeddings=True)
    assert {embedding.dtype for embedding in halved.embeddings} == {torch.float16}
    torch.testing.assert_close(halved.scores, expected.scores, rtol=0, atol=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_hears_and_learns_the_same(toy, teacher, tmp_path):
    prepare_device(torch.device("cuda"))
    module = TaggerModule.from_checkpoint(teacher / "best.safetensors")
    waveforms = 0.1 * torch.randn(3, 8000)
    expected = module(waveforms)
    module.to("cuda")
    together = module(waveforms.cuda()).cpu()
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(module(waveforms[:1].cuda()).cpu(), together[:1], rtol=0, atol=1e-5)
    torch.testing.assert_close(module.halve(torch.float16)(waveforms.cuda()).cpu(), expected, rtol=0, atol=0.01)
    document = with_optimisation(epochs=16, learning_rate=3e-2, precision="bfloat16")
    assert max(report.roc_auc for report in run(toy, tmp_path / "run", document, device_name="cuda:0")) == 1.0
