"""The commands `train` and `finetune`: what is printed, what the run's folder holds, what wrong input says."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import tomli_w
from toy_dataset import TINY
from typer.testing import CliRunner

from tagcli.checkpoint import CheckpointHeader, load_tensors, read_header, save_checkpoint
from tagcli.cli import app
from tagcli.datasets.manifest_file import write_manifest


@pytest.fixture
def recipe(tmp_path):
    """The fast recipe as a file."""
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(TINY))
    return path


@pytest.fixture
def invoke():
    """Run the program."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_sentence(result, code=1):
    """Check that a refusal is one line on stderr, and give it."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.strip().splitlines() if line.startswith("tagcli: ")]
    assert lines, result.stderr
    assert "Traceback" not in result.stderr
    return lines[-1]


class TestTrain:
    def test_it_trains_and_says_what_came_of_it(self, toy, recipe, tmp_path, invoke):
        result = invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--config", recipe, "--seed", 3)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{tmp_path / 'run'}: best after epoch ")
        assert "epoch 3: loss" in result.stderr
        names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
        assert {"best.safetensors", "config.toml", "log.jsonl", "last/state.pt", "dataset.tsv"} <= names
        assert "seed = 3" in (tmp_path / "run" / "config.toml").read_text()

    def test_json_is_all_that_stdout_holds(self, toy, recipe, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--config", recipe, "--format", "json")
        result = invoke("-q", "train", toy.root / "toy.tsv", *options)
        assert json.loads(result.stdout)["epochs"] == 3
        assert result.stderr == ""

    def test_a_run_is_gone_on_with_by_the_same_recipe_or_none(self, toy, recipe, tmp_path, invoke):
        options = ("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--resume")
        assert invoke(*options, "--config", recipe).exit_code == 0  # there is nothing yet: it begins
        for more in ((), ("--config", recipe)):
            done = invoke(*options, *more)
            assert done.exit_code == 0, done.output
            assert "nothing was left" in done.stdout
        assert "another recipe" in one_sentence(invoke(*options, "--epochs", 9))
        without = one_sentence(invoke(*options[:-1], "--config", recipe))
        assert "go on with it by --resume" in without

    def test_the_last_weights_are_not_called_the_best(self, toy, recipe, tmp_path, invoke):
        options = ("--config", recipe, "--set", "optimisation.keep=last")
        result = invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", *options)
        assert result.stdout.startswith(f"{tmp_path / 'run'}: last weights, after epoch 3, ROC-AUC ")
        assert "*" not in result.stderr
        again = invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--resume")
        assert "nothing was left to learn; last weights, after epoch 3" in again.stdout

    def test_a_split_that_cannot_be_heard_is_named(self, toy, recipe, tmp_path, invoke):
        music = tmp_path / "music"
        music.mkdir()
        for path in set(toy.paths):
            (music / path).write_bytes(
                b"" if path in toy.select("validation").paths else (toy.root / path).read_bytes()
            )
        options = ("--out", tmp_path / "run", "--config", recipe, "--audio", music)
        result = invoke("train", toy.root / "toy.tsv", *options)
        assert "in validation can be heard" in one_sentence(result)
        assert not (tmp_path / "run").exists()

    def test_without_tags_and_teachers_there_is_nothing_to_learn(self, toy, tmp_path, invoke):
        assert invoke("dataset", "build", toy.root, "--unlabelled", "-o", tmp_path / "set.tsv").exit_code == 0
        result = invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run")
        assert "--teacher" in one_sentence(result)
        assert "Decoding" not in result.stderr

    def test_transfer_is_for_finetuning(self, toy, recipe, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--config", recipe, "--set", "transfer.n_frozen_blocks=1")
        assert "finetun" in one_sentence(invoke("train", toy.root / "toy.tsv", *options))

    def test_other_data_are_called_so(self, toy, recipe, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--config", recipe)
        invoke("train", toy.root / "toy.tsv", *options)
        write_manifest(toy.take(range(20)), tmp_path / "set.tsv")
        said = one_sentence(invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run", "--resume"))
        assert "is not the data set any more" in said

    def test_the_config_of_a_run_is_a_recipe(self, toy, recipe, tmp_path, invoke):
        invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "a", "--config", recipe)
        config = tmp_path / "a" / "config.toml"
        assert invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "b", "--config", config).exit_code == 0
        one, two = (load_tensors(tmp_path / name / "best.safetensors") for name in "ab")
        assert all((one[name] == two[name]).all() for name in one)

    def test_tensorboard_is_written_beside(self, toy, recipe, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--config", recipe, "--tensorboard")
        result = invoke("train", toy.root / "toy.tsv", *options)
        assert result.exit_code == 0, result.output
        assert list((tmp_path / "run" / "tensorboard").glob("events.*"))

    def test_entries_are_set_one_by_one(self, toy, recipe, tmp_path, invoke):
        settings = ("--set", "optimisation.epochs=1", "--set", "optimisation.optimizer=adam")
        invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "a", "--config", recipe, *settings)
        config = (tmp_path / "a" / "config.toml").read_text()
        assert "epochs = 1" in config
        assert 'optimizer = "adam"' in config

    def test_a_data_set_without_splits_gets_some(self, toy, recipe, tmp_path, invoke):
        unsplit = replace(toy, splits=("",) * len(toy))
        write_manifest(unsplit, tmp_path / "set.tsv")
        result = invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run", "--config", recipe)
        assert result.exit_code == 0, result.output
        assert "no artist in two" in result.stderr
        rows = [line.split("\t") for line in (tmp_path / "run" / "dataset.tsv").read_text().splitlines()[1:]]
        splits = {artist: {row[1] for row in rows if row[2] == artist} for artist in toy.artists}
        assert all(len(names) == 1 for names in splits.values())
        assert {row[1] for row in rows} == {"train", "validation", "test"}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--model", "resnet"), "resnet"),
            (("--front-end", "mel1"), "mel1"),
            (("--set", "data.train=['nowhere']"), "nowhere"),
            (("--set", "optimisation.speed=3"), "speed"),
            (("--device", "cuda:77"), "CUDA"),
            (("--config", "absent.toml"), "absent.toml"),
        ],
    )
    def test_what_there_is_not_is_named(self, toy, tmp_path, invoke, arguments, said):
        result = invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", *arguments)
        assert said in one_sentence(result)
        assert not (tmp_path / "run" / "best.safetensors").exists()

    def test_a_setting_of_no_form_is_wrong_usage(self, toy, tmp_path, invoke):
        result = invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--set", "epochs")
        assert result.exit_code == 2

    def test_a_used_folder_is_refused(self, toy, recipe, tmp_path, invoke):
        assert "not empty" in one_sentence(invoke("train", toy.root / "toy.tsv", "--out", tmp_path, "--config", recipe))

    @pytest.mark.parametrize("name", ["last/state.pt", "config.toml"])
    def test_a_damaged_run_is_one_sentence(self, toy, recipe, tmp_path, invoke, name):
        invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--config", recipe)
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\0[[")
        assert name in one_sentence(invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--resume"))

    def test_missing_files_are_told_and_training_goes_on(self, toy, recipe, tmp_path, invoke):
        for name in toy.paths[1:]:
            (tmp_path / name).symlink_to(toy.root / name)
        write_manifest(replace(toy, root=tmp_path), tmp_path / "set.tsv")
        result = invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run", "--config", recipe)
        assert result.exit_code == 0, result.output
        assert "Left out are 1 examples" in result.stderr


@pytest.mark.slow
def test_a_training_that_is_killed_loses_nothing(toy, recipe, tmp_path):
    """Kill -9 at random moments, and go on each time."""
    recipe.write_text(recipe.read_text().replace("epochs = 3", "epochs = 12"))

    def start(run, *options):
        command = [sys.executable, "-m", "tagcli", "-q", "train", toy.root / "toy.tsv", "--out", run, *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "whole", "--config", recipe).wait() == 0
    chance, broken, n_kills = random.Random(3), tmp_path / "broken", 0
    while True:
        begun = (broken / "config.toml").is_file()
        process = start(broken, *(["--resume"] if begun else ["--config", recipe]))
        deadline = time.monotonic() + 60
        state = broken / "last" / "state.pt"
        while n_kills < 3 and process.poll() is None and not state.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        try:
            process.wait(chance.uniform(0.02, 2.0) if n_kills < 3 else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
            continue
        assert process.returncode == 0
        break
    assert n_kills >= 1
    one, two = (load_tensors(run / "best.safetensors") for run in (tmp_path / "whole", broken))
    assert all((one[name] == two[name]).all() for name in one)


@pytest.fixture(scope="module")
def teacher(toy, tmp_path_factory):
    """Weights that know low from high, and a tag more."""
    from tagcli.training.session import run_training

    folder = tmp_path_factory.mktemp("teacher") / "run"
    document = {**TINY, "optimisation": {**TINY["optimisation"], "epochs": 8}}
    list(run_training(toy, document, place="x", folder=folder, resumes=False, device_name="cpu", n_workers=2))
    return folder / "best.safetensors"


class TestFinetune:
    FAST = ("--set", "optimisation.batch_size=4", "--set", "data.validation_clips=middle")

    def test_before_and_after_are_compared_on_the_hold_out(self, toy, teacher, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--freeze", 1, "--epochs", 2, *self.FAST)
        result = invoke("finetune", teacher, toy.root / "toy.tsv", *options)
        assert result.exit_code == 0, result.output
        assert "ROC-AUC on the split validation, which chose the epoch (8 examples" in result.stdout
        for word in ("macro", "low", "high", "difference"):
            assert word in result.stdout
        old, new = load_tensors(teacher), load_tensors(tmp_path / "run" / "best.safetensors")
        frozen = [name for name in old if name.startswith("model.blocks.0.")]
        assert all((old[name] == new[name]).all() for name in frozen)
        assert not (old["model.dense.weight"] == new["model.dense.weight"]).all()
        provenance = read_header(tmp_path / "run" / "best.safetensors").provenance
        assert provenance.source.startswith("finetuned by tagcli")
        assert "then toy" in provenance.training_data

    def test_another_vocabulary_gets_another_head(self, toy, teacher, tmp_path, invoke):
        renamed = replace(toy, tags=("bass", "high"))
        write_manifest(renamed, tmp_path / "set.tsv")
        result = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "run", "--epochs", 1, *self.FAST)
        assert result.exit_code == 0, result.output
        assert read_header(tmp_path / "run" / "best.safetensors").vocabulary.tags == ("bass", "high")

    def test_worse_weights_are_put_aside(self, toy, teacher, tmp_path, invoke):
        labels = toy.labels.copy()
        labels[:14] = ~labels[:14]  # learn the contrary of what is held out
        wrong = replace(
            toy, labels=labels, splits=tuple("test" if split == "validation" else split for split in toy.splits)
        )
        write_manifest(wrong, tmp_path / "set.tsv")
        settings = ("--set", "data.validation=[]", "--set", "transfer.rate_factor=1.0", "--epochs", 10, *self.FAST)
        result = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "run", *settings)
        assert result.exit_code == 1
        assert "worse on the hold-out" in result.stderr
        assert not (tmp_path / "run" / "best.safetensors").exists()
        assert (tmp_path / "run" / "rejected.safetensors").exists()
        again = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "run", "--resume")
        assert again.exit_code == 1
        kept = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "run", "--resume", "--force")
        assert kept.exit_code == 0, kept.output
        assert (tmp_path / "run" / "best.safetensors").exists()
        result = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "b", *settings, "--force")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "b" / "best.safetensors").exists()

    def test_a_finetuning_is_gone_on_with_as_it_began(self, toy, teacher, tmp_path, invoke):
        other = tmp_path / "other.safetensors"
        save_checkpoint(other, replace(read_header(teacher), name="other"), load_tensors(teacher))
        options = (toy.root / "toy.tsv", "--out", tmp_path / "run")
        assert invoke("finetune", teacher, *options, "--epochs", 1, *self.FAST).exit_code == 0
        for command in (("train",), ("finetune", other)):
            assert "was begun by `tagcli finetune" in one_sentence(invoke(*command, *options, "--resume"))
        again = invoke("finetune", teacher, *options, "--resume")
        assert again.exit_code == 0, again.output
        assert "nothing was left" in again.stdout
        assert "ROC-AUC on the split validation, which chose the epoch" in again.stdout
        invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "b", "--epochs", 1, "--set", "clip.seconds=29")
        assert "was begun by `tagcli train`" in one_sentence(
            invoke("finetune", teacher, toy.root / "toy.tsv", "--out", tmp_path / "b", "--resume")
        )

    def test_what_cannot_be_judged_is_told(self, toy, teacher, tmp_path, invoke):
        settings = ("--set", "data.validation=[]", "--epochs", 1, *self.FAST)
        result = invoke("finetune", teacher, toy.root / "toy.tsv", "--out", tmp_path / "run", *settings)
        assert result.exit_code == 0, result.output
        assert "nothing is held out" in result.stderr
        renamed = replace(toy, tags=("bass", "treble"))
        write_manifest(renamed, tmp_path / "set.tsv")
        result = invoke("finetune", teacher, tmp_path / "set.tsv", "--out", tmp_path / "b", "--epochs", 1, *self.FAST)
        assert result.exit_code == 0, result.output
        assert "not compared" in result.stderr

    def test_json_has_the_hold_out(self, toy, teacher, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--epochs", 1, "--format", "json", *self.FAST)
        result = invoke("finetune", teacher, toy.root / "toy.tsv", *options)
        hold_out = json.loads(result.stdout)["hold_out"]
        assert hold_out["split"] == "validation"
        assert set(hold_out["macro"]) >= {"roc_auc", "pr_auc"}

    def test_the_checkpoint_settles_the_network(self, toy, teacher, tmp_path, invoke):
        options = ("--out", tmp_path / "run", "--set", "model.architecture=fcn")
        assert "settles it" in one_sentence(invoke("finetune", teacher, toy.root / "toy.tsv", *options))

    def test_more_frozen_blocks_than_there_are(self, toy, teacher, tmp_path, invoke):
        result = invoke("finetune", teacher, toy.root / "toy.tsv", "--out", tmp_path / "run", "--freeze", 9)
        assert "9 blocks" in one_sentence(result)

    def test_an_unknown_name(self, toy, tmp_path, invoke):
        result = invoke("finetune", "nobody", toy.root / "toy.tsv", "--out", tmp_path / "run")
        assert "nobody" in one_sentence(result)

    def test_a_damaged_checkpoint(self, toy, teacher, tmp_path, invoke):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(teacher.read_bytes()[:-40])
        result = invoke("finetune", cut, toy.root / "toy.tsv", "--out", tmp_path / "run")
        assert "cut.safetensors" in one_sentence(result)

    def test_subnormal_weights_are_flushed(self, toy, teacher, tmp_path):
        import torch

        from tagcli.training.beginning import begin_from
        from tagcli.training.recipe_document import resolve_recipe

        header: CheckpointHeader = read_header(teacher)
        tensors = load_tensors(teacher)
        tensors["model.blocks.1.conv.weight"][0] = 1e-40
        save_checkpoint(tmp_path / "weak.safetensors", header, tensors)
        learner = begin_from(tmp_path / "weak.safetensors", header, resolve_recipe(TINY, n_tags=2, place="x"))
        assert (learner.state_dict()["model.blocks.1.conv.weight"][0] == 0).all()
        assert torch.equal(learner.state_dict()["model.dense.weight"], tensors["model.dense.weight"])


def test_help_of_training_needs_no_torch():
    code = "import sys; from tagcli.cli import app; import tagcli.cli.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
