"""The very same bytes come back: any versions, real files of every container, damaged patches, bounded memory."""

import hashlib
import io
import random
import shutil
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import mutagen
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mutagen.apev2 import APEv2
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TIT2, TXXX
from mutagen.mp4 import MP4, MP4Cover

from tagcli.errors import JournalError
from tagcli.journal import patch as patch_module
from tagcli.journal.patch import MAGIC, PATCH_BYTES, PatchFacts, apply_patch, make_patch, read_patch
from tagcli.journal.versions import BLOCK_BYTES, FIRST_BLOCK_BYTES, WINDOW_BYTES, Version, compare, find_shifts

RUN_BYTES = 16
"""More than the numbers of a run and what zlib adds to bytes that it cannot pack."""
PAGE_BYTES = 8 + RUN_BYTES
"""Sequence number and checksum of an Ogg page, and their run."""
MEMORY_BYTES = 24 << 20
"""A few dozen blocks: the shifts tried, their masks, fingerprints with numbers of eight bytes a place."""

NOISE = random.Random(1).randbytes(3 << 20)
HEAD, AUDIO, TAIL, PICTURE = NOISE[:3000], NOISE[3000:1_200_000], NOISE[1_200_000:1_200_700], NOISE[1_300_000:1_900_000]
OTHER = NOISE[2_000_000:]
LOOP = NOISE[1_200_700:1_212_345]
TILE = np.frombuffer(NOISE[: 1 << 16], np.uint64)


def round_trip(old, new):
    """Make a patch, apply it, check the result to the byte, and return it."""
    patch = make_patch(io.BytesIO(old), io.BytesIO(new))
    result = io.BytesIO()
    apply_patch(io.BytesIO(new), patch, result)
    assert result.getvalue() == old
    assert read_patch(patch) == PatchFacts(
        old_size=len(old),
        new_size=len(new),
        old_sha256=hashlib.sha256(old).hexdigest(),
        new_sha256=hashlib.sha256(new).hexdigest(),
    )
    return patch


def refuse(new, patch, match="damaged"):
    """Check that a patch is refused before a byte is written."""
    result = io.BytesIO()
    with pytest.raises(JournalError, match=match) as caught:
        apply_patch(io.BytesIO(new), patch, result)
    assert result.getvalue() == b""
    return caught.value


def sign(content):
    return content + hashlib.sha256(content).digest()


# Any pair


@st.composite
def pairs(draw):
    """Draw two versions: pieces of one file, some of them gone, moved, doubled, replaced or changed here and there."""
    generator = random.Random(draw(st.integers(0, 1 << 32)))
    length = st.one_of(
        st.integers(0, 64),
        st.integers(0, 3 * WINDOW_BYTES),
        st.sampled_from([WINDOW_BYTES, FIRST_BLOCK_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1]),
    )
    old, new = [], []
    for n_bytes in draw(st.lists(length, max_size=6)):
        piece = bytes(n_bytes) if draw(st.booleans()) and n_bytes % 3 == 0 else generator.randbytes(n_bytes)
        old.append(piece)
        match draw(st.sampled_from(["same", "sparse", "gone", "other", "first", "twice"])):
            case "same":
                new.append(piece)
            case "sparse":
                changed = bytearray(piece)
                for place in range(generator.randrange(200), n_bytes, 1 + generator.randrange(500)):
                    changed[place] ^= generator.randrange(256)
                new.append(bytes(changed))
            case "other":
                new.append(generator.randbytes(draw(length)))
            case "first":
                new.insert(0, piece)
            case "twice":
                new += [piece, piece]
            case "gone":
                pass
    return b"".join(old), b"".join(new)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(pairs())
@example((b"", b""))
@example((b"", AUDIO))
@example((AUDIO, b""))
@example((b"a", b"b"))
@example((AUDIO, OTHER))
def test_every_pair_gives_back_the_old_version(pair):
    old, new = pair
    # More runs than bytes / 5 there are not, so a patch is never much larger than the old version.
    assert len(round_trip(old, new)) <= PATCH_BYTES + 2 * len(old) + RUN_BYTES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_tiny_pairs(old, new):
    round_trip(old, new)


@pytest.mark.parametrize(
    ("old", "new", "n_stored"),
    [
        pytest.param(AUDIO, AUDIO, 0, id="equal"),
        pytest.param(HEAD + AUDIO, OTHER[:5000] + AUDIO, 3000, id="grows-in-front"),
        pytest.param(HEAD + AUDIO, OTHER[:50] + AUDIO, 3000, id="shrinks-in-front"),
        pytest.param(AUDIO + TAIL, AUDIO + OTHER[:5000], 700, id="grows-behind"),
        pytest.param(AUDIO, AUDIO + TAIL, 0, id="added-behind"),
        pytest.param(AUDIO, HEAD + AUDIO, 0, id="added-in-front"),
        pytest.param(HEAD + AUDIO + TAIL, OTHER[:5000] + AUDIO + OTHER[5000:5900], 3700, id="grows-at-both-ends"),
        pytest.param(HEAD + AUDIO + TAIL, OTHER[:1000] + AUDIO + OTHER[1000:3700], 3700, id="same-size-at-both-ends"),
        pytest.param(HEAD + PICTURE + AUDIO, HEAD + TAIL + PICTURE + AUDIO, 0, id="picture-moves"),
        pytest.param(
            HEAD + PICTURE + bytes(4000) + AUDIO,
            HEAD + TAIL + PICTURE + bytes(3300) + AUDIO,
            0,
            id="picture-in-padding",
        ),
        pytest.param(HEAD + PICTURE + AUDIO, PICTURE + HEAD + AUDIO, 3000, id="picture-before-text"),
        pytest.param(HEAD + AUDIO, HEAD + PICTURE + AUDIO, 0, id="picture-added"),
        pytest.param(HEAD + PICTURE + AUDIO, HEAD + AUDIO, len(PICTURE), id="picture-removed"),
        pytest.param(AUDIO, OTHER, len(AUDIO), id="nothing-in-common"),
        pytest.param(HEAD + LOOP * 30 + TAIL, OTHER[:5000] + LOOP * 30 + OTHER[5000:5900], 3700, id="repeats-itself"),
        pytest.param(HEAD + bytes(1 << 20), TAIL + bytes(1 << 20), 3000, id="silence"),
    ],
)
def test_a_patch_is_as_large_as_what_changed(old, new, n_stored):
    # zlib adds 5 bytes to 16 KB that it cannot pack.
    assert len(round_trip(old, new)) <= PATCH_BYTES + 5 * RUN_BYTES + n_stored * 1.001


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 20_000))
def test_the_middle_is_found_whatever_its_shift(n_old_head, n_new_head, n_old_tail, n_new_tail):
    old = OTHER[:n_old_head] + AUDIO + OTHER[20_000 : 20_000 + n_old_tail]
    new = OTHER[40_000 : 40_000 + n_new_head] + AUDIO + OTHER[60_000 : 60_000 + n_new_tail]
    patch = round_trip(old, new)
    # At each end a little may be left over that saves less than a change of shift.
    assert len(patch) <= PATCH_BYTES + (n_old_head + n_old_tail) * 1.01 + 10 * RUN_BYTES


def test_regular_small_differences_behind_a_shift():
    old = bytearray(HEAD + AUDIO)
    new = bytearray(OTHER[:9000] + AUDIO)
    places = range(len(HEAD) + 100, len(old), 4200)
    for place in places:
        old[place : place + 8] = OTHER[place : place + 8]
    patch = round_trip(bytes(old), bytes(new))
    assert len(patch) <= PATCH_BYTES + len(HEAD) + len(places) * PAGE_BYTES


def test_shifts_that_every_edit_has_come_first():
    versions = (Version(io.BytesIO(HEAD + AUDIO + TAIL)), Version(io.BytesIO(HEAD * 2 + AUDIO)))
    assert find_shifts(*versions) == [0, 2300, 3000]


# Real files


@pytest.fixture(scope="module")
def make_track(tmp_path_factory, encode, music):
    """Give a file of a kind, encoded once, in a folder of its own."""
    tracks = {}
    planes = music(12, 44_100)

    def make(folder, name):
        if name not in tracks:
            tracks[name] = encode(tmp_path_factory.mktemp("track") / name, planes, 48_000 if "opus" in name else 44_100)
        return Path(shutil.copy(tracks[name], folder / name))

    return make


@pytest.fixture
def pair(tmp_path, make_track):
    """Make a real file, prepare it, edit it; return both versions."""

    def make(name, prepare, edit):
        path = make_track(tmp_path, name)
        prepare(path)
        old = path.read_bytes()
        edit(path)
        new = path.read_bytes()
        assert new != old
        return old, new

    return make


def nothing(path):
    pass


def id3(version, n_padding=0, text="mine", picture=0, title="A title"):
    def save(path):
        try:
            tag = ID3(path, translate=False)
        except mutagen.MutagenError:
            tag = ID3()
        tag.add(TIT2(encoding=1, text=[title]))
        tag.add(TXXX(encoding=1, desc="TAGCLI", text=[text]))
        if picture:
            tag.add(APIC(encoding=0, mime="image/jpeg", type=3, desc="", data=NOISE[:picture]))
        tag.save(path, v2_version=version, v23_sep=None, v1=2, padding=lambda _: n_padding)

    return save


def comment(text="mine", n_padding=None):
    def save(path):
        file = mutagen.File(path)
        if file.tags is None:
            file.add_tags()
        file["mood"] = [text]
        file.save(**({} if n_padding is None else {"padding": lambda _: n_padding}))

    return save


def flac_picture(path):
    file = FLAC(path)
    picture = Picture()
    picture.data, picture.mime, picture.type = PICTURE, "image/jpeg", 3
    file.add_picture(picture)
    file.save(padding=lambda _: 0)


def mp4(text="mine", n_padding=0, picture=False):
    def save(path):
        file = MP4(path)
        file["----:com.apple.iTunes:MOOD"] = [text.encode()]
        if picture:
            file["covr"] = [MP4Cover(PICTURE)]
        file.save(padding=lambda _: n_padding)

    return save


def ape(text="mine"):
    def save(path):
        try:
            tag = APEv2(path)
        except mutagen.MutagenError:
            tag = APEv2()
        tag["Mood"] = text
        tag.save(path)

    return save


def chunk(text="mine"):
    def save(path):
        file = mutagen.File(path)
        if file.tags is None:
            file.add_tags()
        file.tags.add(TXXX(encoding=3, desc="TAGCLI", text=[text]))
        file.save()

    return save


def both(*edits):
    def save(path):
        for edit in edits:
            edit(path)

    return save


LONG = NOISE[:30_000].hex()
TAG_BYTES = 1024
"""More than the small tags of these tests, whose old bytes a patch holds."""


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("prepare", "edit", "n_stored"),
    [
        pytest.param(nothing, {}, 0, id="no-tag-before"),
        pytest.param({"n_padding": 4096}, {"n_padding": 3000, "text": "mine and more"}, TAG_BYTES, id="in-padding"),
        pytest.param({}, {"n_padding": 1024, "text": LONG}, TAG_BYTES, id="grows"),
        pytest.param({"n_padding": 4096}, {"picture": 5_000_000}, TAG_BYTES, id="picture-of-5-MB"),
        pytest.param({"picture": 500_000}, {"title": "A longer title"}, TAG_BYTES, id="picture-stays"),
        pytest.param({"picture": 500_000}, {"n_padding": 2000, "text": LONG}, TAG_BYTES, id="picture-moves"),
    ],
)
def test_mp3(pair, version, prepare, edit, n_stored):
    before = prepare if prepare is nothing else id3(version, **prepare)
    expect_patch(pair("track.mp3", before, id3(version, **edit)), n_stored)


def expect_patch(versions, n_stored):
    assert len(round_trip(*versions)) <= PATCH_BYTES + 5 * RUN_BYTES + n_stored
    round_trip(*reversed(versions))


@pytest.mark.parametrize(
    ("name", "prepare", "edit", "n_stored"),
    [
        pytest.param("track.mp3", ape(), both(id3(4), ape("longer than before")), TAG_BYTES, id="mp3-ape-and-id3"),
        pytest.param("track.flac", comment(), comment("another"), TAG_BYTES, id="flac-in-padding"),
        pytest.param("track.flac", comment(n_padding=0), comment(LONG), TAG_BYTES, id="flac-grows"),
        pytest.param("track.flac", comment(n_padding=0), flac_picture, TAG_BYTES, id="flac-picture"),
        pytest.param("track.flac", flac_picture, comment(LONG, 0), TAG_BYTES, id="flac-picture-moves"),
        pytest.param("track.m4a", mp4(), mp4(LONG), 2 * TAG_BYTES, id="m4a-moov-in-front"),
        pytest.param("track.m4a", mp4(n_padding=2000), mp4("another", 1996), TAG_BYTES, id="m4a-in-padding"),
        pytest.param("track.m4a", mp4(), mp4(picture=True), 2 * TAG_BYTES, id="m4a-picture"),
        pytest.param("track.m4a", mp4(picture=True), mp4(LONG), 2 * TAG_BYTES, id="m4a-picture-moves"),
        pytest.param("track.mp4", mp4(), mp4(LONG), 2 * TAG_BYTES, id="m4a-moov-behind"),
        pytest.param("track.wma", comment(), comment(LONG[:30_000]), 6 * TAG_BYTES, id="wma"),
        pytest.param("track.wav", chunk(), chunk(LONG), 2 * TAG_BYTES, id="wav"),
        pytest.param("track.wav", nothing, chunk(), TAG_BYTES, id="wav-no-tag-before"),
        pytest.param("track.aiff", chunk(), chunk(LONG), 2 * TAG_BYTES, id="aiff"),
        pytest.param("track.aiff", nothing, chunk(), TAG_BYTES, id="aiff-no-tag-before"),
        pytest.param("track.wv", ape(), ape(LONG), TAG_BYTES, id="wavpack"),
    ],
)
def test_other_containers(pair, name, prepare, edit, n_stored):
    expect_patch(pair(name, prepare, edit), n_stored)


@pytest.mark.parametrize("name", ["track.ogg", "track.opus"])
def test_ogg_whose_headers_grow_by_pages(pair, name):
    old, new = pair(name, comment(), comment(LONG * 4))
    pages = [part for part in range(len(old)) if old.startswith(b"OggS\0", part)]
    (audio,) = (part for part in pages if struct.unpack_from("<L", old, part + 18)[0] == (3 if "opus" in name else 2))
    n_new_pages = new.count(b"OggS\0")
    assert n_new_pages > len(pages)  # Every page behind the headers has another number.
    assert len(round_trip(old, new)) <= PATCH_BYTES + audio + len(pages) * PAGE_BYTES
    assert len(round_trip(new, old)) <= PATCH_BYTES + len(new) - len(old) + audio + n_new_pages * PAGE_BYTES


# What a patch says of itself, and what is refused

OLD, NEW = HEAD + AUDIO[:9000] + TAIL, TAIL + AUDIO[:9000]


def test_the_place_in_the_files_does_not_matter():
    old, new = io.BytesIO(OLD), io.BytesIO(NEW)
    old.seek(7)
    new.seek(0, 2)
    patch = make_patch(old, new)
    result = io.BytesIO()
    apply_patch(new, patch, result)
    assert result.getvalue() == OLD


@pytest.mark.parametrize("place", [0, 300, 5000, len(NEW) - 1])
def test_a_new_version_with_one_other_byte_is_refused(place):
    changed = bytearray(NEW)
    changed[place] ^= 1
    patch = make_patch(io.BytesIO(OLD), io.BytesIO(NEW))
    assert "keep it as it is" in refuse(bytes(changed), patch, "was changed").message


@pytest.mark.parametrize("new", [b"", NEW[:-1], NEW + b"\0", OLD])
def test_a_new_version_of_another_size_is_refused(new):
    refuse(new, make_patch(io.BytesIO(OLD), io.BytesIO(NEW)), "was changed")


def test_the_error_names_the_file(tmp_path):
    path = tmp_path / "track.mp3"
    path.write_bytes(OLD)
    with path.open("rb") as file, pytest.raises(JournalError, match=r"track\.mp3 was changed") as caught:
        apply_patch(file, make_patch(io.BytesIO(OLD), io.BytesIO(NEW)), io.BytesIO())
    assert caught.value.path == path


def test_every_flipped_byte_is_seen():
    patch = make_patch(io.BytesIO(OLD[:3300]), io.BytesIO(NEW[:3000]))
    for place in range(len(patch)):
        damaged = bytearray(patch)
        damaged[place] ^= 1 << place % 8
        refuse(NEW[:3000], bytes(damaged))


def test_every_cut_is_seen():
    patch = make_patch(io.BytesIO(OLD[:200]), io.BytesIO(NEW[:100]))
    for n_bytes in range(len(patch)):
        refuse(NEW[:100], patch[:n_bytes])
    refuse(NEW[:100], patch + b"\0")


def test_a_patch_of_another_format_is_refused():
    content = make_patch(io.BytesIO(OLD), io.BytesIO(NEW))[:-32]
    refuse(NEW, sign(content[:7] + b"\x02" + content[8:]), "another tagcli")
    assert content.startswith(MAGIC)
    refuse(NEW, sign(content[:87]))
    refuse(NEW, sign(b""))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_forged_patch_never_writes_wrong_bytes_without_an_error(data):
    """A right checksum over wrong content: what the program itself could have written on a bad day."""
    content = bytearray(make_patch(io.BytesIO(OLD), io.BytesIO(NEW))[:-32])
    match data.draw(st.sampled_from(["flip", "cut", "more", "size", "stream"])):
        case "flip":
            content[data.draw(st.integers(8, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[data.draw(st.integers(88, len(content) - 1)) :]
        case "more":
            content += data.draw(st.binary(min_size=1, max_size=9))
        case "size":
            struct.pack_into(
                "<Q", content, 8, data.draw(st.one_of(st.integers(0, len(OLD)), st.integers(0, 2**64 - 1)))
            )
        case "stream":
            content[88:] = zlib.compress(data.draw(st.binary(max_size=60)))
    result = io.BytesIO()
    try:
        apply_patch(io.BytesIO(NEW), sign(bytes(content)), result)
    except JournalError:
        assert len(result.getvalue()) <= struct.unpack_from("<Q", content, 8)[0]
    else:
        assert result.getvalue() == OLD


def test_a_wrong_patch_is_never_returned(monkeypatch):
    def compare_badly(*arguments):
        for run in compare(*arguments):
            yield replace(run, literal=bytes(len(run.literal)))

    monkeypatch.setattr(patch_module, "compare", compare_badly)
    with pytest.raises(JournalError, match="changed while"):
        make_patch(io.BytesIO(OLD), io.BytesIO(NEW))


@pytest.mark.parametrize(
    ("old_size", "runs"),
    [
        pytest.param(100, b"\0\0\x01", id="before-the-file"),
        pytest.param(100, b"\0\0\x80\x80\x08", id="behind-the-file"),
        pytest.param(len(NEW) + 1, b"", id="over-its-end"),
        pytest.param(1 << 63, b"", id="endless"),
        pytest.param(100, b"\x65\0\0", id="longer-than-the-old-version"),
        pytest.param(100, b"\0\x05\0abcd", id="cut-off"),
        pytest.param(100, b"\0", id="cut-off-in-its-numbers"),
        pytest.param(100, b"\x80" * 20, id="number-without-end"),
    ],
)
def test_runs_that_cannot_be_are_refused(old_size, runs):
    header = patch_module._HEADER.pack(MAGIC, old_size, len(NEW), bytes(32), hashlib.sha256(NEW).digest())
    refuse(NEW, sign(header + zlib.compress(runs)))
    refuse(NEW, sign(header + zlib.compress(runs)[:-2]))


def test_a_run_longer_than_any_is_refused_before_it_is_unpacked():
    n_bytes = 1 << 25
    header = patch_module._HEADER.pack(MAGIC, n_bytes, len(NEW), bytes(32), hashlib.sha256(NEW).digest())
    run = b"\0" + bytes((0x80, 0x80, 0x80, 0x10)) + b"\0" + bytes(n_bytes)
    patch = sign(header + zlib.compress(run))
    tracemalloc.start()
    try:
        refuse(NEW, patch)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


class Shrinking(io.BytesIO):
    """A file that another program cuts off once its size has been asked for."""

    def read(self, size=-1):
        self.truncate(5000)
        return super().read(size)


def test_a_file_that_is_cut_off_meanwhile():
    for old, new in [(Shrinking(OLD), io.BytesIO(NEW)), (io.BytesIO(OLD), Shrinking(NEW))]:
        with pytest.raises(JournalError, match="shorter"):
            make_patch(old, new)


# Memory


class Tiled(io.RawIOBase):
    """A large file of which nothing is stored: a head, then noise that nowhere repeats itself."""

    def __init__(self, head, size, n_given=1 << 30):
        self.head, self.size, self.place, self.n_given, self.largest = head, size, 0, n_given, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def seek(self, offset, whence=0):
        self.place = offset if whence == 0 else len(self.head) + self.size + offset
        return self.place

    def read(self, size=-1):
        assert size >= 0
        self.largest = max(self.largest, size)
        parts = [self.head[self.place : self.place + size]]
        place = max(0, self.place - len(self.head))
        n_left = min(size - len(parts[0]), self.size - place, self.n_given)
        while n_left > 0:
            number, inside = divmod(place, TILE.nbytes)
            parts.append((TILE * np.uint64(2 * number + 1)).tobytes()[inside : inside + n_left])
            place, n_left = place + len(parts[-1]), n_left - len(parts[-1])
        data = b"".join(parts)
        self.place += len(data)
        return data


class Sink(io.RawIOBase):
    def __init__(self):
        self.digest, self.n_bytes = hashlib.sha256(), 0

    def write(self, data):
        self.digest.update(data)
        self.n_bytes += len(data)
        return len(data)


def expect_bounded_memory(old, new, n_stored):
    tracemalloc.start()
    try:
        patch = make_patch(old, new)
        result = Sink()
        apply_patch(new, patch, result)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    facts = read_patch(patch)
    assert (facts.old_size, facts.old_sha256) == (result.n_bytes, result.digest.hexdigest())
    assert len(patch) <= PATCH_BYTES + 5 * RUN_BYTES + n_stored


@pytest.mark.parametrize("n_bytes", [32 << 20, pytest.param(256 << 20, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_file(n_bytes):
    old, new = Tiled(HEAD, n_bytes), Tiled(OTHER[:9000], n_bytes)
    expect_bounded_memory(old, new, len(HEAD))
    assert max(old.largest, new.largest) < 2 * BLOCK_BYTES


def test_memory_does_not_grow_where_the_shift_is_searched_for():
    # Cut off at its end too, the noise has neither of the shifts that are tried first.
    old, new = Tiled(HEAD, (32 << 20) + 500), Tiled(OTHER[:9000], 32 << 20)
    expect_bounded_memory(old, new, len(HEAD) + 500)


def test_memory_of_many_stored_bytes_that_pack_well():
    text = b"".join(b"line %d\n" % number for number in range(3_000_000))
    expect_bounded_memory(io.BytesIO(text), io.BytesIO(b""), len(text) // 4)


def test_memory_of_silence_that_is_searched_for():
    expect_bounded_memory(io.BytesIO(bytes(1 << 24)), io.BytesIO(b"\1" * (1 << 24)), 1 << 16)


def test_memory_of_sparse_files(tmp_path):
    for name, head in (("old", HEAD), ("new", TAIL)):
        with (tmp_path / name).open("wb") as file:
            file.write(head)
            file.truncate(len(head) + (64 << 20))
    with (tmp_path / "old").open("rb") as old, (tmp_path / "new").open("rb") as new:
        expect_bounded_memory(old, new, len(HEAD))


def test_a_file_that_gives_less_than_asked_for():
    old, new = Tiled(HEAD, 100_000, n_given=1000), Tiled(OTHER[:9000], 100_000, n_given=777)
    expect_bounded_memory(old, new, len(HEAD))
