"""Learning: recipes, schedules, variation, the loop, its state, and several processes."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_dataset import N_TRAIN, N_VALIDATION, TINY, make_manifest

from tagcli.checkpoint import hash_artists, load_tensors, read_header
from tagcli.errors import CheckpointError, DatasetError, TrainingError
from tagcli.models.config import ARCHITECTURES
from tagcli.models.convnet import ConvNet
from tagcli.training.augmentation import draw_variation, order_epoch
from tagcli.training.beginning import begin_fresh, begin_from, make_header
from tagcli.training.learner import Learner, LearningBatch, mask_stripes, mix
from tagcli.training.loop import choose_precision
from tagcli.training.losses import label_loss
from tagcli.training.optimisation import count_plateaus, make_optimizer, rate_at, set_rate, weigh_positives
from tagcli.training.recipe import AugmentationRecipe, OptimisationRecipe, TransferRecipe
from tagcli.training.recipe_document import change_document, resolve_recipe
from tagcli.training.reports import Beginning, EpochReport, StepReport
from tagcli.training.run_folder import RunFolder
from tagcli.training.session import run_training
from tagcli.training.steps import StepPlan


def run(manifest, folder, document=TINY, **options):
    """Train, and give what was reported."""
    defaults = {"place": "The recipe", "resumes": False, "device_name": "cpu", "n_workers": 2}
    return list(run_training(manifest, document, folder=folder, **{**defaults, **options}))


def epochs_of(reports):
    return [report for report in reports if isinstance(report, EpochReport)]


def change(document, **tables):
    return {**document, **{name: {**document.get(name, {}), **table} for name, table in tables.items()}}


def state_bytes(folder):
    """Everything of a state that training goes on from."""
    state = RunFolder(folder).load_state()
    parts = [(name, tensor.numpy().tobytes()) for name, tensor in state["learner"].items()]
    for number, moments in state["optimizer"]["state"].items():
        parts += [(f"{number} {name}", tensor.numpy().tobytes()) for name, tensor in moments.items()]
    return parts, state["place"]


class TestRecipe:
    @pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
    def test_a_written_recipe_is_the_same_recipe(self, architecture):
        recipe = resolve_recipe({"model": {"architecture": architecture}}, n_tags=7, place="x")
        text = tomli_w.dumps(recipe.to_document())
        import tomllib

        assert resolve_recipe(tomllib.loads(text), n_tags=7, place="x") == recipe
        assert recipe.model.output_size == ARCHITECTURES[architecture]().output_size

    def test_the_papers_compact_net_is_the_default(self):
        recipe = resolve_recipe({}, n_tags=50, place="x")
        assert (recipe.front_end.sample_rate, recipe.model.n_mels, recipe.model.n_frames) == (12_000, 96, 1360)
        assert recipe.model.channels == (32,) * 5

    @pytest.mark.parametrize(
        ("document", "named"),
        [
            ({"data": {"train": []}}, "at least one split"),
            ({"data": {"train": ["a"], "validation": ["a"]}}, "no split is for"),
            ({"model": {"architecture": "transformer"}}, "transformer"),
            ({"front_end": {"name": "mel1"}}, "mel1"),
            ({"optimisation": {"lr": 1}}, "lr"),
            ({"optimisation": {"epochs": "many"}}, "many"),
            ({"optimisation": {"learning_rate": -1.0}}, "learning_rate"),
            ({"augmentation": {"n_band_masks": 99}}, "masks"),
            ({"colours": {}}, "colours"),
            ({"epochs": 3}, "epochs"),
            ({"clip": {"seconds": 0}}, "seconds"),
            ({"clip": {"seconds": 1.0}}, "vanishes"),
            ({"model": {"n_tags": 3}}, "n_tags"),
            ({"transfer": {"rate_factor": 2.0}}, "rate_factor"),
        ],
    )
    def test_what_cannot_be_followed_is_named(self, document, named):
        with pytest.raises(TrainingError, match=named):
            resolve_recipe(document, n_tags=2, place="The recipe r.toml")

    def test_one_entry_is_changed(self):
        document = change_document({"data": {"cache": "none"}}, "optimisation.learning_rate=3e-4")
        document = change_document(document, "data.train=['fold-1', 'fold-2']")
        document = change_document(document, "model.architecture=fcn")
        assert document == {
            "data": {"cache": "none", "train": ["fold-1", "fold-2"]},
            "optimisation": {"learning_rate": 3e-4},
            "model": {"architecture": "fcn"},
        }
        for wrong in ("epochs=3", "optimisation.epochs", "a.b.c=3"):
            with pytest.raises(ValueError, match="is not of the form"):
                change_document({}, wrong)


class TestOptimisation:
    def test_the_rate_rises_then_falls_along_a_cosine(self):
        recipe = OptimisationRecipe(learning_rate=2.0, epochs=11, warmup_epochs=1.0)
        assert rate_at(0.0, recipe) == 0
        assert rate_at(0.25, recipe) == 0.5
        assert rate_at(1.0, recipe) == 2.0
        assert rate_at(6.0, recipe) == pytest.approx(1.0)
        assert rate_at(11.0, recipe) == pytest.approx(0.0)

    def test_a_plateau_lowers_the_rate(self):
        recipe = OptimisationRecipe(
            learning_rate=1.0, schedule="plateau", plateau_epochs=2, plateau_factor=0.1, warmup_epochs=0
        )
        assert rate_at(3.0, recipe, validations=[0.5, 0.6, 0.55]) == 1.0
        assert rate_at(4.0, recipe, validations=[0.5, 0.6, 0.55, 0.6]) == pytest.approx(0.1)
        assert count_plateaus([0.5, 0.4, 0.4, 0.4, 0.4], 2) == 2
        assert count_plateaus([0.1, 0.2, 0.3], 1) == 0

    def test_positives_weigh_as_much_as_negatives(self):
        labels = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]], dtype=bool)
        known = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1]], dtype=bool)
        recipe = OptimisationRecipe(positive_weights="balanced", max_positive_weight=2.5)
        assert weigh_positives(labels, known, recipe).tolist() == pytest.approx([2.0, 1.0, 0.4])
        assert weigh_positives(labels, known, OptimisationRecipe()) is None

    def test_groups_take_their_share_of_the_rate_and_only_weights_decay(self, tiny_learner):
        transfer = TransferRecipe(rate_factor=0.1)
        optimizer = make_optimizer(tiny_learner, OptimisationRecipe(weight_decay=0.5), transfer)
        set_rate(optimizer, 3.0)
        rates = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                rates[id(parameter)] = (group["lr"], group["weight_decay"])
        for name, parameter in tiny_learner.named_parameters():
            rate, decay = rates[id(parameter)]
            assert rate == pytest.approx(3.0 if name.startswith("model.dense") else 0.3)
            assert decay == (0.5 if parameter.ndim > 1 else 0.0)


class TestVariation:
    RECIPE = AugmentationRecipe(gain_db=6.0, mixup=0.5, n_band_masks=2, n_frame_masks=3, frame_mask_frames=9)

    def test_what_is_drawn_depends_on_the_place_only(self):
        options = {"seed": 3, "epoch": 2, "n_bands": 32, "n_frames": 60}
        whole = draw_variation(range(10), self.RECIPE, **options)
        part = draw_variation([7, 4], self.RECIPE, **options)
        for name in ("positions", "gains", "mix_shares", "band_masks", "frame_masks"):
            assert np.array_equal(getattr(whole, name)[[7, 4]], getattr(part, name)), name
        other = draw_variation(range(10), self.RECIPE, **{**options, "epoch": 3})
        assert not np.array_equal(whole.positions, other.positions)

    @given(seed=st.integers(0, 2**31), n_frames=st.integers(1, 50), widest=st.integers(1, 80))
    @settings(max_examples=40, deadline=None)
    def test_every_number_is_in_its_range(self, seed, n_frames, widest):
        recipe = replace(self.RECIPE, frame_mask_frames=widest)
        variation = draw_variation(range(5), recipe, seed=seed, epoch=0, n_bands=8, n_frames=n_frames)
        assert ((variation.positions >= 0) & (variation.positions < 1)).all()
        assert (np.abs(20 * np.log10(variation.gains)) <= 6.0001).all()
        assert ((variation.mix_shares >= 0.5) & (variation.mix_shares <= 1)).all()
        starts, ends = variation.frame_masks[..., 0], variation.frame_masks[..., 1]
        assert ((starts >= 0) & (starts <= ends) & (ends <= n_frames)).all()
        assert (ends - starts <= widest).all()

    def test_nothing_is_varied_unless_it_is_wanted(self):
        recipe = AugmentationRecipe(random_position=False)
        variation = draw_variation(range(4), recipe, seed=0, epoch=0, n_bands=8, n_frames=9)
        assert variation.positions.tolist() == [0.5] * 4
        assert variation.gains.tolist() == [1.0] * 4
        assert variation.mix_shares.tolist() == [1.0] * 4
        assert not variation.band_masks.size

    def test_stripes_are_set_to_the_mean(self):
        log_mel = torch.arange(24.0).reshape(1, 4, 6)
        masked = mask_stripes(log_mel, band_masks=torch.tensor([[[1, 2]]]), frame_masks=torch.tensor([[[4, 6]]]))
        hidden = torch.zeros(4, 6, dtype=torch.bool)
        hidden[1], hidden[:, 4:] = True, True
        assert (masked[0][hidden] == 11.5).all()
        assert torch.equal(masked[0][~hidden], log_mel[0][~hidden])

    def test_partners_are_mixed(self):
        values = torch.tensor([[1.0], [2.0], [4.0]])
        assert mix(values, torch.tensor([[0.75], [0.5], [1.0]])).flatten().tolist() == [1.75, 2.0, 4.0]


class TestSteps:
    @given(
        n=st.integers(8, 60), batch_size=st.integers(8, 20), n_ranks=st.integers(1, 2), n_accumulated=st.integers(1, 2)
    )
    @settings(max_examples=60, deadline=None)
    def test_every_example_is_seen_once_by_one_process(self, n, batch_size, n_ranks, n_accumulated):
        manifest = make_manifest(Path("x"), n_train=n, n_validation=0)
        recipe = resolve_recipe(TINY, n_tags=2, place="x")
        optimisation = replace(recipe.optimisation, batch_size=batch_size, n_accumulated=n_accumulated)
        recipe = replace(recipe, optimisation=optimisation)
        plans = [StepPlan(manifest, recipe, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
        epochs = [list(plan.epoch(5)) for plan in plans]
        seen = [request.row for steps in epochs for step in steps for part in step.own for request in part.requests]
        assert sorted(seen) == list(range(n))
        assert all(len(steps) == plans[0].n_steps for steps in epochs)
        sizes = [step.n_examples for step in epochs[0]]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert all(step.n_known == 2 * step.n_examples for step in epochs[0])

    def test_too_few_examples_are_refused(self):
        manifest = make_manifest(Path("x"), n_train=3, n_validation=0)
        recipe = resolve_recipe(TINY, n_tags=2, place="x")
        with pytest.raises(TrainingError, match="too few"):
            StepPlan(manifest, recipe, rank=0, n_ranks=4)

    def test_epochs_are_shuffled_by_seed_and_number(self):
        orders = {tuple(order_epoch(20, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)}
        assert len(orders) == 4


@pytest.fixture
def tiny_header(toy):
    recipe = resolve_recipe(TINY, n_tags=2, place="x")
    return make_header(Path("tiny"), recipe, toy, toy.select("train"))


@pytest.fixture
def tiny_learner(tiny_header):
    return begin_fresh(tiny_header, resolve_recipe(TINY, n_tags=2, place="x"))


def make_batch(n_clips=3, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LearningBatch(
        waveforms=0.1 * torch.randn(n_clips, 8000, generator=generator),
        wanted=(torch.rand(n_clips, 2, generator=generator) < 0.5).float(),
        known=torch.ones(n_clips, 2),
        n_known=2 * n_clips,
        gains=torch.ones(n_clips),
        mix_shares=None,
        band_masks=torch.zeros(n_clips, 0, 2, dtype=torch.int64),
        frame_masks=torch.zeros(n_clips, 0, 2, dtype=torch.int64),
    )


class TestLearner:
    def test_fresh_weights_follow_the_seed_and_nothing_else(self, tiny_header):
        recipe = resolve_recipe(TINY, n_tags=2, place="x")
        torch.manual_seed(1)
        one = begin_fresh(tiny_header, recipe).state_dict()
        torch.manual_seed(2)
        before = torch.random.get_rng_state()
        two = begin_fresh(tiny_header, recipe).state_dict()
        assert torch.equal(before, torch.random.get_rng_state())
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert one["model.blocks.1.conv.weight"].std() == pytest.approx(math.sqrt(2 / (4 * 9)), rel=0.25)

    def test_unknown_cells_do_not_count(self):
        logits, batch = torch.tensor([[0.3, -2.0], [1.0, 5.0]]), make_batch(2)
        known = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
        part = replace(batch, known=known, n_known=3)
        cells = [
            math.log1p(math.exp(-x)) if y else math.log1p(math.exp(x))
            for x, y, k in zip(logits.flatten(), batch.wanted.flatten(), known.flatten(), strict=True)
            if k
        ]
        assert label_loss()(logits, part).item() == pytest.approx(sum(cells) / 3)
        wild = logits.clone()
        wild[1, 1] = 1e4
        assert label_loss()(wild, part) == label_loss()(logits, part)

    @pytest.mark.parametrize("activation", ["relu", "elu"])
    def test_pooling_before_the_activation_is_the_papers_block(self, tiny_header, activation):
        config = replace(tiny_header.architecture, activation=activation)
        torch.manual_seed(0)
        model = ConvNet(config)
        log_mel = torch.randn(3, config.n_mels, config.n_frames)
        for is_learning, rounding in ((True, 1e-5), (False, 0.0)):  # the first norm is folded while it learns
            model.train(is_learning)
            maps = log_mel.unsqueeze(1)
            for block in model.blocks:
                maps = block.pool(block.activation(block.norm(block.conv(maps))))
            torch.testing.assert_close(model(log_mel), model.dense(maps.flatten(1)), rtol=0, atol=rounding)

    @pytest.mark.parametrize("n_frozen", [0, 1, 2])
    def test_what_is_frozen_stays(self, tiny_header, n_frozen):
        transfer = TransferRecipe(n_frozen_blocks=n_frozen)
        learner = Learner(tiny_header.front_end, tiny_header.architecture, transfer)
        learner.initialise(0)  # also the filter bank, without which it hears nothing
        before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
        optimizer = make_optimizer(learner, OptimisationRecipe(), transfer)
        learner.train()
        label_loss()(learner(make_batch()), make_batch()).backward()
        optimizer.step()
        for name, tensor in learner.state_dict().items():
            is_frozen = any(name.startswith(f"model.blocks.{index}.") for index in range(n_frozen))
            stays = name.startswith("front_end.") or name == "model.blocks.0.conv.bias"  # the norm takes it
            assert torch.equal(tensor, before[name]) == (is_frozen or stays), name

    def test_running_statistics_are_kept_when_that_is_wanted(self, tiny_header):
        learner = Learner(tiny_header.front_end, tiny_header.architecture, TransferRecipe(batch_norm="keep"))
        before = {name: tensor.clone() for name, tensor in learner.named_buffers()}
        learner.train()
        learner(make_batch())
        assert all(torch.equal(before[name], tensor) for name, tensor in learner.named_buffers())

    def test_too_many_frozen_blocks_are_refused(self, tiny_header):
        recipe = resolve_recipe(change(TINY, transfer={"n_frozen_blocks": 3}), n_tags=2, place="x")
        with pytest.raises(TrainingError, match="3 blocks"):
            begin_fresh(tiny_header, recipe)

    def test_shared_tags_keep_their_rows(self, toy, tmp_path):
        run(toy, tmp_path / "a")
        best = tmp_path / "a" / "best.safetensors"
        header = read_header(best)
        vocabulary = replace(header.vocabulary, tags=("new", "high"), labels=("new", "high"))
        recipe = resolve_recipe(TINY, n_tags=2, place="x")
        learner = begin_from(best, replace(header, vocabulary=vocabulary), recipe)
        old, new = load_tensors(best), learner.state_dict()
        assert torch.equal(new["model.dense.weight"][1], old["model.dense.weight"][1])
        assert not torch.equal(new["model.dense.weight"][0], old["model.dense.weight"][0])
        assert all(torch.equal(new[name], old[name]) for name in old if not name.startswith("model.dense"))


class TestTraining:
    def test_it_learns_what_is_easy(self, toy, tmp_path):
        document = change(TINY, optimisation={"epochs": 16, "learning_rate": 3e-2})  # enough for any of four seeds
        reports = run(toy, tmp_path / "run", document)
        beginning = next(report for report in reports if isinstance(report, Beginning))
        assert (beginning.n_train, beginning.n_validation, beginning.n_missing) == (N_TRAIN, N_VALIDATION, 0)
        epochs = epochs_of(reports)
        assert epochs[-1].loss < 0.5 * epochs[0].loss
        assert max(report.roc_auc for report in epochs) == 1.0
        steps = [report for report in reports if isinstance(report, StepReport)]
        assert sum(step.n_clips for step in steps) == 16 * N_TRAIN

    def test_the_run_says_everything(self, toy, tmp_path):
        import tomllib

        reports = epochs_of(run(toy, tmp_path / "run"))
        folder = tmp_path / "run"
        header = read_header(folder / "best.safetensors")
        assert (header.name, header.vocabulary.tags) == ("run", toy.tags)
        assert header.provenance.source_sha256 == toy.fingerprint
        assert header.provenance.artists == hash_artists(toy.select("train").artists)
        config = tomllib.loads((folder / "config.toml").read_text())
        assert config["optimisation"]["seed"] == 0
        assert config["run"]["data_fingerprint"] == toy.fingerprint
        assert resolve_recipe(config, n_tags=2, place="x") == resolve_recipe(TINY, n_tags=2, place="x")
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [0, 1, 2]
        assert [line["roc_auc"] for line in lines] == [report.roc_auc for report in reports]
        from tagcli.datasets import open_dataset

        assert open_dataset(folder / "dataset.tsv").fingerprint == toy.fingerprint

    def test_a_run_is_a_tagger(self, toy, tmp_path):
        from tagcli import load_tagger

        run(toy, tmp_path / "run")
        rows = list(load_tagger(tmp_path / "run", device="cpu").tag([toy.locate(0)], top_n=2))
        assert {tag.tag for tag in rows[0].tags} == {"low", "high"}

    @pytest.mark.parametrize("n_reports", [1, 2, 4, 5, 6, 9, 12])
    def test_a_training_that_was_stopped_goes_on_exactly(self, toy, tmp_path, n_reports):
        document = change(
            TINY,
            augmentation={"gain_db": 6.0, "mixup": 0.4, "n_band_masks": 1, "n_frame_masks": 1},
            optimisation={"schedule": "plateau", "plateau_epochs": 1},
        )
        run(toy, tmp_path / "whole", document)
        reports = run_training(toy, document, place="x", folder=tmp_path / "broken", resumes=False, n_workers=2)
        seen = 0
        for report in reports:
            seen += isinstance(report, StepReport | EpochReport)
            if seen == n_reports:
                break
        reports.close()
        run(toy, tmp_path / "broken", None, resumes=True)
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        assert state_bytes(whole) == state_bytes(broken)
        tensors = [load_tensors(folder / "best.safetensors") for folder in (whole, broken)]
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
        logs = [
            [
                {key: value for key, value in json.loads(line).items() if "second" not in key}
                for line in (folder / "log.jsonl").read_text().splitlines()
            ]
            for folder in (whole, broken)
        ]
        assert logs[0] == logs[1]

    def test_a_finished_run_has_nothing_left(self, toy, tmp_path):
        run(toy, tmp_path / "run")
        before = (tmp_path / "run" / "best.safetensors").read_bytes()
        assert not epochs_of(run(toy, tmp_path / "run", None, resumes=True))
        assert (tmp_path / "run" / "best.safetensors").read_bytes() == before

    def test_patience_ends_it(self, toy, tmp_path):
        document = change(TINY, optimisation={"epochs": 30, "patience": 2, "learning_rate": 1e-9})
        reports = epochs_of(run(toy, tmp_path / "run", document))
        best = max(report.epoch for report in reports if report.is_best)
        assert len(reports) == best + 3 < 30

    def test_without_a_validation_split_the_last_weights_are_kept(self, toy, tmp_path):
        reports = epochs_of(run(toy, tmp_path / "run", change(TINY, data={"validation": []})))
        assert all(report.is_best and math.isnan(report.roc_auc) for report in reports)
        state = RunFolder(tmp_path / "run").load_state()["learner"]
        best = load_tensors(tmp_path / "run" / "best.safetensors")
        assert all(torch.equal(best[name], state[name]) for name in best)

    def test_the_cache_changes_nothing_but_rounding(self, toy, tmp_path):
        cached = epochs_of(run(toy, tmp_path / "cached"))
        decoded = epochs_of(run(toy, tmp_path / "decoded", change(TINY, data={"cache": "none"})))
        assert [report.loss for report in decoded] == pytest.approx([report.loss for report in cached], abs=1e-3)

    def test_the_number_of_threads_changes_nothing(self, toy, tmp_path):
        run(toy, tmp_path / "one", n_workers=1)
        run(toy, tmp_path / "three", n_workers=3)
        assert state_bytes(tmp_path / "one") == state_bytes(tmp_path / "three")

    @pytest.mark.parametrize("cache", ["waveforms", "none"])
    def test_missing_files_are_left_out_and_counted(self, toy, tmp_path, cache):
        root = tmp_path / "music"
        root.mkdir()
        for name in toy.paths[2:]:
            (root / name).symlink_to(toy.root / name)
        (root / toy.paths[1]).touch()
        manifest = replace(toy, root=root)
        reports = run(manifest, tmp_path / "run", change(TINY, data={"cache": cache}))
        beginning = next(report for report in reports if isinstance(report, Beginning))
        assert (beginning.n_train, beginning.n_missing) == (N_TRAIN - 2, 2)
        assert toy.paths[0] in beginning.first_missing

    @pytest.mark.parametrize("mixup", [0.0, 0.5])
    def test_files_that_cannot_be_decoded_are_counted_each_epoch(self, toy, tmp_path, mixup):
        root = tmp_path / "music"
        root.mkdir()
        for name in toy.paths:
            (root / name).symlink_to(toy.root / name)
        for name in (toy.paths[0], toy.paths[3], toy.paths[-1]):
            (root / name).unlink()
            (root / name).write_bytes(b"RIFF no music at all" * 9)
        document = change(TINY, data={"cache": "none"}, augmentation={"mixup": mixup})
        reports = epochs_of(run(replace(toy, root=root), tmp_path / "run", document))
        assert [report.n_unheard for report in reports] == [3, 3, 3]
        assert all(math.isfinite(report.loss) for report in reports)

    @pytest.mark.parametrize("keep", ["best", "last"])
    def test_the_last_weights_may_be_kept(self, toy, tmp_path, keep):
        wild = {"keep": keep, "learning_rate": 0.3, "schedule": "constant", "epochs": 4}
        reports = epochs_of(run(toy, tmp_path / "run", change(TINY, optimisation=wild)))
        areas = [report.roc_auc for report in reports]
        assert areas.index(max(areas)) < len(areas) - 1  # else there is nothing to choose
        assert all(report.is_best for report in reports) == (keep == "last")
        kept = load_tensors(tmp_path / "run" / "best.safetensors")
        last = RunFolder(tmp_path / "run").load_state()["learner"]
        assert all(torch.equal(kept[name], last[name]) for name in kept) == (keep == "last")

    def test_a_validation_that_cannot_be_heard_is_no_validation(self, toy, tmp_path):
        root = tmp_path / "music"
        root.mkdir()
        for name, split in zip(toy.paths, toy.splits, strict=True):
            (root / name).symlink_to(toy.root / name)
            if split == "validation":
                (root / name).unlink()
                (root / name).write_bytes(b"RIFF no music at all" * 9)
        with pytest.raises(TrainingError, match="can be heard"):
            run(replace(toy, root=root), tmp_path / "run", change(TINY, data={"cache": "none"}))

    def test_a_file_that_has_gone_since_is_not_passed_over(self, toy, tmp_path):
        root = tmp_path / "music"
        root.mkdir()
        for name in toy.paths:
            (root / name).symlink_to(toy.root / name)
        manifest, document = replace(toy, root=root), change(TINY, data={"cache": "none"})
        run(manifest, tmp_path / "run", document)
        (root / toy.paths[0]).unlink()
        with pytest.raises(CheckpointError, match="other data, files or recipe"):
            run(manifest, tmp_path / "run", None, resumes=True)

    def test_what_was_logged_before_any_state_was_kept_is_forgotten(self, toy, tmp_path):
        run(toy, tmp_path / "run", change(TINY, optimisation={"epochs": 1}))
        (tmp_path / "run" / "last" / "state.pt").unlink()
        run(toy, tmp_path / "run", None, resumes=True)
        assert (tmp_path / "run" / "log.jsonl").read_text().count("\n") == 1

    def test_a_run_that_was_ended_before_its_recipe_was_written_begins_anew(self, toy, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "dataset.tsv").write_text("half")
        (tmp_path / "run" / ".lock").touch()
        assert epochs_of(run(toy, tmp_path / "run"))

    def test_what_cannot_begin_leaves_no_run(self, toy, tmp_path):
        for wrong in (
            {"data": {"train": ["nowhere"]}},
            {"optimisation": {"n_accumulated": 99}},
            {"transfer": {"n_frozen_blocks": 9}},
        ):
            with pytest.raises((TrainingError, DatasetError)):
                run(toy, tmp_path / "run", change(TINY, **wrong))
            assert not (tmp_path / "run" / "config.toml").exists()
        assert epochs_of(run(toy, tmp_path / "run"))

    def test_two_processes_do_not_train_in_one_folder(self, toy, tmp_path):
        run(toy, tmp_path / "run")
        with (
            RunFolder(tmp_path / "run").hold(),
            pytest.raises(TrainingError, match="Another process"),
        ):
            run(toy, tmp_path / "run", None, resumes=True)
        run(toy, tmp_path / "run", None, resumes=True)

    def test_the_summary_is_that_of_the_best_epoch(self, toy, tmp_path):
        reports = run(toy, tmp_path / "run", change(TINY, optimisation={"epochs": 6}))
        best = [report for report in epochs_of(reports) if report.is_best][-1]
        for summary, is_new in ((reports[-1], True), (run(toy, tmp_path / "run", None, resumes=True)[-1], False)):
            assert (summary.n_epochs, summary.is_new, summary.best_epoch) == (6, is_new, best.epoch)
            assert (summary.roc_auc, summary.pr_auc, summary.n_tags) == (best.roc_auc, best.pr_auc, 2)

    def test_nothing_to_hear_is_an_error(self, toy, tmp_path):
        with pytest.raises(TrainingError, match="can be heard"):
            run(replace(toy, root=tmp_path / "nowhere"), tmp_path / "run")

    def test_a_validation_of_one_class_is_an_error(self, toy, tmp_path):
        labels = toy.labels.copy()
        labels[N_TRAIN:] = [True, False]
        with pytest.raises(TrainingError, match="validate"):
            run(replace(toy, labels=labels), tmp_path / "run")

    def test_a_loss_that_explodes_is_an_error(self, toy, tmp_path):
        document = change(TINY, optimisation={"learning_rate": 1e30, "warmup_epochs": 0.0, "max_gradient_norm": 0.0})
        with pytest.raises(TrainingError, match="not finite"):
            run(toy, tmp_path / "run", document)

    def test_a_folder_that_holds_something_is_left_alone(self, toy, tmp_path):
        (tmp_path / "letter.txt").write_text("dear")
        with pytest.raises(TrainingError, match="not empty"):
            run(toy, tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt"]

    def test_another_data_set_or_recipe_is_not_gone_on_with(self, toy, tmp_path):
        run(toy, tmp_path / "run")
        labels = toy.labels.copy()
        labels[0] = ~labels[0]
        with pytest.raises(TrainingError, match="not the data set any more"):
            run(replace(toy, labels=labels), tmp_path / "run", None, resumes=True)
        with pytest.raises(TrainingError, match="another recipe"):
            run(toy, tmp_path / "run", change(TINY, optimisation={"seed": 1}), resumes=True)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_cut_state_is_one_sentence(self, toy, tmp_path, share):
        run(toy, tmp_path / "run")
        state = tmp_path / "run" / "last" / "state.pt"
        content = state.read_bytes()
        state.write_bytes(content[: int(share * len(content))])
        with pytest.raises(CheckpointError, match="damaged"):
            run(toy, tmp_path / "run", None, resumes=True)

    def test_a_changed_byte_of_the_state_is_noticed(self, toy, tmp_path):
        run(toy, tmp_path / "run")
        state = tmp_path / "run" / "last" / "state.pt"
        content = bytearray(state.read_bytes())
        tensor = RunFolder(tmp_path / "run").load_state()["learner"]["model.dense.weight"].numpy().tobytes()
        content[content.index(tensor) + 3] ^= 0x40
        state.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            run(toy, tmp_path / "run", None, resumes=True)

    def test_code_in_a_state_is_not_executed(self, toy, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "executed",))

        run(toy, tmp_path / "run")
        torch.save({"format_version": 1, "place": Evil()}, tmp_path / "run" / "last" / "state.pt")
        with pytest.raises(CheckpointError, match="damaged"):
            run(toy, tmp_path / "run", None, resumes=True)
        assert not (tmp_path / "executed").exists()

    def test_bfloat16_learns_too(self, toy, tmp_path):
        document = change(TINY, optimisation={"precision": "bfloat16", "epochs": 16, "learning_rate": 3e-2})
        assert max(report.roc_auc for report in epochs_of(run(toy, tmp_path / "run", document))) == 1.0

    def test_precision_is_float32_on_a_cpu_unless_asked_for(self):
        assert choose_precision("auto", torch.device("cpu")) is torch.float32
        assert choose_precision("float16", torch.device("cpu")) is torch.float16

    def test_tensorboard_gets_every_epoch(self, toy, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        from tagcli.training.board import Board

        board = Board(tmp_path / "board")
        reports = epochs_of(run(toy, tmp_path / "run"))
        for report in reports:
            board.write(report)
        board.close()
        events = EventAccumulator(str(tmp_path / "board"))
        events.Reload()
        assert [event.value for event in events.Scalars("loss")] == pytest.approx([report.loss for report in reports])


@pytest.mark.slow
def test_two_processes_learn_as_one_that_accumulates(toy, tmp_path):
    document = change(TINY, optimisation={"n_accumulated": 2, "max_gradient_norm": 0.5}, augmentation={"mixup": 0.4})
    one = run(toy, tmp_path / "one", document)
    config = tmp_path / "two.toml"
    config.write_text(tomli_w.dumps(change(document, optimisation={"n_accumulated": 1})))
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from tagcli.datasets import open_dataset\n"
        "from tagcli.training.reports import StepReport\n"
        "from tagcli.training.recipe_document import read_document\n"
        "from tagcli.training.session import run_training\n"
        "import os\n"
        "data, config, out = map(Path, sys.argv[1:])\n"
        "reports = run_training(open_dataset(data), read_document(config), place='x', folder=out, resumes=False,\n"
        "                       device_name='cpu', n_workers=1)\n"
        "losses = [report.loss for report in reports if isinstance(report, StepReport)]\n"
        "Path(f'{out}.{os.environ[\"RANK\"]}.json').write_text(json.dumps(losses))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "two"
    subprocess.run([*command, str(toy.root / "toy.tsv"), str(config), str(out)], check=True, env=environment)
    losses = [json.loads(Path(f"{out}.{rank}.json").read_text()) for rank in (0, 1)]
    assert losses[0] == losses[1]
    expected = [report.loss for report in one if isinstance(report, StepReport)]
    assert losses[0] == pytest.approx(expected, abs=1e-4)
    assert read_header(out / "best.safetensors").vocabulary.tags == toy.tags


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_learns_what_a_cpu_learns(toy, tmp_path):
    document = change(TINY, optimisation={"precision": "float32"})
    on_cpu = epochs_of(run(toy, tmp_path / "cpu", document))
    on_gpu = epochs_of(run(toy, tmp_path / "gpu", document, device_name="cuda:0"))
    assert [report.loss for report in on_gpu] == pytest.approx([report.loss for report in on_cpu], abs=1e-3)
