"""Finding tracks: every name that a disk can hold, each track once, in an order that does not change."""

import os
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path, PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagcli.audio.collection import EXTENSIONS, Shard, find_tracks

COMMON = {".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".wav", ".aiff", ".wv", ".ape"}
FOLDERS_DEEP = 1500
"""Deeper than Python's recursion limit of 1000 calls; shorter than the 4096 bytes of a path, as each name has one."""
NOBODY = 65534
"""The user id without rights on every Unix."""


def make_tree(root, *names):
    """Create files, empty, below `root`."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found_below(root, *roots, exclude=()):
    """Paths below `root` of what is found, as text."""
    return [path.relative_to(root).as_posix() for path in find_tracks(roots or [root], exclude=exclude)]


def test_all_common_formats_are_looked_for():
    assert COMMON <= EXTENSIONS


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_an_extension_counts_in_any_case(tmp_path, extension):
    names = sorted(f"{index}{text}" for index, text in enumerate((extension, extension.upper(), extension.title())))
    make_tree(tmp_path, *names)
    assert found_below(tmp_path) == names


def test_what_is_no_audio_by_its_name_is_passed_over(tmp_path):
    make_tree(tmp_path, "cover.jpg", "folder.png", "a.cue", "a.m3u8", "mp3", "a.mp3.part", "a.mp3~", "notes", "b.mp3")
    assert found_below(tmp_path) == ["b.mp3"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    make_tree(tmp_path, "._x.mp3", ".x.mp3", ".mp3", ".Trash/x.mp3", "a/.AppleDouble/x.mp3", "a/x.mp3")
    assert found_below(tmp_path) == ["a/x.mp3"]


def test_a_hidden_root_is_walked_all_the_same(tmp_path):
    make_tree(tmp_path, ".music/x.mp3", ".y.mp3")
    assert found_below(tmp_path, tmp_path / ".music", tmp_path / ".y.mp3") == [".music/x.mp3", ".y.mp3"]


def test_files_come_before_sub_folders_each_sorted_by_bytes(tmp_path):
    make_tree(tmp_path, "b/1.mp3", "a/2.mp3", "a/10.mp3", "Z.mp3", "z.mp3", "a.mp3", "é.mp3", "a/b/0.mp3")
    expected = ["Z.mp3", "a.mp3", "z.mp3", "é.mp3", "a/10.mp3", "a/2.mp3", "a/b/0.mp3", "b/1.mp3"]
    assert found_below(tmp_path) == expected


def test_a_folder_named_like_a_track_is_walked(tmp_path):
    make_tree(tmp_path, "live.mp3/x.mp3")
    assert found_below(tmp_path) == ["live.mp3/x.mp3"]


def test_a_file_given_by_name_needs_no_extension(tmp_path):
    make_tree(tmp_path, "track", "x.xyz")
    assert found_below(tmp_path, tmp_path / "track", tmp_path / "x.xyz") == ["track", "x.xyz"]


def test_a_missing_path_is_yielded_for_the_decoder_to_report(tmp_path):
    missing = tmp_path / "nowhere" / "x.mp3"
    too_long = tmp_path / ("x" * 300)
    assert list(find_tracks([missing, str(too_long)])) == [missing, too_long]


def test_the_same_track_given_twice_comes_once(tmp_path, monkeypatch):
    make_tree(tmp_path, "a/x.mp3", "b/y.mp3")
    monkeypatch.chdir(tmp_path)
    roots = ["a/x.mp3", "a", Path("b/../a/x.mp3"), tmp_path, tmp_path / "a", "./b/y.mp3", "."]
    assert list(find_tracks(roots)) == [Path("a/x.mp3"), tmp_path / "b/y.mp3"]


def test_links_are_followed_and_each_real_folder_is_walked_once(tmp_path):
    make_tree(tmp_path, "music/a/x.mp3", "elsewhere/y.mp3")
    (tmp_path / "music" / "loop").symlink_to(tmp_path / "music")
    (tmp_path / "music" / "a" / "up").symlink_to("..")
    (tmp_path / "music" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "music" / "c").symlink_to(tmp_path / "elsewhere")
    assert found_below(tmp_path / "music") == ["a/x.mp3", "b/y.mp3"]


def test_a_link_to_a_track_is_a_track_and_a_dangling_one_too(tmp_path):
    make_tree(tmp_path, "music/x.mp3")
    (tmp_path / "music" / "y.mp3").symlink_to("x.mp3")
    (tmp_path / "music" / "z.mp3").symlink_to("gone.mp3")
    assert found_below(tmp_path / "music") == ["x.mp3", "y.mp3", "z.mp3"]


def test_a_link_to_itself_stops_nothing(tmp_path):
    make_tree(tmp_path, "x.mp3")
    (tmp_path / "folder").symlink_to("folder")
    (tmp_path / "self.mp3").symlink_to("self.mp3")
    assert found_below(tmp_path) == ["self.mp3", "x.mp3"]


def test_folders_may_be_as_deep_as_paths_allow(tmp_path):
    program = f"""
import os
from pathlib import Path
from tagcli.audio.collection import find_tracks
os.chdir({str(tmp_path)!r})
for _ in range({FOLDERS_DEEP}):
    os.mkdir("d")
    os.chdir("d")
Path("x.mp3").touch()
os.chdir({str(tmp_path)!r})
print(sum(path.name == "x.mp3" for path in find_tracks(["d"])))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for pytest's own cleaning
    assert (done.stdout, done.stderr) == ("1\n", "")


HOSTILE_NAMES = [
    b"new\nline.mp3",
    b"-dash.mp3",
    b"--write.mp3",
    b"bytes \xff\xfe.mp3",
    "🎵 ü.mp3".encode(),
    b"file:x.mp3",
    b"http:x.mp3",
    b"%03d.mp3",
    b"a*b?[c].mp3",
    b"  two spaces .mp3",
    b"tab\t'quote\".mp3",
    b"n" * 246 + b".mp3",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_any_file_name_is_found_as_it_is(tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.touch()
    assert [os.fsencode(found) for found in find_tracks([tmp_path])] == [os.fsencode(path)]
    assert [os.fsencode(found) for found in find_tracks([path])] == [os.fsencode(path)]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("*.wav", ["a.mp3", "Live/b.mp3", "Live/Podcasts/d.mp3", "Podcasts/e.mp3"]),
        ("a.mp3", ["c.wav", "Live/b.mp3", "Live/Podcasts/d.mp3", "Podcasts/e.mp3"]),
        ("Podcasts", ["a.mp3", "c.wav", "Live/b.mp3"]),
        ("Podcasts/", ["a.mp3", "c.wav", "Live/b.mp3"]),
        ("Live/Podcasts", ["a.mp3", "c.wav", "Live/b.mp3", "Podcasts/e.mp3"]),
        ("Live/*", ["a.mp3", "c.wav", "Podcasts/e.mp3"]),
        ("Li*/b.*", ["a.mp3", "c.wav", "Live/Podcasts/d.mp3", "Podcasts/e.mp3"]),
        ("live", ["a.mp3", "c.wav", "Live/b.mp3", "Live/Podcasts/d.mp3", "Podcasts/e.mp3"]),
        ("[ab].mp3", ["c.wav", "Live/Podcasts/d.mp3", "Podcasts/e.mp3"]),
        ("*", []),
    ],
)
def test_exclude_matches_the_name_or_the_path_below_the_root(tmp_path, pattern, kept):
    root = make_tree(tmp_path / "Live", "a.mp3", "c.wav", "Live/b.mp3", "Live/Podcasts/d.mp3", "Podcasts/e.mp3")
    assert found_below(root, exclude=[pattern]) == kept


def test_several_patterns_add_up(tmp_path):
    make_tree(tmp_path, "a.mp3", "b.wav", "c.flac")
    assert found_below(tmp_path, exclude=["*.wav", "c*"]) == ["a.mp3"]


def test_exclude_leaves_alone_what_is_given_by_name(tmp_path):
    make_tree(tmp_path, "a.wav", "b/c.mp3")
    assert found_below(tmp_path, tmp_path / "a.wav", tmp_path / "b", exclude=["*.wav", "b"]) == ["a.wav", "b/c.mp3"]


def test_an_excluded_folder_is_not_even_opened(tmp_path):
    make_tree(tmp_path, "a.mp3", "private/b.mp3")
    (tmp_path / "private").chmod(0)
    try:
        assert found_below(tmp_path, exclude=["private"]) == ["a.mp3"]
    finally:
        (tmp_path / "private").chmod(0o700)


@pytest.fixture
def open_folder():
    """A folder that every user may enter; pytest's own are for one user only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in folder.iterdir():
            path.chmod(0o700)


def test_barred_folders_are_yielded_so_that_they_are_reported(open_folder):
    make_tree(open_folder, "a.mp3", "barred/b.mp3", "c/d.mp3")
    (open_folder / "barred").chmod(0)
    program = f"""
import os
from tagcli.audio.collection import find_tracks
if os.getuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for path in find_tracks([".", "barred/b.mp3"]):
    print(path)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=open_folder, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        pytest.skip("the unprivileged user cannot read the program itself")
    assert (done.stdout.split(), done.stderr) == (["a.mp3", "barred", "c/d.mp3", "barred/b.mp3"], "")


NAMES = st.text(alphabet="aB.é-_ 1\n", min_size=1, max_size=6).filter(lambda text: text.strip(".") != "")
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=2), NAMES), max_size=12)


@given(TREES, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_creation_and_of_roots_does_not_matter(tmp_path_factory, tree, random):
    root = tmp_path_factory.mktemp("tree")
    random.shuffle(tree)
    for folders, name in tree:
        folder = root.joinpath(*(f"{name}.d" for name in folders))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.mp3").touch()
    found = list(find_tracks([root]))
    expected = {
        path for path in root.rglob("*.mp3") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    assert set(found) == expected
    assert len(found) == len(expected)
    assert list(find_tracks([root, root])) == found
    assert list(find_tracks(found)) == found
    roots = [root, *(path for path in root.rglob("*") if "/." not in path.as_posix()[len(root.as_posix()) :])]
    random.shuffle(roots)
    assert set(find_tracks(roots)) == expected


def test_a_link_to_a_folder_above_the_root_is_not_followed(tmp_path):
    (tmp_path / "music" / "album").mkdir(parents=True)
    for path in (tmp_path / "elsewhere.mp3", tmp_path / "music" / "a.mp3", tmp_path / "music" / "album" / "b.mp3"):
        path.write_bytes(b"x")
    (tmp_path / "music" / "album" / "up").symlink_to(tmp_path)
    album = tmp_path / "music" / "album"
    assert list(find_tracks([album])) == [album / "b.mp3"]
    assert list(find_tracks([album, tmp_path / "music"])) == [album / "b.mp3", tmp_path / "music" / "a.mp3"]


# Shards

SHARD_OF_FIVE = {
    "a.mp3": 4,
    "A/01 é.flac": 1,
    "音楽/b.ogg": 3,
}
"""Kept from version to version, or a run on several machines that is taken up again leaves tracks out."""


@pytest.mark.parametrize(("text", "shard"), [("2/5", (2, 5)), ("1/1", (1, 1)), ("5/5", (5, 5)), ("07/10", (7, 10))])
def test_a_shard_is_read(text, shard):
    parsed = Shard.parse(text)
    assert (parsed.index, parsed.count) == shard
    assert Shard.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    ["", "2", "0/5", "6/5", "0/0", "1/0", "-1/5", "1/-5", "2/5/9", "a/b", " 2/5", "2/5\n", "2.0/5", "²/5", "1/1e3"],
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="shard"):
        Shard.parse(text)


@pytest.mark.parametrize("index", [0, 6, -1])
def test_there_is_no_shard_beyond_their_number(index):
    with pytest.raises(ValueError, match=f"no shard {index} of 5"):
        Shard(index=index, count=5)


def shard_of(name, count=5):
    (index,) = [index for index in range(1, count + 1) if Shard(index=index, count=count).holds(PurePath(name))]
    return index


@pytest.mark.parametrize(("name", "index"), SHARD_OF_FIVE.items())
def test_the_shard_of_a_name_never_changes(name, index):
    assert shard_of(name) == index


def test_a_shard_does_not_depend_on_how_letters_are_composed():
    for number in range(20):
        name = f"é ü が {number}.mp3"
        assert shard_of(unicodedata.normalize("NFD", name)) == shard_of(unicodedata.normalize("NFC", name))


@given(st.lists(st.binary(min_size=1, max_size=8), max_size=30), st.integers(1, 9))
def test_every_name_is_in_one_shard(names, count):
    for name in names:
        assert 1 <= shard_of(os.fsdecode(name.replace(b"\0", b"")), count) <= count


def test_shards_are_of_like_size():
    n_tracks, count = 3000, 3
    sizes = Counter(shard_of(f"Artist {number % 50}/{number}.mp3", count) for number in range(n_tracks))
    assert min(sizes.values()) > 0.9 * n_tracks / count


@given(TREES, st.integers(1, 4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shards_are_disjoint_and_complete_and_keep_the_order(tmp_path_factory, tree, count):
    root = tmp_path_factory.mktemp("tree")
    for folders, name in tree:
        folder = root.joinpath(*(f"{name}.d" for name in folders))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.mp3").touch()
    (root / os.fsdecode(b"\xff.mp3")).touch()
    deeper = [path for path in root.rglob("*") if "/." not in path.as_posix()[len(root.as_posix()) :]]
    for roots in ([root], [*deeper, root], [root, *deeper]):  # a track that is found twice, by other ways
        found = list(find_tracks(roots))
        shards = [list(find_tracks(roots, shard=Shard(index=i, count=count))) for i in range(1, count + 1)]
        assert sorted(path for shard in shards for path in shard) == sorted(found)
        for shard in shards:
            assert shard == [path for path in found if path in set(shard)]


def test_a_shard_is_the_same_wherever_the_collection_is_mounted(tmp_path, monkeypatch):
    names = [f"{artist}/{number}.mp3" for artist in "abc" for number in range(8)]
    here, there = make_tree(tmp_path / "here", *names), make_tree(tmp_path / "mnt" / "there", *names)
    shard = Shard(index=2, count=3)
    expected = [path.relative_to(here) for path in find_tracks([here], shard=shard)]
    assert 0 < len(expected) < len(names)
    assert [path.relative_to(there) for path in find_tracks([there], shard=shard)] == expected
    monkeypatch.chdir(here)
    assert list(find_tracks(["."], shard=shard)) == expected
    assert list(find_tracks(["../here"], shard=shard)) == [Path("../here") / path for path in expected]


def test_a_file_given_by_itself_goes_by_its_name(tmp_path):
    names = [f"{number}.mp3" for number in range(8)]
    make_tree(tmp_path, *(f"a/{name}" for name in names), *(f"b/{name}" for name in names))
    shard = Shard(index=1, count=2)
    found = [[path.name for path in find_tracks([tmp_path / x / name for name in names], shard=shard)] for x in "ab"]
    assert found[0] == found[1] == [name for name in names if shard_of(name, 2) == 1]
    assert 0 < len(found[0]) < len(names)


def test_what_is_not_there_is_told_in_every_shard(tmp_path):
    make_tree(tmp_path, "music/a.mp3")
    missing = [tmp_path / "not mounted", tmp_path / "gone.mp3"]
    for index in (1, 2, 3):
        assert list(find_tracks([*missing, *missing], shard=Shard(index=index, count=3))) == missing


def test_a_barred_folder_is_told_in_every_shard(open_folder):
    make_tree(open_folder, "a.mp3", "barred/b.mp3", "c/d.mp3")
    (open_folder / "barred").chmod(0)
    program = f"""
import os
from tagcli.audio.collection import Shard, find_tracks
if os.getuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
for index in (1, 2, 3):
    print(*find_tracks(["."], shard=Shard(index=index, count=3)))
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=open_folder, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        pytest.skip("the unprivileged user cannot read the program itself")
    assert done.stderr == ""
    shards = [line.split() for line in done.stdout.splitlines()]
    assert sorted(path for shard in shards for path in shard) == ["a.mp3", *["barred"] * 3, "c/d.mp3"]
    assert all("barred" in shard for shard in shards)
