"""ASF files: what changes in the attributes of their header, and above all what does not."""

import dataclasses
import io
import struct
import uuid
from contextlib import suppress

import av
import mutagen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import asf_object, encode_audio, id3_frame, id3_tag, id3v1, text_content

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write, read_metadata
from tagcli.metadata.asf import change_objects
from tagcli.payload import hash_payload


def guid(text):
    return uuid.UUID(text).bytes_le.hex()


HEADER = guid("75b22630-668e-11cf-a6d9-00aa0062ce6c")
FILE_PROPERTIES = guid("8cabdca1-a947-11cf-8ee4-00c00c205365")
STREAM_PROPERTIES = guid("b7dc0791-a9b7-11cf-8ee6-00c00c205365")
CONTENT = guid("75b22633-668e-11cf-a6d9-00aa0062ce6c")
EXTENDED = guid("d2d0a440-e307-11d2-97f0-00a0c95ea850")
EXTENSION = guid("5fbf03b5-a92e-11cf-8ee3-00c00c205365")
METADATA = guid("c5f8cbea-5baf-4877-8467-aa8c44fa4cca")
LIBRARY = guid("44231c94-9498-49d1-a141-1d134e457054")
PADDING = guid("1806d474-cadf-4509-a4ba-9aabcb96aae8")
FOREIGN = "00112233445566778899aabbccddeeff"
EXTENSION_HEAD = bytes.fromhex("11d2d3abbaa9cf118ee600c00c2053650600")
OWN = ("TAGCLI/TAGS", "TAGCLI/SCORES", "TAGCLI/MODEL", "TAGCLI/SETTINGS", "TAGCLI/ADDED")
SHARED = ("WM/Genre", "WM/Mood", "WM/ContentGroupDescription", "Description")
TEXT, BYTES, TRUTH, DWORD, QWORD, WORD, GUID = range(7)
FILL_ALL = Policies(genre=FieldPolicy.FILL, mood=FieldPolicy.FILL, grouping=FieldPolicy.FILL, comment=FieldPolicy.FILL)


def make_fields(**changes):
    values = {
        "tags": ("guitar", "rock"),
        "scores": (0.91234, 0.5),
        "model": "tagcli-msd50",
        "settings": "clips=all",
        "genres": ("Rock", "Jazz"),
        "moods": ("happy", "calm"),
        "grouping": ("live", "日本"),
        "comment": ("guitar", "rock"),
    }
    return Fields(**(values | changes))


def write(path, fields=None, policies=FILL_ALL):
    plan = plan_write(path, fields or make_fields(), policies=policies)
    apply_plan(plan)
    return plan


# Files, built and read without the program's own code


def utf16(text):
    return text.encode("utf-16-le") + b"\0\0"


def described(name, value, kind=TEXT):
    """An attribute of an Extended Content Description."""
    name, value = utf16(name), utf16(value) if isinstance(value, str) else value
    return struct.pack("<H", len(name)) + name + struct.pack("<HH", kind, len(value)) + value


def stored(name, value, kind=TEXT, language=0, stream=0):
    """An attribute of a Metadata or a Metadata Library."""
    name, value = utf16(name), utf16(value) if isinstance(value, str) else value
    return struct.pack("<HHHHL", language, stream, len(name), kind, len(value)) + name + value


def attribute_list(kind, attributes, rest=b""):
    return asf_object(kind, struct.pack("<H", len(attributes)) + b"".join(attributes) + rest)


def content(*texts, rest=b""):
    return asf_object(CONTENT, struct.pack("<5H", *map(len, texts)) + b"".join(texts) + rest)


def extension(*objects):
    body = b"".join(objects)
    return asf_object(EXTENSION, EXTENSION_HEAD + struct.pack("<L", len(body)) + body)


def padding(n_bytes):
    return asf_object(PADDING, bytes(n_bytes))


def walk(data, start, end):
    """Objects as (kind, body, start)."""
    objects = []
    while start < end:
        (size,) = struct.unpack_from("<Q", data, start + 16)
        assert 24 <= size <= end - start
        objects.append((data[start : start + 16].hex(), data[start + 24 : start + size], start))
        start += size
    return objects


def walk_header(data, start=0):
    """Objects of the header, and where the audio begins."""
    assert data[start : start + 16].hex() == HEADER
    size, n_objects, reserved = struct.unpack_from("<QLH", data, start + 16)
    objects = walk(data, start + 30, start + size)
    assert len(objects) == n_objects
    assert reserved == 0x0201
    return objects, start + size


def flatten(data, start=0):
    """Objects of the header and of its extension, without where they lie."""
    for kind, body, _ in walk_header(data, start)[0]:
        if kind == EXTENSION:
            assert struct.unpack_from("<L", body, 18) == (len(body) - 22,)
            yield kind, body[:18]
            yield from ((inner, inner_body) for inner, inner_body, _ in walk(body, 22, len(body)))
        else:
            yield kind, body


def read_list(kind, body):
    """Attributes as (name, type, value, language and stream, raw), and what is behind them."""
    attributes, position = [], 2
    if kind == CONTENT:
        sizes, position = struct.unpack_from("<5H", body), 10
        for name, size in zip(("Title", "Author", "Copyright", "Description", "Rating"), sizes, strict=True):
            raw = body[position : position + size]
            attributes.append((name, TEXT, raw, (0, 0), raw))
            position += size
        return attributes, body[position:]
    for _ in range(struct.unpack_from("<H", body)[0]):
        start = position
        if kind == EXTENDED:
            (n_name,) = struct.unpack_from("<H", body, position)
            name = body[position + 2 : position + 2 + n_name]
            value_type, n_value = struct.unpack_from("<HH", body, position + 2 + n_name)
            about, position = (0, 0), position + 6 + n_name
        else:
            *about, n_name, value_type, n_value = struct.unpack_from("<HHHHL", body, position)
            name = body[position + 12 : position + 12 + n_name]
            position += 12 + n_name
        value = body[position : position + n_value]
        assert len(value) == n_value
        position += n_value
        text = name.decode("utf-16-le", errors="replace").rstrip("\0")
        attributes.append((text, value_type, value, tuple(about), body[start:position]))
    return attributes, body[position:]


def texts_of(data, start=0):
    """Texts by kind of list and name."""
    texts = {}
    for kind, body in flatten(data, start):
        if kind in (CONTENT, EXTENDED, METADATA, LIBRARY):
            for name, value_type, value, about, _ in read_list(kind, body)[0]:
                if value_type == TEXT and about == (0, 0) and value:
                    texts.setdefault((kind, name), []).append(value.decode("utf-16-le", errors="replace").rstrip("\0"))
    return texts


def foreign_of(data, names, start=0):
    """All in the header that no write may touch; names in small letters."""
    foreign = []
    for kind, body in flatten(data, start):
        if kind in (CONTENT, EXTENDED, METADATA, LIBRARY):
            attributes, rest = read_list(kind, body)
            foreign += [
                (kind, raw)
                for name, _, _, about, raw in attributes
                if raw and (about != (0, 0) or name.lower() not in names)
            ]
            foreign += [(kind, rest)] if rest else []
        elif kind == FILE_PROPERTIES:
            foreign.append((kind, body[:16] + body[24:]))
        elif kind not in (PADDING, EXTENSION):
            foreign.append((kind, body))
    return foreign


def file_size_of(data, start=0):
    body = next(body for kind, body, _ in walk_header(data, start)[0] if kind == FILE_PROPERTIES)
    return struct.unpack_from("<Q", body, 16)[0]


@pytest.fixture(scope="session")
def parts():
    """The objects that every file needs, by kind, and its audio."""
    data = encode_audio("wmav2", "asf")
    objects, end = walk_header(data)
    return {kind: bytes.fromhex(kind) + struct.pack("<Q", 24 + len(body)) + body for kind, body, _ in objects}, data[
        end:
    ]


def build(parts, objects, front=b"", tail=b"", needed=(FILE_PROPERTIES, STREAM_PROPERTIES)):
    needed_objects, audio = parts
    objects = [*(needed_objects[kind] for kind in needed), *objects]
    body = b"".join(objects)
    header = bytes.fromhex(HEADER) + struct.pack("<QLH", 30 + len(body), len(objects), 0x0201) + body
    data = bytearray(header + audio + tail)
    struct.pack_into("<Q", data, 30 + 24 + 16, len(data))
    return front + bytes(data)


@pytest.fixture
def path(tmp_path, parts):
    path = tmp_path / "track.wma"
    attributes = [
        described("WM/AlbumTitle", "An album"),
        described("WM/Year", "1999"),
        described("IsVBR", b"\1\0\0\0", TRUTH),
    ]
    objects = [
        content(utf16("A"), b"", b"", b"", b""),
        extension(),
        attribute_list(EXTENDED, attributes),
        padding(4000),
    ]
    path.write_bytes(build(parts, objects))
    return path


def packets_of(data):
    with av.open(io.BytesIO(data)) as file:
        return [bytes(packet) for packet in file.demux() if packet.size]


# What is written


def test_first_values_are_described_and_further_ones_in_the_library(path):
    write(path)
    texts = texts_of(path.read_bytes())
    assert texts[EXTENDED, "TAGCLI/TAGS"] + texts[LIBRARY, "TAGCLI/TAGS"] == ["guitar", "rock"]
    assert texts[EXTENDED, "TAGCLI/SCORES"] + texts[LIBRARY, "TAGCLI/SCORES"] == ["0.912", "0.500"]
    assert texts[EXTENDED, "TAGCLI/MODEL"] == ["tagcli-msd50"]
    assert texts[EXTENDED, "TAGCLI/SETTINGS"] == ["clips=all"]
    assert texts[EXTENDED, "WM/Genre"] + texts[LIBRARY, "WM/Genre"] == ["Rock", "Jazz"]
    assert texts[EXTENDED, "WM/Mood"] + texts[LIBRARY, "WM/Mood"] == ["happy", "calm"]
    name = "WM/ContentGroupDescription"
    assert texts[EXTENDED, name] + texts[LIBRARY, name] == ["live", "日本"]
    assert texts[CONTENT, "Description"] == ["guitar; rock"]
    assert not {(LIBRARY, "TAGCLI/MODEL"), (EXTENDED, "Description"), (LIBRARY, "Description")} & texts.keys()


def test_other_programs_read_them(path):
    write(path)
    tags = mutagen.File(path).tags
    assert [str(value) for value in tags["TAGCLI/TAGS"]] == ["guitar", "rock"]
    assert [str(value) for value in tags["WM/Genre"]] == ["Rock", "Jazz"]
    assert [str(value) for value in tags["Description"]] == ["guitar; rock"]
    assert [str(value) for value in tags["Title"]] == ["A"]
    with av.open(str(path)) as file:
        shown = file.metadata
    assert shown["TAGCLI/TAGS"] == "guitar", "FFmpeg shows the value that it reads last"
    assert (shown["genre"], shown["comment"], shown["title"]) == ("Rock", "guitar; rock", "A")


def test_the_audio_stays_as_it_is(path):
    before, payload = packets_of(path.read_bytes()), hash_payload(path)
    write(path)
    write(path, make_fields(settings="x" * 9000))
    assert packets_of(path.read_bytes()) == before
    assert before
    assert hash_payload(path) == payload


def test_writing_twice_is_writing_once(path):
    assert not write(path).is_empty
    before = path.read_bytes()
    assert write(path).is_empty
    assert write(path, make_fields(scores=(0.9125, 0.5))).is_empty
    assert path.read_bytes() == before


def test_planning_touches_nothing(path):
    before = path.read_bytes()
    plan = plan_write(path, make_fields(), policies=FILL_ALL)
    assert plan.container is Container.ASF
    assert {change.name for change in plan.changes} == {*OWN, *SHARED}
    assert path.read_bytes() == before


@pytest.mark.parametrize("n_padding", [None, 4000])
def test_removal_leaves_no_field(tmp_path, parts, n_padding):
    path = tmp_path / "track.wma"
    objects = [attribute_list(EXTENDED, [described("WM/Genre", "Blues")]), *([padding(n_padding)] if n_padding else [])]
    path.write_bytes(build(parts, objects))
    before = texts_of(path.read_bytes())
    write(path, policies=Policies(genre=FieldPolicy.APPEND, mood=FieldPolicy.FILL, comment=FieldPolicy.FILL))
    assert texts_of(path.read_bytes()) != before
    apply_plan(plan_removal(path))
    assert texts_of(path.read_bytes()) == before
    assert plan_removal(path).is_empty


def test_lists_that_are_missing_are_made(tmp_path, parts):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, []))
    write(path)
    kinds = [kind for kind, _ in flatten(path.read_bytes())]
    assert kinds == [FILE_PROPERTIES, EXTENSION, LIBRARY, STREAM_PROPERTIES, CONTENT, EXTENDED, PADDING]
    assert mutagen.File(path).tags["WM/Genre"] == ["Rock", "Jazz"]
    assert mutagen.File(path).info.length > 0
    with av.open(str(path)) as file:
        assert file.metadata["genre"] == "Rock"


def test_lists_that_are_not_needed_are_not_made(tmp_path, parts):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, []))
    write(path, make_fields(tags=("rock",), scores=(1,), genres=("Rock",)), Policies(mood=FieldPolicy.NEVER))
    kinds = [kind for kind, _ in flatten(path.read_bytes())]
    assert kinds == [FILE_PROPERTIES, STREAM_PROPERTIES, EXTENDED, PADDING]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("n_padding", [0, 23, 24, 3000, 100_000])
def test_audio_does_not_move_when_there_is_room(tmp_path, parts, n_padding, inside):
    path = tmp_path / "track.wma"
    room = padding(n_padding)
    path.write_bytes(build(parts, [extension(room), content(*[b""] * 5)] if inside else [extension(), room]))
    _, start = walk_header(path.read_bytes())
    plan = write(path)
    data = path.read_bytes()
    _, moved = walk_header(data)
    assert plan.fits == (moved == start) == (n_padding >= 3000)
    assert sum(kind == PADDING for kind, _ in flatten(data)) == 1
    assert file_size_of(data) == len(data)
    assert data[moved:] == parts[1]
    write(path, make_fields(settings="clips=middle top=12"))
    assert walk_header(path.read_bytes())[1] == moved


@pytest.mark.parametrize("n_less", [0, 1, 11, 12, 13, 20])
def test_room_too_small_for_padding_is_filled_or_made_anew(tmp_path, parts, n_less):
    """An object of padding needs 24 bytes, which are twelve characters."""
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, []))
    write(path, make_fields(settings="x" * 40))
    kept = [asf_object(kind, body) for kind, body, _ in walk_header(path.read_bytes())[0] if kind != PADDING]
    path.write_bytes(build(parts, kept, needed=()))
    _, start = walk_header(path.read_bytes())
    write(path, make_fields(settings="y" * (40 - n_less)))
    data = path.read_bytes()
    _, moved = walk_header(data)
    assert (moved == start) == (n_less == 0 or n_less >= 12)
    assert texts_of(data)[EXTENDED, "TAGCLI/SETTINGS"] == ["y" * (40 - n_less)]
    assert data[moved:] == parts[1]
    assert file_size_of(data) == len(data)


def test_a_broadcast_tells_no_file_size(tmp_path, parts):
    path = tmp_path / "track.wma"
    data = bytearray(build(parts, []))
    data[30 + 24 + 64] |= 1
    struct.pack_into("<Q", data, 30 + 24 + 16, 12345)
    path.write_bytes(data)
    write(path)
    assert file_size_of(path.read_bytes()) == 12345


def test_file_size_counts_what_it_counted(tmp_path, parts):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, []) + id3v1())
    write(path)
    assert file_size_of(path.read_bytes()) == path.stat().st_size - 128


@pytest.mark.parametrize("n_characters", [32_766, 32_767, 40_000])
def test_long_values_go_into_the_library(path, n_characters):
    """Two bytes each, and two for the NUL: 65,534 fit."""
    long = "x" * n_characters
    write(path, make_fields(settings=long, comment=(long,)))
    texts = texts_of(path.read_bytes())
    is_long = n_characters > 32_766
    assert texts[LIBRARY if is_long else EXTENDED, "TAGCLI/SETTINGS"] == [long]
    assert texts[LIBRARY if is_long else CONTENT, "Description"] == [long]
    assert len(texts) == len({name for _, name in texts}) + 6, "the six of which there are several"
    assert write(path, make_fields(settings=long, comment=(long,))).is_empty
    write(path, make_fields(settings="short"), dataclasses.replace(FILL_ALL, comment=FieldPolicy.REPLACE))
    texts = texts_of(path.read_bytes())
    assert (LIBRARY, "TAGCLI/SETTINGS") not in texts
    assert texts[CONTENT, "Description"] == ["guitar; rock"]


@pytest.mark.parametrize(
    ("policy", "old", "genres", "new"),
    [
        ("fill", [], ("Rock", "rock"), ["Rock"]),
        ("fill", ["Blues"], ("Rock",), ["Blues"]),
        ("fill", [""], ("Rock",), ["Rock"]),
        ("append", ["Blues"], ("Rock", "blues"), ["Blues", "Rock"]),
        ("append", ["Blues", "Pop"], ("Rock",), ["Blues", "Pop", "Rock"]),
        ("append", ["Blues/Rock"], ("Rock",), ["Blues/Rock"]),
        ("replace", ["Blues"], ("Rock", "Pop"), ["Rock", "Pop"]),
        ("replace", ["Blues"], (), ["Blues"]),
        ("never", [], ("Rock",), []),
    ],
)
@pytest.mark.parametrize("place", [EXTENDED, METADATA, LIBRARY])
def test_genre_policies(tmp_path, parts, place, policy, old, genres, new):
    path = tmp_path / "track.wma"
    make = described if place == EXTENDED else stored
    attributes = attribute_list(place, [make("A", "a"), *(make("wm/genre", value) for value in old), make("B", "b")])
    path.write_bytes(build(parts, [attributes if place == EXTENDED else extension(attributes)]))
    write(path, make_fields(genres=genres), Policies(genre=FieldPolicy(policy)))
    tags = mutagen.File(path).tags
    assert [str(value) for name, value in tags if name.lower() == "wm/genre"] == new
    lists = [read_list(kind, body)[0] for kind, body in flatten(path.read_bytes()) if kind == place]
    names = [
        name for attributes in lists for name, *_ in attributes if name in ("A", "B") or name.lower() == "wm/genre"
    ]
    assert names[0] == "A"
    assert names[-1] == ("WM/Genre" if new and not old and place == EXTENDED else "B"), "the genre keeps its place"


def test_attributes_of_a_stream_or_language_are_not_ours(tmp_path, parts):
    path = tmp_path / "track.wma"
    others = [stored("WM/Genre", "Blues", language=1), stored("TAGCLI/TAGS", "old", stream=1)]
    path.write_bytes(build(parts, [extension(attribute_list(METADATA, others[1:]), attribute_list(LIBRARY, others))]))
    write(path, policies=Policies(genre=FieldPolicy.REPLACE))
    raws = [raw for kind, body in flatten(path.read_bytes()) if kind == LIBRARY for *_, raw in read_list(kind, body)[0]]
    assert raws[:2] == others
    assert texts_of(path.read_bytes())[EXTENDED, "WM/Genre"] == ["Rock"]
    apply_plan(plan_removal(path))
    assert foreign_of(path.read_bytes(), [])[-3:] == [(METADATA, others[1]), (LIBRARY, others[0]), (LIBRARY, others[1])]


@pytest.mark.parametrize(
    "unreadable",
    [described("WM/Genre", b"Rock", BYTES), described("WM/Genre", b"R\0o\0c"), described("WM/Genre", b"\0\xd8\0\0")],
    ids=["bytes", "half a character", "half a pair"],
)
def test_a_genre_that_cannot_be_read_is_never_written_anew(tmp_path, parts, unreadable):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, [attribute_list(EXTENDED, [unreadable, described("WM/Genre", "Jazz")])]))
    write(path)
    with pytest.raises(MetadataError, match="cannot be read"):
        write(path, policies=Policies(genre=FieldPolicy.APPEND))
    write(path, make_fields(genres=()), Policies(genre=FieldPolicy.REPLACE))
    apply_plan(plan_removal(path))
    assert (EXTENDED, unreadable) in foreign_of(path.read_bytes(), [])
    write(path, policies=Policies(genre=FieldPolicy.REPLACE))
    assert (EXTENDED, unreadable) not in foreign_of(path.read_bytes(), [])
    assert mutagen.File(path).tags["WM/Genre"] == ["Rock", "Jazz"]


def test_a_comment_leaves_what_is_beside_it(tmp_path, parts):
    path = tmp_path / "track.wma"
    texts = [utf16("Title"), b"odd", utf16("Copyright"), utf16("old"), utf16("5")]
    path.write_bytes(
        build(
            parts, [content(*texts, rest=b"more"), extension(attribute_list(LIBRARY, [stored("Description", "older")]))]
        )
    )
    write(path, policies=Policies(comment=FieldPolicy.REPLACE))
    body = next(body for kind, body in flatten(path.read_bytes()) if kind == CONTENT)
    attributes, rest = read_list(CONTENT, body)
    assert [raw for *_, raw in attributes] == [*texts[:3], utf16("guitar; rock"), texts[4]]
    assert rest == b"more"
    assert (LIBRARY, "Description") not in texts_of(path.read_bytes())


def test_values_come_back_as_written(path):
    tags = ("R&B", "日本", "a\u0301 \U0001f3b8", " spaced ", "x" * 300)
    write(path, make_fields(tags=tags, scores=(0.5,) * 5))
    shown = {field.field: field.values for field in read_metadata(path).fields}
    assert shown["TAGCLI/TAGS"] == tags
    assert write(path, make_fields(tags=tags, scores=(0.5,) * 5)).is_empty


# What is not

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0;/,"), min_size=1, max_size=12).filter(
    str.strip
)
VALUES = st.one_of(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.just(TEXT)),
    st.tuples(st.binary(max_size=40), st.integers(0, 9)),
)
KNOWN = st.sampled_from(
    ["WM/Genre", "wm/genre", "WM/MOOD", "TAGCLI/TAGS", "tagcli/scores", "Description", "WM/Picture"]
)
DESCRIBED = st.builds(lambda name, value: described(name, *value), st.one_of(NAMES, KNOWN), VALUES)
STORED = st.builds(
    lambda name, value, language, stream: stored(name, *value, language, stream),
    st.one_of(NAMES, KNOWN),
    VALUES,
    st.sampled_from([0, 0, 1]),
    st.sampled_from([0, 0, 1, 127]),
)
REST = st.sampled_from([b"", b"\0", b"rest"])
CONTENTS = st.builds(
    lambda texts, rest: content(*texts, rest=rest), st.lists(st.binary(max_size=9), min_size=5, max_size=5), REST
)
LISTS = st.one_of(
    st.builds(attribute_list, st.just(EXTENDED), st.lists(DESCRIBED, max_size=4), REST),
    st.builds(attribute_list, st.sampled_from([METADATA, LIBRARY]), st.lists(STORED, max_size=4), REST),
    CONTENTS,
)
OTHERS = st.one_of(
    st.builds(asf_object, st.just(FOREIGN), st.binary(max_size=50)), st.integers(0, 3000).map(padding), LISTS
)
EXTENSIONS = st.lists(OTHERS, max_size=4).map(lambda objects: extension(*objects))


@st.composite
def any_fields(draw):
    tags = draw(st.lists(TEXTS, max_size=4))
    return make_fields(
        tags=tuple(tags),
        scores=tuple(draw(st.floats(0, 1)) for _ in tags),
        settings=draw(st.sampled_from(["", "a", "xyz"])) * draw(st.sampled_from([1, 1000, 12_000])),
        genres=tuple(draw(st.lists(TEXTS, max_size=3))),
        moods=tuple(draw(st.lists(TEXTS, max_size=2))),
        comment=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@given(
    objects=st.lists(st.one_of(OTHERS, EXTENSIONS), max_size=6),
    front=st.sampled_from([b"", id3_tag(3, [id3_frame(3, "TIT2", text_content("A"))])]),
    tail=st.sampled_from([b"", id3v1()]),
    fields=any_fields(),
    later=any_fields(),
    policy=st.sampled_from([FieldPolicy.FILL, FieldPolicy.REPLACE]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_foreign_survives_anything(tmp_path, parts, objects, front, tail, fields, later, policy):
    path = tmp_path / "track.wma"
    old = build(parts, objects, front) + tail
    path.write_bytes(old)
    assert find_container(path) is Container.ASF
    start, payload = len(front), hash_payload(path)
    names = [name.lower() for name in (*OWN, *SHARED)]
    policies = Policies(genre=policy, mood=policy, grouping=policy, comment=policy)
    foreign = foreign_of(old, names, start)
    for wanted in (fields, later):
        write(path, wanted, policies)
        new = path.read_bytes()
        _, end = walk_header(new, start)
        assert new[:start] == front
        assert new[end:] == parts[1] + tail
        assert foreign_of(new, names, start) == foreign
        assert file_size_of(new, start) == len(new) - len(front + tail)
        texts = texts_of(new, start)
        found = [text for kind in (EXTENDED, METADATA, LIBRARY) for text in texts.get((kind, "TAGCLI/TAGS"), [])]
        assert found == [*wanted.tags]
        assert hash_payload(path) == payload
        assert write(path, wanted, policies).is_empty
    apply_plan(plan_removal(path))
    assert foreign_of(path.read_bytes(), names, start) == foreign
    assert plan_removal(path).is_empty


def lose(what):
    """A write that loses an attribute."""

    def change(objects, changes):
        kept = []
        for part in change_objects(objects, changes):
            attributes = tuple(attribute for attribute in part.attributes if attribute.name != what)
            place = part.place if attributes == part.attributes else None
            kept.append(dataclasses.replace(part, attributes=attributes, place=place))
        return tuple(kept)

    return change


@pytest.mark.parametrize(("what", "sentence"), [("WM/Year", "did not survive"), ("TAGCLI/MODEL", "read back")])
def test_a_copy_that_lost_something_is_found_out(path, monkeypatch, what, sentence):
    before = path.read_bytes()
    monkeypatch.setattr("tagcli.metadata.asf.change_objects", lose(what))
    with pytest.raises(MetadataError, match=sentence):
        write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# What is refused


def with_number(data, position, size, change):
    number = int.from_bytes(data[position : position + size], "little") + change
    return data[:position] + (number % (1 << 8 * size)).to_bytes(size, "little") + data[position + size :]


def at(kind, offset, size, change):
    """Change a number in the first object of a kind."""

    def damage(data):
        return with_number(data, data.index(bytes.fromhex(kind)) + offset, size, change)

    return damage


@pytest.mark.parametrize(
    "damage",
    {
        "a header over the end": lambda data: with_number(data, 16, 8, 1 << 20),
        "a header too large": lambda data: with_number(data, 16, 8, 1 << 60),
        "a header of nothing": lambda data: data[:16] + bytes(8) + data[24:],
        "a header a byte too short": lambda data: with_number(data, 16, 8, -1),
        "a header a byte too long": lambda data: with_number(data, 16, 8, 1),
        "an object too many": lambda data: with_number(data, 24, 4, 1),
        "an object too few": lambda data: with_number(data, 24, 4, -1),
        "an object of nothing": lambda data: data[:46] + bytes(8) + data[54:],
        "an object over the end": at(PADDING, 16, 8, 1 << 16),
        "an object shorter than its header": at(PADDING, 16, 8, -4010),
        "too many attributes": at(EXTENDED, 24, 2, 1),
        "a name over the end": at(EXTENDED, 26, 2, 20_000),
        "a value over the end": at(EXTENDED, 24 + 2 + 2 + 28 + 2, 2, 60_000),
        "a title over the end": at(CONTENT, 24, 2, 2),
        "an extension over the end": at(EXTENSION, 24 + 18, 4, 1),
        "cut": lambda data: data[:100],
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_headers_are_refused_and_kept(path, damage):
    damaged = damage[1](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path), lambda: plan_removal(path)):
        with pytest.raises(MetadataError, match="damaged"):
            act()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    "cut",
    [
        asf_object(EXTENDED, b""),
        asf_object(LIBRARY, b"\1"),
        asf_object(CONTENT, bytes(9)),
        asf_object(EXTENSION, EXTENSION_HEAD),
        attribute_list(EXTENDED, [described("A", "")[:-3]]),
        attribute_list(LIBRARY, [stored("A", "")[:11]]),
    ],
)
def test_objects_that_end_too_early_are_refused(tmp_path, parts, cut):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, [cut]))
    with pytest.raises(MetadataError, match="damaged"):
        plan_write(path, make_fields())


def test_more_attributes_than_can_be_counted_are_refused(tmp_path, parts):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, [attribute_list(EXTENDED, [described("", b"")] * 65_533)]))
    before = path.read_bytes()
    with pytest.raises(MetadataError, match="65,535 attributes"):
        write(path)
    assert path.read_bytes() == before


@given(data=st.binary(max_size=200), count=st.integers(0, 3), n_more=st.sampled_from([0, 0, 0, -1, 1]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_crash(tmp_path, data, count, n_more):
    path = tmp_path / "track.wma"
    path.write_bytes(bytes.fromhex(HEADER) + struct.pack("<QLH", 30 + len(data) + n_more, count, 0x0201) + data)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with suppress(TagcliError):
            act()


@given(kind=st.sampled_from([CONTENT, EXTENDED, METADATA, LIBRARY, EXTENSION]), body=st.binary(max_size=60))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_objects_never_crash(tmp_path, parts, kind, body):
    path = tmp_path / "track.wma"
    path.write_bytes(build(parts, [asf_object(kind, body)]))
    with suppress(TagcliError):
        read_metadata(path)
    with suppress(TagcliError):
        write(path)


# What is read


def test_reading_shows_everything(tmp_path, parts):
    path = tmp_path / "track.wma"
    attributes = [
        described("WM/Genre", "Rock"),
        described("WM/Picture", bytes(50), BYTES),
        described("IsVBR", b"\1\0\0\0", TRUTH),
        described("WM/Track", b"\7\0\0\0", DWORD),
        described("Long", "y" * 5000),
        described("Odd", b"a\0b"),
    ]
    library = [stored("WM/Genre", "Jazz"), stored("ID", bytes(16), GUID)]
    objects = [extension(attribute_list(LIBRARY, library)), attribute_list(EXTENDED, attributes)]
    path.write_bytes(build(parts, [*objects, content(utf16("A"), b"", b"", utf16("c; d"), b"")]))
    metadata = read_metadata(path)
    assert (metadata.container, metadata.version) == (Container.ASF, "ASF attributes")
    assert {field.field: field.values for field in metadata.fields} == {
        "Title": ("A",),
        "Description": ("c; d",),
        "WM/Genre": ("Rock", "Jazz"),
        "WM/Picture": ("<50 bytes>",),
        "IsVBR": ("1",),
        "WM/Track": ("7",),
        "Long": ("<10002 bytes>",),
        "Odd": ("a\ufffd",),
        "ID": ("<16 bytes>",),
    }
