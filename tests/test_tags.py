"""Vocabulary and the choice of tags."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import SHARED, needs_published_files

from tagcli.tags import Category, Vocabulary, select_tags
from tagcli.weights.vocabularies import load_vocabulary

VOCABULARY = Vocabulary(
    name="four",
    tags=("rock", "80s", "sad", "guitar"),
    categories=(Category.GENRE, Category.ERA, Category.MOOD, Category.INSTRUMENT),
    labels=("Rock", "80s", "sad", "guitar"),
)
BUNDLED = ("msd50", "mtat50", "jamendo50")


def names(selection):
    return [tag.tag for tag in selection]


def test_best_tags_come_first_with_their_labels():
    selection = select_tags(np.array([0.5, 0.1, 0.9, 0.3], dtype=np.float32), VOCABULARY, top_n=2)
    assert names(selection) == ["sad", "rock"]
    assert selection[1].label == "Rock"
    assert selection[1].category is Category.GENRE
    assert selection[1].score == pytest.approx(0.5)


def test_equal_scores_keep_the_order_of_the_vocabulary():
    vocabulary = load_vocabulary("msd50")
    scores = np.where(np.arange(50) % 3 == 0, 0.5, 0.25).astype(np.float32)
    expected = [*vocabulary.tags[0::3], *(tag for index, tag in enumerate(vocabulary.tags) if index % 3)]
    assert names(select_tags(scores, vocabulary, top_n=50)) == expected


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [(0.0, ["sad", "rock", "guitar", "80s"]), (0.3, ["sad", "rock"]), ((0.6, 0.0, 0.0, 0.0), ["sad", "guitar", "80s"])],
)
def test_thresholds_for_all_or_for_each(thresholds, expected):
    scores = np.array([0.5, 0.125, 0.75, 0.25], dtype=np.float32)
    assert names(select_tags(scores, VOCABULARY, top_n=4, thresholds=thresholds)) == expected


def test_a_score_at_its_threshold_is_chosen():
    scores = np.array([0.5, 0.25, 0.25, 0.25], dtype=np.float32)
    assert names(select_tags(scores, VOCABULARY, top_n=4, thresholds=0.5)) == ["rock"]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit the 4 tags"):
        select_tags(np.zeros(3, dtype=np.float32), VOCABULARY, top_n=1)


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.integers(0, 6), st.floats(0, 1))
def test_a_selection_is_ordered_bounded_and_above_its_threshold(scores, top_n, threshold):
    selection = select_tags(np.array(scores, dtype=np.float32), VOCABULARY, top_n=top_n, thresholds=threshold)
    chosen = [tag.score for tag in selection]
    assert chosen == sorted(chosen, reverse=True)
    assert len(chosen) == min(top_n, sum(score >= threshold for score in scores))
    assert all(score >= threshold for score in chosen)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": ("a", "b", "c")}, "parallel"),
        ({"tags": ("rock", "rock", "sad", "guitar")}, "twice"),
        ({"labels": ("rock/pop", "b", "c", "d")}, "players split"),
        ({"labels": ("rock; pop", "b", "c", "d")}, "players split"),
        ({"labels": ("rock, pop", "b", "c", "d")}, "players split"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(VOCABULARY, **changes)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_published_vocabulary_has_fifty_tags_with_labels_of_their_own(name):
    vocabulary = load_vocabulary(name)
    assert vocabulary.name == name
    assert len(vocabulary) == 50
    assert len(set(vocabulary.labels)) == 50
    assert all(label == label.strip() and "---" not in label for label in vocabulary.labels)


@needs_published_files
@pytest.mark.parametrize("name", BUNDLED)
def test_a_published_vocabulary_is_in_output_order(name):
    published = (SHARED / "weights" / f"tags_{name}.txt").read_text(encoding="utf-8").splitlines()
    assert list(load_vocabulary(name).tags) == published


@pytest.mark.parametrize(
    ("vocabulary", "tag", "category", "label"),
    [
        ("msd50", "Hip-Hop", "genre", "Hip-Hop"),
        ("msd50", "oldies", "era", "oldies"),
        ("msd50", "00s", "era", "00s"),
        ("msd50", "instrumental", "vocals", "instrumental"),
        ("msd50", "female vocalists", "vocals", "female vocalists"),
        ("msd50", "chill", "mood", "chill"),
        ("msd50", "guitar", "instrument", "guitar"),
        ("mtat50", "no vocals", "vocals", "no vocals"),
        ("mtat50", "fast", "other", "fast"),
        ("mtat50", "new age", "genre", "new age"),
        ("jamendo50", "genre---hiphop", "genre", "hip hop"),
        ("jamendo50", "genre---easylistening", "genre", "easy listening"),
        ("jamendo50", "instrument---acousticguitar", "instrument", "acoustic guitar"),
        ("jamendo50", "instrument---voice", "vocals", "voice"),
        ("jamendo50", "mood/theme---film", "other", "film"),
        ("jamendo50", "mood/theme---happy", "mood", "happy"),
    ],
)
def test_tags_are_what_they_are(vocabulary, tag, category, label):
    loaded = load_vocabulary(vocabulary)
    index = loaded.tags.index(tag)
    assert (loaded.categories[index], loaded.labels[index]) == (category, label)


def test_an_unknown_vocabulary_is_refused():
    with pytest.raises(ValueError, match="no vocabulary mtat20"):
        load_vocabulary("mtat20")
