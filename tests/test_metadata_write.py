"""No file is harmed: killed, full disk, no permission, changed in between, links, locks, attributes."""

import dataclasses
import errno
import fcntl
import logging
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from metadata_files import FAKE_MP3_FRAME, id3_frame, id3_tag, id3v1, text_content, walk_id3

from tagcli.errors import MetadataError
from tagcli.files import read_pieces
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_write, read_metadata
from tagcli.payload import hash_payload
from tagcli.replacement import STALE_SECONDS

REPOSITORY = Path(__file__).parents[1]
FRAMES = [
    id3_frame(3, "TIT2", text_content("A title", 1)),
    id3_frame(3, "PRIV", b"owner\0" + bytes(range(256)) * 40),
    id3_frame(3, "TSOP", text_content("Title, A", 0)),
]
N_KILLS = 10
NOBODY = 65534
TMPFS_BYTES = 1 << 20


def make_fields(settings="clips=all"):
    return Fields(tags=("guitar",), scores=(0.5,), model="tagcli-msd50", settings=settings, genres=("Rock",))


def make_file(path, n_audio_frames=300):
    path.write_bytes(id3_tag(3, FRAMES) + FAKE_MP3_FRAME * n_audio_frames + id3v1())
    return path


@pytest.fixture
def path(tmp_path):
    return make_file(tmp_path / "track.mp3")


def assert_untouched(path, content, status):
    assert path.read_bytes() == content
    now = path.stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (status.st_ino, status.st_mtime_ns, status.st_mode)
    assert list(path.parent.iterdir()) == [path]


def refuse(path, match, plan=None):
    """Check that a write is refused in one sentence and leaves everything as it was."""
    plan = plan or plan_write(path, make_fields())
    content, status = path.read_bytes(), path.stat()
    with pytest.raises(MetadataError, match=match) as caught:
        apply_plan(plan)
    assert caught.value.path is not None
    assert_untouched(path, content, status)
    return caught.value


# When something goes wrong half way


class Boom(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, Boom, OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize(
    "where",
    ["os.fsync", "tagcli.replacement._keep_attributes", "tagcli.metadata.plan._prove", "pathlib.Path.replace"],
)
def test_anything_raised_half_way_leaves_the_file_alone(path, monkeypatch, where, error):
    plan = plan_write(path, make_fields())
    content, status = path.read_bytes(), path.stat()

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises((MetadataError, KeyboardInterrupt, Boom)):
            apply_plan(plan)
    assert_untouched(path, content, status)
    apply_plan(plan)
    assert plan_write(path, make_fields()).is_empty


N_TAG_BYTES = len(id3_tag(3, FRAMES))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda head, audio: [head.replace(b"TSOP", b"TSOA"), audio], "A field of .* did not survive"),
        (lambda head, audio: [id3_tag(3, FRAMES), audio], "could not be read back"),
        (lambda head, audio: [b"junk", audio], "A field of .* did not survive"),
        (lambda head, audio: [head, dataclasses.replace(audio, start=audio.start + 1)], "The audio of"),
        (lambda head, audio: [head, dataclasses.replace(audio, start=audio.end - 128)], "The audio of"),
        (lambda head, audio: [head, dataclasses.replace(audio, end=audio.end - 128)], "A field of .* did not survive"),
    ],
    ids=["another foreign frame", "none of our frames", "no tag", "a byte of audio less", "no audio", "no ID3v1"],
)
def test_wrong_version_is_found_out(path, spoil, sentence):
    plan = plan_write(path, make_fields())
    with path.open("rb") as file:
        head = b"".join(map(bytes, read_pieces(file, plan.pieces[:-1])))
    refuse(path, sentence, dataclasses.replace(plan, pieces=tuple(spoil(head, plan.pieces[-1]))))


@pytest.mark.parametrize("number", [1, 2])
def test_a_disk_that_does_not_keep_what_is_written(path, monkeypatch, number):
    """The first reading writes the copy, the second one proves it: a byte that differs is found out."""
    calls = []

    def read(file, pieces):
        calls.append(pieces)
        yield from [*map(bytes, read_pieces(file, pieces)), b"x"] if len(calls) == number else read_pieces(file, pieces)

    monkeypatch.setattr("tagcli.replacement.read_pieces", read)
    refuse(path, "did not come out right")


def test_order_of_the_write(path, monkeypatch):
    steps = []

    def record(name, function):
        def call(*arguments):
            steps.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr("tagcli.metadata.plan._prove", record("verify", lambda *_: None))
    monkeypatch.setattr("os.fsync", record("sync", os.fsync))
    monkeypatch.setattr("pathlib.Path.replace", record("replace", Path.replace))
    apply_plan(plan_write(path, make_fields()))
    assert steps == ["sync", "verify", "replace", "sync"]


KILLED = """
import sys
from pathlib import Path
from tagcli.metadata import Fields, apply_plan, plan_write

path = Path(sys.argv[1])
print("ready", flush=True)
for run in range(100000):
    settings = "x" * (run * 997 % 5000 + 1)
    fields = Fields(tags=("guitar",), scores=(0.5,), model="m", settings=settings, genres=())
    apply_plan(plan_write(path, fields))
"""


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    path = make_file(tmp_path / "track.mp3", n_audio_frames=20000)
    payload, chance = hash_payload(path), random.Random(3)
    n_leftovers = 0
    for _ in range(N_KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.02, 0.2))
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        assert hash_payload(path) == payload
        _, frames, size = walk_id3(path.read_bytes())
        assert frames[: len(FRAMES)] == FRAMES
        assert path.read_bytes()[size:] == FAKE_MP3_FRAME * 20000 + id3v1()
        leftovers = [entry for entry in tmp_path.iterdir() if entry != path]
        assert all(entry.name.startswith(".tagcli-") for entry in leftovers)
        assert len(leftovers) <= 1
        n_leftovers += len(leftovers)
    assert n_leftovers, "no kill hit a write; the test is too gentle"
    apply_plan(plan_write(path, make_fields()))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_kill_benchmark(tmp_path):
    """A few of its trials: killed, written again, undone, over files of every container."""
    command = [sys.executable, "benchmarks/kill.py", "--trials", "4", "--big-mb", "4", "--folder", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 kills in `write`" in done.stdout
    assert not list(tmp_path.iterdir())


def leftover_of(path):
    """Return where the copy of a file lies, by letting a write fail and looking."""
    seen = []
    plan = plan_write(path, make_fields("unique"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagcli.metadata.plan._prove", lambda _, copy: seen.append(copy) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            apply_plan(plan)
    return seen[0]


def test_leftover_of_a_killed_run_is_reused_or_removed(path):
    copy = leftover_of(path)
    assert copy.parent == path.parent
    assert copy.name.startswith(".tagcli-")
    assert copy.suffix == ".tmp"
    for _ in range(2):
        copy.write_bytes(b"half a file")
        apply_plan(plan_write(path, make_fields()))
        assert list(path.parent.iterdir()) == [path]
    assert b"half a file" not in path.read_bytes()
    assert plan_write(path, make_fields()).is_empty


def test_two_processes_never_share_a_copy(path):
    copy = leftover_of(path)
    copy.write_bytes(b"half a file")
    plan = plan_write(path, make_fields())
    content = path.read_bytes()
    with copy.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(MetadataError, match="Another process is writing"):
            apply_plan(plan)
        assert path.read_bytes() == content
        assert copy.read_bytes() == b"half a file"
    apply_plan(plan)
    written = plan_write(path, make_fields())
    copy.write_bytes(b"half a file")
    with copy.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        apply_plan(written)
        assert copy.exists()
    apply_plan(written)
    assert not copy.exists()


def test_the_copy_is_locked_while_it_is_written(path, monkeypatch):
    plan, tried = plan_write(path, make_fields()), []

    def write_as_well(*_):
        with pytest.raises(MetadataError, match="Another process is writing"):
            apply_plan(plan)
        tried.append(True)

    monkeypatch.setattr("tagcli.metadata.plan._prove", write_as_well)
    apply_plan(plan)
    assert tried
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_fresh_copy_is_another_process_at_work(path):
    copy = leftover_of(path)
    copy.write_bytes(b"half a file")
    plan = plan_write(path, make_fields())
    with pytest.raises(MetadataError, match="Another process is writing"):
        apply_plan(plan)
    assert copy.read_bytes() == b"half a file"
    os.utime(copy, (time.time() - STALE_SECONDS - 1,) * 2)
    apply_plan(plan)
    assert plan_write(path, make_fields()).is_empty
    assert list(path.parent.iterdir()) == [path]


def test_only_its_own_copy_takes_the_place_of_the_file(path, monkeypatch):
    """Where locks are not shared between machines, another one may put half a copy there at the last moment."""
    plan, content = plan_write(path, make_fields()), path.read_bytes()

    def put_another_copy(_, copy):
        copy.unlink()
        copy.write_bytes(b"half a file")
        return "0" * 64

    monkeypatch.setattr("tagcli.metadata.plan._prove", put_another_copy)
    with pytest.raises(MetadataError, match="Another process is writing"):
        apply_plan(plan)
    assert path.read_bytes() == content


def test_what_stands_in_the_way_is_not_followed(path, tmp_path_factory):
    copy = leftover_of(path)
    victim = tmp_path_factory.mktemp("other") / "victim"
    victim.write_bytes(b"precious")
    copy.symlink_to(victim)
    with pytest.raises(MetadataError, match="in the way"):
        apply_plan(plan_write(path, make_fields()))
    assert victim.read_bytes() == b"precious"
    copy.unlink()
    os.link(victim, copy)
    apply_plan(plan_write(path, make_fields()))
    assert victim.read_bytes() == b"precious"


# When the file is not the one that was planned for


@pytest.mark.parametrize("change", ["grown", "edited", "edited and dated back", "replaced", "removed"])
def test_file_changed_since_planning(path, change):
    plan, content, status = plan_write(path, make_fields()), path.read_bytes(), path.stat()
    if change == "grown":
        path.write_bytes(content + b"x")
    elif change in ("edited", "edited and dated back"):
        time.sleep(0.02)
        path.write_bytes(content[:-1] + b"x")
        if change != "edited":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "replaced":
        shutil.copy2(path, path.with_name("new"))
        path.with_name("new").replace(path)
    else:
        path.unlink()
        with pytest.raises(MetadataError, match="does not exist"):
            apply_plan(plan)
        return
    refuse(path, "changed by another program", plan)


def test_file_changed_while_it_is_copied(path, monkeypatch):
    plan = plan_write(path, make_fields())

    def edit(*_):
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")

    time.sleep(0.02)
    monkeypatch.setattr("tagcli.metadata.plan._prove", edit)
    with pytest.raises(MetadataError, match="changed by another program"):
        apply_plan(plan)
    assert path.read_bytes().endswith(b"x")
    assert b"TAGCLI" not in path.read_bytes()
    assert list(path.parent.iterdir()) == [path]


def test_plan_is_applied_once(path):
    plan = plan_write(path, make_fields())
    apply_plan(plan)
    refuse(path, "changed by another program", plan)


# Permissions and room


def test_file_marked_read_only(path):
    path.chmod(0o444)
    refuse(path, "marked read-only")


AS_NOBODY = """
import codecs, os, sys
from pathlib import Path
from tagcli.errors import MetadataError
from tagcli.metadata import Fields, apply_plan, plan_write

path = Path(sys.argv[1])
for name in ("latin1", "utf16", "utf_16_be", "utf8"):
    codecs.lookup(name)  # Python itself may lie where nobody can read it.
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
fields = Fields(tags=("guitar",), scores=(0.5,), model="m", settings="s", genres=())
try:
    apply_plan(plan_write(path, fields))
except MetadataError as error:
    print(error.message)
"""


@pytest.fixture
def open_folder():
    """Give a folder that any user can reach, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def run_as_nobody(path):
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "sentence"),
    [
        (0o555, 0o666, "its folder may not be written to"),
        (0o777, 0o600, "may not be read"),
        (0o777, 0o444, "is marked read-only"),
        (0o666, 0o666, "cannot be reached"),
    ],
)
def test_without_permission(open_folder, folder_mode, file_mode, sentence):
    path = make_file(open_folder / "track.mp3")
    if os.geteuid() != 0 and file_mode == 0o600:
        pytest.skip("one's own file cannot be withheld from oneself that way")
    content, status = path.read_bytes(), path.stat()
    path.chmod(file_mode)
    open_folder.chmod(folder_mode)
    said = run_as_nobody(path)
    open_folder.chmod(0o777)
    assert sentence in said
    assert str(path) in said
    assert said.count("\n") == 1
    path.chmod(stat.S_IMODE(status.st_mode))
    assert_untouched(path, content, status)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_file_of_another_user_in_a_common_folder(open_folder):
    path = make_file(open_folder / "track.mp3")
    path.chmod(0o644)
    assert "is marked read-only" in run_as_nobody(path)
    path.chmod(0o666)
    assert run_as_nobody(path) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


LIMITED = """
import resource, sys
from pathlib import Path
from tagcli.errors import MetadataError
from tagcli.metadata import Fields, apply_plan, plan_write

path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)
fields = Fields(tags=("guitar",), scores=(0.5,), model="m", settings="s", genres=())
try:
    apply_plan(plan_write(path, fields))
except MetadataError as error:
    print(error.message)
"""


def test_file_larger_than_allowed(path):
    content, status = path.read_bytes(), path.stat()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "a file of that size is not allowed" in done.stdout
    assert_untouched(path, content, status)


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full(small_disk):
    path = make_file(small_disk / "track.mp3", n_audio_frames=TMPFS_BYTES * 3 // 4 // len(FAKE_MP3_FRAME))
    refuse(path, "no room left on the disk")


def test_disk_full_to_the_last_byte(small_disk):
    path = make_file(small_disk / "track.mp3")
    (small_disk / "filler").write_bytes(bytes(TMPFS_BYTES - 2 * (path.stat().st_size // 4096 + 1) * 4096))
    plan = plan_write(path, make_fields("x" * 8000))
    content = path.read_bytes()
    with pytest.raises(MetadataError, match="no room left on the disk"):
        apply_plan(plan)
    assert path.read_bytes() == content
    assert len(list(small_disk.iterdir())) == 2


# Links, names and attributes


def test_symbolic_link_stays_a_link(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    target = make_file(tmp_path / "a" / "track.mp3")
    link = tmp_path / "b" / "link.mp3"
    link.symlink_to("../a/track.mp3")
    plan = plan_write(link, make_fields())
    assert (plan.path, plan.target) == (link, target)
    apply_plan(plan)
    assert link.is_symlink()
    assert plan_write(target, make_fields()).is_empty
    assert list((tmp_path / "a").iterdir()) == [target]
    assert list((tmp_path / "b").iterdir()) == [link]


def test_loop_and_dangling_link(tmp_path):
    (tmp_path / "loop.mp3").symlink_to("loop.mp3")
    (tmp_path / "dangling.mp3").symlink_to("nowhere.mp3")
    for name in ("loop.mp3", "dangling.mp3"):
        for act in (lambda link: plan_write(link, make_fields()), read_metadata):
            with pytest.raises(MetadataError):
                act(tmp_path / name)


def test_hard_link_is_detached_with_a_warning(path, caplog):
    other = path.with_name("other.mp3")
    other.hardlink_to(path)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        apply_plan(plan_write(path, make_fields()))
    assert "2 names" in caplog.text
    assert other.read_bytes() == content
    assert other.stat().st_nlink == path.stat().st_nlink == 1


def test_no_warning_without_hard_links(path, caplog):
    apply_plan(plan_write(path, make_fields()))
    assert not caplog.records


@pytest.mark.parametrize(
    "name", ["ümläut ♫.mp3", "x" * 251 + ".mp3", b"latin-\xe9.mp3", "-n", "new\nline.mp3", ".hidden"]
)
def test_odd_names(tmp_path, name):
    path = make_file(tmp_path / os.fsdecode(name))
    apply_plan(plan_write(path, make_fields()))
    assert plan_write(path, make_fields()).is_empty
    assert list(tmp_path.iterdir()) == [path]


def test_relative_path(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    apply_plan(plan_write(Path(path.name), make_fields()))
    assert plan_write(path, make_fields()).is_empty


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o777, 0o606])
def test_mode_is_kept(path, mode):
    path.chmod(mode)
    apply_plan(plan_write(path, make_fields()))
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_is_kept(path):
    os.chown(path, NOBODY, NOBODY - 1)
    apply_plan(plan_write(path, make_fields()))
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY - 1)


def test_extended_attributes_are_kept(path):
    try:
        os.setxattr(path, "user.rating", b"five\0stars")
    except OSError as error:
        pytest.skip(f"no extended attributes here ({error.strerror})")
    apply_plan(plan_write(path, make_fields()))
    assert os.getxattr(path, "user.rating") == b"five\0stars"


def test_large_file_in_constant_memory(tmp_path):
    path = make_file(tmp_path / "track.mp3", n_audio_frames=100_000)
    apply_plan(plan_write(path, make_fields(), policies=Policies(genre=FieldPolicy.NEVER)))
    tracemalloc.start()
    apply_plan(plan_write(path, make_fields("other"), policies=Policies(genre=FieldPolicy.NEVER)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 40_000_000
    assert peak < 8_000_000
