"""The whole program on a folder where everything is wrong that can be: the right code for each file, nothing lost."""

import base64
import contextlib
import ctypes
import ctypes.util
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagcli.payload import hash_payload

PR_CAPBSET_DROP = 24
"""Linux's prctl operation that takes a right away for good."""
CANNOT_DROP = 77
PATIENCE_SECONDS = 120
LARGE_SAMPLE = 1e30
"""Finite in float32, and its square is not."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file of the hostile folder and what is to be said of it; `code` is the reason, None when it is tagged."""

    name: bytes
    content: bytes
    code: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def written(self):
        """What becomes of it with --write: nothing can be put behind media data that are cut off."""
        if self.name.endswith(b".aac"):
            return "unsupported"
        return "failed" if self.name in (b"cut.wav", b"cut.m4a") else "written"

    @property
    def is_written(self):
        return self.written == "written"


def make_hole(data, filling):
    """Overwrite a tenth of a file in its middle."""
    size, start = len(data) // 10, len(data) // 2
    hole = bytes(size) if filling == "zeros" else np.random.default_rng(1).bytes(size)
    return data[:start] + hole + data[start + size :]


def make_id3(n_bytes):
    """An ID3v2.4 tag that holds nothing but padding."""
    return b"ID3\x04\x00\x00" + bytes(n_bytes >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(n_bytes)


@pytest.fixture(scope="session")
def cases(tmp_path_factory, music, encode):
    """Every file of the hostile folder."""
    folder = tmp_path_factory.mktemp("sources")

    def make(name, planes, rate):
        return encode(folder / name, planes, rate).read_bytes()

    def write(name, planes, rate, subtype):
        soundfile.write(folder / name, planes.T, rate, subtype)
        return (folder / name).read_bytes()

    planes = music(5, 44_100)
    whole = {
        kind: make(f"x.{kind}", planes, 44_100) for kind in ("mp3", "flac", "ogg", "m4a", "mp4", "wav", "wma", "aac")
    }
    headless = make("x.cbr-without-header.mp3", planes, 44_100)
    nan = planes.copy()
    nan[:, 1000] = np.nan
    large = planes.copy()
    large[:, 1000:2000] = LARGE_SAMPLE
    picture = bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + bytes(3000)
    sound = [
        Case(name=b"ok.mp3", content=whole["mp3"]),
        Case(name=b"ok without header.mp3", content=headless),
        Case(name=b"ok tagged.mp3", content=make_id3(300_000) + headless),
        *(
            Case(name=f"ok.{kind}".encode(), content=whole[kind])
            for kind in ("flac", "ogg", "m4a", "wav", "wma", "aac")
        ),
        Case(name="sub/ü 🎵.mp3".encode(), content=whole["mp3"]),
        Case(name=b"sub/new\nline.mp3", content=whole["mp3"]),
        Case(name=b"sub/bytes \xff\xfe.mp3", content=whole["mp3"]),
        Case(name=b"sub/-dash.mp3", content=whole["mp3"]),
        Case(name=b"sub/file:x%03d.mp3", content=whole["mp3"]),
        Case(name=b"sub/" + b"n" * 246 + b".mp3", content=whole["mp3"]),
        Case(name=b"mp3 inside.flac", content=whole["mp3"]),
        Case(name=b"flac inside.mp3", content=whole["flac"]),
        Case(name=b"low.wav", content=make("low.wav", music(3, 8000, n_channels=1), 8000)),
        Case(name=b"high.flac", content=make("high.flac", music(2.5, 96_000, n_channels=6), 96_000)),
        Case(name=b"loud.wav", content=write("loud.wav", large, 44_100, "FLOAT"), warnings=("damaged",)),
        Case(name=b"one second.wav", content=make("a.wav", music(1, 8000), 8000), warnings=("padded",)),
    ]
    worn = [
        Case(name=b"cut.mp3", content=whole["mp3"][:-30_000], warnings=("truncated",)),
        Case(name=b"cut without header.mp3", content=headless[:-30_001], warnings=("truncated",)),
        *(
            Case(
                name=f"cut.{kind}".encode(), content=whole[kind][: len(whole[kind]) * 8 // 10], warnings=("truncated",)
            )
            for kind in ("flac", "ogg", "m4a", "wav", "wma", "aac")
        ),
        *(
            Case(
                name=f"hole of {filling}.{kind}".encode(),
                content=make_hole(whole[kind], filling),
                warnings=("damaged",),
            )
            for filling in ("noise", "zeros")
            for kind in ("mp3", "flac", "ogg", "m4a")
        ),
        Case(name=b"nan.wav", content=write("nan.wav", nan, 44_100, "FLOAT"), warnings=("damaged",)),
    ]
    hopeless = [
        Case(name=b"empty.mp3", content=b"", code="empty"),
        Case(name=b"empty \xff.flac", content=b"", code="empty"),
        Case(name=b"text.mp3", content=b"not audio\n" * 500, code="not_audio"),
        Case(name=b"noise.m4a", content=np.random.default_rng(0).bytes(50_000), code="not_audio"),
        Case(name=b"tags only.mp3", content=make_id3(4000), code="no_audio_stream"),
        Case(name=b"picture.mp3", content=picture, code="no_audio_stream"),
        Case(name=b"zeros.mp3", content=bytes(100_000), code="zero_rate"),
        Case(name=b"no index.mp4", content=whole["mp4"][:-2000], code="unreadable"),
        Case(name=b"header only.flac", content=whole["flac"][:42], code="unreadable"),
        Case(name=b"half a second.mp3", content=make("half.mp3", music(0.5, 44_100), 44_100), code="too_short"),
        Case(name=b"silent.wav", content=make("silent.wav", np.zeros((2, 30_000)), 8000), code="silent"),
    ]
    passed_over = [
        Case(name=b"._ok.mp3", content=b"\x00\x05\x16\x07" * 50),
        Case(name=b".hidden/x.mp3", content=b"x"),
        Case(name=b"cover.jpg", content=picture),
        Case(name=b"Thumbs.db", content=b"x"),
    ]
    return sound + worn + hopeless, passed_over


def lay_out(folder, cases):
    """Write the hostile folder, with what is not a file of its own: links, a pipe, a folder named like a track."""
    for case in [case for part in cases for case in part]:
        path = locate(folder, case)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.content)
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.mp3").symlink_to("gone.mp3")
    (folder / "self.mp3").symlink_to("self.mp3")
    (folder / "empty folder.mp3").mkdir()
    os.mkfifo(folder / "pipe.mp3")
    return folder


SPECIAL_CODES = {"dangling.mp3": "missing", "self.mp3": "unreadable", "pipe.mp3": "unreadable"}


def locate(folder, case):
    return folder / os.fsdecode(case.name)


def digest(folder):
    """The bytes of every file below a folder."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(*arguments, **options):
    """Run the program to its end."""
    command = [sys.executable, "-m", "tagcli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


def refuse_constant(text):
    pytest.fail(f"{text} is no JSON")


def read_rows(data):
    """Rows by path, as bytes."""
    rows = {}
    for line in data.decode("utf-8").splitlines():
        row = json.loads(line, parse_constant=refuse_constant)
        path = base64.b64decode(row["path_b64"]) if "path_b64" in row else row["path"].encode()
        assert path not in rows
        rows[path] = row
    return rows


@pytest.fixture(scope="session")
def listened(cases, tiny_checkpoint, tmp_path_factory):
    """One run over the hostile folder: the folder, its digest before, the process, its rows."""
    folder = lay_out(tmp_path_factory.mktemp("hostile"), cases)
    before = digest(folder)
    done = run("predict", folder, "--model", tiny_checkpoint, "--format", "jsonl", "--device", "cpu")
    return folder, before, done, read_rows(done.stdout)


def test_there_is_a_row_for_every_file_and_for_nothing_else(listened, cases):
    folder, _, _, rows = listened
    expected = {os.fsencode(locate(folder, case)) for case in cases[0]}
    expected |= {os.fsencode(folder / name) for name in SPECIAL_CODES}
    assert set(rows) == expected


def test_each_file_has_its_code_and_the_others_are_tagged(listened, cases):
    folder, _, _, rows = listened
    found = {os.path.relpath(path, os.fsencode(folder)): row for path, row in rows.items()}
    expected = {case.name: (case.code, sorted(case.warnings)) for case in cases[0]}
    expected |= {os.fsencode(name): (code, []) for name, code in SPECIAL_CODES.items()}
    assert {name: (row["reason"], sorted(row["warnings"])) for name, row in found.items()} == expected
    for row in found.values():
        status = {None: "ok", "silent": "skipped"}.get(row["reason"], "failed")
        assert row["status"] == status
        assert row["written"] is None
        assert len(row["tags"]) == (5 if status == "ok" else 0)
        assert all(0 <= tag["score"] <= 1 for tag in row["tags"])
        assert (row["message"] is None) == (status == "ok")


def test_the_exit_code_says_that_some_failed(listened):
    assert listened[2].returncode == 3


def test_listening_changes_no_byte(listened):
    folder, before, _, _ = listened
    assert digest(folder) == before


def test_nothing_but_the_summary_is_on_stderr(listened):
    talk = listened[2].stderr.decode("utf-8")
    for noise in ("mpg123", "part2_3", "Warning", "warning:", "[mp3", "Xing"):
        assert noise not in talk


def test_one_track_gets_the_same_best_tag_in_every_format(listened):
    folder, _, _, rows = listened
    best = {rows[os.fsencode(folder / name)]["tags"][0]["tag"] for name in ("ok.mp3", "ok.flac", "ok.wav", "ok.m4a")}
    assert len(best) == 1


@pytest.mark.parametrize("format_", ["table", "json"])
def test_every_other_format_survives_too(listened, tiny_checkpoint, format_):
    done = run("predict", listened[0], "--model", tiny_checkpoint, "--format", format_, "--clips", "middle")
    assert done.returncode == 3
    text = done.stdout.decode("utf-8")
    if format_ == "json":
        assert len(json.loads(text, parse_constant=refuse_constant)["tracks"]) == len(listened[3])


# Writing


@pytest.fixture(scope="session")
def written(cases, tiny_checkpoint, tmp_path_factory):
    """One run with --write over the hostile folder."""
    folder = lay_out(tmp_path_factory.mktemp("written"), cases)
    before = digest(folder)
    payloads = {case.name: hash_payload(locate(folder, case)) for case in cases[0] if case.is_written}
    done = run("predict", folder, "--model", tiny_checkpoint, "--format", "jsonl", "--write")
    return folder, before, payloads, done, read_rows(done.stdout)


def test_only_files_that_were_tagged_are_changed(written, cases):
    folder, before, _, done, _ = written
    after = digest(folder)
    expected = {Path(os.fsdecode(case.name)) for case in cases[0] if case.is_written and case.code is None}
    assert set(after) == set(before)
    assert {path for path in before if after[path] != before[path]} == expected
    assert done.returncode == 3


def test_rows_tell_what_became_of_each_file(written, cases):
    folder, _, _, _, rows = written
    for case in cases[0]:
        row = rows[os.fsencode(locate(folder, case))]
        reason = "write_failed" if case.written == "failed" else case.code
        assert (row["reason"], row["written"]) == (reason, None if case.code else case.written), case.name


def test_the_audio_is_the_same_bytes(written, cases):
    folder, _, payloads, _, _ = written
    for case in cases[0]:
        if case.is_written:
            assert hash_payload(locate(folder, case)) == payloads[case.name], case.name


def test_what_was_written_is_heard_the_same_and_not_written_again(written, tiny_checkpoint):
    folder, _, _, _, rows = written
    before = digest(folder)
    again = read_rows(run("predict", folder, "--model", tiny_checkpoint, "--format", "jsonl", "--write").stdout)
    assert digest(folder) == before
    assert {path: row["tags"] for path, row in again.items()} == {path: row["tags"] for path, row in rows.items()}
    assert {row["written"] for row in again.values()} == {None, "unsupported", "unchanged", "failed"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if os.getuid() != 0 or library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=600k") != 0:
        pytest.skip("a small file system cannot be mounted without root")
    yield folder
    library.umount2(os.fsencode(folder), 2)  # detach, also when something still holds it open


def test_a_full_disk_costs_no_byte(small_disk, tiny_checkpoint, music, encode):
    track = encode(small_disk / "a.mp3", music(6, 44_100), 44_100).read_bytes()
    for name in ("b.mp3", "c.mp3"):
        (small_disk / name).write_bytes(track)
    with contextlib.suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    before = digest(small_disk)
    done = run("predict", small_disk, "--model", tiny_checkpoint, "--format", "jsonl", "--write")
    rows = read_rows(done.stdout)
    assert [(row["status"], row["reason"], row["written"]) for row in rows.values()] == [
        ("failed", "write_failed", "failed")
    ] * 3
    assert all(len(row["tags"]) == 5 for row in rows.values())
    assert done.returncode == 3
    assert digest(small_disk) == before


WITHOUT_RIGHTS = f"""
import ctypes, os, sys
if os.getuid() == 0:
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root pass by permissions
        if ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, right, 0, 0, 0) != 0:
            sys.exit({CANNOT_DROP})
os.execv(sys.executable, [sys.executable, "-m", "tagcli", *sys.argv[1:]])
"""


def test_files_and_folders_that_are_barred(cases, tiny_checkpoint, tmp_path):
    content = next(case.content for case in cases[0] if case.name == b"ok.mp3")
    folder = tmp_path / "music"
    (folder / "barred").mkdir(parents=True)
    for name in ("barred/x.mp3", "barred.mp3", "read only.mp3"):
        (folder / name).write_bytes(content)
    for name in ("barred", "barred.mp3"):
        (folder / name).chmod(0)
    (folder / "read only.mp3").chmod(0o444)
    folder.chmod(0o555)
    arguments = ["predict", folder, folder / "barred/x.mp3", "-m", tiny_checkpoint, "--write", "--format", "jsonl"]
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, *map(str, arguments)], capture_output=True, check=False
        )
    finally:
        for path in (folder, folder / "barred", folder / "barred.mp3"):
            path.chmod(0o755)
    if done.returncode == CANNOT_DROP:
        pytest.skip("root keeps its rights here")
    assert b"Traceback" not in done.stderr
    rows = {Path(os.fsdecode(path)).relative_to(folder).as_posix(): row for path, row in read_rows(done.stdout).items()}
    assert {path: (row["reason"], row["written"]) for path, row in rows.items()} == {
        "barred": ("unreadable", None),
        "barred.mp3": ("unreadable", None),
        "barred/x.mp3": ("unreadable", None),
        "read only.mp3": ("write_failed", "failed"),
    }
    assert len(rows["read only.mp3"]["tags"]) == 5
    assert done.returncode == 3
    assert set(digest(folder)) == {Path("barred/x.mp3"), Path("barred.mp3"), Path("read only.mp3")}
    assert set(digest(folder).values()) == {hashlib.sha256(content).hexdigest()}


# While it runs


@pytest.fixture(scope="session")
def long_track(tmp_path_factory, music, encode):
    """A track that takes some hundredths of a second."""
    return encode(tmp_path_factory.mktemp("long") / "x.flac", music(20, 48_000), 48_000)


@pytest.fixture
def make_list(tmp_path, long_track):
    """A function that gives the track many names in one folder."""

    def make(n_names):
        folder = tmp_path / "long"
        folder.mkdir()
        for index in range(n_names):
            os.link(long_track, folder / f"{index:03}.flac")
        return folder

    return make


def start(*arguments):
    """Start the program; its output is a pipe."""
    command = [sys.executable, "-m", "tagcli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_files_that_vanish_during_the_run_are_missing(make_list, tiny_checkpoint):
    folder = make_list(80)
    with start("predict", folder, "--model", tiny_checkpoint, "--format", "jsonl", "-j", 1) as process:
        first = process.stdout.readline()
        for index in range(75, 80):
            (folder / f"{index:03}.flac").unlink()
        rest = process.stdout.read()  # what came with the first line stands in this reader already
        _, talk = process.communicate(timeout=PATIENCE_SECONDS)
    rows = [json.loads(line) for line in (first + rest).splitlines()]
    assert [row["reason"] for row in rows] == [None] * 75 + ["missing"] * 5
    assert process.returncode == 3
    assert b"Traceback" not in talk


@pytest.mark.parametrize(("format_", "number"), [("json", signal.SIGINT), ("jsonl", signal.SIGTERM)])
def test_ctrl_c_ends_the_run_and_keeps_what_was_done(make_list, tiny_checkpoint, tmp_path, format_, number):
    folder = make_list(900)
    output = tmp_path / "results"
    arguments = ("--model", tiny_checkpoint, "--format", format_, "-o", output, "-j", 1)
    with start("predict", folder, *arguments) as process:
        assert wait_for_rows(tmp_path, process)
        process.send_signal(number)
        stdout, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert stdout == b""
    assert b"Traceback" not in talk
    text = output.read_text(encoding="utf-8")
    if format_ == "json":
        document = json.loads(text)
        rows = document["tracks"]
        assert document["summary"]["interrupted"] is True
        assert document["summary"]["tagged"] == len(rows)
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert 0 < len(rows) < 900
    assert [Path(row["path"]).name for row in rows] == [f"{index:03}.flac" for index in range(len(rows))]
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_second_ctrl_c_ends_it_on_the_spot(make_list, tiny_checkpoint, tmp_path, pause_seconds):
    """Else it might reach the interpreter in the middle of its end, which then aborts."""
    with start("predict", make_list(900), "--model", tiny_checkpoint, "-o", tmp_path / "results", "--write") as process:
        assert wait_for_rows(tmp_path, process)
        process.send_signal(signal.SIGINT)
        time.sleep(pause_seconds)
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert b"terminate" not in talk
    assert b"Traceback" not in talk


def wait_for_rows(folder, process):
    """Wait until the unfinished results file has rows; False when the program ended before."""
    while process.poll() is None:
        if any(b"flac" in path.read_bytes() for path in folder.glob(".*.tmp")):
            return True
    return False


def test_ctrl_c_before_the_first_track_ends_it_as_well(make_list, tiny_checkpoint):
    with start("predict", make_list(300), "--model", tiny_checkpoint) as process:
        while process.poll() is None and not is_python_ready(process.pid):
            pass
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert b"Traceback" not in talk


def is_python_ready(pid):
    """Whether the process has its own modules open already: torch is among them, and takes a second to load."""
    return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()


def test_a_damaged_header_does_not_fill_the_memory(tmp_path, tiny_checkpoint):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(100_000, 0.1), 8000)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 1)  # one sample a second: a day of audio
    path.write_bytes(data)
    done = run("predict", path, "--model", tiny_checkpoint, "--format", "jsonl")
    assert json.loads(done.stdout)["reason"] == "zero_rate"
