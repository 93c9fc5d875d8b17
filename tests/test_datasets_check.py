"""The doctor on real files: what it finds, that it finds nothing else, and what a summary counts."""

import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from test_datasets_manifest import make

from tagcli.datasets.check import Doubt, check_dataset
from tagcli.datasets.summary import summarise
from tagcli.errors import FailureCode


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, music, encode):
    """Two files of a second, and one with another tag and the same audio as the first."""
    from mutagen.id3 import ID3, TIT2

    folder = tmp_path_factory.mktemp("sounds")
    for number, name in enumerate(("a.mp3", "b.wav")):
        encode(folder / name, music(1, 16_000, n_channels=1, seed=number), 16_000)
    shutil.copy(folder / "a.mp3", folder / "again.mp3")
    frames = ID3()
    frames.add(TIT2(encoding=3, text=["Another title"]))
    frames.save(folder / "again.mp3")
    return folder


def check(folder, paths, *, starts=None, durations=None, **options):
    labels = np.ones((len(paths), 1), dtype=bool)
    changes = {name: options.pop(name) for name in ("splits", "artists") if name in options}
    manifest = make(
        paths=paths,
        tags=("rock",),
        root=folder,
        ids=tuple(map(str, range(len(paths)))),
        labels=labels,
        starts_seconds=np.array(starts or [0.0] * len(paths)),
        durations_seconds=np.array(durations or [math.nan] * len(paths)),
        **changes,
    )
    return list(check_dataset(manifest, **options))


def kinds(findings):
    return [finding.kind for finding in findings]


def test_of_a_sound_set_nothing_is_found(sounds):
    assert check(sounds, ("a.mp3", "b.wav"), splits=("train", "test"), artists=("x", "y")) == []


def test_what_cannot_be_heard_is_told_with_the_codes_of_results(sounds, tmp_path):
    for name in ("a.mp3", "b.wav"):
        shutil.copy(sounds / name, tmp_path / name)
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("no audio" * 100)
    (tmp_path / "folder.mp3").mkdir()
    paths = ("a.mp3", "missing.mp3", "empty.mp3", "b.wav", "text.mp3", "folder.mp3")
    findings = check(tmp_path, paths)
    expected = [FailureCode.MISSING, FailureCode.EMPTY, FailureCode.NOT_AUDIO, FailureCode.UNREADABLE]
    assert kinds(findings) == expected
    assert all(finding.is_failure and str(tmp_path) in finding.message for finding in findings)
    assert [finding.paths for finding in findings] == [(paths[1],), (paths[2],), (paths[4],), (paths[5],)]
    without = check(tmp_path, paths, decodes=False)
    assert kinds(without) == [FailureCode.MISSING, FailureCode.EMPTY, FailureCode.UNREADABLE]


def test_excerpts_behind_the_end_are_told_each(sounds):
    findings = check(sounds, ("b.wav",) * 4, starts=[0, 0.5, 2, 3], durations=[1, 0.5, 1, math.nan])
    assert kinds(findings) == [FailureCode.TOO_SHORT] * 2
    assert "has no audio at 2 s" in findings[0].message
    assert "has no audio at 3 s" in findings[1].message


def test_the_same_audio_is_found_whatever_its_tags(sounds):
    (finding,) = check(sounds, ("a.mp3", "b.wav", "again.mp3"), splits=("train", "train", "test"), decodes=False)
    assert (finding.kind, finding.paths, finding.splits) == (
        Doubt.DUPLICATE,
        ("a.mp3", "again.mp3"),
        ("train", "test"),
    )
    assert not finding.is_failure
    assert "in different splits (train, test)" in finding.message
    (finding,) = check(sounds, ("a.mp3", "again.mp3"), splits=("train", "train"), decodes=False)
    assert "different" not in finding.message


def test_excerpts_of_one_file_are_no_duplicates(sounds):
    assert check(sounds, ("a.mp3", "a.mp3"), starts=[0, 0.2], decodes=False) == []


def test_artists_in_several_splits_are_found(sounds):
    paths = ("a.mp3", "b.wav", "a.mp3", "b.wav", "a.mp3")
    artists = ("X", "x ", "y", "", "")
    findings = check(sounds, paths, splits=("test", "train", "test", "train", "test"), artists=artists, decodes=False)
    (finding,) = findings
    assert (finding.kind, finding.paths, finding.splits) == (Doubt.ARTIST_LEAK, paths[:2], ("train", "test"))
    assert check(sounds, paths, splits=("test", "", "test", "", ""), artists=artists, decodes=False) == []


def test_a_file_in_several_splits_is_found(sounds):
    findings = check(sounds, ("a.mp3", "b.wav", "a.mp3"), splits=("test", "train", "train"), starts=[0, 0, 0.5])
    (finding,) = findings
    assert (finding.kind, finding.paths, finding.splits) == (Doubt.FILE_LEAK, ("a.mp3",), ("train", "test"))
    assert finding.message == "The file 'a.mp3' is in different splits (train, test) with 2 examples."
    assert check(sounds, ("a.mp3", "b.wav", "a.mp3"), splits=("test", "train", ""), starts=[0, 0, 0.5]) == []


def test_without_a_number_of_workers_there_is_one_for_each_core(sounds, monkeypatch):
    asked = []
    monkeypatch.setattr("tagcli.datasets.check.count_cores", lambda: 3)
    monkeypatch.setattr("tagcli.datasets.check.ThreadPoolExecutor", lambda n: asked.append(n) or ThreadPoolExecutor(n))
    check(sounds, ("a.mp3",))
    assert asked == [3]


def test_tags_without_positives_are_told_by_split(tmp_path):
    labels = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)
    manifest = make(tags=("rock", "pop", "jazz"), splits=("test", "train"), root=tmp_path, labels=labels)
    first, second, *_ = check_dataset(manifest, decodes=False)
    assert first.message == "The split train has no example of 2 tags: rock, jazz."
    assert second.message == "The split test has no example of 2 tags: pop, jazz."
    assert (first.kind, second.splits) == (Doubt.NO_POSITIVES, ("test",))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_findings_come_in_the_order_of_the_files(sounds, n_workers):
    paths = tuple(f"missing {number:02d}.mp3" if number % 3 else "a.mp3" for number in range(40))
    n_seen = []
    findings = check(sounds, paths, n_workers=n_workers, on_file=lambda: n_seen.append(1))
    assert [finding.paths[0] for finding in findings] == [path for path in paths if path != "a.mp3"]
    assert len(n_seen) == len(set(paths))


def test_a_summary_counts():
    manifest = make(
        paths=("a", "b", "c", "d"),
        splits=("train", "train", "test", ""),
        artists=("x", "X", "y", ""),
        durations_seconds=np.array([3600.0, 1800.0, math.nan, math.nan]),
        labels=np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=bool),
        known=np.array([[1, 0], [1, 1], [1, 1], [1, 0]], dtype=bool),
        root=Path("there"),
    )
    found = summarise(manifest)
    assert found.fingerprint == manifest.fingerprint
    assert (found.n_files, found.n_without_artist) == (4, 1)
    assert [(part.split, part.n_examples, part.n_artists, part.hours) for part in (found.total, *found.splits)] == [
        ("all", 4, 3, 1.5),
        ("train", 2, 1, 1.5),
        ("test", 1, 1, None),
        ("", 1, 1, None),
    ]
    rock, pop = found.tags

    def counts(part):
        return part.n_positive, part.n_negative, part.n_unknown, part.n_positive_artists

    assert counts(rock.total) == (3, 1, 0, 2)
    assert counts(pop.total) == (1, 1, 2, 1)
    assert [counts(part) for part in rock.splits] == [(2, 0, 0, 1), (1, 0, 0, 1), (0, 1, 0, 0)]
    assert [counts(part) for part in pop.splits] == [(0, 1, 1, 0), (1, 0, 0, 1), (0, 0, 1, 0)]
