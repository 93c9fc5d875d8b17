"""The store: what goes in comes out, and many threads and processes may use it, also when some of them are killed."""

import contextlib
import dataclasses
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tagcli.database
import tagcli.store.claims
from tagcli.errors import StoreError
from tagcli.files import FileIdentity
from tagcli.store import PATH_MARK, Pruned, Store, StoredResult, clear_store, default_store_path

PATIENCE_SECONDS = 30
N_PROCESSES = 10
SHA = "ab" * 32
OTHER_SHA = "cd" * 32
SCORES = StoredResult(scores=b"\1\2\3\4" * 6, n_clips=3, duration_seconds=5.5, warnings=("damaged", "padded"))
FAILURE = StoredResult(
    scores=None, n_clips=0, duration_seconds=None, code="not_audio", message=f"{PATH_MARK} is not audio."
)
FILE = FileIdentity(device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5)
SIGNED = 2**63
"""SQLite's integers end here; inodes and times do not."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache home"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "scores.sqlite3"


@pytest.fixture
def store(path):
    with Store(path) as store:
        yield store


def number_of(store, settings="clips=all", sha256="0" * 64):
    return store.find_settings(model="tiny", sha256=sha256, settings=settings)


def keep(store, settings, result=SCORES, *, sha256=SHA, path=b"/music/a.mp3", identity=FILE):
    store.keep(sha256, settings, result, path=path, identity=identity)


def start(code, *arguments):
    """Start a program that has the store's names, and says when it is ready."""
    head = "import sys, time; from pathlib import Path; from tagcli.store import *; from tagcli.files import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def started(code, *arguments):
    """A process that is killed in the end, if it is still there."""
    with start(code, *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


# What goes in comes out


def test_the_users_store_lies_in_the_users_cache(tmp_path):
    assert default_store_path() == tmp_path / "cache home" / "tagcli" / "scores.sqlite3"


PATHS = st.binary(min_size=1, max_size=80).map(lambda name: b"/" + name.replace(b"\0", b""))
INODES = st.integers(0, 2**64 - 1)
TIMES = st.integers(-(2**70), 2**70)
RESULTS = st.builds(
    StoredResult,
    scores=st.none() | st.binary(max_size=400),
    n_clips=st.integers(0, 2**40),
    duration_seconds=st.none() | st.floats(min_value=0, allow_infinity=False),
    warnings=st.lists(st.sampled_from(["truncated", "damaged", "padded"]), unique=True).map(tuple),
    code=st.none() | st.sampled_from(["not_audio", "silent"]),
    message=st.none() | st.text() | st.text().map(lambda text: PATH_MARK + text),
)


@pytest.fixture(scope="module")
def lasting():
    """One store for all examples of a property; each has paths and bytes of its own, or writes over those before."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "scores.sqlite3") as store:
        yield store


@given(RESULTS, PATHS, INODES, st.integers(0, SIGNED - 1), TIMES, st.binary(min_size=32, max_size=32))
@example(SCORES, b"/caf\xe9\n.mp3", 2**64 - 1, SIGNED - 1, -(10**18), bytes(32))
@example(FAILURE, b"/\xff", SIGNED, 0, 99_999_999_999_999 * 10**9, bytes(32))
@settings(max_examples=150, deadline=None)
def test_what_is_kept_is_found(lasting, result, path, inode, size, mtime_ns, sha256):
    identity = FileIdentity(device=1, inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=0)
    number = number_of(lasting)
    keep(lasting, number, result, sha256=sha256.hex(), path=path, identity=identity)
    assert lasting.find_by_file(path, identity, number) == result
    assert lasting.find_by_payload(sha256.hex(), number, path=path, identity=identity) == result
    assert path in lasting.list_paths()
    failures = [failure for failure in lasting.list_failures(settings_end="") if failure.path == path]
    assert [failure.code for failure in failures] == ([result.code] if result.code not in (None, "silent") else [])
    assert all(failure.is_of(identity) for failure in failures)


@pytest.mark.parametrize("change", [{"inode": 9}, {"size": 9}, {"mtime_ns": 9}, {"inode": 2 + SIGNED}])
def test_a_changed_file_is_found_by_its_audio_bytes_only(store, change):
    number, changed = number_of(store), dataclasses.replace(FILE, **change)
    keep(store, number)
    assert store.find_by_file(b"/music/a.mp3", changed, number) is None
    assert store.find_by_payload(SHA, number, path=b"/music/a.mp3", identity=changed) == SCORES
    assert store.find_by_file(b"/music/a.mp3", changed, number) == SCORES
    assert store.find_by_file(b"/music/a.mp3", FILE, number) is None


def test_a_new_status_or_drive_is_no_change(store):
    number = number_of(store)
    keep(store, number)
    assert store.find_by_file(b"/music/a.mp3", dataclasses.replace(FILE, device=7, ctime_ns=7), number) == SCORES


def test_other_settings_and_models_have_results_of_their_own(store):
    numbers = [number_of(store), number_of(store, "clips=middle"), number_of(store, sha256="1" * 64)]
    assert len(set(numbers)) == 3
    assert number_of(store) == numbers[0]
    keep(store, numbers[0])
    for number in numbers[1:]:
        assert store.find_by_file(b"/music/a.mp3", FILE, number) is None
        assert store.find_by_payload(SHA, number, path=b"/music/a.mp3", identity=FILE) is None
    keep(store, numbers[1], FAILURE)
    assert store.find_by_file(b"/music/a.mp3", FILE, numbers[0]) == SCORES
    assert store.find_by_file(b"/music/a.mp3", FILE, numbers[1]) == FAILURE


def test_the_last_result_counts(store):
    number = number_of(store)
    keep(store, number, FAILURE)
    keep(store, number)
    assert store.find_by_file(b"/music/a.mp3", FILE, number) == SCORES
    assert list(store.list_failures(settings_end="")) == []


def test_a_file_that_was_written_by_us_is_known_at_once(store):
    number, written = number_of(store), dataclasses.replace(FILE, inode=8, size=800, mtime_ns=80)
    keep(store, number)
    store.note_change(b"/music/a.mp3", written)
    store.note_change(b"/music/never heard.mp3", written)
    assert store.find_by_file(b"/music/a.mp3", written, number) == SCORES
    assert store.list_paths() == [b"/music/a.mp3"]


def test_all_is_there_when_the_store_is_opened_again(path):
    with Store(path) as store:
        keep(store, number_of(store))
    with Store(path) as store:
        assert store.find_by_file(b"/music/a.mp3", FILE, number_of(store)) == SCORES


# Claims


def test_a_track_is_claimed_by_one_at_a_time(path, store):
    number = number_of(store)
    with Store(path) as other:
        assert store.claim(SHA, number)
        assert not store.claim(SHA, number)  # another thread
        assert not other.claim(SHA, number)
        assert other.claim(OTHER_SHA, number)
        assert other.claim(SHA, number_of(store, "clips=2"))
        other.release(SHA, number)  # not its own
        assert not other.claim(SHA, number)
        store.release(SHA, number)
        assert other.claim(SHA, number)


def test_a_result_ends_the_claim(store):
    number = number_of(store)
    assert store.claim(SHA, number)
    keep(store, number)
    assert store.claim(SHA, number)


def test_a_closed_store_leaves_no_claims_and_no_locks(path, store):
    number = number_of(store)
    with Store(path) as other:
        assert other.claim(SHA, number)
        assert len(list(path.parent.glob("*.lock"))) == 1
    assert list(path.parent.glob("*.lock")) == []
    assert store.claim(SHA, number)


CLAIMING = """
with Store(Path(sys.argv[1])) as store:
    number = store.find_settings(model="tiny", sha256="0" * 64, settings="clips=all")
    print(store.claim(sys.argv[2], number), flush=True)
    sys.stdin.readline()
"""


def test_the_claims_of_the_living_hold_and_those_of_the_killed_do_not(path, store, monkeypatch):
    monkeypatch.setattr(tagcli.store.claims, "_SWEEP_SECONDS", 0)
    number = number_of(store)
    with started(CLAIMING, path, SHA) as process:
        assert process.stdout.readline() == "True\n"
        for _ in range(3):
            assert not store.claim(SHA, number)
        process.kill()
        process.wait(PATIENCE_SECONDS)
        assert store.claim(SHA, number)
    assert len(list(path.parent.glob("*.lock"))) == 1  # our own


def test_a_claim_whose_lock_was_swept_away_does_not_hold_for_ever(path, store, monkeypatch):
    monkeypatch.setattr(tagcli.store.claims, "_SWEEP_SECONDS", 0)
    number = number_of(store)
    with started(CLAIMING, path, SHA) as process:
        process.stdout.readline()
        process.kill()
        process.wait(PATIENCE_SECONDS)
    for lock in path.parent.glob("*.lock"):  # by a program that tidies caches up
        lock.unlink()
    assert store.claim(SHA, number)


# Many at once

HAMMERING = """
number = int(sys.argv[2])
with Store(Path(sys.argv[1])) as store:
    settings = store.find_settings(model="tiny", sha256="0" * 64, settings="clips=all")
    print(flush=True)
    sys.stdin.readline()
    for track in range(60):
        identity = FileIdentity(device=1, inode=track, size=1, mtime_ns=1, ctime_ns=1)
        sha256, path = f"{track:064x}", b"/%d/%d" % (number, track)
        while store.find_by_payload(sha256, settings, path=path, identity=identity) is None:
            if store.claim(sha256, settings):
                print(track)
                result = StoredResult(scores=b"%d" % track, n_clips=1, duration_seconds=1.0)
                store.keep(sha256, settings, result, path=path, identity=identity)
        found = store.find_by_file(path, identity, settings)
        assert found is not None and found.scores == b"%d" % track, (track, found)
"""


def test_processes_share_the_work_and_find_the_same(path):
    """A track may be claimed once more by who looked just before its result came; no more than that."""
    processes = [start(HAMMERING, path, number) for number in range(3)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    done = Counter()
    for process in processes:
        worked, talk = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, talk) == (0, "")
        done.update(map(int, worked.split()))
    assert set(done) == set(range(60))
    assert done.total() < 1.5 * 60
    with Store(path) as store:
        facts = store.describe(settings_end="")
        assert (facts.n_files, facts.n_payloads, facts.n_results) == (180, 60, {("tiny", "clips=all"): 60})
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_many_processes_begin_with_a_fresh_store_at_once(path):
    code = "print(flush=True); sys.stdin.readline(); Store(Path(sys.argv[1])).close(); Store(Path(sys.argv[1])).close()"
    processes = [start(code, path) for _ in range(N_PROCESSES)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    talks = [process.communicate(timeout=PATIENCE_SECONDS)[1] for process in processes]
    assert talks == [""] * N_PROCESSES
    assert {process.returncode for process in processes} == {0}


def test_a_fresh_store_that_another_is_just_making_is_waited_for(path):
    """SQLite itself does not wait here, see `Database._keep_write_ahead_log`."""
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.4, lambda: other.execute("ROLLBACK"))
    timer.start()
    with Store(path) as store:
        keep(store, number_of(store))
    timer.join()
    other.close()


def test_threads_share_one_store(store):
    number, errors, n_threads = number_of(store), [], 8
    claimed = Counter()

    def work(thread):
        try:
            for track in range(40):
                sha256 = f"{track:064x}"
                if store.claim(sha256, number):
                    claimed[track] += 1
                name = b"/%d/%d" % (thread, track)
                keep(store, number, sha256=sha256, path=name)
                assert store.find_by_file(name, FILE, number) == SCORES
                store.note_change(name, dataclasses.replace(FILE, size=7))
                store.release(sha256, number)
                store.describe(settings_end="")
        except BaseException as error:  # told by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(claimed) == set(range(40))
    assert store.describe(settings_end="").n_files == 40 * n_threads


# Ctrl-C


def comes_to(point, work):
    """Do some work with Ctrl-C at one of the points where Python looks for it; False when it was done before that.

    Python looks behind calls of functions in C, and where functions in Python begin.
    """
    n_points = 0

    def press(frame, event, argument):
        nonlocal n_points
        n_points += event in ("call", "c_return")
        if n_points == point:
            sys.setprofile(None)
            raise KeyboardInterrupt

    try:
        sys.setprofile(press)
        work()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return n_points >= point


def assert_free(path, store):
    """Other threads and processes can go on, and so can we."""
    thread = threading.Thread(target=store.list_paths, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    store.note_change(b"/music/never heard.mp3", FILE)


WORK = {
    "find_settings": lambda store, number: number_of(store, "clips=2"),
    "find_by_file": lambda store, number: store.find_by_file(b"/music/a.mp3", FILE, number),
    "find_by_payload": lambda store, number: store.find_by_payload(SHA, number, path=b"/copy", identity=FILE),
    "note_change": lambda store, number: store.note_change(b"/music/a.mp3", FILE),
    "forget_file": lambda store, number: store.forget_file(b"/copy"),
    "claim": lambda store, number: store.claim(SHA, number),
    "release": lambda store, number: store.release(SHA, number),
    "describe": lambda store, number: store.describe(settings_end=""),
    "forget": lambda store, number: store.forget([b"/copy"], settings_end=""),
}


@pytest.mark.filterwarnings("ignore:unclosed scandir iterator:ResourceWarning")  # Python's own, of a glob
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_ctrl_c_at_any_point_holds_nobody_up(work, path, store, monkeypatch):
    monkeypatch.setattr(tagcli.store.claims, "_SWEEP_SECONDS", 0)
    number = number_of(store)
    keep(store, number)
    assert store.claim(OTHER_SHA, number)
    for point in itertools.count(1):
        is_interrupted = comes_to(point, lambda: work(store, number))
        assert_free(path, store)
        if not is_interrupted:
            break
    assert point > 5
    store.close()
    assert list(path.parent.iterdir()) == [path]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)


def test_ctrl_c_at_any_point_keeps_a_result_wholly_or_not_at_all(path, store):
    number, kept = number_of(store), set()
    for point in itertools.count(1):
        sha256, name = f"{point:064x}", b"/%d" % point
        assert store.claim(sha256, number)
        is_interrupted = comes_to(point, lambda sha256=sha256, name=name: keep(store, number, sha256=sha256, path=name))
        assert_free(path, store)
        is_kept = store.find_by_file(name, FILE, number) == SCORES
        assert (name in store.list_paths()) == is_kept
        assert (store.find_by_payload(sha256, number, path=name, identity=FILE) == SCORES) == is_kept
        assert store.claim(sha256, number) == is_kept  # a claim ends with the result
        kept.add(is_kept)
        if not is_interrupted:
            break
    assert is_kept
    assert kept == {True, False}


def test_work_in_the_middle_of_other_work_is_refused_and_does_not_break_that(store):
    """A run that was given up may end as garbage that is collected at any time."""
    number = number_of(store)

    def work(connection):
        connection.execute("INSERT INTO payloads (sha256) VALUES (?)", (bytes.fromhex(SHA),))
        with pytest.raises(StoreError, match="within a transaction"):
            store.release(OTHER_SHA, number)
        assert connection.in_transaction

    store._database.write(work)
    assert store.describe(settings_end="").n_payloads == 1


# Upkeep


def test_failures_are_listed_by_path_once_for_each_reason(store):
    numbers = [number_of(store), number_of(store, "clips=2")]
    for number in numbers:
        keep(store, number, FAILURE, path=b"/b")
    short = dataclasses.replace(FAILURE, code="too_short", message="short")
    keep(store, numbers[0], short, sha256=OTHER_SHA, path=b"/a\xff")
    keep(store, numbers[0], sha256="ef" * 32, path=b"/c")
    first, second = store.list_failures(settings_end="")
    assert (first.path, first.code, first.message) == (b"/a\xff", "too_short", "short")
    assert (second.path, second.message) == (b"/b", FAILURE.message)
    assert second.is_of(FILE)
    assert not second.is_of(dataclasses.replace(FILE, mtime_ns=0))


def test_what_is_remembered_is_counted(path, store):
    numbers = [number_of(store), number_of(store, "clips=2")]
    for number in numbers:
        keep(store, number)
    keep(store, numbers[0], path=b"/copy")
    keep(store, numbers[0], FAILURE, sha256=OTHER_SHA, path=b"/bad")
    facts = store.describe(settings_end="")
    assert facts.path == path
    assert facts.size >= path.stat().st_size > 0
    assert (facts.n_files, facts.n_payloads, facts.n_failures) == (3, 2, 1)
    assert facts.n_results == {("tiny", "clips=all"): 2, ("tiny", "clips=2"): 1}


def test_what_no_file_leads_to_is_forgotten(path, store):
    numbers = [number_of(store), number_of(store, "clips=2")]
    for number in numbers:
        keep(store, number)
    keep(store, numbers[0], path=b"/copy")
    keep(store, numbers[0], sha256=OTHER_SHA, path=b"/other")
    assert store.forget([b"/copy"], settings_end="") == Pruned(n_files=1, n_results=0)
    assert store.find_by_file(b"/music/a.mp3", FILE, numbers[1]) == SCORES
    assert store.forget([b"/music/a.mp3"], settings_end="") == Pruned(n_files=1, n_results=2)
    assert store.find_by_payload(SHA, numbers[0], path=b"/new", identity=FILE) is None
    assert store.list_paths() == [b"/other"]
    assert store.forget([], settings_end="") == Pruned(n_files=0, n_results=0)
    store.forget_file(b"/other")
    assert store.list_paths() == []


def test_what_an_earlier_version_heard_is_forgotten_and_its_failures_are_not_told(store):
    """Its settings end otherwise; a number that ends like another is another."""
    old, longer, new = (number_of(store, f"clips=all numbers={number}") for number in (1, 12, 2))
    keep(store, old, FAILURE)
    keep(store, longer)
    keep(store, new)
    assert list(store.list_failures(settings_end=" numbers=2")) == []
    assert len(list(store.list_failures(settings_end=" numbers=1"))) == 1
    assert store.forget([], settings_end=" numbers=2") == Pruned(n_files=0, n_results=2)
    assert store.find_by_file(b"/music/a.mp3", FILE, new) == SCORES
    assert store.find_by_file(b"/music/a.mp3", FILE, old) is None
    assert store.list_paths() == [b"/music/a.mp3"]


def test_what_is_forgotten_takes_no_room(path, store):
    number = number_of(store)
    for track in range(300):
        keep(
            store, number, dataclasses.replace(SCORES, scores=bytes(2000)), sha256=f"{track:064x}", path=b"/%d" % track
        )
    before = store.describe(settings_end="").size
    store.forget(store.list_paths(), settings_end="")
    store.close()
    assert path.stat().st_size < before / 5


def test_forgetting_does_not_give_the_number_of_a_run_that_just_began_to_another(path, store):
    """Scores of one model would be taken for those of another."""
    with Store(path) as other:
        number = number_of(other)  # has no results yet
        store.forget([], settings_end="")
        assert number_of(store, sha256="1" * 64) != number
        keep(other, number)
    assert store.find_by_file(b"/music/a.mp3", FILE, number_of(store, sha256="1" * 64)) is None
    assert store.find_by_file(b"/music/a.mp3", FILE, number_of(store)) == SCORES


def test_a_cleared_store_is_gone_and_begins_anew(path):
    with Store(path) as store, started(CLAIMING, path, SHA) as process:
        process.stdout.readline()
        keep(store, number_of(store))
        n_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
        assert clear_store(path) == n_bytes > 0
        assert list(path.parent.iterdir()) == []
    with Store(path) as store:
        assert store.list_paths() == []
        assert store.claim(SHA, number_of(store))
    assert clear_store(path) > 0
    assert clear_store(path) == 0
    assert clear_store(path.parent / "nowhere" / "scores.sqlite3") == 0


def test_a_store_that_cannot_be_removed_is_one_sentence(path):
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"scores\.sqlite3 cannot be removed .*by hand\.$"):
        clear_store(path)


# Trouble


def assert_unusable(path, reason):
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert caught.value.path == path
    assert str(path) in caught.value.message
    assert reason in caught.value.message
    assert "tagcli cache clear" in caught.value.message
    assert "\n" not in caught.value.message


def test_what_is_no_database_is_refused_and_can_be_cleared(path):
    path.parent.mkdir()
    path.write_bytes(b"no database, but long enough to be looked at " * 100)
    assert_unusable(path, "not a database")
    clear_store(path)
    Store(path).close()


def test_a_damaged_store_is_told_of_and_can_be_cleared(path):
    with Store(path) as store:
        for track in range(200):
            keep(store, number_of(store), sha256=f"{track:064x}", path=b"/%d" % track)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cache clear"), Store(path) as store:
        keep(store, number_of(store))
    clear_store(path)
    Store(path).close()


@pytest.mark.parametrize("version", [2, 1000, -1])
def test_the_store_of_another_version_is_refused_and_left_alone(path, version):
    with Store(path) as store:
        keep(store, number_of(store))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    assert_unusable(path, "another version")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (1,)


def test_a_place_without_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert_unusable(tmp_path / "file" / "scores.sqlite3", "cannot be used")
    (tmp_path / "scores.sqlite3").mkdir()
    assert_unusable(tmp_path / "scores.sqlite3", "unable to open")


def test_a_store_that_another_holds_for_long_is_an_error_and_can_be_used_later(path, store, monkeypatch):
    monkeypatch.setattr(tagcli.database, "PATIENCE_SECONDS", 0.1)
    number = number_of(store)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other, Store(path) as ours:
        other.execute("BEGIN IMMEDIATE")
        assert_unusable(path, "database is locked")
        with pytest.raises(StoreError, match="database is locked"):
            keep(ours, number)
        assert ours.find_by_file(b"/music/a.mp3", FILE, number) is None  # readers do not wait
        other.execute("ROLLBACK")
        keep(ours, number)
    assert store.find_by_file(b"/music/a.mp3", FILE, number) == SCORES


def test_a_store_whose_file_was_removed_does_not_hurt_the_next(path, store):
    number = number_of(store)
    for file in path.parent.iterdir():
        file.unlink()
    with contextlib.suppress(StoreError):
        keep(store, number)
        store.claim(OTHER_SHA, number)
    with Store(path) as other:
        assert other.list_paths() == []
        keep(other, number_of(other))
    store.close()
    with Store(path) as other:
        assert other.find_by_file(b"/music/a.mp3", FILE, number_of(other)) == SCORES


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("no small disk can be had here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_loses_nothing(small_disk):
    path = small_disk / "scores.sqlite3"
    with Store(path) as store:
        number = number_of(store)
        assert store.claim(SHA, number)
        (small_disk / "filler").write_bytes(bytes(2**19))
        n_kept = 0

        def fill():
            nonlocal n_kept
            for n_kept in range(2000):
                keep(store, number, sha256=f"{n_kept:064x}", path=b"/%d" % n_kept)

        with pytest.raises(StoreError, match="full"):
            fill()
        assert n_kept > 0
    (small_disk / "filler").unlink()
    with Store(path) as store:
        assert store.describe(settings_end="").n_files == n_kept
        assert store.find_by_file(b"/0", FILE, number) == SCORES
        keep(store, number)
        assert store.claim(SHA, number)
