"""Tags that are chosen, and splits that are made: against counting by hand, and without an artist in two splits."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagcli.artists import artist_key
from tagcli.datasets.check import Doubt, check_dataset
from tagcli.datasets.choice import TagChoice, choose_tags, read_synonyms
from tagcli.datasets.draft import Draft, find_pairs
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import (
    apply_split_files,
    find_split,
    make_folds,
    make_splits,
    name_split,
    number_artists,
    order_splits,
)
from tagcli.errors import DatasetError

TAGS = ("Rock", "pop", "female vocalist", "female vocalists", "jazz", "rare")


def make_manifest(labels, *, tags=TAGS, artists=None, known=None):
    labels = np.array(labels, dtype=bool)
    n_examples = len(labels)
    paths = tuple(f"{row}.mp3" for row in range(n_examples))
    return Manifest(
        name="set",
        root=Path("there"),
        tags=tuple(tags),
        paths=paths,
        ids=paths,
        splits=("",) * n_examples,
        artists=tuple(artists or ("",) * n_examples),
        starts_seconds=np.zeros(n_examples),
        durations_seconds=np.full(n_examples, math.nan),
        labels=labels,
        known=np.ones_like(labels) if known is None else np.array(known, dtype=bool) | labels,
    )


LABELS = [
    [1, 0, 1, 0, 0, 0],
    [1, 1, 0, 1, 0, 0],
    [1, 1, 1, 1, 0, 0],
    [0, 1, 0, 0, 1, 0],
    [1, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0],
]
ARTISTS = ("a", "A ", "b", "c", "a", "")


def choose(choice, **changes):
    return choose_tags(Draft.of_manifest(make_manifest(LABELS, **changes)), choice).to_manifest()


def test_the_most_frequent_come_first():
    found = choose(TagChoice(top=3))
    assert found.tags == ("Rock", "pop", "female vocalist")
    np.testing.assert_array_equal(found.labels, np.array(LABELS, dtype=bool)[:, :3])


def test_without_a_choice_all_stay_in_their_order():
    assert choose(TagChoice()).tags == TAGS


def test_given_tags_are_taken_in_their_order():
    assert choose(TagChoice(tags=("jazz", "Rock"))).tags == ("jazz", "Rock")
    with pytest.raises(DatasetError, match="the tag 'blues'"):
        choose(TagChoice(tags=("jazz", "blues")))
    with pytest.raises(ValueError, match="either given or the most frequent"):
        TagChoice(tags=("jazz",), top=1)


def test_synonyms_are_merged_before_anything_is_counted(tmp_path):
    (tmp_path / "synonyms.toml").write_text('"female vocals" = ["Female Vocalist", "female vocalists"]\n')
    synonyms = read_synonyms(tmp_path / "synonyms.toml")
    found = choose(TagChoice(synonyms=synonyms, top=3))
    assert found.tags == ("Rock", "female vocals", "pop")  # 4, 3 and 3
    np.testing.assert_array_equal(found.labels[:, 1], [1, 1, 1, 0, 0, 0])


def test_of_merged_tags_only_that_is_absent_which_is_absent_in_each_form():
    known = np.ones((6, 6), dtype=bool)
    known[3:5, 3] = False
    found = choose(TagChoice(synonyms={"female vocalists": "female vocalist"}), known=known)
    np.testing.assert_array_equal(found.labels[:, 2], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(found.known[:, 2], [1, 1, 1, 0, 0, 1])
    assert found.known[:, [0, 1, 3, 4]].all()


def test_tags_are_left_out_whatever_their_letters():
    found = choose(
        TagChoice(exclude=frozenset({"rock", "female vocals"}), synonyms={"female vocalist": "Female Vocals"})
    )
    assert found.tags == ("pop", "female vocalists", "jazz", "rare")


def test_rare_tags_are_left_out_by_examples_and_by_artists():
    assert choose(TagChoice(min_count=2)).tags == TAGS[:4]
    assert choose(TagChoice(min_artists=2), artists=ARTISTS).tags == TAGS[:4]
    assert choose(TagChoice(min_artists=3), artists=ARTISTS).tags == ("pop",)
    with pytest.raises(DatasetError, match="No tag of set is left"):
        choose(TagChoice(min_count=100))


def test_examples_without_a_tag_may_be_left_out():
    found = choose(TagChoice(tags=("jazz", "rare"), drops_untagged=True))
    assert found.paths == ("3.mp3", "4.mp3")
    np.testing.assert_array_equal(found.labels, [[1, 0], [0, 1]])
    nothing = Draft.of_manifest(make_manifest(np.zeros((2, 6))))
    with pytest.raises(DatasetError, match="No example is left of set"):
        choose_tags(nothing, TagChoice(top=2, drops_untagged=True)).to_manifest()


@given(
    labels=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=8),
    merged=st.sets(st.sampled_from(TAGS)),
    top=st.integers(1, 6),
    min_count=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_counting_agrees_with_sets(labels, merged, top, min_count):
    names = {tag: "merged" if tag in merged else tag for tag in TAGS}
    carried = [{names[tag] for tag, is_there in zip(TAGS, row, strict=True) if is_there} for row in labels]
    counts = Counter(dict.fromkeys(names.values(), 0)) + Counter()
    counts.update({name: sum(name in tags for tags in carried) for name in set(names.values())})
    expected = sorted((name for name in counts if counts[name] >= min_count), key=lambda name: (-counts[name], name))
    choice = TagChoice(synonyms={tag.casefold(): "merged" for tag in merged}, top=top, min_count=min_count)
    draft = Draft.of_manifest(make_manifest(labels))
    if not expected[:top]:
        with pytest.raises(DatasetError):
            choose_tags(draft, choice)
        return
    found = choose_tags(draft, choice).to_manifest()
    assert list(found.tags) == expected[:top]
    assert [set(np.array(found.tags)[row]) for row in found.labels] == [tags & set(found.tags) for tags in carried]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "the forms of 'x' are no list"),
        ("x = ['y']\nz = ['Y']", "gives 'Y' to 'x' and to 'z'"),
        ("x", "is not TOML"),
    ],
)
def test_wrong_synonyms_are_refused(tmp_path, text, message):
    (tmp_path / "synonyms.toml").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_synonyms(tmp_path / "synonyms.toml")


def test_a_draft_is_laid_out_only_when_it_fits(monkeypatch):
    draft = Draft.of_manifest(make_manifest(LABELS))
    monkeypatch.setattr("tagcli.datasets.draft.MOST_CELLS", 35)
    with pytest.raises(DatasetError, match=r"6 tags for 6 examples, too many .* --top"):
        draft.to_manifest()


def test_taking_from_a_draft_takes_the_same_of_everything():
    known = np.arange(36).reshape(6, 6) % 3 == 0
    manifest = make_manifest(LABELS, artists=ARTISTS, known=known)
    rows = np.array([4, 0, 3])
    found, expected = Draft.of_manifest(manifest).take(rows).to_manifest(), manifest.take(rows)
    assert found.fingerprint == expected.fingerprint
    assert len(find_pairs(expected.labels)) == expected.labels.sum()


# Splits


@given(
    artists=st.lists(st.sampled_from(["", " ", *"abcdefghij", "A", " b"]), min_size=30, max_size=60),
    seed=st.integers(0, 3),
    n_folds=st.integers(2, 4),
)
@settings(max_examples=60, deadline=None)
def test_no_artist_is_in_two_splits(artists, seed, n_folds):
    artists += [f"artist {number}" for number in range(12)]
    labels = np.random.default_rng(0).random((len(artists), 6)) < 0.3
    manifest = make_manifest(labels, artists=artists)
    for found in (make_splits(manifest, seed=seed), make_folds(manifest, n_folds, seed=seed)):
        split_of = {}
        for artist, split in zip(artists, found.splits, strict=True):
            if artist.strip():
                assert split_of.setdefault(artist_key(artist), split) == split
        assert replace(found, splits=manifest.splits).fingerprint == manifest.fingerprint
    assert set(make_folds(manifest, n_folds, seed=seed).splits) == {f"fold-{n + 1}" for n in range(n_folds)}


def many_artists(n_artists=300, seed=1):
    """Tags that go with artists, as genres do, some of them rare; artists of 1 to 12 examples."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 13, n_artists)
    artists = np.repeat(np.arange(n_artists), sizes)
    likely = generator.random((n_artists, 6)) < np.array([0.5, 0.3, 0.2, 0.1, 0.08, 0.05])
    labels = likely[artists] & (generator.random((len(artists), 6)) < 0.9)
    return make_manifest(labels, artists=[f"artist {number}" for number in artists])


def test_splits_have_their_shares_of_examples_and_of_every_tag():
    manifest = many_artists()
    found = make_splits(manifest, proportions=(0.7, 0.15, 0.15))
    totals = manifest.labels.sum(axis=0)
    for split, share in zip(("train", "validation", "test"), (0.7, 0.15, 0.15), strict=True):
        part = found.select(split)
        assert len(part) == pytest.approx(share * len(manifest), rel=0.02)
        np.testing.assert_allclose(part.labels.sum(axis=0), share * totals, rtol=0.25, atol=2)


def test_folds_have_equal_shares():
    manifest = many_artists()
    found = make_folds(manifest, 5)
    for number in range(1, 6):
        part = found.select(f"fold-{number}")
        assert len(part) == pytest.approx(len(manifest) / 5, rel=0.05)
        np.testing.assert_allclose(part.labels.sum(axis=0), manifest.labels.sum(axis=0) / 5, rtol=0.25, atol=2)


def test_a_seed_makes_the_same_splits_again_and_another_one_others():
    manifest = many_artists()
    assert make_splits(manifest, seed=3).splits == make_splits(manifest, seed=3).splits
    assert make_splits(manifest, seed=3).splits != make_splits(manifest, seed=4).splits


def test_a_split_may_be_left_out(caplog):
    manifest = make_manifest(LABELS)
    found = make_splits(manifest, proportions=(0.5, 0.0, 0.5))
    assert set(found.splits) == {"train", "test"}
    assert "6 examples of set have no artist" in caplog.text


def test_impossible_splits_are_refused():
    manifest = make_manifest(LABELS, artists=("a", "a", "a", "b", "b", "b"))
    with pytest.raises(DatasetError, match="2 artists, too few for 3 splits"):
        make_splits(manifest)
    with pytest.raises(DatasetError, match="add up to 1"):
        make_splits(manifest, proportions=(0.8, 0.1, 0.2))
    with pytest.raises(DatasetError, match="1 folds are no cross-validation"):
        make_folds(manifest, 1)


def test_artists_are_the_same_in_any_letters():
    numbers = number_artists(("b", "a", "", " B", "", "A", " "), ("1", "2", "3", "4", "5", "6", "3"))
    assert numbers.tolist() == [0, 1, 2, 0, 3, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_excerpts_of_a_file_without_an_artist_stay_together(seed):
    labels = np.random.default_rng(0).random((60, 6)) < 0.3
    manifest = replace(make_manifest(labels), paths=tuple(f"{row // 5}.mp3" for row in range(60)))
    for found in (make_splits(manifest, seed=seed), make_folds(manifest, 3, seed=seed)):
        assert len(set(zip(found.paths, found.splits, strict=True))) == 12
        assert list(check_dataset(found, decodes=False))  # files that are not there, and no leak
        assert Doubt.FILE_LEAK not in {finding.kind for finding in check_dataset(found, decodes=False)}


def test_splits_have_usual_names_and_an_order():
    assert [name_split(text) for text in ("Valid", "val", "dev", " test ", "fold-1", "Training")] == [
        *["validation"] * 3,
        "test",
        "fold-1",
        "train",
    ]
    assert find_split("train_x_msd_id.txt") == "train"
    assert find_split("autotagging_top50tags-validation.tsv.gz") == "validation"
    assert find_split("val_gt_mtt.tsv") == "validation"
    assert find_split("latest-training-data.txt") == "train"
    assert find_split("latest.txt") is None
    order = order_splits(["", "fold-10", "test", "fold-2", "train", "validation"])
    assert order == ("train", "validation", "test", "fold-2", "fold-10", "")


def test_lists_give_splits_and_leave_the_others_out(tmp_path, caplog):
    (tmp_path / "train.txt").write_text("0.mp3\n2.mp3\nnot there\n")
    (tmp_path / "fold-7.txt").write_text("5.mp3\n")
    draft = Draft.of_manifest(make_manifest(LABELS))
    found = apply_split_files(draft, [tmp_path / "train.txt", tmp_path / "fold-7.txt"])
    assert (found.paths, found.splits) == (("0.mp3", "2.mp3", "5.mp3"), ("train", "train", "fold-7"))
    assert "1 of 3 lines" in caplog.text
    assert "3 examples of set stand in no list" in caplog.text


def test_a_list_of_paths_takes_every_excerpt(tmp_path):
    (tmp_path / "test.txt").write_text("a.mp3\n")
    manifest = replace(make_manifest(LABELS), paths=("a.mp3",) * 3 + ("b.mp3",) * 3)
    assert apply_split_files(Draft.of_manifest(manifest), [tmp_path / "test.txt"]).ids == ("0.mp3", "1.mp3", "2.mp3")


def test_wrong_lists_are_refused(tmp_path):
    draft = Draft.of_manifest(make_manifest(LABELS))
    for name, text in {"train.txt": "0.mp3\n", "test.txt": "0.mp3\n", "empty.txt": "\n", "other.txt": "x\n"}.items():
        (tmp_path / name).write_text(text)
    for names, message in [
        (["train.txt", "test.txt"], "0.mp3 stands in .*test.txt and in the list of train"),
        (["empty.txt"], "empty.txt is empty"),
        (["other.txt"], "No line of .*other.txt"),
        (["missing.txt"], "missing.txt cannot be read"),
    ]:
        with pytest.raises(DatasetError, match=message):
            apply_split_files(draft, [tmp_path / name for name in names])
