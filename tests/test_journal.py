"""The journal: what is noted before a write, and the way back to the very same bytes."""

import dataclasses
import io
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import FAKE_MP3_FRAME, encode_audio, id3_frame, id3_tag, id3v1, text_content

import tagcli.journal
from tagcli.errors import JournalError, MetadataError
from tagcli.files import FileIdentity, Span, hash_file, join_pieces, measure_pieces, read_pieces
from tagcli.journal import Journal, Recorder, default_journal_path
from tagcli.journal.patch import make_patch, read_patch
from tagcli.journal.undo import Identity, Undone, undo_write, verify_audio
from tagcli.metadata import Field, FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write
from tagcli.payload import hash_payload

LARGE_FRAME = id3_frame(4, "APIC", b"\0image/jpeg\0\x03\0" + random.Random(1).randbytes(1 << 20))
SMALL_PATCH_BYTES = 600
"""What a write of a few fields keeps: the bytes of the tag's size, some padding."""
N_KILLS = 8
OLD_TIME_NS = 1_234_567_890_123_456_700


def make_fields(settings="clips=all", **changes):
    values = {"tags": ("guitar",), "scores": (0.5,), "model": "m", "settings": settings, "genres": ("Rock",)}
    return Fields(**(values | changes))


@pytest.fixture
def path(tmp_path):
    """An mp3 file with a picture of 1 MB, foreign frames and an ID3v1 tag, dated back."""
    path = tmp_path / "music" / "track.mp3"
    path.parent.mkdir()
    frames = [id3_frame(4, "TIT2", text_content("A title")), LARGE_FRAME, id3_frame(4, "TSOP", text_content("B"))]
    path.write_bytes(id3_tag(4, frames, padding=700) + FAKE_MP3_FRAME * 50 + id3v1())
    os.utime(path, ns=(OLD_TIME_NS, OLD_TIME_NS))
    return path


@pytest.fixture
def journal():
    with Journal(default_journal_path()) as journal:
        yield journal


@contextmanager
def unchanged(path):
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
    yield
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert list(path.parent.iterdir()) == [path]


def write(journal, path, fields=None, **choice):
    return Recorder(journal, "test", **choice).apply(plan_write(path, fields or make_fields()))


# Patches


PIECES = st.lists(st.one_of(st.binary(max_size=20), st.tuples(st.integers(0, 60), st.integers(0, 30))), max_size=8)


def build(old, pieces):
    return b"".join(old[piece.start : piece.end] if isinstance(piece, Span) else piece for piece in pieces)


@given(old=st.binary(max_size=60), raw=PIECES)
@settings(max_examples=300)
def test_any_making_can_be_turned_round(old, raw):
    """Parts in order, out of order, overlapping, twice, or none at all."""
    pieces = [
        piece if isinstance(piece, bytes) else Span(start=min(piece[0], len(old)), end=min(sum(piece), len(old)))
        for piece in raw
    ]
    new = build(old, pieces)
    back = read_patch(make_patch(io.BytesIO(old), pieces))
    assert build(new, back) == old


@given(old=st.binary(max_size=60), raw=PIECES)
@settings(max_examples=200)
def test_joined_pieces_are_the_same_bytes(old, raw):
    pieces = [
        piece if isinstance(piece, bytes) else Span(start=min(piece[0], len(old)), end=min(sum(piece), len(old)))
        for piece in raw
    ]
    joined = join_pieces(pieces)
    assert build(old, joined) == build(old, pieces)
    assert measure_pieces(joined) == len(build(old, pieces))
    assert b"".join(map(bytes, read_pieces(io.BufferedReader(io.BytesIO(old)), joined))) == build(old, pieces)
    assert not any(isinstance(one, bytes) and isinstance(other, bytes) for one, other in pairwise(joined))
    assert all(joined)


@pytest.mark.parametrize("damage", [lambda patch: patch[:-5], lambda patch: b"", lambda patch: b"y" + patch[1:]])
def test_a_damaged_patch_is_refused(damage):
    patch = make_patch(io.BytesIO(b"old version"), [b"new", Span(start=3, end=11)])
    with pytest.raises(JournalError, match="damaged"):
        read_patch(damage(patch))


# Writing and undoing


def test_undo_gives_back_the_very_same_bytes_and_time(path, journal):
    before = path.read_bytes()
    versions = write(journal, path)
    assert path.read_bytes() != before
    assert path.stat().st_mtime_ns > OLD_TIME_NS
    (entry,) = journal.list_entries()
    assert (entry.path, entry.is_undone) == (path, False)
    assert (entry.old.sha256, entry.new.sha256) == (versions.old_sha256, versions.new_sha256)
    assert (entry.old.size, entry.old.mtime_ns) == (len(before), OLD_TIME_NS)
    assert entry.new.sha256 == hash_file(path)
    assert entry.payload_sha256 == hash_payload(path)
    assert [change.field for change in entry.changes] == [
        Field.TAGS,
        Field.SCORES,
        Field.MODEL,
        Field.SETTINGS,
        Field.GENRE,
        Field.ADDED,
    ]
    assert undo_write(journal, entry) is Undone.UNDONE
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, OLD_TIME_NS)
    (entry,) = journal.list_entries()
    assert entry.is_undone
    with unchanged(path):
        assert undo_write(journal, entry) is Undone.UNCHANGED


@pytest.mark.parametrize("settings_text", ["short", "x" * 5000])
def test_what_is_kept_is_small_whatever_else_is_in_the_file(path, journal, settings_text):
    """Also when the tag grows and the audio moves."""
    write(journal, path, make_fields(settings_text))
    (run,) = journal.list_runs()
    assert (run.n_writes, run.n_undone, run.command) == (1, 0, "test")
    assert run.n_bytes < SMALL_PATCH_BYTES


def test_runs_are_undone_one_after_the_other(path, journal):
    before = path.read_bytes()
    write(journal, path, make_fields("one"))
    middle = path.read_bytes()
    write(journal, path, make_fields("two" * 1000))
    second, first = journal.list_entries()
    assert (second.run, first.run) == (2, 1)
    with unchanged(path), pytest.raises(JournalError, match="undo what was written later first"):
        undo_write(journal, first)
    assert undo_write(journal, second) is Undone.UNDONE
    assert path.read_bytes() == middle
    assert undo_write(journal, first) is Undone.UNDONE
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["a byte of audio", "another tag", "cut", "removed"])
def test_a_file_that_changed_since_is_left_alone(path, journal, change):
    write(journal, path)
    (entry,) = journal.list_entries()
    content = path.read_bytes()
    if change == "a byte of audio":
        path.write_bytes(content[:-200] + b"x" + content[-199:])
    elif change == "another tag":
        apply_plan(plan_write(path, make_fields("other")))
    elif change == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
        with pytest.raises(MetadataError, match="does not exist"):
            undo_write(journal, entry)
        return
    with unchanged(path), pytest.raises(JournalError, match="was changed since") as caught:
        undo_write(journal, entry)
    assert caught.value.path == path
    (entry,) = journal.list_entries()
    assert not entry.is_undone


def test_a_patch_that_does_not_give_the_old_version_back_changes_nothing(path, journal):
    write(journal, path)
    (entry,) = journal.list_entries()
    wrong = make_patch(io.BytesIO(b"something else"), [])
    journal._database.write(lambda connection: connection.execute("UPDATE entries SET patch = ?", (wrong,)))
    with unchanged(path), pytest.raises(JournalError, match="does not give its old version back"):
        undo_write(journal, entry)


def test_a_version_that_came_back_by_itself_can_still_be_undone_in_order(path, journal):
    """Written, cleared to the same bytes, undone in the wrong order: no step takes the way back away."""
    before = path.read_bytes()
    write(journal, path)
    written = path.read_bytes()
    Recorder(journal, "clear").apply(plan_removal(path))
    assert path.read_bytes() == before
    second, first = journal.list_entries()
    assert undo_write(journal, first) is Undone.UNCHANGED
    assert undo_write(journal, second) is Undone.UNDONE
    assert path.read_bytes() == written
    second, first = journal.list_entries()
    assert (second.is_undone, first.is_undone) == (True, False)
    assert undo_write(journal, first) is Undone.UNDONE
    assert path.read_bytes() == before


def test_nothing_to_write_is_no_run(path, journal):
    write(journal, path)
    recorder = Recorder(journal, "test")
    assert recorder.apply(plan_write(path, make_fields())) is None
    assert len(journal.list_runs()) == 1


def test_the_time_of_modification_can_be_kept(path, journal):
    write(journal, path, keeps_mtime=True)
    assert path.stat().st_mtime_ns == OLD_TIME_NS
    (entry,) = journal.list_entries()
    assert undo_write(journal, entry) is Undone.UNDONE
    assert path.stat().st_mtime_ns == OLD_TIME_NS


def test_a_link_is_followed_there_and_back(path, journal, tmp_path):
    link = tmp_path / "link.mp3"
    link.symlink_to(path)
    before = path.read_bytes()
    write(journal, link)
    (entry,) = journal.list_entries()
    assert entry.path == path
    assert undo_write(journal, entry) is Undone.UNDONE
    assert link.is_symlink()
    assert path.read_bytes() == before


# The order of things


def test_the_entry_is_on_the_disk_before_the_file_is_touched(path, journal, monkeypatch):
    seen = []
    replace = Path.replace

    def look(self, target):
        with sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True) as other:
            seen.append(other.execute("SELECT count(*) FROM entries").fetchone()[0])
            assert hash_file(target) == other.execute("SELECT lower(hex(old_sha256)) FROM entries").fetchone()[0]
        other.close()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", look)
    write(journal, path)
    assert seen == [1]
    assert journal._database.read("PRAGMA synchronous") == [(2,)], "each transaction is synced"


def test_a_write_that_fails_leaves_no_entry(path, journal, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with unchanged(path), pytest.raises(MetadataError, match="no room left"):
        write(journal, path)
    assert list(journal.list_entries()) == []


def test_a_journal_that_fails_stops_the_write(path, journal, monkeypatch):
    monkeypatch.setattr(tagcli.database, "PATIENCE_SECONDS", 0.1)
    with Journal(journal.path) as busy:
        blocking = sqlite3.connect(journal.path, isolation_level=None)
        blocking.execute("BEGIN IMMEDIATE")
        with unchanged(path), pytest.raises(JournalError, match="without it nothing is written"):
            write(busy, path)
        blocking.close()


def test_an_entry_of_a_write_that_was_killed_before_it_happened_is_harmless(path, journal, monkeypatch):
    """As after kill -9 between the entry and the file: the entry is there, the file is the old one."""
    monkeypatch.setattr(Journal, "remove_entry", lambda *_: None)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(journal, path)
    (entry,) = journal.list_entries()
    with unchanged(path):
        assert undo_write(journal, entry) is Undone.UNCHANGED
    (entry,) = journal.list_entries()
    assert entry.is_undone


def test_a_damaged_journal_is_told(tmp_path):
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(JournalError, match="cannot be used") as caught:
        Journal(path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == b"no database" * 1000


def test_a_journal_of_another_version_is_refused(journal):
    journal._database.write(lambda connection: connection.execute("PRAGMA user_version = 99"))
    with pytest.raises(JournalError, match="another version"):
        Journal(journal.path)


def test_pruning_forgets_old_runs_only(path, journal):
    write(journal, path, make_fields("one"))
    journal._database.write(lambda connection: connection.execute("UPDATE runs SET started = '2001-01-01T00:00:00Z'"))
    write(journal, path, make_fields("two"))
    assert journal.prune(days=30) == 1
    (run,) = journal.list_runs()
    assert run.number == 2
    (entry,) = journal.list_entries()
    assert undo_write(journal, entry) is Undone.UNDONE
    assert journal.prune(days=0) == 0, "a run that began within this second is younger than that"


def test_a_run_that_is_pruned_while_it_goes_on_can_be_undone(path, journal):
    before = path.read_bytes()
    recorder = Recorder(journal, "test")
    recorder.apply(plan_write(path, make_fields("one")))
    journal._database.write(lambda connection: connection.execute("UPDATE runs SET started = '2001-01-01T00:00:00Z'"))
    middle = path.read_bytes()
    assert journal.prune(days=30) == 1
    recorder.apply(plan_write(path, make_fields("two")))
    (entry,) = journal.list_entries()
    assert undo_write(journal, entry) is Undone.UNDONE
    assert path.read_bytes() == middle != before


def test_large_inodes_and_late_times(path, journal, monkeypatch):
    """As some file systems have them: 64 bits without a sign."""
    from_status = FileIdentity.from_status.__func__

    def enlarge(cls, status):
        identity = from_status(cls, status)
        return dataclasses.replace(identity, inode=identity.inode | 1 << 63, mtime_ns=identity.mtime_ns + (1 << 63))

    monkeypatch.setattr(FileIdentity, "from_status", classmethod(enlarge))
    write(journal, path)
    assert len(list(journal.list_entries())) == 1


def test_a_write_that_did_not_happen_leaves_no_entry_whoever_replaced_the_file(path, journal):
    plan = plan_write(path, make_fields())
    add = journal.add_entry

    def add_and_replace(run, write):
        number = add(run, write)
        path.with_name("new").write_bytes(b"another program's")
        path.with_name("new").replace(path)
        return number

    journal.add_entry = add_and_replace
    with pytest.raises(MetadataError, match="changed by another program"):
        Recorder(journal, "test").apply(plan)
    assert path.read_bytes() == b"another program's"
    assert list(journal.list_entries()) == []


# Audio identity


def test_audio_is_known_again(path, journal, tmp_path):
    stranger = tmp_path / "stranger.mp3"
    stranger.write_bytes(encode_audio())
    assert verify_audio(journal, stranger) == (Identity.UNKNOWN, None)
    write(journal, path)
    identity, entry = verify_audio(journal, path)
    assert (identity, entry.run) == (Identity.SAME, 1)
    apply_plan(plan_removal(path))
    assert verify_audio(journal, path)[0] is Identity.SAME, "tags are not audio"
    moved = path.rename(path.with_name("moved.mp3"))
    assert verify_audio(journal, moved)[0] is Identity.SAME
    shutil.copyfile(stranger, path)
    assert verify_audio(journal, path)[0] is Identity.CHANGED
    path.unlink()
    with pytest.raises(MetadataError, match="does not exist"):
        verify_audio(journal, path)


# Removal


@pytest.mark.parametrize("policy", list(FieldPolicy))
@pytest.mark.parametrize("muxer", ["mp3", "flac"])
def test_removal_takes_back_what_was_stored_and_no_more(tmp_path, journal, muxer, policy):
    path = tmp_path / f"track.{muxer}"
    path.write_bytes(encode_audio(muxer, muxer))
    other = make_fields("first", genres=("Jazz",), moods=("calm",))
    Recorder(journal, "test").apply(plan_write(path, other, policies=Policies(genre=FieldPolicy.FILL)))
    apply_plan(plan_removal(path))
    bare = plan_removal(path)
    assert bare.is_empty
    assert not {change.field for change in plan_write(path, other).changes} ^ {
        Field.TAGS,
        Field.SCORES,
        Field.MODEL,
        Field.SETTINGS,
        Field.GENRE,
        Field.MOOD,
        Field.ADDED,
    }
    # a genre of the user's own
    apply_plan(plan_write(path, make_fields(tags=(), scores=(), model="", settings="", genres=("Folk",))))
    remove_added(path)
    policies = Policies(genre=policy, mood=policy, grouping=policy, comment=policy)
    wanted = make_fields(moods=("sad",), grouping=("guitar",), comment=("guitar",))
    plan = plan_write(path, wanted, policies=policies)
    apply_plan(plan)
    assert plan_write(path, wanted, policies=policies).is_empty
    apply_plan(plan_removal(path))
    left = {change.field: change.old for change in plan_write(path, REPLACED, policies=REPLACE_ALL).changes}
    genre = () if policy is FieldPolicy.REPLACE else ("Folk",)
    assert (left[Field.GENRE], left[Field.MOOD], left[Field.GROUPING], left[Field.COMMENT]) == (genre, (), (), ())
    assert all(left.get(own, ()) == () for own in (Field.TAGS, Field.SCORES, Field.MODEL, Field.SETTINGS))


REPLACE_ALL = Policies(**dict.fromkeys(("genre", "mood", "grouping", "comment"), FieldPolicy.REPLACE))
REPLACED = make_fields(genres=("x",), moods=("x",), grouping=("x",), comment=("x",))


def remove_added(path):
    """Remove the note that a genre is tagcli's, as if the user had typed it."""
    import mutagen

    tags = mutagen.File(path)
    for key in [key for key in tags.tags.keys() if "TAGCLI_ADDED" in key.upper().replace("/", "_")]:  # noqa: SIM118  # no dict
        del tags.tags[key]
    tags.save()


# Killed


WRITER = """
import sys
from pathlib import Path
from tagcli.journal import Journal, Recorder, default_journal_path
from tagcli.metadata import Fields, apply_plan, plan_write
path, rounds = Path(sys.argv[1]), int(sys.argv[2])
with Journal(default_journal_path()) as journal:
    print("ready", flush=True)
    for number in range(rounds):
        fields = Fields(tags=("a",), scores=(0.5,), model="m", settings="x" * (1 + number % 7) * 300, genres=())
        Recorder(journal, "test").apply(plan_write(path, fields))
"""


def test_kill_at_any_moment_and_undo_all(path):
    before, payload = path.read_bytes(), hash_payload(path)
    generator = random.Random(5)
    for _ in range(N_KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), "1000"], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(generator.uniform(0.02, 0.3))
            process.send_signal(signal.SIGKILL)
        assert hash_payload(path) == payload
    with Journal(default_journal_path()) as journal:
        entries = list(journal.list_entries())
        assert len(entries) > N_KILLS
        for entry in entries:
            undo_write(journal, entry)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, OLD_TIME_NS)
    assert list(path.parent.iterdir()) == [path], "no leftovers"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    versions=st.lists(
        st.tuples(st.text("abc", max_size=3), st.integers(0, 3000), st.sampled_from(FieldPolicy)),
        min_size=1,
        max_size=4,
    ),
    padding=st.integers(0, 2000),
)
def test_any_writes_are_undone_to_the_same_bytes(path, journal, versions, padding):
    path.write_bytes(id3_tag(3, [id3_frame(3, "TIT2", text_content("A", 0))], padding=padding) + FAKE_MP3_FRAME * 5)
    os.utime(path, ns=(OLD_TIME_NS, OLD_TIME_NS))
    before, seen = path.read_bytes(), {entry.number for entry in journal.list_entries()}
    for genre, size, policy in versions:
        fields = make_fields("x" * size, genres=(genre,) if genre else ())
        Recorder(journal, "test").apply(plan_write(path, fields, policies=Policies(genre=policy)))
    for entry in journal.list_entries():
        if entry.number not in seen:
            assert undo_write(journal, entry) is Undone.UNDONE
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, OLD_TIME_NS)


# Texts of the user's


THEIRS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@pytest.mark.parametrize("muxer", ["mp3", "flac", "ogg", "ipod", "asf", "wav", "wv"])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(theirs=THEIRS.filter(str.strip), tags=st.lists(st.sampled_from(["rock", "jazz", "pop"]), unique=True))
def test_a_comment_is_added_to_and_given_back_as_it_was(tmp_path, muxer, theirs, tags):
    codec = {"ogg": "libopus", "ipod": "aac", "asf": "wmav2", "wav": "pcm_s16le", "wv": "wavpack"}.get(muxer, muxer)
    path = tmp_path / "track"
    path.write_bytes(encode_audio(codec, muxer))
    append = Policies(genre=FieldPolicy.NEVER, mood=FieldPolicy.NEVER, comment=FieldPolicy.APPEND)
    replace = Policies(genre=FieldPolicy.NEVER, mood=FieldPolicy.NEVER, comment=FieldPolicy.REPLACE)
    put_comment(path, theirs, replace)
    remove_added(path)
    fields = make_fields(comment=tuple(tags), genres=())
    apply_plan(plan_write(path, fields, policies=append))
    written = comment_of(path)
    assert written.startswith(theirs)
    assert plan_write(path, fields, policies=append).is_empty
    apply_plan(plan_removal(path))
    assert comment_of(path) == theirs


def put_comment(path, text, policies):
    fields = make_fields(tags=(), scores=(), model="", settings="", genres=())
    object.__setattr__(fields, "comment", (text,))  # also what is no tag
    apply_plan(plan_write(path, fields, policies=policies))


def comment_of(path):
    fields = make_fields(comment=("what nobody writes anywhere",), genres=())
    policies = Policies(genre=FieldPolicy.NEVER, mood=FieldPolicy.NEVER, comment=FieldPolicy.REPLACE)
    (text,) = next(
        change.old for change in plan_write(path, fields, policies=policies).changes if change.field == "comment"
    )
    return text
