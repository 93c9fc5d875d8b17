"""Steps: what each example is drawn from, which steps are built, and the rate of each."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest
from toy_dataset import TINY, make_manifest

from tagcli.training import steps
from tagcli.training.augmentation import _draw_uniform, draw_variation
from tagcli.training.optimisation import rate_at
from tagcli.training.recipe import AugmentationRecipe, OptimisationRecipe
from tagcli.training.recipe_document import resolve_recipe
from tagcli.training.steps import StepPlan

VARIED = AugmentationRecipe(gain_db=6.0, mixup=0.4, n_band_masks=2, n_frame_masks=1)


def make_recipe(*, mixup=0.0, batch_size=12, n_accumulated=1):
    recipe = resolve_recipe(TINY, n_tags=2, place="x")
    optimisation = replace(recipe.optimisation, batch_size=batch_size, n_accumulated=n_accumulated)
    return replace(recipe, augmentation=replace(VARIED, mixup=mixup), optimisation=optimisation)


def make_doubtful_manifest(n):
    """Describe examples of which about half the cells are unknown."""
    manifest = make_manifest(Path("x"), n_train=n, n_validation=0)
    known = np.random.default_rng(1).random(manifest.known.shape) < 0.5
    return replace(manifest, known=known, labels=manifest.labels & known)


def reference_splitmix64(state):
    """Yield the stream as the paper's generator goes through it, one number after the other, in plain integers."""
    mask = 2**64 - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        yield mixed ^ (mixed >> 31)


class TestDrawing:
    def test_the_stream_is_splitmix64(self):
        # the first numbers of the seed 1234567, as printed for the authors' generator in many languages
        golden = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)
        drawn = _draw_uniform(1234567, np.arange(4, dtype=np.uint64))
        assert drawn.tolist() == [(number >> 11) / 2**53 for number in golden]

    @given(key=st.integers(0, 2**64 - 1), n=st.integers(1, 40))
    @settings(max_examples=50, deadline=None)
    def test_any_place_is_what_going_through_gives(self, key, n):
        stream = reference_splitmix64(key)
        numbers = [(next(stream) >> 11) / 2**53 for _ in range(n)]
        backwards = np.arange(n, dtype=np.uint64)[::-1]
        assert _draw_uniform(key, backwards)[::-1].tolist() == numbers

    @pytest.mark.parametrize("mixup", [0.2, 1.0, 4.0])
    def test_the_numbers_have_their_distributions(self, mixup):
        recipe = replace(VARIED, mixup=mixup)
        variation = draw_variation(range(4000), recipe, seed=1, epoch=2, n_bands=96, n_frames=1360)
        assert kstest(variation.positions, "uniform").pvalue > 1e-3
        assert kstest(20 * np.log10(variation.gains) / 12 + 0.5, "uniform").pvalue > 1e-3
        for share in (0.6, 0.75, 0.9, 0.99):
            expected = 2 * beta(mixup, mixup).cdf(share) - 1
            assert np.mean(variation.mix_shares <= share) == pytest.approx(expected, abs=0.03)
        widths = np.diff(variation.band_masks, axis=2)
        assert np.bincount(widths.ravel()).tolist() == pytest.approx([8000 / 9] * 9, rel=0.15)

    def test_what_is_drawn_for_one_thing_says_nothing_of_another(self):
        options = {"n_bands": 96, "n_frames": 1360}
        drawn = [
            draw_variation(range(4000), VARIED, seed=seed, epoch=epoch, **options)
            for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        columns = [column for each in drawn for column in (each.positions, each.gains, each.mix_shares)]
        columns += [columns[0][np.arange(1, 4001) % 4000]]  # of the next place
        correlations = np.corrcoef(columns) - np.eye(len(columns))
        assert np.abs(correlations).max() < 5 / math.sqrt(4000)

    @given(mixup=st.floats(1e-300, 1e300), seed=st.integers(0, 2**63 - 1))
    @settings(max_examples=60, deadline=None)
    def test_any_mixture_is_one(self, mixup, seed):
        variation = draw_variation(range(20), replace(VARIED, mixup=mixup), seed=seed, epoch=0, n_bands=8, n_frames=9)
        assert ((variation.mix_shares >= 0.5) & (variation.mix_shares <= 1)).all()


class TestPlan:
    @given(
        n=st.integers(24, 80),
        mixup=st.sampled_from([0.0, 0.4]),
        n_ranks=st.integers(1, 3),
        n_accumulated=st.integers(1, 2),
    )
    @settings(max_examples=40, deadline=None)
    def test_processes_agree_on_what_is_known(self, n, mixup, n_ranks, n_accumulated):
        manifest, recipe = make_doubtful_manifest(n), make_recipe(mixup=mixup, n_accumulated=n_accumulated)
        plans = [StepPlan(manifest, recipe, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
        for of_ranks in zip(*(plan.epoch(1) for plan in plans), strict=True):
            n_known = sum(np.count_nonzero(part.known) for step in of_ranks for part in step.own)
            assert {step.n_known for step in of_ranks} == {n_known}
            for part in (part for step in of_ranks for part in step.own):
                known = manifest.known[[request.row for request in part.requests]]
                assert np.array_equal(part.known, known & known[::-1] if mixup else known)

    def test_an_epoch_is_taken_up_anywhere(self):
        plan = StepPlan(make_doubtful_manifest(50), make_recipe(mixup=0.4), rank=0, n_ranks=2)
        whole = list(plan.epoch(3))
        for start in range(plan.n_steps + 1):
            rest = list(plan.epoch(3, start))
            assert len(rest) == plan.n_steps - start
            for step, same in zip(rest, whole[start:], strict=True):
                assert (step.n_examples, step.n_known) == (same.n_examples, same.n_known)
                assert [part.requests for part in step.own] == [part.requests for part in same.own]
                assert all(np.array_equal(a.wanted, b.wanted) for a, b in zip(step.own, same.own, strict=True))

    def test_only_what_is_taken_is_drawn(self, monkeypatch):
        drawn = []

        def draw(places, *arguments, **options):
            drawn.extend(places)
            return draw_variation(places, *arguments, **options)

        monkeypatch.setattr(steps, "draw_variation", draw)
        plan = StepPlan(make_manifest(Path("x"), n_train=48, n_validation=0), make_recipe(), rank=1, n_ranks=4)
        assert len(list(plan.epoch(0, start=2))) == 2
        assert drawn == [27, 28, 29, 39, 40, 41]  # the second quarter of the third and the fourth batch


class TestRate:
    @given(
        epochs=st.integers(1, 40),
        warmup=st.floats(0, 100),
        n_steps=st.integers(1, 9),
        schedule=st.sampled_from(["cosine", "constant"]),
    )
    @settings(max_examples=200, deadline=None)
    def test_every_step_learns(self, epochs, warmup, n_steps, schedule):
        recipe = OptimisationRecipe(learning_rate=1.0, epochs=epochs, warmup_epochs=warmup, schedule=schedule)
        rates = [rate_at(epoch + (step + 0.5) / n_steps, recipe) for epoch in range(epochs) for step in range(n_steps)]
        assert all(0 < rate <= 1 for rate in rates)
        peak = int(np.argmax(rates))
        assert peak <= epochs * n_steps / 2
        assert rates[:peak] == sorted(rates[:peak])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)

    def test_a_warmup_ends_at_half_of_all_epochs(self):
        recipe = OptimisationRecipe(learning_rate=1.0, epochs=4, warmup_epochs=50.0)
        assert [rate_at(float(epoch), recipe) for epoch in range(5)] == pytest.approx([0, 0.5, 1, 0.5, 0])
        constant = replace(recipe, schedule="constant")
        assert [rate_at(float(epoch), constant) for epoch in range(5)] == [0, 0.5, 1, 1, 1]
