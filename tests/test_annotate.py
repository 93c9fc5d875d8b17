"""What is stored of a track's tags, and what becomes of a file that cannot be written."""

import dataclasses
import os

import pytest
from mutagen.id3 import ID3

from tagcli import annotate, journal
from tagcli.annotate import STORED_SCORE, make_fields, make_policy, store_row
from tagcli.checkpoint import read_header
from tagcli.errors import FailureCode, FileBusyError
from tagcli.files import FileIdentity
from tagcli.journal import Journal, Recorder, default_journal_path
from tagcli.metadata import FieldPolicy, Policies, apply_plan, plan_write, read_metadata
from tagcli.rows import Row, Status, Written
from tagcli.tags import Category, ScoredTag

SHA256 = "0123456789abcdef" * 4
TAGS = (
    ScoredTag(tag="rock", score=0.9, label="Rock", category=Category.GENRE),
    ScoredTag(tag="sad", score=0.5, label="Sad", category=Category.MOOD),
    ScoredTag(tag="guitar", score=0.1, label="Guitar", category=Category.INSTRUMENT),
    ScoredTag(tag="jazz", score=0.09, label="Jazz", category=Category.GENRE),
    ScoredTag(tag="90s", score=0.0, label="90s", category=Category.ERA),
)


@pytest.fixture
def header(tiny_checkpoint):
    return read_header(tiny_checkpoint)


@pytest.fixture
def calibrated(header):
    """The same model with thresholds of its own, in the order of its vocabulary."""
    assert header.vocabulary.tags == ("rock", "jazz", "guitar", "sad", "90s", "electronic")
    return dataclasses.replace(header, thresholds=(0.95, 0.05, 0.1, 0.4, 0.2, 0.3))


@pytest.fixture(scope="module")
def mp3(music, encode, tmp_path_factory):
    """The bytes of an mp3 file."""
    path = encode(tmp_path_factory.mktemp("mp3") / "a.mp3", music(1, 44_100), 44_100)
    return path.read_bytes()


@pytest.fixture
def row(mp3, tmp_path):
    """A tagged mp3 file."""
    (tmp_path / "a.mp3").write_bytes(mp3)
    return Row(path=tmp_path / "a.mp3", status=Status.OK, n_clips=1, duration_seconds=1.0, tags=TAGS)


def store(row, policy, **choice):
    """Store a row, with an entry in the user's journal."""
    with Journal(default_journal_path()) as open_journal:
        return store_row(row, policy, **{"recorder": Recorder(open_journal, "test"), **choice})


def policy_of(header, **choice):
    return make_policy(header, SHA256, **{"clips": "all", "top_n": 5, "threshold": None, **choice})


def test_scores_from_a_tenth_up_are_stored(header):
    assert STORED_SCORE == 0.1
    fields = make_fields(TAGS, policy_of(header))
    assert fields.tags == ("Rock", "Sad", "Guitar")
    assert fields.scores == (0.9, 0.5, 0.1)
    assert fields.settings == "clips=all top=5 threshold=0.1"
    assert fields.model == "tiny@0123456789ab"


@pytest.mark.parametrize(
    ("threshold", "n_stored", "shown"), [(0.0, 5, "0"), (0.05, 4, "0.05"), (0.5, 2, "0.5"), (1.0, 0, "1")]
)
def test_the_users_threshold_goes_before_every_other(threshold, n_stored, shown, header, calibrated):
    for model in (header, calibrated):
        fields = make_fields(TAGS, policy_of(model, threshold=threshold, clips="middle", top_n=7))
        assert fields.tags == tuple(tag.label for tag in TAGS[:n_stored])
        assert fields.settings == f"clips=middle top=7 threshold={shown}"


def test_calibrated_thresholds_go_before_the_tenth(calibrated):
    fields = make_fields(TAGS, policy_of(calibrated))
    assert fields.tags == ("Sad", "Guitar", "Jazz")
    assert fields.genres == ("Jazz",)
    assert fields.settings == "clips=all top=5 threshold=calibrated"


def test_genres_are_the_stored_tags_of_that_kind(header):
    assert make_fields(TAGS, policy_of(header)).genres == ("Rock",)
    assert make_fields(TAGS, policy_of(header, threshold=0.0)).genres == ("Rock", "Jazz")
    assert make_fields(TAGS[1:3], policy_of(header)).genres == ()


def fields_of(path):
    return {field.field: field.values for field in read_metadata(path).fields}


def test_a_row_is_written_and_then_unchanged(row, header):
    policy = policy_of(header)
    written = store(row, policy, heard=None)
    assert written == dataclasses.replace(row, written=Written.WRITTEN)
    fields = fields_of(row.path)
    assert fields["TXXX:TAGCLI_TAGS"] == ("Rock", "Sad", "Guitar")
    assert fields["TXXX:TAGCLI_SCORES"] == ("0.900", "0.500", "0.100")
    assert fields["TXXX:TAGCLI_MODEL"] == ("tiny@0123456789ab",)
    assert fields["TXXX:TAGCLI_SETTINGS"] == ("clips=all top=5 threshold=0.1",)
    assert fields["TCON"] == ("Rock",)
    content, status = row.path.read_bytes(), row.path.stat()
    assert store(row, policy, heard=None).written is Written.UNCHANGED
    assert row.path.read_bytes() == content
    assert (row.path.stat().st_ino, row.path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_a_plan_touches_nothing(row, header, mp3):
    policy = policy_of(header)
    before = row.path.stat()
    planned = store(row, policy, recorder=None, heard=None)
    assert planned.written is Written.PLANNED
    assert [change.name for change in planned.changes][:2] == ["TXXX:TAGCLI_TAGS", "TXXX:TAGCLI_SCORES"]
    assert planned.fits_padding is False
    assert row.path.read_bytes() == mp3
    assert row.path.stat().st_mtime_ns == before.st_mtime_ns
    assert list(row.path.parent.iterdir()) == [row.path]
    store(row, policy_of(header), heard=None)
    assert store(row, policy, recorder=None, heard=None).written is Written.UNCHANGED


def test_the_genre_follows_the_policy(row, header):
    store(row, policy_of(header, policies=Policies(genre=FieldPolicy.NEVER)), heard=None)
    assert "TCON" not in fields_of(row.path)
    store(row, policy_of(header), heard=None)
    assert fields_of(row.path)["TCON"] == ("Rock",)
    other = dataclasses.replace(row, tags=TAGS[3:])
    everything = {"threshold": 0.0}
    store(other, policy_of(header, **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Jazz",), "a genre of tagcli's own is no genre of the user's"
    tags = ID3(row.path)
    tags["TCON"].text = ["Blues"]
    tags.save()
    store(row, policy_of(header, **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Blues",)
    store(other, policy_of(header, policies=Policies(genre=FieldPolicy.APPEND), **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Blues", "Jazz")
    store(row, policy_of(header, policies=Policies(genre=FieldPolicy.APPEND), **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Blues", "Rock", "Jazz")
    store(other, policy_of(header, **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Blues", "Rock", "Jazz"), "where the user has a genre, fill leaves all"
    store(other, policy_of(header, policies=Policies(genre=FieldPolicy.REPLACE), **everything), heard=None)
    assert fields_of(row.path)["TCON"] == ("Jazz",)


def test_a_container_that_is_not_written_keeps_its_bytes_and_stays_tagged(row, header, music, encode, tmp_path):
    path = encode(tmp_path / "a.aac", music(1, 8000), 8000)
    content = path.read_bytes()
    stored = store(dataclasses.replace(row, path=path), policy_of(header), heard=None)
    assert (stored.status, stored.reason, stored.written) == (Status.OK, None, Written.UNSUPPORTED)
    assert stored.tags == TAGS
    assert str(path) in stored.message
    assert path.read_bytes() == content


@pytest.mark.parametrize("trouble", ["read-only", "damaged", "gone"])
def test_a_file_that_cannot_be_written_fails_and_keeps_its_bytes(trouble, row, header):
    content = row.path.read_bytes()
    if trouble == "read-only":
        row.path.chmod(0o444)
    elif trouble == "damaged":
        content = b"ID3\x04\x00\x00\x00\x00\x00\x14" + b"\x01TIT\xff\xff\xff\xff\xff\xff" + b"\x55" * 10 + content
        row.path.write_bytes(content)
    else:
        row.path.unlink()
    stored = store(row, policy_of(header), heard=None)
    assert (stored.status, stored.written) == (Status.FAILED, Written.FAILED)
    assert stored.reason is FailureCode.WRITE_FAILED
    assert str(row.path) in stored.message
    assert stored.tags == TAGS
    if trouble != "gone":
        assert row.path.read_bytes() == content
        assert list(row.path.parent.iterdir()) == [row.path]


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.FAILED])
def test_a_track_without_tags_is_left_alone(status, row, header, mp3):
    untagged = dataclasses.replace(row, status=status, tags=())
    assert store(untagged, policy_of(header), heard=None) is untagged
    assert row.path.read_bytes() == mp3


def test_no_more_than_the_best_genres_are_offered(header):
    tags = [ScoredTag(tag=tag, score=0.9, label=tag, category=Category.GENRE) for tag in header.vocabulary.tags]
    assert make_fields(tags, policy_of(header)).genres == ("rock", "jazz", "guitar")


def test_a_file_that_took_the_place_of_the_heard_one_is_not_given_its_tags(row, header, music, encode, tmp_path):
    heard = FileIdentity.from_status(row.path.stat())
    other = encode(tmp_path / "other.mp3", music(1, 44_100, seed=9), 44_100)
    other.replace(row.path)
    before = row.path.read_bytes()
    stored = store(row, policy_of(header), heard=heard)
    assert (stored.status, stored.written) == (Status.FAILED, Written.FAILED)
    assert "changed after it was heard" in (stored.message or "")
    assert row.path.read_bytes() == before
    assert store(row, policy_of(header), heard=FileIdentity.from_status(row.path.stat())).written is Written.WRITTEN


def test_another_name_of_the_heard_file_does_not_count_as_a_change(row, header, tmp_path):
    heard = FileIdentity.from_status(row.path.stat())
    (tmp_path / "another name.mp3").hardlink_to(row.path)
    assert store(row, policy_of(header), heard=heard).written is Written.WRITTEN
    link = tmp_path / "link.mp3"
    link.symlink_to(row.path)
    again = store(dataclasses.replace(row, path=link), policy_of(header), heard=heard)
    assert again.written is Written.UNCHANGED


def test_what_another_run_wrote_since_it_was_heard_is_no_other_file(row, header):
    heard = FileIdentity.from_status(row.path.stat())
    for clips in ("middle", "all", "4"):
        stored = store(row, policy_of(header, clips=clips), heard=heard)
        assert stored.written is Written.WRITTEN, stored.message
    os.utime(row.path)  # somebody else
    assert "changed after it was heard" in store(row, policy_of(header), heard=heard).message
    unjournaled = FileIdentity.from_status(row.path.stat())
    apply_plan(plan_write(row.path, make_fields(row.tags[:1], policy_of(header))))
    assert "changed after it was heard" in store(row, policy_of(header), heard=unjournaled).message


def write_twice(monkeypatch, n_busy, write):
    """Let the file be busy for a number of attempts; `write` is what the other process does at the first one."""
    attempts = []

    def apply(plan, **choice):
        attempts.append(plan)
        if len(attempts) == 1:
            write()
        if len(attempts) <= n_busy:
            raise FileBusyError("busy", path=plan.path)
        return apply_plan(plan, **choice)

    monkeypatch.setattr(journal, "apply_plan", apply)
    monkeypatch.setattr(annotate, "_BUSY_SECONDS", 0.001)
    return attempts


def test_what_another_process_writes_meanwhile_need_not_be_written(row, header, monkeypatch):
    policy = policy_of(header)
    attempts = write_twice(monkeypatch, 1, lambda: apply_plan(plan_write(row.path, make_fields(row.tags, policy))))
    assert store(row, policy, heard=None).written is Written.UNCHANGED
    assert [plan.is_empty for plan in attempts] == [False, True]


def test_a_busy_file_is_waited_for(row, header, monkeypatch):
    attempts = write_twice(monkeypatch, 3, lambda: None)
    assert store(row, policy_of(header), heard=None).written is Written.WRITTEN
    assert len(attempts) == 4


def test_a_file_that_stays_busy_is_told(row, header, monkeypatch):
    write_twice(monkeypatch, 1000, lambda: None)
    stored = store(row, policy_of(header), heard=None)
    assert (stored.written, stored.message) == (Written.FAILED, "busy")
