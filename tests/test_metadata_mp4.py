"""MP4 files: what changes in the list of items, and above all what does not, and that every offset still leads home."""

import dataclasses
import io
import struct
from contextlib import suppress
from fractions import Fraction

import av
import mutagen
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import ape_tag, encode_audio, id3_frame, id3_tag, id3v1, mp4_box, text_content
from mutagen.mp4 import MP4

from tagcli.boxes import Box
from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError
from tagcli.files import Span
from tagcli.journal import Journal, Recorder
from tagcli.journal.undo import undo_write
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write, read_metadata
from tagcli.metadata.fields import Field, UnwritableError
from tagcli.metadata.mp4_boxes import Edit, resize_box
from tagcli.metadata.mp4_fields import change_items
from tagcli.metadata.mp4_offsets import shift_tables
from tagcli.payload import hash_payload

FREEFORM = "----:com.apple.iTunes:"
TAGS, SCORES = f"{FREEFORM}TAGCLI_TAGS", f"{FREEFORM}TAGCLI_SCORES"
HOLDERS = (b"moov", b"udta", b"meta", b"ilst", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mfra")
PATH = (b"moov", b"udta", b"meta", b"ilst")
FREE = (b"free", b"skip")
UTF8, UTF16 = 1, 2
FRESH = 8 + 2048


def make_fields(**changes):
    values = {
        "tags": ("guitar", "rock"),
        "scores": (0.91234, 0.5),
        "model": "tagcli-msd50",
        "settings": "clips=all",
        "genres": ("Rock",),
    }
    return Fields(**(values | changes))


def write(path, fields=None, **policies):
    plan = plan_write(
        path, fields or make_fields(), policies=Policies(**{name: FieldPolicy(p) for name, p in policies.items()})
    )
    apply_plan(plan)
    return plan


def remove(path):
    plan = plan_removal(path)
    apply_plan(plan)
    return plan


# Files, byte by byte


def full_box(kind, body, flags=0, version=0, **options):
    return mp4_box(kind, bytes([version]) + flags.to_bytes(3, "big") + body, **options)


def datum(value, kind=UTF8, locale=0):
    return mp4_box(b"data", struct.pack(">LL", kind, locale) + value)


def item(kind, *values, type_code=UTF8):
    return mp4_box(kind, b"".join(datum(value, type_code) for value in values))


def freeform(name, *values, mean=b"com.apple.iTunes", type_code=UTF8):
    parts = [full_box(b"mean", mean), full_box(b"name", name), *(datum(value, type_code) for value in values)]
    return mp4_box(b"----", b"".join(parts))


def handler(kind=b"mdir"):
    return full_box(b"hdlr", bytes(4) + kind + b"appl" + bytes(9))


def meta(items=b"", behind=b"", *, quicktime=False, kind=b"mdir", before=b"", **options):
    ilst = b"" if items is None else mp4_box(b"ilst", items)
    body = handler(kind) + before + ilst + behind
    return mp4_box(b"meta", body, **options) if quicktime else full_box(b"meta", body, **options)


def udta(body):
    return mp4_box(b"udta", body)


REFERENCE = full_box(b"url ", b"", flags=1)


def track(offsets, wide=False, reference=REFERENCE, others=b""):
    numbers = b"".join(struct.pack(">Q" if wide else ">L", offset) for offset in offsets)
    table = full_box(b"co64" if wide else b"stco", struct.pack(">L", len(offsets)) + numbers)
    references = mp4_box(b"dinf", full_box(b"dref", struct.pack(">L", 1) + reference))
    stbl = mp4_box(b"stbl", full_box(b"stsz", bytes(8)) + table + others)
    return mp4_box(b"trak", mp4_box(b"mdia", handler(b"text") + mp4_box(b"minf", references + stbl)))


FTYP = mp4_box(b"ftyp", b"M4A \0\0\0\0M4A mp42isom")
MVHD = full_box(b"mvhd", bytes(8) + struct.pack(">LL", 1000, 7) + bytes(80))
SOUND = bytes(range(256)) * 4


def lay_out(make):
    """Build a file twice: the second time, knowing where the bodies of its media data lie."""
    starts = [start for _, kind, start, _ in walk(make([0] * 9), holders=()) if kind == b"mdat"]
    return make(starts + [0] * (9 - len(starts)))


def plain(*behind_tracks, mdat_first=False, wide=False, between=b"", **options):
    """A file with one track of three chunks."""

    def make(starts):
        chunks = [starts[0], starts[0] + 100, starts[0] + 512]
        moov = mp4_box(b"moov", MVHD + track(chunks, wide) + b"".join(behind_tracks), **options)
        mdat = mp4_box(b"mdat", SOUND)
        return FTYP + (mdat + moov + between if mdat_first else moov + between + mdat)

    return lay_out(make)


# Files, read without the code under test


def walk(data, start=0, end=None, path=(), holders=HOLDERS):
    """Every box as (path, kind, start of its body, end), a box before what it holds."""
    end = len(data) if end is None else end
    while start < end:
        if path and path[-1] == b"udta" and data[start:end] == bytes(4):
            return
        size, kind = struct.unpack_from(">L4s", data, start)
        body = start + 8
        if size == 1:
            (size,), body = struct.unpack_from(">Q", data, body), body + 8
        stop = start + size if size else end
        assert body <= stop <= end
        assert size or not path
        yield path, kind, body, stop
        if kind in holders and (kind != b"meta" or path):
            has_version = kind == b"meta" and data[body + 4 : body + 8] != b"hdlr"
            yield from walk(data, body + 4 * has_version, stop, (*path, kind))
        start = stop


def find(data, *path):
    """The first box at a path as (start of its body, end), or None."""
    return next(((body, end) for above, kind, body, end in walk(data) if (*above, kind) == path), None)


def children(data, path):
    return [(kind, data[body:end]) for above, kind, body, end in walk(data) if above == path]


def drop_room(boxes, kind):
    """Leave the free boxes out that stand directly behind one kind, or at the end when there is none."""
    kinds = [other for other, _ in boxes]
    first = kinds.index(kind) + 1 if kind in kinds else len(boxes)
    if kind not in kinds:
        while first and kinds[first - 1] in FREE:
            first -= 1
    last = first
    while last < len(boxes) and kinds[last] in FREE:
        last += 1
    return boxes[:first] + boxes[last:]


def offsets_of(data):
    """Every absolute offset of the file with the kind of its box."""
    found = []
    for path, kind, body, _ in walk(data):
        above = path[-1] if path else None
        if kind in (b"stco", b"co64") or (kind == b"saio" and above == b"stbl"):
            version, flags = data[body], data[body + 3]
            at = body + 4 + (8 if kind == b"saio" and flags & 1 else 0)
            (n_entries,) = struct.unpack_from(">L", data, at)
            form = ">Q" if kind == b"co64" or (kind == b"saio" and version) else ">L"
            found += [
                (kind, offset)
                for (offset,) in struct.iter_unpack(form, data[at + 4 :][: n_entries * struct.calcsize(form)])
            ]
        elif kind == b"tfhd" and data[body + 3] & 1:
            found.append((kind, struct.unpack_from(">Q", data, body + 8)[0]))
        elif kind == b"tfra":
            lengths, n_entries = struct.unpack_from(">LL", data, body + 8)
            width = 8 if data[body] else 4
            stride = 2 * width + sum((lengths >> shift & 3) + 1 for shift in (0, 2, 4))
            for number in range(n_entries):
                at = body + 16 + number * stride + width
                found.append((kind, int.from_bytes(data[at : at + width], "big")))
    return found


def targets_of(data):
    """What every offset points to: so many bytes from there on that no two places are alike."""
    return [(kind, data[offset : offset + 40]) for kind, offset in offsets_of(data)]


TABLES = (b"stco", b"co64", b"saio", b"tfhd", b"tfra")


def is_own(box, *, genre=True):
    kind, body = box
    if kind == b"----":
        return any(b"TAGCLI_" + name in body.upper() for name in (b"TAGS", b"SCORES", b"MODEL", b"SETTINGS", b"ADDED"))
    return genre and kind in (b"\xa9gen", b"gnre")


def foreign_of(data, is_ours=is_own):
    """Everything in a file that is not ours, in its order; offsets by what they point to."""
    result = [drop_room(children(data, PATH[:depth]), kind) for depth, kind in enumerate(PATH)]
    top, moov, user, metadata = [[box for box in boxes if box[0] not in PATH] for boxes in result]
    if find(data, *PATH[:3]) is None:
        metadata = [(b"hdlr", handler()[8:])]
    moov = [box for box in moov if box[0] != b"trak"]
    leaves = [
        (path, kind, len(data[body:end]) if kind in TABLES else data[body:end])
        for path, kind, body, end in walk(data)
        if kind not in HOLDERS and set(path) & {b"trak", b"moof", b"mfra"}
    ]
    top = [box for box in top if box[0] not in (b"moof", b"mfra")]
    items = [box for box in children(data, PATH) if not is_ours(box)]
    return top, moov, user, metadata, leaves, items, targets_of(data)


def packets_of(path):
    with av.open(str(path)) as container:
        return [(packet.stream_index, packet.pts, bytes(packet)) for packet in container.demux() if packet.size]


# Files, encoded


def encode(path, *, muxer="mp4", n_streams=1, has_cover=False, has_chapters=False, tags=(), **options):
    with av.open(str(path), "w", format=muxer, options=options) as output:
        output.metadata.update(dict(tags))
        streams = [output.add_stream("aac", rate=44100, layout="mono") for _ in range(n_streams)]
        if has_cover:
            picture = output.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuvj420p"
        if has_chapters:
            output.set_chapters(
                [
                    {
                        "id": number,
                        "start": 500 * number,
                        "end": 500 * number + 500,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"Chapter {number}"},
                    }
                    for number in range(2)
                ]
            )
        if has_cover:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24").reformat(
                format="yuvj420p"
            )
            frame.pts = 0
            output.mux([*picture.encode(frame), *picture.encode(None)])
        packets = []
        for number, stream in enumerate(streams):
            waveform = np.random.default_rng(number).uniform(-0.5, 0.5, (1, 66_150)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
            resampler = av.AudioResampler(stream.codec_context.format, "mono", 44100, 1024)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                packets += stream.encode(part)
        for packet in sorted(packets, key=lambda packet: packet.pts):
            output.mux(packet)
    return path


REAL = {
    "moov behind": {},
    "moov in front": {"movflags": "faststart"},
    "with tags": {"movflags": "faststart", "tags": (("title", "Ä"), ("genre", "Jazz"), ("comment", "mine"))},
    "several tracks": {"movflags": "faststart", "n_streams": 2, "has_cover": True, "has_chapters": True},
    "fragments": {"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000"},
    "fragments, relative": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "300000"},
    "fragments with index": {
        "movflags": "frag_keyframe+empty_moov+default_base_moof+global_sidx",
        "frag_duration": "300000",
    },
    "several tracks in fragments": {"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000", "n_streams": 2},
    "quicktime": {"muxer": "mov", "movflags": "faststart", "tags": (("title", "A"),)},
    "ipod": {"muxer": "ipod", "movflags": "faststart", "has_chapters": True},
}


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mp4")
    return {
        name: encode(folder / f"{number}.m4a", **options).read_bytes()
        for number, (name, options) in enumerate(REAL.items())
    }


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "track.m4a"
    path.write_bytes(plain(udta(meta(item(b"\xa9nam", b"A") + item(b"\xa9ART", b"B\xc3\xa9")))))
    return path


@pytest.fixture
def make(tmp_path):
    def make(data):
        path = tmp_path / "made.m4a"
        path.write_bytes(data)
        return path

    return make


# What is written


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_plays_as_before_and_tells_its_fields(make, real, name):
    path = make(real[name])
    before, packets, payload = real[name], packets_of(path), hash_payload(path)
    fields = make_fields(moods=("calm", "sad"), grouping=("x", "y"), comment=("Ω", "z"))
    write(path, fields, genre="replace", mood="fill", grouping="replace", comment="replace")
    is_ours = lambda box: is_own(box) or box[0] in (b"\xa9cmt", b"\xa9grp") or b"MOOD" in box[1]  # noqa: E731
    assert foreign_of(path.read_bytes(), is_ours) == foreign_of(before, is_ours)
    assert packets_of(path) == packets
    assert len(packets) > 10
    assert hash_payload(path) == payload
    tags = MP4(path).tags
    assert [bytes(value) for value in tags[TAGS]] == [b"guitar", b"rock"]
    assert [bytes(value) for value in tags[SCORES]] == [b"0.912", b"0.500"]
    assert [bytes(value) for value in tags[f"{FREEFORM}MOOD"]] == [b"calm", b"sad"]
    assert (tags["\xa9gen"], tags["\xa9grp"], tags["\xa9cmt"]) == (["Rock"], ["x; y"], ["Ω; z"])
    with av.open(str(path)) as container:
        assert container.metadata["genre"] == "Rock"
        assert container.metadata["comment"] == "Ω; z"
        assert container.metadata["TAGCLI_MODEL"] == "tagcli-msd50"
    again = write(path, fields, genre="replace", mood="fill", grouping="replace", comment="replace")
    assert again.is_empty
    remove(path)
    assert packets_of(path) == packets
    assert [box for box in children(path.read_bytes(), PATH) if is_own(box, genre=False)] == []
    assert "MOOD" not in str(MP4(path).tags.keys())
    assert remove(path).is_empty


def test_writing_twice_is_writing_once(path):
    assert not write(path).is_empty
    before = path.read_bytes()
    assert write(path).is_empty
    assert write(path, make_fields(scores=(0.9125, 0.5))).is_empty
    assert path.read_bytes() == before


def test_planning_touches_nothing(path):
    before = path.read_bytes()
    plan = plan_write(path, make_fields())
    assert plan.container is Container.MP4
    assert [change.name for change in plan.changes][:2] == [TAGS, SCORES]
    assert plan.changes[-2].field is Field.GENRE
    assert path.read_bytes() == before


def test_values_come_back_as_written(path):
    texts = ("Ünï;cödé".replace(";", ""), "日本語 \U0001f3b8", " spaces ", "a\nb", "(17)", "18")
    fields = make_fields(tags=texts, scores=(0.5,) * 6, genres=texts, comment=("one", " two"), settings="a; b")
    write(path, fields, comment="replace")
    shown = {field.field: field.values for field in read_metadata(path).fields}
    assert shown[TAGS] == shown["©gen"] == texts
    assert shown["©cmt"] == ("one;  two",)
    assert shown[f"{FREEFORM}TAGCLI_SETTINGS"] == ("a; b",)
    assert write(path, fields, comment="replace").is_empty


@pytest.mark.parametrize(
    ("behind", "n_shells"),
    [((), 3), ((udta(b""),), 2), ((udta(mp4_box(b"chpl", bytes(9))),), 2), ((udta(meta(None)),), 1)],
)
@pytest.mark.parametrize("mdat_first", [False, True])
def test_boxes_are_made_where_they_are_missing(make, behind, n_shells, mdat_first):
    before = plain(*behind, mdat_first=mdat_first)
    path = make(before)
    assert read_metadata(path).version == ""
    write(path)
    after = path.read_bytes()
    assert foreign_of(after) == foreign_of(before)
    assert mutagen.File(path).tags["\xa9gen"] == ["Rock"]
    kinds = [kind for _, kind, _, _ in walk(after)]
    assert [kinds.count(kind) for kind in PATH] == [1, 1, 1, 1]
    assert len(kinds) - len(list(walk(before))) == n_shells + (n_shells > 1) + 1 + len(children(after, PATH))
    assert read_metadata(path).version == "iTunes metadata"


def test_items_keep_their_places(make):
    items = [
        item(b"\xa9nam", b"A"),
        item(b"gnre", b"\0\x09", type_code=0),
        item(b"covr", b"\xff\xd8" * 50, type_code=13),
    ]
    path = make(plain(udta(meta(b"".join(items)))))
    write(path, genre="replace")
    kinds = [kind for kind, _ in children(path.read_bytes(), PATH)]
    assert kinds[:4] == [b"\xa9nam", b"\xa9gen", b"covr", b"----"]
    assert set(kinds[3:]) == {b"----"}


@pytest.mark.parametrize(
    ("policy", "old", "genres", "new"),
    [
        ("fill", [], ("Rock", "rock"), ["Rock"]),
        ("fill", [item(b"\xa9gen", b"Jazz")], ("Rock",), ["Jazz"]),
        ("fill", [item(b"\xa9gen", b"")], ("Rock",), ["Rock"]),
        ("fill", [item(b"gnre", b"\0\x09", type_code=0)], ("Rock",), ["Jazz"]),
        ("fill", [item(b"gnre", b"\0\xfa", type_code=0)], ("Rock",), ["Rock"]),
        ("append", [item(b"gnre", b"\0\x09", type_code=0)], ("Rock",), ["Jazz", "Rock"]),
        ("append", [item(b"gnre", b"\0\x12", type_code=0)], ("Rock",), ["Rock"]),
        ("append", [item(b"\xa9gen", b"Jazz", b"Pop")], ("Rock", "pop"), ["Jazz", "Pop", "Rock"]),
        ("append", [item(b"\xa9gen", b"Jazz"), item(b"\xa9gen", b"Pop")], ("Rock",), ["Jazz", "Pop", "Rock"]),
        ("append", [item(b"\xa9gen", "Jäzz".encode("utf-16-be"), type_code=UTF16)], ("Rock",), ["Jäzz", "Rock"]),
        ("append", [item(b"\xa9gen", b"Jazz", type_code=0)], ("Rock",), ["Jazz", "Rock"]),
        (
            "replace",
            [item(b"\xa9gen", b"Jazz"), item(b"gnre", b"\0\x09", type_code=0)],
            ("Rock", "Pop"),
            ["Rock", "Pop"],
        ),
        ("replace", [item(b"\xa9gen", b"\xff\xfe")], ("Rock",), ["Rock"]),
        ("replace", [item(b"\xa9gen", b"Jazz")], (), ["Jazz"]),
        ("never", [], ("Rock",), []),
    ],
)
def test_genre_policies(make, policy, old, genres, new):
    before = plain(udta(meta(item(b"\xa9nam", b"A") + b"".join(old))))
    path = make(before)
    write(path, make_fields(genres=genres), genre=policy)
    after = path.read_bytes()
    assert MP4(path).tags.get("\xa9gen", []) == new
    if policy == "fill" and new == ["Jazz"]:
        assert [box for box in children(after, PATH) if box[0] in (b"\xa9gen", b"gnre")] == [
            box for box in children(before, PATH) if box[0] in (b"\xa9gen", b"gnre")
        ], "the genre stays as it was"
    if b"gnre" in old and policy != "fill":
        assert b"gnre" not in after
    assert write(path, make_fields(genres=genres), genre=policy).is_empty
    remove(path)
    theirs = [value for value in new if value not in genres]
    assert (MP4(path).tags.get("\xa9gen", []) == theirs) or policy == "append"


@pytest.mark.parametrize(
    "old", [item(b"\xa9gen", b"Caf\xe9"), item(b"\xa9gen", b"\x01", type_code=21), mp4_box(b"\xa9gen", b"x")]
)
def test_a_genre_that_cannot_be_read_stays_as_it_is(make, old):
    path = make(plain(udta(meta(old))))
    before = path.read_bytes()
    with pytest.raises(MetadataError, match="not be added to"):
        write(path, genre="append")
    assert path.read_bytes() == before
    write(path, genre="fill")
    assert old in path.read_bytes()
    remove(path)
    assert old in path.read_bytes()


def test_a_value_of_ours_beside_one_that_cannot_be_read_is_left(make):
    path = make(
        plain(
            udta(meta(freeform(b"TAGCLI_ADDED", b"genre=Rock") + mp4_box(b"\xa9gen", datum(b"Rock") + datum(b"\xff"))))
        )
    )
    before = path.read_bytes()
    with pytest.raises(MetadataError, match="nothing taken from it"):
        remove(path)
    assert path.read_bytes() == before


def test_names_are_matched_without_case_but_with_their_space(make):
    items = [
        freeform(b"tagcli_Tags", b"old", b"older"),
        freeform(b"Mood", b"Sad"),
        freeform(b"MOOD", b"theirs", mean=b"org.other"),
        freeform(b"TAGCLI_TAGS", b"more"),
    ]
    path = make(plain(udta(meta(b"".join(items)))))
    write(path, make_fields(moods=("calm",)), mood="append")
    tags = MP4(path).tags
    assert [bytes(value) for value in tags[TAGS]] == [b"guitar", b"rock"]
    assert [bytes(value) for value in tags[f"{FREEFORM}MOOD"]] == [b"Sad", b"calm"]
    assert [bytes(value) for value in tags["----:org.other:MOOD"]] == [b"theirs"]
    assert not {f"{FREEFORM}tagcli_Tags", f"{FREEFORM}Mood"} & set(tags.keys())


def test_own_values_of_another_type_are_written_anew(make):
    path = make(plain(udta(meta(freeform(b"TAGCLI_MODEL", "tagcli-msd50".encode("utf-16-be"), type_code=UTF16)))))
    write(path)
    assert MP4(path).tags[f"{FREEFORM}TAGCLI_MODEL"] == [b"tagcli-msd50"]


def test_comments_are_one_text(make):
    path = make(plain(udta(meta(item(b"\xa9cmt", b"mine", b"two")))))
    fields = make_fields(comment=("a", "b"), grouping=("c",))
    write(path, fields, comment="append", grouping="fill")
    assert MP4(path).tags["\xa9cmt"] == ["mine", "two; a; b"]
    assert MP4(path).tags["\xa9grp"] == ["c"]
    assert write(path, fields, comment="append", grouping="fill").is_empty
    remove(path)
    assert MP4(path).tags["\xa9cmt"] == ["mine", "two"]
    assert "\xa9grp" not in MP4(path).tags


# Where the room comes from


def free(n_bytes, kind=b"free"):
    return mp4_box(kind, b"\1" * (n_bytes - 8))


def needed(make):
    """How many bytes the fields take."""
    path = make(plain(udta(meta(b"")), mdat_first=True))
    write(path)
    return sum(8 + len(body) for _, body in children(path.read_bytes(), PATH))


@pytest.mark.parametrize("level", ["meta", "udta", "moov", "file"])
@pytest.mark.parametrize("spare", [-1, 0, 1, 7, 8, 9, 5000])
@pytest.mark.parametrize("kind", FREE)
def test_the_file_keeps_its_size_when_there_is_room(make, level, spare, kind):
    n_bytes = needed(make)
    room = free(n_bytes + spare, kind)
    at = {name: room if name == level else b"" for name in ("meta", "udta", "moov", "file")}
    title = item(b"\xa9nam", b"A")
    before = plain(udta(meta(title, at["meta"]) + at["udta"]), at["moov"], between=at["file"])
    path = make(before)
    plan = write(path)
    after = path.read_bytes()
    assert plan.fits == (spare == 0 or spare >= 8)
    # what is not used up stays; where all boxes of the innermost room go, fresh room takes their place
    grown = 0 if plan.fits else FRESH - (spare if level == "meta" else -n_bytes)
    assert len(after) == len(before) + grown
    assert find(after, b"mdat")[0] == find(before, b"mdat")[0] + grown
    assert foreign_of(after) == foreign_of(before)
    assert MP4(path).tags["\xa9nam"] == ["A"]


def test_room_is_used_from_the_inside_out_and_no_further(make):
    n_bytes = needed(make)
    before = plain(udta(meta(b"", free(20)) + free(30)), free(n_bytes), between=free(77))
    path = make(before)
    write(path)
    after = path.read_bytes()
    assert [kind for kind, _ in children(after, (b"moov",))] == [b"mvhd", b"trak", b"udta", b"free"]
    assert len(after) == len(before)
    assert after.count(free(77)) == 1
    assert find(after, b"moov")[1] == find(before, b"moov")[1]
    assert [kind for _, kind, _, _ in walk(after)].count(b"free") == 2
    assert find(after, b"moov", b"free")[1] - find(after, b"moov", b"free")[0] + 8 == 50


def test_other_free_boxes_stay(make):
    data = plain(free(900), udta(free(800) + meta(b"", mp4_box(b"xml ", b"<a/>") + free(700), before=free(600))))
    path = make(data)
    write(path)
    after = path.read_bytes()
    assert all(free(n_bytes) in after for n_bytes in (900, 800, 700, 600))
    assert foreign_of(after) == foreign_of(data)


def test_growing_leaves_room_for_the_next_time(path):
    start = find(path.read_bytes(), b"mdat")[0]
    plan = write(path)
    assert not plan.fits
    moved = find(path.read_bytes(), b"mdat")[0]
    assert moved > start
    kinds = [kind for kind, _ in children(path.read_bytes(), PATH[:3])]
    assert kinds == [b"hdlr", b"ilst", b"free"]
    assert write(path, make_fields(settings="x" * 1000)).fits
    assert remove(path).fits
    assert find(path.read_bytes(), b"mdat")[0] == moved
    assert MP4(path)._padding > 2048


@pytest.mark.parametrize("n_less", range(12))
def test_room_of_a_few_bytes_is_filled_or_made_anew(make, n_less):
    path = make(plain(udta(meta(freeform(b"TAGCLI_SETTINGS", b"x" * 20)))))
    write(path, make_fields(tags=(), scores=(), model="", genres=(), settings="y" * (20 - n_less)))
    data = path.read_bytes()
    assert (find(data, *PATH[:3], b"free") is not None) == (n_less > 0)
    assert MP4(path).tags[f"{FREEFORM}TAGCLI_SETTINGS"] == [b"y" * (20 - n_less)]
    assert len(targets_of(data)) == 3
    assert targets_of(data)[0][1] == SOUND[:40]


def test_no_name_of_ours_lies_where_an_id3v1_tag_would(make, tmp_path):
    """Programs take 128 bytes at the end for one that begin with TAG; here there is room of 0 to 200 bytes behind."""
    taglib = pytest.importorskip("taglib", reason="pytaglib is not installed")
    path = make(encode_audio("aac", "ipod"))
    tags = MP4(path)
    tags["\xa9nam"] = ["A"]
    tags.save(padding=lambda _: 0)
    write(path)
    before = path.read_bytes()
    items, room = children(before, (b"moov", b"udta", b"meta"))[-2:]
    assert (items[0], room[0]) == (b"ilst", b"free")
    assert before.endswith(room[1])
    n_grown = 0
    with Journal(tmp_path / "journal.sqlite") as journal:
        for n_left in range(201):
            fields = make_fields(settings="s" * (len("clips=all") + 8 + len(room[1]) - n_left))
            plan = plan_write(path, fields)
            Recorder(journal, "test").apply(plan)
            assert not path.read_bytes()[-128:].startswith(b"TAG")
            assert hash_payload(path)
            n_grown += not plan.fits
            assert write(path, fields).is_empty
            with taglib.File(path) as file:
                assert file.tags["TITLE"] == ["A"]
                assert file.tags["TAGCLI_TAGS"] == ["guitar", "rock"]
            (entry,) = (entry for entry in journal.list_entries() if not entry.is_undone)
            undo_write(journal, entry)
            assert path.read_bytes() == before
    assert n_grown > 7, "less than a box of its own needs, and what was laid out differently"


def test_room_of_gigabytes_costs_no_memory(make, tmp_path):
    """A free box with a long size whose body is a hole in the file."""
    n_bytes = 5 << 30
    path = tmp_path / "huge.m4a"
    rest = n_bytes - needed(make)
    long_free = struct.pack(">L4sQ", 1, b"free", n_bytes)
    head = FTYP + mp4_box(b"moov", MVHD + track([len(FTYP)], wide=True) + udta(meta(b""))) + long_free
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) - 16 + n_bytes)
        file.seek(0, 2)
        file.write(mp4_box(b"mdat", SOUND))
    plan = plan_write(path, make_fields())
    assert plan.fits
    fresh = [piece for piece in plan.pieces if isinstance(piece, bytes)]
    assert sum(map(len, fresh)) < 2000
    assert any(piece.endswith(b"free" + struct.pack(">Q", rest)) for piece in fresh)


# Offsets


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("has_type", [False, True])
def test_offsets_of_all_kinds_follow_their_bytes(make, wide, version, has_type):
    def build(starts):
        offsets = [starts[1] + 8, starts[1] + 300, starts[0] + 5, starts[2]]
        auxiliary = struct.pack(">LQ" if version else ">LL", 1, starts[1] + 77)
        saio = full_box(b"saio", bytes(8) * has_type + auxiliary, flags=has_type, version=version)
        moov = mp4_box(
            b"moov", MVHD + track(offsets, wide, others=saio) + track([], wide) + track([starts[2] + 9], not wide)
        )
        return (
            FTYP
            + mp4_box(b"mdat", SOUND)
            + moov
            + mp4_box(b"mdat", SOUND[7:], long=True)
            + mp4_box(b"wide")
            + mp4_box(b"mdat", SOUND[3:])
        )

    before = lay_out(build)
    path = make(before)
    payload = hash_payload(path)
    write(path)
    after = path.read_bytes()
    assert targets_of(after) == targets_of(before)
    old, new = ([offset for _, offset in offsets_of(data)] for data in (before, after))
    assert new[2] == old[2], "what lies in front stays"
    assert {b - a for a, b in zip(old, new, strict=True)} == {0, len(after) - len(before)}
    assert foreign_of(after) == foreign_of(before)
    assert hash_payload(path) == payload


@pytest.mark.parametrize("version", [0, 1])
def test_offsets_of_fragments_follow_their_bytes(make, version):
    def build(starts):
        starts = [max(0, start - 8) for start in starts]
        moof = [
            mp4_box(
                b"moof",
                full_box(b"mfhd", bytes(4))
                + mp4_box(
                    b"traf",
                    full_box(b"tfhd", struct.pack(">LQ", 1, start), flags=1)
                    + full_box(b"saio", struct.pack(">LL", 1, 60)),
                ),
            )
            for start in starts[:2]
        ] + [mp4_box(b"moof", mp4_box(b"traf", full_box(b"tfhd", struct.pack(">L", 1), flags=0x20000)))]
        form = ">QQ" if version else ">LL"
        entries = b"".join(struct.pack(form, 7, max(0, start - len(moof[0]))) + b"\1\0\2\0\0\3" for start in starts[:2])
        tfra = full_box(b"tfra", struct.pack(">LLL", 1, 0b000110, 2) + entries, version=version)
        mfra = mp4_box(b"mfra", tfra + full_box(b"mfro", struct.pack(">L", 16 + 8 + len(tfra))))
        sidx = full_box(b"sidx", bytes(24))
        mdats = [mp4_box(b"mdat", SOUND[number:]) for number in range(3)]
        parts = [part for pair in zip(moof, mdats, strict=True) for part in pair]
        return FTYP + mp4_box(b"moov", MVHD + track([]) + mp4_box(b"mvex")) + sidx + b"".join(parts) + mfra

    before = lay_out(build)
    assert [target[:8] for _, target in targets_of(before)][:2] == [
        struct.pack(">L4s", 8 + 1024 - n, b"mdat") for n in (0, 1)
    ]
    assert [target[4:8] for _, target in targets_of(before)][2:] == [b"moof", b"moof"]
    path = make(before)
    write(path)
    after = path.read_bytes()
    assert targets_of(after) == targets_of(before)
    assert offsets_of(after) != offsets_of(before)
    assert foreign_of(after) == foreign_of(before)


def test_nothing_shifts_when_moov_is_behind(make):
    before = plain(udta(meta(item(b"\xa9nam", b"A"))), mdat_first=True)
    path = make(before)
    plan = write(path)
    after = path.read_bytes()
    assert offsets_of(after) == offsets_of(before)
    assert (plan.pieces[0].start, plan.pieces[0].end) == (0, find(before, b"moov")[0] - 8)


@pytest.mark.parametrize("options", [{"long": True}, {"open_ended": True}])
def test_other_forms_of_sizes_are_kept(make, options):
    user = mp4_box(b"udta", meta(b"", long=True), long=True)
    before = plain(user, mdat_first=True, **options)
    path = make(before)
    write(path)
    after = path.read_bytes()
    start = find(after, b"moov")[0]
    assert after[start - 16 : start] == before[start - 16 : start - 8] + after[start - 8 : start]
    if "open_ended" in options:
        assert after[start - 8 : start] == b"\0\0\0\0moov"
    assert foreign_of(after) == foreign_of(before)
    assert MP4(path).tags["\xa9gen"] == ["Rock"]


@pytest.mark.parametrize("media", [mp4_box(b"mdat", SOUND, open_ended=True), mp4_box(b"mdat", SOUND) + bytes(100)])
def test_boxes_to_the_end_of_the_file(make, media):
    """The last one has no size, be it the media data or zeros behind them."""
    before = lay_out(lambda starts: FTYP + mp4_box(b"moov", MVHD + track([starts[0]])) + media)
    path = make(before)
    write(path)
    assert foreign_of(path.read_bytes()) == foreign_of(before)


@pytest.mark.parametrize("behind", [b"", bytes(4)])
@pytest.mark.parametrize("items", [item(b"\xa9nam", b"A"), None])
def test_metadata_as_in_quicktime_files(make, items, behind):
    """mutagen cannot read them, FFmpeg can."""
    before = plain(udta(meta(items, free(40), quicktime=True) + behind))
    path = make(before)
    write(path)
    after = path.read_bytes()
    assert foreign_of(after) == foreign_of(before)
    body, end = find(after, *PATH[:2])
    assert after[body:end].endswith(behind)
    start, _ = find(after, *PATH[:3])
    assert after[start + 4 : start + 8] == b"hdlr"
    assert {field.field: field.values for field in read_metadata(path).fields}["©gen"] == ("Rock",)
    assert write(path).is_empty
    remove(path)
    assert foreign_of(path.read_bytes()) == foreign_of(before)


def test_ffmpeg_reads_items_of_quicktime_metadata(make, real):
    """A real file, its metadata turned to the form of QuickTime."""
    data = real["moov behind"]
    start, _ = find(data, *PATH[:3])
    sizes = [find(data, *PATH[:n])[0] - 8 for n in (1, 2, 3)]
    data = bytearray(data)
    for at in sizes:
        struct.pack_into(">L", data, at, struct.unpack_from(">L", data, at)[0] - 4)
    del data[start : start + 4]
    path = make(bytes(data))
    packets = packets_of(path)
    write(path)
    assert packets_of(path) == packets
    with av.open(str(path)) as container:
        assert container.metadata["genre"] == "Rock"
        assert container.metadata["TAGCLI_MODEL"] == "tagcli-msd50"


# What is not


ITEMS = st.lists(
    st.one_of(
        st.builds(
            lambda kind, values, code: item(kind, *values, type_code=code),
            st.sampled_from([b"\xa9nam", b"\xa9ART", b"trkn", b"covr", b"abcd", b"\0\0\0\1", b"free"]),
            st.lists(st.binary(max_size=40), max_size=3),
            st.sampled_from([0, 1, 2, 13, 21]),
        ),
        st.builds(
            lambda name, values, code, mean: freeform(name, *values, type_code=code, mean=mean),
            st.sampled_from([b"iTunNORM", b"ISRC", b"", b"\xff\xfe", b"Mood "]),
            st.lists(st.binary(max_size=40), max_size=3),
            st.sampled_from([0, 1, 2]),
            st.sampled_from([b"com.apple.iTunes", b"org.other", b""]),
        ),
        st.builds(mp4_box, st.sampled_from([b"\xa9nam", b"----", b"xxxx"]), st.binary(max_size=20)),
        st.sampled_from(
            [
                freeform(b"TAGCLI_TAGS", b"old"),
                freeform(b"tagcli_scores", b"1", b"2"),
                freeform(b"TAGCLI_MODEL", b"\xff"),
                freeform(b"TAGCLI_ADDED", b"genre=Jazz", b"mood=x"),
                item(b"\xa9gen", b"Jazz"),
                item(b"\xa9gen", b"\xff"),
                item(b"gnre", b"\0\x09", type_code=0),
                item(b"covr", b"\xff\xd8" * 30_000, type_code=13),
            ]
        ),
    ),
    max_size=6,
)
FREES = st.lists(st.builds(free, st.sampled_from([8, 9, 20, 600, 3000]), st.sampled_from(FREE)), max_size=2).map(
    b"".join
)
OTHERS = st.lists(
    st.one_of(
        st.builds(mp4_box, st.sampled_from([b"uuid", b"Xtra", b"\xa9xyz", b"chpl"]), st.binary(max_size=40)),
        st.builds(free, st.sampled_from([8, 30])),
    ),
    max_size=2,
).map(b"".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0;/,"), min_size=1, max_size=12).filter(
    str.strip
)


@st.composite
def any_fields(draw):
    tags = draw(st.lists(TEXTS, max_size=4))
    return make_fields(
        tags=tuple(tags),
        scores=tuple(draw(st.floats(0, 1)) for _ in tags),
        settings=draw(st.sampled_from(["", "a", "x" * 600, "x" * 5000])),
        genres=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@st.composite
def any_files(draw):
    """A file with a path to items of any length, and anything around it."""
    depth = draw(st.integers(1, 4))
    is_long = draw(st.tuples(*[st.booleans()] * 4))
    is_quicktime = draw(st.booleans())
    around = draw(st.tuples(*[st.tuples(OTHERS, FREES, OTHERS)] * 4))
    items = b"".join(draw(ITEMS))
    n_tracks, is_wide = draw(st.integers(0, 3)), draw(st.booleans())
    places = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 900)), max_size=5))
    order = draw(st.permutations(["moov", 0, 1, 2]))
    has_end = draw(st.booleans())

    def build(starts):
        body = mp4_box(b"ilst", items, long=is_long[0]) if depth == 4 else b""
        if depth >= 3:
            before, room, behind = around[0]
            inside = handler() + before + body + room + behind
            wrap = mp4_box if is_quicktime else full_box
            body = wrap(b"meta", inside, long=is_long[1])
        if depth >= 2:
            before, room, behind = around[1]
            body = mp4_box(b"udta", before + body + room + behind + bytes(4 * has_end), long=is_long[2])
        before, room, behind = around[2]
        tracks = [track([starts[n] + at for n, at in places], is_wide) for _ in range(n_tracks)]
        body = mp4_box(
            b"moov", MVHD + b"".join(tracks[:2]) + before + body + room + behind + b"".join(tracks[2:]), long=is_long[3]
        )
        before, room, behind = around[3]
        parts = {part: mp4_box(b"mdat", bytes([part]) + SOUND[part:] * 2, long=part == 1) for part in range(3)}
        return FTYP + b"".join(before + body + room + behind if part == "moov" else parts[part] for part in order)

    return lay_out(build)


@given(
    data=any_files(),
    front=st.sampled_from([b"", id3_tag(3, [id3_frame(3, "TIT2", text_content("A"))])]),
    tail=st.sampled_from([b"", id3v1(), ape_tag({"Title": "A"})]),
    fields=any_fields(),
    later=any_fields(),
    policy=st.sampled_from(FieldPolicy),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_anything_foreign_survives_anything(tmp_path, data, front, tail, fields, later, policy):
    path = tmp_path / "track.m4a"
    if front:
        moved = {offset: offset + len(front) for _, offset in offsets_of(data)}
        data = bytearray(data)
        for _, kind, body, _ in list(walk(data)):
            if kind in (b"stco", b"co64"):
                form, n_entries = (">Q" if kind == b"co64" else ">L"), struct.unpack_from(">L", data, body + 4)[0]
                for number in range(n_entries):
                    at = body + 8 + number * struct.calcsize(form)
                    struct.pack_into(form, data, at, moved[struct.unpack_from(form, data, at)[0]])
        data = bytes(data)
    path.write_bytes(front + data + tail)
    assert find_container(path) is Container.MP4
    payload = hash_payload(path)

    def read():
        now = path.read_bytes()
        assert now.startswith(front)
        assert now.endswith(tail)
        inner = now[len(front) : len(now) - len(tail)]
        *rest, _ = foreign_of(inner)
        return [rest, [now[offset : offset + 40] for _, offset in offsets_of(inner)]], inner

    foreign, _ = read()
    for wanted in (fields, later):
        before = path.read_bytes()
        try:
            write(path, wanted, genre=policy)
        except MetadataError as error:
            is_expected = "cannot be read" in str(error) and policy is FieldPolicy.APPEND
            assert is_expected
            assert path.read_bytes() == before
            return
        now, inner = read()
        assert now == foreign
        assert hash_payload(path) == payload
        ours = [body for kind, body in children(inner, PATH) if kind == b"----" and b"TAGCLI_TAGS" in body]
        assert ours == ([freeform(b"TAGCLI_TAGS", *(tag.encode() for tag in wanted.tags))[8:]] if wanted.tags else [])
        assert write(path, wanted, genre=policy).is_empty
    with suppress(MetadataError):
        remove(path)
        now, inner = read()
        assert now == foreign
        assert not any(is_own(box, genre=False) and box[1] for box in children(inner, PATH))
        assert remove(path).is_empty


def test_foreign_items_that_mutagen_cannot_read_do_no_harm(make):
    path = make(plain(udta(meta(mp4_box(b"----") + item(b"trkn", b"", type_code=0) + mp4_box(b"covr", b"\0")))))
    before = path.read_bytes()
    with pytest.raises(mutagen.MutagenError):
        MP4(path)
    write(path)
    assert foreign_of(path.read_bytes()) == foreign_of(before)


def lose_item(kind):
    """A write that loses an item."""

    def change(items, changes):
        return change_items([other for other in items if not other.raw[4:].startswith(kind)], changes)

    return change


def lose_field(items, changes):
    return change_items(items, [dataclasses.replace(change, new=change.new[:1]) for change in changes])


def shift_badly(file, tables, area, shift):
    return shift_tables(file, tables, area, shift + 1 if shift else 0)


def shift_nothing(file, tables, area, shift):
    return []


@pytest.mark.parametrize(
    ("name", "replacement", "sentence"),
    [
        ("mp4.change_items", lose_item(b"\xa9ART"), "did not survive"),
        ("mp4.change_items", lose_field, "read back"),
        ("mp4.shift_tables", shift_badly, "did not survive"),
        ("mp4.shift_tables", shift_nothing, "did not survive"),
    ],
)
def test_a_copy_that_lost_something_is_found_out(path, monkeypatch, name, replacement, sentence):
    before = path.read_bytes()
    monkeypatch.setattr(f"tagcli.metadata.{name}", replacement)
    with pytest.raises(MetadataError, match=sentence):
        write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# What is refused


MDAT = mp4_box(b"mdat", SOUND)
ILOC = full_box(b"iloc", bytes(8))
ALIAS = full_box(b"alis", b"elsewhere")
NEAR = track([len(FTYP) + 9])
UNREADABLE = {
    "no moov": (FTYP + MDAT, "is missing"),
    "moov over the end": (FTYP + MDAT + mp4_box(b"moov", MVHD)[:-1], "'moov' ends behind the file"),
    "a box smaller than its header": (
        FTYP + mp4_box(b"moov", MVHD) + b"\0\0\0\7free" + MDAT,
        "smaller than its header",
    ),
    "half a header": (FTYP + mp4_box(b"moov", MVHD) + MDAT + b"\0\0\0", "smaller than its header"),
    "media data cut": (plain(udta(meta(b"")))[:-1], "'mdat' ends behind the file"),
    "track over the end of moov": (
        FTYP + mp4_box(b"moov", MVHD + track([])[:-1]) + MDAT,
        "'trak' ends behind the one that holds it",
    ),
    "items over the end of meta": (
        plain(udta(meta(b"").replace(b"\0\0\0\x08ilst", b"\0\0\0\x09ilst"))),
        "'ilst' ends behind the one",
    ),
    "item over the end of the items": (plain(udta(meta(item(b"\xa9nam", b"A")[:-1]))), "nam' ends behind the one"),
    "no size within": (plain(udta(mp4_box(b"name", b"x", open_ended=True))), "'name' ends behind the one"),
    "meta without a version": (plain(udta(mp4_box(b"meta", b"\0\0"))), "'meta' is too short"),
    "junk in the user data": (plain(udta(b"\0\0\0\0\0")), "smaller than its header"),
    "compressed": (FTYP + mp4_box(b"moov", mp4_box(b"cmov", bytes(40))) + MDAT, "cmov"),
    "two moov": (plain() + mp4_box(b"moov", MVHD), "several boxes 'moov'"),
    "two udta": (plain(udta(meta(b"")), udta(b"")), "several boxes 'udta'"),
    "two meta": (plain(udta(meta(b"") + meta(b"", kind=b"ID32"))), "several boxes 'meta'"),
    "two ilst": (plain(udta(meta(b"", mp4_box(b"ilst")))), "several boxes 'ilst'"),
}
UNWRITABLE = {
    "another kind of metadata": (plain(udta(meta(b"", kind=b"mdta"))), "the kind 'mdta'"),
    "metadata without a handler": (plain(udta(full_box(b"meta", mp4_box(b"ilst")))), "the kind ''"),
    "items with places": (plain(mp4_box(b"trak", full_box(b"meta", handler() + ILOC))), "iloc"),
    "a file with places": (plain() + full_box(b"meta", handler() + ILOC), "iloc"),
    "a table over the end of its box": (
        plain(
            mp4_box(
                b"trak",
                mp4_box(b"mdia", mp4_box(b"minf", mp4_box(b"stbl", full_box(b"stco", struct.pack(">LL", 2, 99))))),
            )
        ),
        "'stco' is too long",
    ),
    "an empty table": (
        plain(mp4_box(b"trak", mp4_box(b"mdia", mp4_box(b"minf", mp4_box(b"stbl", mp4_box(b"co64")))))),
        "'co64' is too long",
    ),
    "media data elsewhere": (FTYP + mp4_box(b"moov", track([50], reference=ALIAS)) + MDAT, "in another file"),
    "media data elsewhere by number": (
        FTYP + mp4_box(b"moov", track([50], reference=full_box(b"imdt", b"\0\0\0\1"))) + MDAT,
        "in another file",
    ),
    "media data within the metadata": (
        FTYP + mp4_box(b"moov", track([len(FTYP) + 8 + len(NEAR) + 70]) + udta(meta(item(b"\xa9gen", b"x")))) + MDAT,
        "in the middle of its metadata",
    ),
    "offsets near their end": (FTYP + mp4_box(b"moov", track([(1 << 32) - 9])) + MDAT, "into 32 bits"),
    "an index before what describes it": (FTYP + full_box(b"sidx", bytes(24)) + plain()[len(FTYP) :], "sidx"),
    "a short header of a fragment": (
        plain() + mp4_box(b"moof", mp4_box(b"traf", full_box(b"tfhd", bytes(4), flags=1))),
        "'tfhd' is too long",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_damaged_metadata_are_refused_and_kept(make, name):
    data, clause = UNREADABLE[name]
    path = make(data)
    for act in (lambda: plan_write(path, make_fields()), lambda: plan_removal(path), lambda: read_metadata(path)):
        with pytest.raises(MetadataError, match=f"(are damaged|cannot take the change).*{clause}.* nothing is written"):
            act()
    assert path.read_bytes() == data


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written_is_refused_and_kept(make, name):
    data, clause = UNWRITABLE[name]
    path = make(data)
    assert read_metadata(path).container is Container.MP4
    with pytest.raises(MetadataError, match=f"{clause}.* nothing is written"):
        write(path, genre="replace")
    assert path.read_bytes() == data


def test_a_whole_file_is_not_called_damaged(make):
    path = make(UNWRITABLE["offsets near their end"][0])
    with pytest.raises(MetadataError, match="cannot take the change: the places of its media data do not fit"):
        write(path, genre="replace")
    box = Box(kind=b"moov", start=0, body_start=8, end=(1 << 32) - 9, size_field=Span(start=0, end=4))
    assert resize_box(box, 8) == [Edit(place=box.size_field, pieces=(b"\xff" * 4,))]
    with pytest.raises(UnwritableError, match="the box 'moov' would be too large"):
        resize_box(box, 9)


def test_offsets_of_another_file_stay_when_nothing_moves(make):
    before = FTYP + mp4_box(b"moov", track([50], reference=ALIAS) + udta(meta(b"", free(4000)))) + MDAT
    path = make(before)
    write(path)
    assert offsets_of(path.read_bytes()) == offsets_of(before)


@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"moov", b"moovtrak", b"moovudtametailst"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_crash(tmp_path, data, start):
    path = tmp_path / "track.m4a"
    for kind in range(len(start), 0, -4):
        data = mp4_box(start[kind - 4 : kind], bytes(4) * (start[kind - 4 : kind] == b"meta") + data)
    path.write_bytes(FTYP + data)
    for act in (lambda: write(path), lambda: read_metadata(path), lambda: remove(path)):
        with suppress(TagcliError):
            act()


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_byte_that_turned_never_crashes_and_never_moves_the_audio(tmp_path, data):
    path = tmp_path / "track.m4a"
    whole = bytearray(
        plain(udta(meta(item(b"\xa9nam", b"A") + freeform(b"TAGCLI_TAGS", b"a"), free(30)) + bytes(4)), free(9))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(len(FTYP), len(whole) - len(SOUND) - 1))] = data.draw(
            st.sampled_from([0, 1, 2, 7, 9, 255])
        )
    path.write_bytes(whole)
    payload = hash_payload(path)
    try:
        write(path)
    except TagcliError:
        assert path.read_bytes() == whole
    assert hash_payload(path) == payload


# What is read


def test_reading_shows_everything(make):
    items = [
        item(b"\xa9nam", b"A"),
        item(b"\xa9alb", "Ä".encode("utf-16-be"), type_code=UTF16),
        item(b"trkn", b"\0\0\0\3\0\x0c\0\0", type_code=0),
        item(b"disk", b"\0\0\0\1\0\0", type_code=0),
        item(b"tmpo", b"\0\x78", type_code=21),
        item(b"gnre", b"\0\x09", type_code=0),
        item(b"covr", b"\xff\xd8" * 20, type_code=13),
        item(b"\xa9lyr", b"y" * 5000),
        item(b"\xa9day", b"\xff"),
        freeform(b"MusicBrainz Track Id", b"abc", b"def"),
        mp4_box(b"----", b"xyz"),
        mp4_box(b"xid "),
    ]
    path = make(plain(udta(meta(b"".join(items)))))
    metadata = read_metadata(path)
    assert (metadata.container, metadata.version) == (Container.MP4, "iTunes metadata")
    assert [(field.field, field.values) for field in metadata.fields] == [
        ("©nam", ("A",)),
        ("©alb", ("Ä",)),
        ("trkn", ("3/12",)),
        ("disk", ("1",)),
        ("tmpo", ("120",)),
        ("gnre", ("Jazz",)),
        ("covr", ("<image/jpeg, 40 bytes>",)),
        ("©lyr", ("<5000 bytes>",)),
        ("©day", ("<1 bytes>",)),
        ("----:com.apple.iTunes:MusicBrainz Track Id", ("abc", "def")),
        ("----", ("<3 bytes>",)),
        ("xid ", ()),
    ]


def test_mutagen_agrees_on_what_is_read(make, real):
    path = make(real["with tags"])
    shown = {field.field: list(field.values) for field in read_metadata(path).fields}
    tags = MP4(path).tags
    assert {key: tags[key] for key in ("\xa9nam", "\xa9gen", "\xa9cmt")} == {
        key: shown[key] for key in ("©nam", "©gen", "©cmt")
    }


def test_what_mutagen_wrote_is_foreign(make):
    path = make(encode_audio("aac", "mp4"))
    tags = MP4(path)
    tags["\xa9nam"], tags["trkn"], tags[f"{FREEFORM}X"] = "A", [(1, 2)], b"y"
    tags["covr"] = [mutagen.mp4.MP4Cover(b"\xff\xd8" * 100)]
    tags.save()
    before, packets = path.read_bytes(), packets_of(path)
    assert write(path).fits, "mutagen leaves room"
    assert foreign_of(path.read_bytes()) == foreign_of(before)
    assert packets_of(path) == packets
    assert MP4(io.BytesIO(path.read_bytes())).tags["trkn"] == [(1, 2)]
