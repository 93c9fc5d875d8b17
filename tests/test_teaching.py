"""Learning from teachers: variants, lessons, what teachers say together, and students."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_dataset import N_TRAIN, N_VALIDATION, TINY
from typer.testing import CliRunner

from tagcli.audio.clips import ClipChoice
from tagcli.audio.treatment import Sound
from tagcli.checkpoint import read_header, save_checkpoint
from tagcli.cli import app
from tagcli.datasets import open_dataset
from tagcli.datasets.audio import DecodedAudio, ResampledAudio
from tagcli.datasets.clip_cache import ClipCache
from tagcli.datasets.clip_filling import build_cache, plan_cache
from tagcli.datasets.manifest_file import write_manifest
from tagcli.errors import CheckpointError, DatasetError, TrainingError
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import begin_fresh, make_header
from tagcli.training.examples import forget_labels
from tagcli.training.learner import LearningBatch
from tagcli.training.lesson_plan import LessonPlan
from tagcli.training.lessons import LessonProgress, Lessons, hear_examples, prepare_lessons
from tagcli.training.losses import logit_loss, score_loss
from tagcli.training.recipe_document import read_document, resolve_recipe
from tagcli.training.reports import Beginning, EpochReport
from tagcli.training.session import run_training
from tagcli.training.teachers import Teachers, find_top
from tagcli.training.teaching import TeachingRecipe
from tagcli.training.variants import Variant, VariantPlan, Voice, render

CPU = torch.device("cpu")
FAST = TeachingRecipe(n_variants=2, mixed_share=0.5, pitch_semitones=2.0, tempo_octaves=0.1)


def change(document, **tables):
    return {**document, **{name: {**document.get(name, {}), **table} for name, table in tables.items()}}


def make_teacher(path, toy, document=TINY, *, tags=("low", "high"), seed=0):
    """Write a checkpoint with drawn weights and moving opinions."""
    recipe = resolve_recipe(change(document, optimisation={"seed": seed}), n_tags=len(tags), place="x")
    manifest = forget_labels(toy, tags)
    header = make_header(path.with_suffix(""), recipe, manifest, manifest.select("train"))
    learner = begin_fresh(header, recipe)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        learner.model.dense.weight.normal_(0, 1, generator=generator)
    save_checkpoint(path, header, learner.tensors())
    return path


@pytest.fixture
def teacher(toy, tmp_path):
    """A teacher at the student's rate and clip length."""
    return make_teacher(tmp_path / "first.safetensors", toy)


@pytest.fixture
def other_teacher(toy, tmp_path):
    """One that hears another rate and shorter clips, and knows other tags besides."""
    document = change(
        TINY,
        front_end={"sample_rate": 10_000, "fmax": 5000.0},
        clip={"seconds": 0.5},
        model={"pools": [[4, 4], [8, 5]]},
    )
    return make_teacher(tmp_path / "second.safetensors", toy, document, tags=("high", "loud"), seed=4)


@pytest.fixture
def cached(toy):
    """The examples that are learned from, out of the cache."""
    for _ in build_cache(plan_cache(toy, sample_rate=8000), n_workers=1):
        pass
    return ClipCache(toy.select("train"), sample_rate=8000)


def make_plan(cached, toy, paths, recipe=FAST, *, seed=0):
    teachers = Teachers(paths, CPU)
    clip = resolve_recipe(TINY, n_tags=2, place="x").clip
    return LessonPlan(cached, toy, teachers, recipe, seed=seed, clip=clip, sample_rate=8000)


def plan_variants(manifest, everything, recipe, *, seed):
    return VariantPlan(manifest, everything, recipe, seed=seed, sample_rate=8000)


class TestVariants:
    def test_what_is_drawn_depends_on_seed_example_and_number_only(self, toy):
        train = toy.select("train")
        plan = plan_variants(train, toy, FAST, seed=3)
        backwards = train.take(range(len(train) - 1, -1, -1))
        turned = plan_variants(backwards, toy.take(range(len(toy) - 1, -1, -1)), FAST, seed=3)
        for row in range(len(train)):
            one, same = plan.draw(row, 5), turned.draw(len(train) - 1 - row, 5)
            assert [train.paths[part.row] for part in one.voices] == [backwards.paths[part.row] for part in same.voices]
            assert [replace(part, row=0) for part in one.voices] == [replace(part, row=0) for part in same.voices]
            assert (one.sound, one.gain_db) == (same.sound, same.gain_db)
        assert plan_variants(train, toy, FAST, seed=4).draw(0, 5) != plan.draw(0, 5) != plan.draw(0, 6)

    def test_partners_are_of_other_artists_and_learned_from(self, toy):
        train = toy.select("train")
        plan = plan_variants(train, toy, replace(FAST, mixed_share=1.0), seed=0)
        variants = [plan.draw(row, number) for row in range(len(train)) for number in range(20)]
        assert all(len(variant.voices) == 2 for variant in variants)
        for variant in variants:
            first, second = (part.row for part in variant.voices)
            assert train.artists[first] != train.artists[second]
        assert {variant.voices[1].row for variant in variants} == set(range(len(train)))

    def test_who_learns_from_a_part_hears_mostly_the_same(self, toy):
        train = toy.select("train")
        part = train.take(range(10))
        recipe = replace(FAST, mixed_share=1.0)
        whole_plan, part_plan = plan_variants(train, toy, recipe, seed=0), plan_variants(part, toy, recipe, seed=0)
        pairs = [
            (whole_plan.draw(row, number), part_plan.draw(row, number)) for row in range(10) for number in range(9)
        ]
        assert all(b.voices[1].row < 10 for _, b in pairs)
        for whole, own in pairs:
            assert own == whole or whole.voices[1].row >= 10

    def test_one_artist_is_left_alone(self, toy):
        lonely = replace(toy, artists=("same",) * len(toy))
        plan = plan_variants(lonely, lonely, replace(FAST, mixed_share=1.0), seed=0)
        assert len(plan.draw(0, 0).voices) == 1

    def test_shares_and_extents_are_those_of_the_recipe(self, toy):
        recipe = TeachingRecipe(
            treated_share=0.6, mixed_share=0.3, low_pass_share=0.2, mp3_share=0.1, pitch_semitones=3, tempo_octaves=0.2
        )
        plan = plan_variants(toy, toy, recipe, seed=0)
        variants = [plan.draw(row, number) for row in range(len(toy)) for number in range(100)]
        shares = {
            0.3: [len(variant.voices) == 2 for variant in variants],
            0.2: [variant.sound.low_pass_hz is not None for variant in variants],
            0.1: [variant.sound.mp3_bit_rate is not None for variant in variants],
            0.6: [variant.voices[0].pitch != 1 for variant in variants],
        }
        for share, found in shares.items():
            assert np.mean(found) == pytest.approx(share, abs=0.04), share
        pitches = np.array([part.pitch for variant in variants for part in variant.voices])
        tempos = np.array([part.tempo for variant in variants for part in variant.voices])
        assert np.abs(np.log2(pitches)).max() == pytest.approx(3 / 12, rel=0.05)
        assert np.abs(np.log2(tempos)).max() == pytest.approx(0.2, rel=0.05)

    def test_nothing_wanted_is_the_excerpt_itself(self, toy, cached):
        recipe = TeachingRecipe(treated_share=0, mixed_share=0, low_pass_share=0, mp3_share=0, gain_db=0)
        variant = plan_variants(cached.manifest, toy, recipe, seed=0).draw(2, 0)
        start = round(variant.voices[0].position * (cached.n_samples(2) - 8000))
        assert np.array_equal(render(variant, cached, 8000), cached.read_part(2, start, 8000))

    def test_low_passes_are_below_what_there_is(self, toy):
        recipe = replace(FAST, low_pass_share=1.0, treated_share=1.0)
        sounds = [plan_variants(toy, toy, recipe, seed=0).draw(0, number).sound for number in range(50)]
        assert max(sound.low_pass_hz for sound in sounds) < 4000
        assert max(sound.peak_hz for sound in sounds) < 4000

    def test_what_is_next_to_silent_stays_alone(self, toy, tmp_path, encode):
        level = {0: 0.0, 1: 1.0}
        for row, factor in level.items():
            tone = factor * 0.3 * np.sin(np.arange(12_000))[np.newaxis]
            encode(tmp_path / f"{row}.wav", tone.astype(np.float32), 8000)
        pair = replace(toy.take([0, 2]), root=tmp_path, paths=("0.wav", "1.wav"))
        recipe = TeachingRecipe(treated_share=0, mixed_share=1, low_pass_share=0, mp3_share=0, gain_db=0)
        plan, audio = plan_variants(pair, pair, recipe, seed=0), DecodedAudio(pair, sample_rate=8000)
        silent, alone = (render(plan.draw(row, 0), audio, 8000) for row in (0, 1))
        assert not silent.any()
        assert np.abs(alone).max() == pytest.approx(0.3, abs=0.01)

    def test_what_is_played_faster_does_not_begin_anew_at_its_end(self, cached, toy):
        ramp = DecodedAudio(cached.manifest, sample_rate=8000)
        for tempo in (0.9, 1.0, 1.1):
            for pitch in (0.9, 1.0, 1.1):
                voice = Voice(row=0, position=0.0, pitch=pitch, tempo=tempo, level_db=0.0)
                variant = Variant(voices=(voice,), sound=Sound(), gain_db=0.0)
                heard = render(variant, ramp, 8000)
                ends = [n for n in range(2, 400) if np.array_equal(heard[-n:], heard[:n])]
                assert not ends, (tempo, pitch)

    def test_a_short_excerpt_is_repeated(self, toy, cached):
        recipe = TeachingRecipe(treated_share=0, mixed_share=0, low_pass_share=0, mp3_share=0, gain_db=0)
        variant = plan_variants(cached.manifest, toy, recipe, seed=0).draw(2, 0)
        heard = render(variant, cached, 30_000)
        assert np.array_equal(heard[12_000:24_000], cached.read(2))

    def test_whatever_is_drawn_is_a_waveform(self, toy, cached):
        wild = TeachingRecipe(
            treated_share=1, mixed_share=1, low_pass_share=0.5, mp3_share=0.5, equaliser_db=30, gain_db=40
        )
        plan = plan_variants(cached.manifest, toy, wild, seed=0)
        for number in range(12):
            heard = render(plan.draw(number % N_TRAIN, number), cached, 8000)
            assert heard.shape == (8000,)
            assert heard.dtype == np.float32
            assert np.isfinite(heard).all()
            assert np.abs(heard).max() <= 1.0
            assert heard.any()


class TestTeachers:
    def test_their_vocabularies_are_joined_and_logits_averaged(self, teacher, other_teacher):
        teachers = Teachers([teacher, other_teacher], CPU)
        assert teachers.tags == ("low", "high", "loud")
        assert (teachers.sample_rate, teachers.n_outputs) == (10_000, 4)
        scores = np.array([[0.5, 0.8, 0.2, 0.9]], dtype=np.float32)
        own = np.log(scores / (1 - scores))[0]
        assert teachers.average(scores)[0] == pytest.approx([own[0], (own[1] + own[2]) / 2, own[3]], abs=1e-5)
        by_shares = teachers.average(scores, (3.0, 1.0))[0]
        assert by_shares == pytest.approx([own[0], 0.75 * own[1] + 0.25 * own[2], own[3]], abs=1e-5)

    def test_each_hears_at_its_own_rate_and_length(self, toy, teacher, other_teacher):
        audio = DecodedAudio(toy, sample_rate=10_000)
        heard = Teachers([teacher, other_teacher], CPU).hear(audio, choice=ClipChoice(), n_workers=2)
        for path, columns in ((teacher, slice(0, 2)), (other_teacher, slice(2, 4))):
            module = TaggerModule.from_checkpoint(path)
            rate = module.header.front_end.sample_rate
            alone = score_examples(module, ResampledAudio(audio, rate), choice=ClipChoice())
            assert np.array_equal(heard[:, columns], alone)

    def test_certain_scores_have_finite_logits(self, teacher):
        assert np.isfinite(Teachers([teacher], CPU).average(np.array([[0.0, 1.0]], dtype=np.float32))).all()

    def test_the_best_three_are_labels(self):
        labels = find_top(np.array([[0.1, 3.0, 2.0, -1.0, 2.5, 0.2]], dtype=np.float32))
        assert labels.tolist() == [[False, True, True, False, True, False]]
        assert find_top(np.array([[0.1, 3.0, 2.0]], dtype=np.float32)).tolist() == [[False, True, False]]


class TestLessons:
    def test_they_are_what_the_teachers_say_of_what_is_heard(self, toy, cached, teacher):
        plan = make_plan(cached, toy, [teacher])
        reports = list(prepare_lessons(plan, n_workers=2))
        assert (reports[0].n_done, reports[-1].n_done, reports[-1].n_total) == (0, 2 * N_TRAIN, 2 * N_TRAIN)
        lessons = Lessons(plan, n_workers=2)
        assert len(lessons.manifest) == len(lessons.logits) == 2 * N_TRAIN
        scores = score_examples(TaggerModule.from_checkpoint(teacher), lessons, choice=ClipChoice())
        assert np.abs(scores - 1 / (1 + np.exp(-lessons.logits))).max() < 2e-3  # the student hears 16 bits
        for row in (0, N_TRAIN + 3):
            rendered = plan.render(row)
            assert np.abs(lessons.read(row) - rendered).max() <= np.abs(rendered).max() / 32_767
        assert np.array_equal(lessons.read_part(3, 100, 50), lessons.read(3)[100:150])

    def test_teachers_that_hear_in_half_precision_say_nearly_the_same(self, toy, cached, teacher):
        plan = make_plan(cached, toy, [teacher], replace(FAST, precision="bfloat16"))
        list(prepare_lessons(plan, n_workers=2))
        lessons = Lessons(plan, n_workers=2)
        exact = score_examples(TaggerModule.from_checkpoint(teacher), lessons, choice=ClipChoice())
        differences = np.abs(1 / (1 + np.exp(-lessons.logits)) - exact)
        assert 1e-6 < differences.max() < 0.02 < exact.std()
        validation = ClipCache(toy.select("validation"), sample_rate=8000)
        said = drain(hear_examples(validation, plan, ClipChoice(), n_workers=1))
        exactly = drain(hear_examples(validation, make_plan(cached, toy, [teacher]), ClipChoice(), n_workers=1))
        assert 0 < np.abs(said - exactly).max() < 0.2

    def test_what_is_there_is_not_made_again(self, toy, cached, teacher):
        plan = make_plan(cached, toy, [teacher])
        first = [report.n_done for report in prepare_lessons(plan, n_workers=1)]
        before = {path: path.stat().st_mtime_ns for path in plan.folder.rglob("*.safetensors")}
        assert len(before) == 2 * N_TRAIN == first[-1]
        victims = sorted(before)[:3]
        victims[0].unlink()
        victims[1].write_bytes(victims[1].read_bytes()[:-7])
        assert [report.n_done for report in prepare_lessons(plan, n_workers=1)] == [2 * N_TRAIN - 2, 2 * N_TRAIN]
        after = {path: path.stat().st_mtime_ns for path in plan.folder.rglob("*.safetensors")}
        assert {path for path in before if after[path] != before[path]} == set(victims[:2])
        assert not list(plan.folder.rglob("*.tmp"))

    def test_another_teacher_seed_or_music_makes_others(self, toy, cached, teacher, other_teacher):
        plans = [
            make_plan(cached, toy, [teacher]),
            make_plan(cached, toy, [other_teacher]),
            make_plan(cached, toy, [teacher, other_teacher]),
            make_plan(cached, toy, [teacher], seed=1),
            make_plan(cached, toy, [teacher], replace(FAST, precision="bfloat16")),
        ]
        assert len({plan.locate(0) for plan in plans}) == 5
        assert make_plan(cached, toy, [teacher]).locate(0) == plans[0].locate(0)
        assert plans[0].locate(0) != plans[0].locate(1)

    def test_damage_is_one_sentence(self, toy, cached, teacher):
        plan = make_plan(cached, toy, [teacher])
        list(prepare_lessons(plan, n_workers=1))
        lessons = Lessons(plan, n_workers=1)
        content = bytearray(plan.locate(4).read_bytes())
        content[-5] ^= 1  # of the samples, which safetensors writes behind smaller tensors or before them
        content[len(content) // 2] ^= 1
        plan.locate(4).write_bytes(content)
        with pytest.raises(TrainingError, match="cannot be read"):
            lessons.read(4)
        assert plan.list_missing() == [4]
        for row in (4, 7):
            plan.locate(row).write_bytes(b"\xff" * plan.n_bytes_each)
        with pytest.raises(TrainingError, match="cannot be read"):
            lessons.read(4)
        with pytest.raises(TrainingError, match=r"2 lessons .* were damaged"):
            Lessons(plan, n_workers=1)
        assert plan.list_missing() == [4, 7]

    def test_the_same_excerpt_twice_is_made_once(self, toy, cached, teacher):
        twice = cached.manifest.take([0, 1, 2, 3, 0, 1, 2, 3])
        twice = replace(twice, ids=tuple(map(str, range(8))))
        plan = make_plan(ClipCache(twice, sample_rate=8000), toy, [teacher])
        list(prepare_lessons(plan, n_workers=8))
        assert len(list(plan.folder.rglob("*.safetensors"))) == 8
        logits = Lessons(plan, n_workers=1).logits
        assert np.array_equal(logits[:4], logits[4:8])

    def test_clips_that_teachers_cannot_hear_are_refused(self, cached, toy, teacher):
        clip = replace(resolve_recipe(TINY, n_tags=2, place="x").clip, n_samples=7000)
        plan = LessonPlan(cached, toy, Teachers([teacher], CPU), FAST, seed=0, clip=clip, sample_rate=8000)
        with pytest.raises(TrainingError, match=r"cannot hear clips of 0\.875 s"):
            list(prepare_lessons(plan, n_workers=1))
        assert not list(plan.folder.rglob("*.safetensors"))

    def test_too_little_room_is_said_before_anything_is_done(self, toy, cached, teacher, monkeypatch):
        plan = make_plan(cached, toy, [teacher])
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
        with pytest.raises(TrainingError, match=r"teaching\.n_variants"):
            list(prepare_lessons(plan, n_workers=1))

    def test_examples_are_heard_once(self, toy, cached, teacher, monkeypatch):
        plan = make_plan(cached, toy, [teacher])
        validation = ClipCache(toy.select("validation"), sample_rate=8000)
        said = drain(hear_examples(validation, plan, ClipChoice(), n_workers=1))
        module = TaggerModule.from_checkpoint(teacher)
        expected = score_examples(module, validation, choice=ClipChoice())
        assert 1 / (1 + np.exp(-said)) == pytest.approx(expected, abs=1e-6)
        monkeypatch.setattr(plan.teachers, "hear", None)
        assert np.array_equal(drain(hear_examples(validation, plan, ClipChoice(), n_workers=1)), said)

    def test_an_example_that_cannot_be_heard_has_no_opinion(self, toy, teacher, encode, tmp_path):
        for path in toy.paths[1:]:
            (tmp_path / path).symlink_to(toy.root / path)
        encode(tmp_path / toy.paths[0], np.zeros((1, 4000), dtype=np.float32) + 0.1, 8000)
        short = replace(toy, root=tmp_path)
        for _ in build_cache(plan_cache(short, sample_rate=8000), n_workers=1):
            pass
        plan = make_plan(ClipCache(short.select("validation"), sample_rate=8000), short, [teacher])
        for _ in range(2):
            said = drain(hear_examples(ClipCache(short, sample_rate=8000), plan, ClipChoice(), n_workers=1))
            assert np.isnan(said[0]).all()
            assert np.isfinite(said[1:]).all()


def drain(generator):
    """Let a generator run, and give what it returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


class TestLosses:
    def make_batch(self, wanted, known):
        nothing = torch.zeros(0)
        return LearningBatch(
            waveforms=nothing,
            wanted=torch.tensor(wanted),
            known=torch.tensor(known),
            n_known=int(sum(map(sum, known))),
            gains=nothing,
            mix_shares=None,
            band_masks=nothing,
            frame_masks=nothing,
        )

    def test_logits_are_compared_in_deviations(self):
        batch = self.make_batch([[1.0, -2.0], [0.0, 5.0]], [[1.0, 1.0], [1.0, 0.0]])
        loss = logit_loss(torch.tensor([2.0, 0.5]))
        logits = torch.tensor([[3.0, -1.0], [0.0, 99.0]])
        assert loss(logits, batch).item() == pytest.approx((1.0 + 4.0 + 0.0) / 3)

    def test_scores_are_least_wrong_where_they_are_the_teachers(self):
        batch = self.make_batch([[1.0, -2.0]], [[1.0, 1.0]])
        logits = torch.tensor([[1.0, -2.0]], requires_grad=True)
        score_loss(logits, batch).backward()
        assert logits.grad.abs().max() < 1e-7
        assert score_loss(torch.tensor([[1.5, -2.0]]), batch) > score_loss(logits, batch)


def run(manifest, folder, document, **options):
    defaults = {"place": "The recipe", "resumes": False, "device_name": "cpu", "n_workers": 2}
    return list(run_training(manifest, document, folder=folder, **{**defaults, **options}))


def plan_folder():
    """Where lessons are."""
    return Path(os.environ["XDG_CACHE_HOME"]) / "tagcli" / "lessons"


def taught(*teachers, **tables):
    teaching = {"teachers": [str(path) for path in teachers], "n_variants": 2, "tempo_octaves": 0.1}
    return change(change(TINY, teaching=teaching), **tables)


class TestStudents:
    def test_a_student_begins_with_what_its_teachers_say_on_average(self, toy, teacher):
        header, recipe = read_header(teacher), resolve_recipe(TINY, n_tags=2, place="x")
        taught = np.array([[-4.0, 1.0], [-2.0, 2.0]], dtype=np.float32)
        module = begin_fresh(header, recipe, taught).to_tagger(header)
        said = module.score(0.1 * torch.randn(3, 8000), with_embeddings=False).scores
        assert torch.logit(said).numpy() == pytest.approx(np.tile([-3.0, 1.5], (3, 1)), abs=1e-5)

    @pytest.mark.parametrize("loss", ["scores", "logits"])
    def test_a_student_learns_what_its_teacher_says(self, toy, tmp_path, loss):
        run(toy, tmp_path / "teacher", change(TINY, optimisation={"epochs": 16, "learning_rate": 3e-2}))
        teacher = tmp_path / "teacher" / "best.safetensors"
        document = taught(teacher, teaching={"loss": loss}, optimisation={"epochs": 12, "learning_rate": 2e-2})
        reports = run(toy, tmp_path / "run", document)
        beginning = next(report for report in reports if isinstance(report, Beginning))
        assert (beginning.n_train, beginning.n_validation) == (2 * N_TRAIN, N_VALIDATION)
        epochs = [report for report in reports if isinstance(report, EpochReport)]
        assert epochs[-1].loss < epochs[0].loss
        validation = DecodedAudio(toy.select("validation"), sample_rate=8000)
        said = [
            score_examples(TaggerModule.from_checkpoint(path), validation, choice=ClipChoice())
            for path in (teacher, tmp_path / "run" / "best.safetensors")
        ]
        logits = [np.log(scores / (1 - scores)) for scores in said]
        for tag in range(2):
            assert np.corrcoef(logits[0][:, tag], logits[1][:, tag])[0, 1] > 0.8

    def test_labels_are_not_looked_at(self, toy, teacher, tmp_path, monkeypatch):
        nothing = np.zeros_like(toy.labels)
        for name, manifest in (("with", toy), ("without", replace(toy, labels=nothing, known=nothing))):
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache {name}"))  # no lessons of the other
            run(manifest, tmp_path / name, taught(teacher))
        best = [(tmp_path / name / "best.safetensors") for name in ("with", "without")]
        from tagcli.checkpoint import load_tensors

        with_labels, without = map(load_tensors, best)
        assert all(torch.equal(with_labels[name], without[name]) for name in without)

    def test_nothing_is_copied_from_a_teacher(self, toy, teacher, tmp_path):
        from tagcli.checkpoint import load_tensors

        run(toy, tmp_path / "run", taught(teacher))
        own, theirs = load_tensors(tmp_path / "run" / "best.safetensors"), load_tensors(teacher)
        learned = [name for name in own if own[name].ndim > 1 and not name.startswith("front_end")]
        assert learned
        assert not any(torch.equal(own[name], theirs[name]) for name in learned)

    def test_teachers_of_another_rate_and_length_teach_too(self, toy, teacher, other_teacher, tmp_path):
        run(toy, tmp_path / "run", taught(teacher, other_teacher))
        header = read_header(tmp_path / "run" / "best.safetensors")
        assert header.vocabulary.tags == ("low", "high", "loud")
        assert header.front_end.sample_rate == 8000
        assert "students of first, second" in header.provenance.source
        assert "2 variants" in header.provenance.training_data
        assert header.provenance.artists == read_header(teacher).provenance.artists

    def test_a_stopped_training_goes_on_exactly(self, toy, teacher, tmp_path):
        document = taught(teacher)
        run(toy, tmp_path / "whole", document)
        for kind in (LessonProgress, EpochReport):
            folder = tmp_path / kind.__name__
            reports = run_training(
                toy, document, place="x", folder=folder, resumes=False, device_name="cpu", n_workers=2
            )
            for report in reports:
                if isinstance(report, kind):
                    break
            reports.close()
            began = (folder / "config.toml").is_file()
            shutil.rmtree(plan_folder(), ignore_errors=True)  # lessons are made anew, and are the same
            run(toy, folder, None if began else document, resumes=True)
            from tagcli.checkpoint import load_tensors

            whole, broken = (load_tensors(each / "best.safetensors") for each in (tmp_path / "whole", folder))
            assert all(torch.equal(whole[name], broken[name]) for name in whole)

    def test_other_opinions_than_those_that_were_learned_are_noticed(self, toy, teacher, tmp_path, monkeypatch):
        run(toy, tmp_path / "run", taught(teacher))
        shutil.rmtree(plan_folder())
        hear = Teachers.hear
        monkeypatch.setattr(Teachers, "hear", lambda *args, **kwargs: hear(*args, **kwargs) * np.float32(0.999))
        with pytest.raises(CheckpointError, match="made with other data"):
            run(toy, tmp_path / "run", None, resumes=True)

    def test_what_cannot_begin_is_not_prepared_for(self, toy, teacher, tmp_path):
        with pytest.raises(TrainingError, match="too few"):
            run(toy, tmp_path / "run", taught(teacher, optimisation={"n_accumulated": 50}))
        assert not plan_folder().exists()
        assert not (tmp_path / "run").exists()

    def test_what_cannot_be_written_is_not_prepared_for(self, toy, teacher, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("x")
        with pytest.raises(TrainingError, match="cannot be used"):
            run(toy, tmp_path / "file" / "run", taught(teacher))
        named = replace(toy, artists=("an\tartist", *toy.artists[1:]))
        with pytest.raises(DatasetError, match="a tab"):
            run(named, tmp_path / "run", taught(teacher))
        monkeypatch.setattr("os.access", lambda *arguments: False)  # root may write everywhere
        with pytest.raises(TrainingError, match="cannot be used"):
            run(toy, tmp_path / "run", taught(teacher))
        assert not plan_folder().exists()

    def test_what_cannot_be_validated_by_is_not_prepared_for(self, toy, teacher, tmp_path):
        first = toy.splits.index("validation")
        one = toy.take([row for row in range(len(toy)) if toy.splits[row] == "train" or row == first])
        with pytest.raises(TrainingError, match="to validate by"):
            run(one, tmp_path / "run", taught(teacher))
        assert not [path for path in plan_folder().rglob("*") if path.is_file() and path.stat().st_size > 4000]

    def test_a_teacher_is_named_once(self, toy, teacher, tmp_path):
        again = teacher.parent / "." / ".." / teacher.parent.name / teacher.name
        with pytest.raises(TrainingError, match="are the same weights"):
            run(toy, tmp_path / "run", taught(teacher, again))

    def test_a_teacher_that_has_changed_is_noticed(self, toy, teacher, tmp_path):
        run(toy, tmp_path / "run", taught(teacher))
        make_teacher(teacher, toy, seed=9)
        with pytest.raises(TrainingError, match="teachers"):
            run(toy, tmp_path / "run", None, resumes=True)

    @pytest.mark.parametrize(
        ("tables", "named"),
        [
            ({"augmentation": {"mixup": 0.3}}, "mixup"),
            ({"augmentation": {"gain_db": 3.0}}, "gain_db"),
            ({"teaching": {"teachers": [""]}}, "has no name"),
            ({"optimisation": {"positive_weights": "balanced"}}, "positive_weights"),
            ({"data": {"cache": "none"}}, "cache"),
            ({"teaching": {"n_variants": 0}}, "n_variants"),
            ({"teaching": {"n_variants": 1_000_000}}, "n_variants"),
            ({"teaching": {"teacher_shares": [1.0, 2.0]}}, "positive share"),
            ({"teaching": {"teacher_shares": [0.0]}}, "positive share"),
            ({"teaching": {"mixed_share": 1.5}}, "shares"),
            ({"teaching": {"pitch_semitones": 40.0}}, "pitch_semitones"),
            ({"teaching": {"teachers": "first"}}, "list of names"),
            ({"teaching": {"teachers": []}}, "without teachers"),
            ({"teaching": {"loss": "labels"}}, "is not one of scores, logits"),
        ],
    )
    def test_what_cannot_be_followed_is_named(self, toy, teacher, tmp_path, tables, named):
        with pytest.raises(TrainingError, match=named):
            run(toy, tmp_path / "run", taught(teacher, **tables))
        assert not (tmp_path / "run").exists()

    def test_finetuning_has_no_teachers(self, toy, teacher, tmp_path):
        document = {name: table for name, table in taught(teacher).items() if name in ("teaching", "data")}
        with pytest.raises(TrainingError, match="only fresh weights"):
            run(toy, tmp_path / "run", document, source=teacher)


class TestCommand:
    def invoke(self, *arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def test_two_teachers_a_set_and_a_folder_are_all_it_takes(self, toy, teacher, other_teacher, tmp_path):
        import tomli_w

        recipe = tmp_path / "recipe.toml"
        recipe.write_text(tomli_w.dumps(change(TINY, teaching={"n_variants": 2})))
        write_manifest(toy, tmp_path / "set.tsv")
        options = ("--teacher", f"{teacher},{other_teacher}", "--config", recipe, "--format", "json")
        result = self.invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run", *options)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["n_tags"] >= 1
        assert f"Preparing {2 * N_TRAIN} lessons" in result.stderr
        written = open_dataset(tmp_path / "run" / "dataset.tsv")
        assert written.tags == ("low", "high", "loud")
        assert not written.select("train").known.any()
        assert written.select("validation").labels.sum(axis=1).tolist() == [1] * N_VALIDATION  # of three tags the best
        resumed = self.invoke("train", tmp_path / "set.tsv", "--out", tmp_path / "run", "--resume")
        assert "nothing was left" in resumed.stdout, resumed.output

    def test_any_folder_of_music_does(self, toy, teacher, tmp_path):
        import tomli_w

        music = tmp_path / "music"
        for row, path in enumerate(toy.paths):
            (music / f"artist {row % 11}").mkdir(parents=True, exist_ok=True)
            shutil.copy(toy.root / path, music / f"artist {row % 11}" / path)
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(tomli_w.dumps(change(TINY, teaching={"n_variants": 2, "teachers": [str(teacher)]})))
        options = ("--out", tmp_path / "run", "--config", recipe)
        result = self.invoke("train", music, *options)
        assert result.exit_code == 0, result.output
        assert "has no splits; some were made" in result.stderr
        resumed = self.invoke("train", music, "--out", tmp_path / "run", "--resume")
        assert "nothing was left" in resumed.stdout, resumed.output
        built = self.invoke("dataset", "build", music, "--unlabelled", "--split", "0.8,0.2,0", "-o", tmp_path / "a.tsv")
        assert built.exit_code == 0, built.output
        assert open_dataset(tmp_path / "a.tsv").tags == ()
        assert self.invoke("train", tmp_path / "a.tsv", "--out", tmp_path / "b", *options[2:]).exit_code == 0

    def test_students_have_the_same_defaults_wherever_teachers_are_named(self, toy, teacher, tmp_path):
        import tomli_w

        recipe = change(TINY, teaching={"n_variants": 2})
        del recipe["optimisation"]
        (tmp_path / "recipe.toml").write_text(tomli_w.dumps(recipe))
        write_manifest(toy, tmp_path / "set.tsv")
        for way in (("--teacher", teacher), ("--set", f'teaching.teachers=["{teacher}"]')):
            out = tmp_path / way[0]
            options = ("--config", tmp_path / "recipe.toml", "--epochs", 1, *way)
            result = self.invoke("train", tmp_path / "set.tsv", f"--out={out}", *options)
            assert result.exit_code == 0, result.output
            followed = read_document(out / "config.toml")["optimisation"]
            assert (followed["learning_rate"], followed["batch_size"], followed["epochs"]) == (3e-3, 8, 1)

    def test_a_teacher_that_is_not_there_is_named(self, toy, tmp_path):
        result = self.invoke("train", toy.root / "toy.tsv", "--out", tmp_path / "run", "--teacher", "won2020-msd-fcn")
        assert result.exit_code == 1
        assert "tagcli weights pull won2020-msd-fcn" in result.stderr
        assert not Path(tmp_path / "run").exists()
