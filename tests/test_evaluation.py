"""Evaluation: what is heard, what is matched, what is measured, compared, calibrated and found to disagree."""

import csv
import math
import threading
import unicodedata
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import mutagen
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagcli import metrics
from tagcli.annotate import STORED_SCORE, make_policy
from tagcli.audio.clips import ClipChoice
from tagcli.calibration import MIN_FOUND, NEVER, find_threshold, match_frequency, save_thresholds
from tagcli.checkpoint import hash_artists, load_tensors, read_header
from tagcli.datasets import Manifest, open_dataset
from tagcli.datasets.audio import DecodedAudio
from tagcli.errors import AudioError, CheckpointError, DatasetError, DeviceError, FailureCode
from tagcli.evaluation import (
    Grouping,
    SystemScores,
    align,
    compare,
    evaluate,
    find_disagreements,
    match_tags,
    read_scores,
    scoring,
    write_scores,
)
from tagcli.evaluation.grouping import group_examples
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger import TagOptions, load_tagger
from tagcli.tagger.module import TaggerModule
from tagcli.tagger.scorer import BatchScorer
from tagcli.tags import Category
from tagcli.weights.intake import pull

SAME = 1e-6
"""Means of the same float32 scores, in float64 in another order."""
BATCH = 1e-5
"""Convolutions of several clips add in another order than of one."""


def make_manifest(labels, tags, *, known=None, root=None, paths=None, name="set", **columns):
    """A data set of whole files."""
    labels = np.asarray(labels, dtype=bool)
    n_examples = len(labels)
    paths = tuple(paths or (f"{row}.wav" for row in range(n_examples)))
    return Manifest(
        name=name,
        root=root,
        tags=tuple(tags),
        paths=paths,
        ids=columns.get("ids", paths),
        splits=columns.get("splits", ("",) * n_examples),
        artists=columns.get("artists", ("",) * n_examples),
        starts_seconds=np.array(columns.get("starts", [0.0] * n_examples)),
        durations_seconds=np.array(columns.get("durations", [math.nan] * n_examples)),
        labels=labels,
        known=np.ones_like(labels) if known is None else np.asarray(known, dtype=bool) | labels,
    )


def make_system(manifest, scores, *, tags=None, ids=None, name="system"):
    return SystemScores(
        name=name, tags=tags or manifest.tags, ids=ids or manifest.ids, scores=np.asarray(scores, float)
    )


# Listening


@pytest.fixture(scope="module")
def listening(tmp_path_factory, music, encode, tiny_checkpoint):
    """Files of several lengths, two of which cannot be judged, and the model that hears them."""
    root = tmp_path_factory.mktemp("music")
    seconds = {"a.wav": 1.5, "b.flac": 3.3, "c.mp3": 7.0, "d.ogg": 4.0}
    for seed, (name, length) in enumerate(seconds.items()):
        encode(root / name, music(length, 8000, n_channels=1, seed=seed), 8000)
    encode(root / "short.wav", music(0.5, 8000, n_channels=1), 8000)
    (root / "text.mp3").write_text("no audio at all", encoding="utf-8")
    paths = (*seconds, "short.wav", "text.mp3")
    manifest = make_manifest(np.ones((6, 1)), ["rock"], root=root, paths=paths)
    module = TaggerModule.from_checkpoint(tiny_checkpoint)
    return SimpleNamespace(manifest=manifest, audio=DecodedAudio(manifest, sample_rate=8000), module=module, root=root)


@pytest.mark.parametrize("clips", ["all", "middle", "3"])
def test_examples_are_heard_as_predict_hears_tracks(listening, clips, tiny_checkpoint):
    failures, progress = {}, []
    scores = score_examples(
        listening.module,
        listening.audio,
        choice=ClipChoice.parse(clips),
        on_failure=failures.__setitem__,
        on_progress=progress.append,
    )
    paths = [listening.root / path for path in listening.manifest.paths[:4]]
    options = TagOptions(clips=ClipChoice.parse(clips))
    for row, result in enumerate(load_tagger(tiny_checkpoint, device="cpu").score(paths, options)):
        np.testing.assert_allclose(scores[row], result.scores, rtol=0, atol=SAME)
    assert np.isnan(scores[4:]).all()
    assert progress == [1, 2, 3, 4, 5, 6]
    assert {row: error.code for row, error in failures.items()} == {
        4: FailureCode.TOO_SHORT,
        5: FailureCode.NOT_AUDIO,
    }
    assert all(isinstance(error, AudioError) and error.path is not None for error in failures.values())


def test_the_number_of_workers_changes_nothing_and_later_threads_are_as_before(listening):
    before = torch.get_num_threads()
    one, four = (
        score_examples(listening.module, listening.audio, choice=ClipChoice(), n_workers=n_workers)
        for n_workers in (1, 4)
    )
    np.testing.assert_array_equal(one, four)
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *later] == [before] * 2


def test_an_excerpt_is_heard_and_nothing_around_it(listening, music, encode):
    whole = music(9, 8000, n_channels=1, seed=9)
    encode(listening.root / "whole.wav", whole, 8000)
    encode(listening.root / "part.wav", whole[:, 16_000:48_000], 8000)
    manifest = make_manifest(
        np.ones((2, 1)),
        ["rock"],
        root=listening.root,
        paths=("whole.wav", "part.wav"),
        starts=[2.0, 0.0],
        durations=[4.0, math.nan],
    )
    scores = score_examples(listening.module, DecodedAudio(manifest, sample_rate=8000), choice=ClipChoice())
    np.testing.assert_array_equal(scores[0], scores[1])


def test_what_is_no_matter_of_one_example_ends_the_listening(listening):
    class BrokenAudio:
        manifest, sample_rate = listening.manifest, 8000

        def read(self, row):
            msg = "The cache is damaged; make it again."
            raise DatasetError(msg)

    with pytest.raises(DatasetError, match="The cache is damaged"):
        score_examples(listening.module, BrokenAudio(), choice=ClipChoice())


@pytest.fixture
def batches(monkeypatch):
    """Has clips scored as on a GPU, in batches of 3 by a thread of their own."""

    def open_batch_scorer(module, device, *, with_embeddings, on_error, **_):
        clip_samples = module.header.clip.n_samples
        return BatchScorer(
            [module], clip_samples=clip_samples, batch_size=3, with_embeddings=with_embeddings, on_error=on_error
        )

    monkeypatch.setattr(scoring, "open_scorer", open_batch_scorer)


def test_batches_of_several_examples_give_the_same_scores(listening, request):
    alone = score_examples(listening.module, listening.audio, choice=ClipChoice())
    request.getfixturevalue("batches")
    together = score_examples(listening.module, listening.audio, choice=ClipChoice(), n_workers=3)
    np.testing.assert_allclose(together, alone, rtol=0, atol=BATCH)


@pytest.mark.usefixtures("batches")
def test_a_device_that_breaks_down_ends_the_listening(listening, monkeypatch):
    def break_down(waveform, *, with_embeddings):
        msg = "No kernel for this device; use another."
        raise DeviceError(msg)

    monkeypatch.setattr(listening.module, "score", break_down)
    before = threading.active_count()
    with pytest.raises(DeviceError, match="No kernel"):
        score_examples(listening.module, listening.audio, choice=ClipChoice(), n_workers=3)
    assert threading.active_count() == before


def test_audio_of_another_rate_is_refused(listening):
    audio = DecodedAudio(listening.manifest, sample_rate=16_000)
    with pytest.raises(ValueError, match="8000 Hz"):
        score_examples(listening.module, audio, choice=ClipChoice())


# Matching


def test_tags_are_matched_by_their_spelling_then_by_their_letters():
    match = match_tags(("Rock", "jazz", "Pop", "POP", "Folk"), ("jazz", "rock", "pop", "Jazz", "metal"))
    assert match.dataset_tags == ("Rock", "jazz")
    assert match.system_tags == ("rock", "jazz")
    assert match.only_dataset == ("Pop", "POP", "Folk"), "either could be meant"
    assert match.only_system == ("pop", "Jazz", "metal")


def test_examples_are_matched_by_their_ids_and_what_is_left_out_is_counted():
    manifest = make_manifest(
        [[1, 0], [0, 1], [1, 1], [0, 0], [0, 1]],
        ["rock", "jazz"],
        known=[[1, 1], [1, 1], [1, 1], [0, 0], [1, 1]],
        ids=("a", "b", "c", "d", "e"),
    )
    scores = [[0.1, 0.2, 9.0], [0.3, 0.4, 9.0], [np.nan] * 3, [0.7, 0.8, 9.0]]
    aligned = align(manifest, make_system(manifest, scores, tags=("jazz", "ROCK", "x"), ids=("e", "a", "b", "other")))
    assert aligned.manifest.ids == ("a", "e")
    assert aligned.rows.tolist() == [0, 4]
    assert aligned.scores.tolist() == [[0.4, 0.3], [0.2, 0.1]]
    assert (aligned.n_unlabelled, aligned.n_missing, aligned.n_unheard) == (1, 1, 1)
    assert aligned.match.only_system == ("x",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": ("metal", "folk")}, "no tag in common"),
        ({"ids": ("x", "y")}, "scores of no example"),
        ({"scores": [[np.nan] * 2] * 2}, "has heard no example"),
    ],
)
def test_nothing_in_common_is_one_sentence(changes, message):
    manifest = make_manifest([[1, 0], [0, 1]], ["rock", "jazz"])
    given = {"scores": np.zeros((2, 2)), **changes}
    with pytest.raises(DatasetError, match=message):
        align(manifest, make_system(manifest, given.pop("scores"), **given))


def test_a_data_set_that_knows_nothing_of_the_tags_is_one_sentence():
    manifest = make_manifest([[0], [0]], ["rock"], known=[[0], [0]])
    with pytest.raises(DatasetError, match="Nothing is known"):
        align(manifest, make_system(manifest, np.zeros((2, 1))))


# Measuring


@pytest.fixture
def judged():
    """A system that is good at the first tag and bad at the second, on a set that knows only parts."""
    generator = np.random.default_rng(0)
    labels = generator.random((80, 3)) < 0.4
    labels[:, 2] = False
    known = generator.random((80, 3)) < 0.9
    known[0] = True
    artists = tuple(f"artist {row // 4}" if row < 60 else "" for row in range(80))
    manifest = make_manifest(labels & known, ["rock", "obscure", "xyz"], known=known, artists=artists)
    scores = generator.normal(size=labels.shape) + labels * [3, 0.1, 0]
    return SimpleNamespace(manifest=manifest, scores=scores, system=make_system(manifest, scores))


def test_an_evaluation_is_what_is_measured_of_what_is_known(judged):
    manifest = judged.manifest
    found = evaluate(align(manifest, judged.system), split="test", n_replicates=100)
    expected = metrics.measure(manifest.labels, judged.scores, manifest.known)
    assert [tag.roc_auc.value for tag in found.per_tag[:2]] == expected.roc_auc[:2].tolist()
    assert [tag.pr_auc.value for tag in found.per_tag[:2]] == expected.average_precision[:2].tolist()
    assert found.undefined == ("xyz",)
    assert found.macro.n_tags == 2
    assert found.macro.roc_auc.value == pytest.approx(expected.roc_auc[:2].mean())
    assert found.micro.roc_auc.value == float(expected.micro_roc_auc)
    assert [(tag.n_positive, tag.n_negative) for tag in found.per_tag] == [
        (int(manifest.labels[:, column].sum()), int((manifest.known & ~manifest.labels)[:, column].sum()))
        for column in range(3)
    ]
    assert [tag.category for tag in found.per_tag] == [Category.GENRE, Category.OTHER, Category.OTHER]
    assert found.by_category[Category.GENRE].roc_auc == found.per_tag[0].roc_auc
    for estimate in (found.macro.roc_auc, found.micro.pr_auc, found.per_tag[0].roc_auc):
        assert estimate.low < estimate.value < estimate.high


def test_artists_are_drawn_where_they_are_known(judged):
    aligned = align(judged.manifest, judged.system)
    found = evaluate(aligned, split=None, n_replicates=10)
    assert (found.grouping, found.n_artists, found.n_groups) == (Grouping.ARTIST, 15, 35)
    by_track = evaluate(aligned, split=None, by=Grouping.TRACK, n_replicates=10)
    assert (by_track.grouping, by_track.n_groups) == (Grouping.TRACK, 80)
    assert by_track.macro.roc_auc.value == found.macro.roc_auc.value
    assert by_track.macro.roc_auc.low != found.macro.roc_auc.low


def test_excerpts_of_one_track_are_drawn_together():
    manifest = make_manifest(np.ones((4, 1)), ["rock"], paths=("a", "b", "a", "c"), ids=tuple("1234"))
    assert group_examples(manifest, Grouping.TRACK).tolist() == [0, 1, 0, 2]


def test_artists_that_are_not_known_cannot_be_drawn():
    manifest = make_manifest([[1], [0]], ["rock"])
    with pytest.raises(DatasetError, match="knows no artists"):
        evaluate(align(manifest, make_system(manifest, [[1], [0]])), split=None, by=Grouping.ARTIST)


def test_artists_that_a_model_was_trained_on_are_seen_data(judged):
    artists = tuple("Sigur Rós" if row % 3 == 0 else "Björk" for row in range(len(judged.manifest)))
    aligned = align(replace(judged.manifest, artists=artists), judged.system)
    found = evaluate(aligned, split="test", trained_on=hash_artists(["SIGUR  rós"]), n_replicates=0)
    assert (found.is_seen, found.n_seen) == (True, aligned.manifest.artists.count("Sigur Rós"))
    other = evaluate(aligned, split="test", trained_on=hash_artists(["somebody else"]), n_replicates=0)
    assert (other.is_seen, other.n_seen) == (False, 0)


def test_artists_are_counted_and_drawn_however_they_are_spelled(judged):
    spellings = ("Björk", unicodedata.normalize("NFD", "Björk"), "BJÖRK ", "Sigur  Rós", "Sigur Rós", " ")
    artists = tuple(spellings[row % 6] for row in range(len(judged.manifest)))
    aligned = align(replace(judged.manifest, artists=artists), judged.system)
    n_unknown = aligned.manifest.artists.count(" ")
    found = evaluate(aligned, split="test", trained_on=hash_artists(["björk"]), n_replicates=0)
    assert (found.n_artists, found.n_groups) == (2, 2 + n_unknown)
    assert found.n_seen == sum("j" in artist.lower() for artist in aligned.manifest.artists)
    nobody = align(replace(judged.manifest, artists=(" ",) * len(artists)), judged.system)
    assert evaluate(nobody, split="test", n_replicates=0).grouping is Grouping.TRACK


@pytest.mark.parametrize(("split", "is_seen"), [("train", True), ("test", False), ("validation", False), (None, False)])
def test_what_was_trained_on_is_called_seen(judged, split, is_seen):
    assert evaluate(align(judged.manifest, judged.system), split=split, n_replicates=0).is_seen is is_seen


def test_a_model_says_itself_what_kind_of_words_its_tags_are(judged):
    categories = {"rock": Category.MOOD}
    found = evaluate(align(judged.manifest, judged.system), split=None, categories=categories, n_replicates=0)
    assert [tag.category for tag in found.per_tag] == [Category.MOOD, Category.OTHER, Category.OTHER]
    assert math.isnan(found.macro.roc_auc.low)


# Comparing


def test_a_system_does_not_differ_from_itself(judged):
    aligned = align(judged.manifest, judged.system)
    found = compare(aligned, aligned, n_replicates=50)
    assert (found.macro.roc_auc.difference, found.macro.roc_auc.p) == (0, 1)
    assert (found.macro.roc_auc.low, found.macro.roc_auc.high) == (0, 0)
    assert math.isnan(found.per_tag["xyz"].roc_auc.value)


def test_two_systems_are_compared_on_what_both_have(judged):
    manifest = judged.manifest
    worse = judged.scores + np.random.default_rng(1).normal(size=judged.scores.shape) * [3, 0, 0]
    worse[5] = np.nan
    other = make_system(manifest, worse[2:, ::-1], tags=manifest.tags[::-1], ids=manifest.ids[2:], name="worse")
    found = compare(align(manifest, judged.system), align(manifest, other), n_replicates=200, seed=3)
    both = [row for row in range(2, 80) if row != 5]
    expected = metrics.measure(manifest.labels[both], judged.scores[both], manifest.known[both])
    expected_other = metrics.measure(manifest.labels[both], worse[both], manifest.known[both])
    assert (found.n_tags, found.other) == (2, "worse")
    rock = found.per_tag["rock"].roc_auc
    assert (rock.value, rock.other) == (expected.roc_auc[0], expected_other.roc_auc[0])
    assert rock.difference == expected.roc_auc[0] - expected_other.roc_auc[0] > 0
    assert 0 < rock.low < rock.difference < rock.high
    assert rock.p < 0.05
    assert found.per_tag["obscure"].roc_auc.difference == 0
    assert found.macro.roc_auc.difference == pytest.approx(rock.difference / 2)


def test_systems_without_anything_in_common_are_not_compared(judged):
    manifest = judged.manifest
    one = align(manifest, make_system(manifest, judged.scores[:40], ids=manifest.ids[:40]))
    two = align(manifest, make_system(manifest, judged.scores[40:], ids=manifest.ids[40:]))
    with pytest.raises(DatasetError, match="no example of set in common"):
        compare(one, two)
    other_tags = align(manifest, make_system(manifest, judged.scores[:, :1], tags=("obscure",)))
    rock = align(manifest, make_system(manifest, judged.scores[:, :1], tags=("rock",)))
    with pytest.raises(DatasetError, match="no tag of set in common"):
        compare(rock, other_tags)


# Stored scores


def test_stored_scores_are_read_as_they_were_written(tmp_path, judged):
    path = tmp_path / "scores.npz"
    with path.open("wb") as file:
        write_scores(judged.system, file)
    found = read_scores(path)
    assert (found.name, found.tags, found.ids) == ("scores", judged.system.tags, judged.system.ids)
    np.testing.assert_array_equal(found.scores, judged.system.scores)


def test_ids_may_be_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", scores=np.zeros((2, 1)), tags=["rock"], ids=[17, 4])
    assert read_scores(tmp_path / "a.npz").ids == ("17", "4")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": np.zeros((2, 1)), "tags": ["rock"]}, "ids"),
        ({"scores": np.zeros((1, 2)), "tags": ["rock"], "ids": ["a", "b"]}, "not \\(1, 2\\)"),
        ({"scores": np.zeros((2, 1)), "tags": ["rock"], "ids": ["a", "a"]}, "the id 'a' occurs twice"),
        ({"scores": np.zeros((1, 2)), "tags": ["rock", "rock"], "ids": ["a"]}, "the tag 'rock' occurs twice"),
        ({"scores": np.array([["x"]]), "tags": ["rock"], "ids": ["a"]}, "floating-point"),
        ({"scores": np.zeros((1, 1)), "tags": np.array(["rock"], dtype=object), "ids": ["a"]}, "Object arrays"),
        ({"scores": np.zeros((1, 1)), "tags": [0.5], "ids": ["a"]}, "lists of texts"),
    ],
)
def test_scores_that_do_not_fit_are_one_sentence(tmp_path, arrays, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=message) as caught:
        read_scores(path)
    assert str(path) in caught.value.message
    assert caught.value.message.count("\n") == 0


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_scores_are_one_sentence(tmp_path, data):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, scores=np.arange(6.0).reshape(3, 2), tags=["rock", "jazz"], ids=["a", "b", "c"])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with suppress(DatasetError):
        read_scores(path)


def test_no_scores_at_all_are_one_sentence(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_scores(tmp_path / "none.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(DatasetError, match="single array"):
        read_scores(tmp_path / "single.npy")


# Disagreements


def test_labels_that_were_put_on_the_wrong_example_are_found(judged):
    generator = np.random.default_rng(2)
    labels = generator.random((60, 1)) < 0.5
    scores = np.where(labels, 0.8, 0.2) + generator.uniform(-0.1, 0.1, labels.shape)
    wrong = [7, 30]
    labels[wrong] = ~labels[wrong]
    manifest = make_manifest(labels, ["rock"])
    found = find_disagreements(align(manifest, make_system(manifest, scores)), n_most=2)
    assert {each.id for each in found} == {"7.wav", "30.wav"}
    assert {each.is_labelled for each in found} == {bool(labels[row, 0]) for row in wrong}


def test_the_shares_are_what_is_missing_to_an_area_of_1(judged):
    aligned = align(judged.manifest, judged.system)
    found = find_disagreements(aligned, n_most=1000)
    areas = metrics.roc_auc(judged.manifest.labels, judged.scores, judged.manifest.known)
    for column, tag in enumerate(judged.manifest.tags[:2]):
        for is_labelled in (True, False):
            shares = [each.share for each in found if each.tag == tag and each.is_labelled is is_labelled]
            assert np.mean(shares) == pytest.approx(1 - areas[column])
    assert not [each for each in found if each.tag == "xyz"], "there are no examples to be compared with"
    assert [each.share for each in found] == sorted((each.share for each in found), reverse=True)


# Calibration


@given(
    labels=hnp.arrays(np.bool_, st.shared(st.integers(0, 30), key="n")),
    scores=hnp.arrays(
        np.float32,
        st.shared(st.integers(0, 30), key="n"),
        elements=st.sampled_from([0, 0.25, 0.5, 1]) | st.floats(0, 1, width=32),
    ),
    precision=st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]),
)
@settings(max_examples=200, deadline=None)
@example(labels=np.arange(10) < 5, scores=np.full(10, 0.5, dtype=np.float32), precision=0.9)
def test_a_threshold_is_the_smallest_that_reaches_the_precision(labels, scores, precision):
    found = find_threshold(labels, scores, precision=precision)
    reaching = [
        float(threshold)
        for threshold in set(scores.tolist())
        if labels[scores >= threshold].sum() >= MIN_FOUND and labels[scores >= threshold].mean() >= precision
    ]
    assert found.threshold == min(reaching, default=NEVER)
    assert found.n_positive == labels.sum()
    if reaching:
        chosen = scores >= np.float32(found.threshold)
        assert found.precision == labels[chosen].mean() >= precision
        assert found.recall == labels[chosen].sum() / labels.sum()


@settings(deadline=None)
@given(data=st.data(), n=st.integers(1, 40))
def test_a_tag_is_found_as_often_as_it_is_there(data, n):
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    scores = np.array(data.draw(st.lists(st.floats(0, 1, width=16), min_size=n, max_size=n, unique=True)))
    found = match_frequency(labels, scores)
    is_found = scores >= found.threshold
    assert (found.n_positive, found.n_found) == (labels.sum(), (labels & is_found).sum())
    if labels.sum() < MIN_FOUND:
        assert found.threshold == STORED_SCORE
    else:
        assert is_found.sum() == labels.sum()
        assert found.precision == found.recall == found.n_found / found.n_positive


def test_a_calibrated_checkpoint_is_the_same_with_thresholds_that_predict_uses(tiny_checkpoint, tmp_path):
    target = tmp_path / "calibrated.safetensors"
    save_thresholds(tiny_checkpoint, target, {"rock": 0.375, "jazz": NEVER})
    header = read_header(target)
    assert header.thresholds == (0.375, NEVER, *[STORED_SCORE] * 4)
    before, after = load_tensors(tiny_checkpoint), load_tensors(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    policy = make_policy(header, "0" * 64, clips="all", top_n=5, threshold=None)
    assert policy.thresholds["rock"] == 0.375
    save_thresholds(target, target, {"sad": 0.5})
    assert read_header(target).thresholds == (0.375, NEVER, STORED_SCORE, 0.5, STORED_SCORE, STORED_SCORE)
    with pytest.raises(CheckpointError, match="does not end in"):
        save_thresholds(tiny_checkpoint, tmp_path / "calibrated", {})


# The library


@pytest.fixture
def library(tmp_path, music, encode):
    """A small collection; genres in several spellings, one of them of tagcli's own, one track without."""
    genres = {"a.flac": ["Rock"], "sub/b.mp3": ["ROCK", "Jazz"], "c.ogg": ["rock"], "d.flac": [], "e.flac": ["Folk"]}
    for seed, (name, values) in enumerate(genres.items()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        encode(path, music(2.5, 8000, n_channels=1, seed=seed), 8000)
        if values:
            tags = mutagen.File(path, easy=True)
            tags["genre"] = values
            tags.save()
    own = mutagen.File(tmp_path / "e.flac")
    own["TAGCLI_ADDED"] = ["genre=Folk"]
    own.save()
    return tmp_path


def test_a_library_says_what_its_genre_fields_say(library):
    manifest = open_dataset(library, from_fields="genre")
    assert [tag.casefold() for tag in manifest.tags] == ["rock", "jazz"]
    rows = {path: row for row, path in enumerate(manifest.paths)}
    carried = {
        path: {tag.casefold() for tag, is_there in zip(manifest.tags, manifest.labels[row], strict=True) if is_there}
        for path, row in rows.items()
    }
    assert carried == {
        "a.flac": {"rock"},
        "sub/b.mp3": {"rock", "jazz"},
        "c.ogg": {"rock"},
    }
    assert manifest.known.all()


# The published weights


@pytest.fixture(scope="module")
def windows(shared):
    """MagnaTagATune clips that lie in the previews, of which the 20 most frequent tags are known, by their tags."""
    tags = tuple((shared / "weights" / "tags_mtat50.txt").read_text(encoding="utf-8").splitlines()[:20])
    place = shared / "data" / "magnatune"
    with (place / "tracks.csv").open(encoding="utf-8", newline="") as file:
        artists = {row["file"]: row["artist"] for row in csv.DictReader(file)}
    with (place / "mtt_windows.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train" and "tags20" in row["labels_known"]]
    return make_manifest(
        [[tag in row["tags20"].split("|") for tag in tags] for row in rows],
        tags,
        root=place,
        name="windows",
        paths=[row["file"] for row in rows],
        ids=tuple(row["mtt_clip_id"] for row in rows),
        splits=("train",) * len(rows),
        artists=tuple(artists[row["file"]] for row in rows),
        starts=[float(row["start_s"]) for row in rows],
        durations=[29.0] * len(rows),
    )


def judge(name, manifest, monkeypatch, shared):
    monkeypatch.setenv("TAGCLI_WEIGHTS_MIRROR", str(shared / "weights"))
    module = TaggerModule.from_checkpoint(pull(name))
    audio = DecodedAudio(manifest, sample_rate=module.header.front_end.sample_rate)
    scores = score_examples(module, audio, choice=ClipChoice.parse("middle"))
    vocabulary = module.header.vocabulary
    tags = tuple({"female vocalists": "female"}.get(tag, tag) for tag in vocabulary.tags)
    system = SystemScores(name=name, tags=tags, ids=manifest.ids, scores=scores)
    return evaluate(align(manifest, system), split="train", n_replicates=0)


@pytest.mark.slow
def test_the_weights_of_magnatagatune_know_what_they_have_seen(windows, monkeypatch, shared):
    found = judge("won2020-mtat-fcn", windows, monkeypatch, shared)
    assert found.is_seen
    assert found.macro.n_tags == sum(tag.n_positive >= 3 for tag in found.per_tag) == 19
    assert found.macro.roc_auc.value == pytest.approx(0.93, abs=0.01)


@pytest.mark.slow
def test_the_weights_of_msd_know_what_was_measured_elsewhere(windows, monkeypatch, shared):
    found = judge("won2020-msd-fcn", windows, monkeypatch, shared)
    expected = {"rock": 0.86, "electronic": 0.89, "ambient": 0.83, "female": 0.95, "guitar": 0.57}
    areas = {tag.tag: tag.roc_auc.value for tag in found.per_tag}
    assert areas == {tag: pytest.approx(area, abs=0.03) for tag, area in expected.items()}
