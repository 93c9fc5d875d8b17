"""FLAC files: what changes in their Vorbis comments, and above all what does not."""

import dataclasses
import struct
from contextlib import suppress

import mutagen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import encode_audio, id3_frame, id3_tag, id3v1, text_content
from mutagen.flac import FLAC

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_write, read_metadata
from tagcli.metadata.vorbis import change_comments

OWN = ("TAGCLI_TAGS", "TAGCLI_SCORES", "TAGCLI_MODEL", "TAGCLI_SETTINGS")
PADDING, COMMENTS = 1, 4
LAST = 0x80


def make_fields(**changes):
    values = {
        "tags": ("guitar", "rock"),
        "scores": (0.91234, 0.5),
        "model": "tagcli-msd50",
        "settings": "clips=all",
        "genres": ("Rock",),
    }
    return Fields(**(values | changes))


def write(path, fields=None, genre=FieldPolicy.FILL):
    plan = plan_write(path, fields or make_fields(), policies=Policies(genre=genre))
    apply_plan(plan)
    return plan


@pytest.fixture(scope="session")
def parts():
    """A FLAC file's description of the stream, and its audio."""
    data = encode_audio("flac", "flac")
    blocks, end = walk(data, 0)
    return blocks[0][1], data[end:]


def walk(data, start):
    """Metadata blocks as (type, body), and where the audio begins; independent of the program's own reading."""
    assert data[start : start + 4] == b"fLaC"
    blocks, position, is_last = [], start + 4, False
    while not is_last:
        head, size = data[position], int.from_bytes(data[position + 1 : position + 4], "big")
        blocks.append((head & ~LAST, data[position + 4 : position + 4 + size]))
        assert len(blocks[-1][1]) == size
        position, is_last = position + 4 + size, bool(head & LAST)
    return blocks, position


def comment_block(entries, vendor=b"reference libFLAC", rest=b""):
    parts = [vendor, *entries]
    sized = [struct.pack("<I", len(part)) + part for part in parts]
    return COMMENTS, sized[0] + struct.pack("<I", len(entries)) + b"".join(sized[1:]) + rest


def read_entries(body):
    """Vendor and entries of a comment block."""
    (size,) = struct.unpack_from("<I", body)
    vendor, position = body[4 : 4 + size], 4 + size
    (n_entries,) = struct.unpack_from("<I", body, position)
    position += 4
    entries = []
    for _ in range(n_entries):
        (size,) = struct.unpack_from("<I", body, position)
        entries.append(body[position + 4 : position + 4 + size])
        position += 4 + size
    return vendor, entries, body[position:]


def build(parts, blocks, front=b"", tail=b""):
    stream, audio = parts
    blocks = [(0, stream), *blocks]
    headed = [
        bytes([kind | (LAST if index == len(blocks) - 1 else 0)]) + len(body).to_bytes(3, "big") + body
        for index, (kind, body) in enumerate(blocks)
    ]
    return front + b"fLaC" + b"".join(headed) + audio + tail


@pytest.fixture
def path(tmp_path, parts):
    path = tmp_path / "track.flac"
    path.write_bytes(build(parts, [comment_block([b"TITLE=A", b"Artist=B\xc3\xa9"]), (PADDING, bytes(2000))]))
    return path


def is_own(entry):
    key = entry.partition(b"=")[0].upper().decode("latin-1")
    return b"=" in entry and key in (*OWN, "TAGCLI_ADDED", "GENRE")


# What is written


def test_fields_are_repeated_keys(path):
    write(path)
    tags = FLAC(path).tags
    assert tags["tagcli_tags"] == ["guitar", "rock"]
    assert tags["TAGCLI_SCORES"] == ["0.912", "0.500"]
    assert tags["TAGCLI_MODEL"] == ["tagcli-msd50"]
    assert tags["TAGCLI_SETTINGS"] == ["clips=all"]
    assert tags["GENRE"] == ["Rock"]
    assert (tags["title"], tags["ARTIST"]) == (["A"], ["Bé"])


def test_writing_twice_is_writing_once(path):
    assert not write(path).is_empty
    before = path.read_bytes()
    assert write(path).is_empty
    assert write(path, make_fields(scores=(0.9125, 0.5))).is_empty
    assert path.read_bytes() == before


def test_planning_touches_nothing(path):
    before = path.read_bytes()
    plan = plan_write(path, make_fields())
    assert plan.container is Container.FLAC
    assert [change.name for change in plan.changes] == [*OWN, "GENRE", "TAGCLI_ADDED"]
    assert path.read_bytes() == before


def test_a_file_without_comments_gets_some(tmp_path, parts):
    path = tmp_path / "track.flac"
    path.write_bytes(build(parts, []))
    write(path)
    kinds = [kind for kind, _ in walk(path.read_bytes(), 0)[0]]
    assert kinds == [0, COMMENTS, PADDING]
    assert FLAC(path).tags["TAGCLI_TAGS"] == ["guitar", "rock"]


def test_no_tags_leave_model_and_settings_only(path):
    write(path)
    write(path, make_fields(tags=(), scores=(), genres=()))
    tags = FLAC(path).tags
    assert {key.upper() for key, _ in tags} == {
        "TITLE",
        "ARTIST",
        "TAGCLI_MODEL",
        "TAGCLI_SETTINGS",
    }


@pytest.mark.parametrize("n_padding", [0, 3, 4, 5, 300, 70_000])
def test_audio_does_not_move_when_there_is_room(tmp_path, parts, n_padding):
    path = tmp_path / "track.flac"
    path.write_bytes(build(parts, [comment_block([b"TITLE=A"]), (PADDING, bytes(n_padding))]))
    _, start = walk(path.read_bytes(), 0)
    write(path)
    _, moved = walk(path.read_bytes(), 0)
    assert (moved == start) == (n_padding >= 300)
    write(path, make_fields(settings="clips=middle top=12"))
    assert walk(path.read_bytes(), 0)[1] == moved


@pytest.mark.parametrize("n_less", range(8))
def test_room_of_a_few_bytes_less_than_before_is_filled_or_made_anew(tmp_path, parts, n_less):
    """A block of padding needs four bytes for its header."""
    path = tmp_path / "track.flac"
    path.write_bytes(build(parts, [comment_block([b"TITLE=A"])]))
    write(path, make_fields(settings="x" * 20))
    blocks, _ = walk(path.read_bytes(), 0)
    path.write_bytes(build(parts, [block for block in blocks[1:] if block[0] != PADDING]))
    _, start = walk(path.read_bytes(), 0)
    write(path, make_fields(settings="y" * (20 - n_less)))
    blocks, moved = walk(path.read_bytes(), 0)
    assert (moved == start) == (n_less == 0 or n_less >= 4)
    assert FLAC(path).tags["TAGCLI_SETTINGS"] == ["y" * (20 - n_less)]
    assert path.read_bytes()[moved:] == parts[1]


@pytest.mark.parametrize(
    ("policy", "old", "genres", "new"),
    [
        ("fill", [], ("Rock", "rock"), ["Rock"]),
        ("fill", ["Jazz"], ("Rock",), ["Jazz"]),
        ("fill", [""], ("Rock",), ["Rock"]),
        ("append", ["Jazz"], ("Rock", "jazz"), ["Jazz", "Rock"]),
        ("append", ["Jazz/Rock"], ("Rock",), ["Jazz/Rock"]),
        ("replace", ["Jazz"], ("Rock", "Pop"), ["Rock", "Pop"]),
        ("replace", ["Jazz"], (), ["Jazz"]),
        ("never", [], ("Rock",), []),
    ],
)
def test_genre_policies(tmp_path, parts, policy, old, genres, new):
    path = tmp_path / "track.flac"
    entries = [b"genre=" + value.encode() for value in old]
    path.write_bytes(build(parts, [comment_block([b"TITLE=A", *entries, b"DATE=1999"])]))
    write(path, make_fields(genres=genres), genre=FieldPolicy(policy))
    assert FLAC(path).tags.get("GENRE", []) == new
    _, entries, _ = read_entries(next(body for kind, body in walk(path.read_bytes(), 0)[0] if kind == COMMENTS))
    names = [entry.partition(b"=")[0].upper() for entry in entries if not entry.startswith(b"TAGCLI")]
    assert names[0] == b"TITLE"
    assert names[-1] == (b"DATE" if old or not new else b"GENRE"), "the genre keeps its place"


def test_a_genre_that_is_not_utf8_stays_as_it_is(tmp_path, parts):
    path = tmp_path / "track.flac"
    path.write_bytes(build(parts, [comment_block([b"GENRE=Caf\xe9"])]))
    write(path, genre=FieldPolicy.APPEND)
    _, entries, _ = read_entries(next(body for kind, body in walk(path.read_bytes(), 0)[0] if kind == COMMENTS))
    assert entries[:2] == [b"GENRE=Caf\xe9", b"GENRE=Rock"]
    assert write(path, genre=FieldPolicy.APPEND).is_empty


# What is not


KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D, exclude_characters="="), min_size=1, max_size=12)
ENTRIES = st.lists(
    st.one_of(
        st.tuples(KEYS, st.text(max_size=30)).map(lambda pair: f"{pair[0]}={pair[1]}".encode(errors="replace")),
        st.tuples(KEYS, st.binary(max_size=30)).map(lambda pair: pair[0].encode() + b"=" + pair[1]),
        st.sampled_from(
            [b"TITLE=A", b"title=B", b"ARTIST=" + b"x" * 70_000, b"METADATA_BLOCK_PICTURE=" + b"QUJD" * 9000]
        ),
        st.sampled_from([b"TAGCLI_TAGS=old", b"tagcli_scores=1", b"Genre=Jazz", b"GENRE=", b"TAGCLI_MODEL=x"]),
    ),
    max_size=8,
)
BLOCKS = st.lists(
    st.one_of(
        st.tuples(st.just(PADDING), st.integers(0, 65_536).map(bytes)),
        st.tuples(st.sampled_from([2, 3, 5, 6, 126]), st.binary(max_size=200)),
        st.just((2, bytes(200_000))),
    ),
    max_size=4,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0;/,"), min_size=1, max_size=12).filter(
    str.strip
)


@st.composite
def any_fields(draw):
    tags = draw(st.lists(TEXTS, max_size=4))
    return make_fields(
        tags=tuple(tags),
        scores=tuple(draw(st.floats(0, 1)) for _ in tags),
        settings=draw(st.sampled_from(["", "a", "x" * 9000])),
        genres=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@given(
    entries=ENTRIES,
    before=BLOCKS,
    behind=BLOCKS,
    has_comments=st.booleans(),
    front=st.sampled_from([b"", id3_tag(3, [id3_frame(3, "TIT2", text_content("A"))])]),
    tail=st.sampled_from([b"", id3v1()]),
    rest=st.sampled_from([b"", b"\1"]),
    fields=any_fields(),
    later=any_fields(),
    policy=st.sampled_from(FieldPolicy),
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_foreign_survives_anything(
    tmp_path, parts, entries, before, behind, has_comments, front, tail, rest, fields, later, policy
):
    path = tmp_path / "track.flac"
    comments = [comment_block(entries, rest=rest)] if has_comments else []
    path.write_bytes(build(parts, [*before, *comments, *behind], front, tail))
    assert find_container(path) is Container.FLAC
    old = path.read_bytes()
    old_blocks, old_start = walk(old, len(front))
    for wanted in (fields, later):
        write(path, wanted, genre=policy)
        new = path.read_bytes()
        blocks, start = walk(new, len(front))
        assert new[: len(front)] == front
        assert new[start:] == old[old_start:] == parts[1] + tail
        foreign = (PADDING, COMMENTS)
        assert [block for block in blocks if block[0] not in foreign] == [
            block for block in old_blocks if block[0] not in foreign
        ]
        bodies = [body for kind, body in blocks if kind == COMMENTS]
        assert len(bodies) == 1
        vendor, kept, kept_rest = read_entries(bodies[0])
        had = read_entries(comments[0][1]) if comments else (vendor, [], b"")
        assert (vendor, kept_rest) == (had[0], had[2])
        assert [entry for entry in kept if not is_own(entry)] == [entry for entry in had[1] if not is_own(entry)]
        assert [entry for entry in kept if entry.startswith(b"TAGCLI_TAGS=")] == [
            f"TAGCLI_TAGS={tag}".encode() for tag in wanted.tags
        ]
        assert write(path, wanted, genre=policy).is_empty


def lose(what):
    """A write that loses an entry."""

    def change(comments, changes):
        changed = change_comments(comments, changes)
        return dataclasses.replace(
            changed, entries=tuple(entry for entry in changed.entries if not entry.startswith(what))
        )

    return change


@pytest.mark.parametrize(("what", "sentence"), [(b"TITLE", "did not survive"), (b"TAGCLI_SCORES", "read back")])
def test_a_copy_that_lost_something_is_found_out(path, monkeypatch, what, sentence):
    before = path.read_bytes()
    monkeypatch.setattr("tagcli.metadata.flac.change_comments", lose(what))
    with pytest.raises(MetadataError, match=sentence):
        write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# What is refused


@pytest.mark.parametrize(
    "damage",
    {
        "a block over the end": lambda data: data[:4] + bytes([0x84]) + b"\xff\xff\xff" + data[8:100],
        "a picture over the end": lambda data: data[:42] + bytes([LAST | 6]) + b"\0\xff\xff" + bytes(100),
        "a comment over the end of its block": lambda data: data.replace(b"\x0a\0\0\0Artist", b"\x0b\0\0\0Artist"),
        "no number of comments": lambda data: data[:42] + bytes([LAST | 4]) + b"\0\0\4" + bytes(100),
        "more comments than bytes": lambda data: data.replace(b"\x02\0\0\0\x07\0", b"\xff\xff\xff\xff\x07\0"),
        "cut": lambda data: data[:60],
        "no description of the stream": lambda data: data[:4] + bytes([0x01]) + data[5:],
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_metadata_are_refused_and_kept(path, damage):
    damaged = damage[1](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with pytest.raises(MetadataError, match="damaged"):
            act()
    assert path.read_bytes() == damaged


def test_comments_larger_than_a_block_are_refused(path):
    before = path.read_bytes()
    with pytest.raises(MetadataError, match="16 MB"):
        write(path, make_fields(settings="x" * (1 << 24)))
    assert path.read_bytes() == before


@given(data=st.binary(max_size=300))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_crash(tmp_path, data):
    path = tmp_path / "track.flac"
    path.write_bytes(b"fLaC" + data)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with suppress(TagcliError):
            act()


# What is read


def test_reading_shows_everything(path, parts):
    entries = [b"TITLE=A", b"title=B", b"no key", b"X=" + b"y" * 5000, b"BAD=\xff"]
    path.write_bytes(build(parts, [(6, bytes(50)), comment_block(entries)]))
    metadata = read_metadata(path)
    assert (metadata.container, metadata.version) == (Container.FLAC, "Vorbis comments")
    shown = {field.field: field.values for field in metadata.fields}
    assert shown == {
        "TITLE": ("A", "B"),
        "": ("no key",),
        "X": ("<5000 bytes>",),
        "BAD": ("\ufffd",),
        "PICTURE": ("<50 bytes>",),
    }


def test_the_file_still_plays(path):
    write(path)
    assert mutagen.File(path).info.length > 0
