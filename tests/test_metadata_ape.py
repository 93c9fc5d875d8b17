"""WavPack, Monkey's Audio and Musepack files: what changes in their APEv2 tag, and above all what does not."""

import io
import struct
from contextlib import suppress

import av
import mutagen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import (
    ape_tag,
    appended_id3,
    encode_audio,
    id3_frame,
    id3_tag,
    id3v1,
    lyrics3v1,
    lyrics3v2,
    text_content,
)
from mutagen.apev2 import APEv2
from mutagen.wavpack import WavPack

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError, UnsupportedContainerError
from tagcli.files import Span
from tagcli.journal import Journal, Recorder
from tagcli.journal.undo import undo_write
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write, read_metadata
from tagcli.metadata.ape import change_items
from tagcli.payload import hash_payload

OWN = ("TAGCLI_TAGS", "TAGCLI_SCORES", "TAGCLI_MODEL", "TAGCLI_SETTINGS", "TAGCLI_ADDED")
SHARED = ("Genre", "Mood", "Grouping", "Comment")
TEXT, BINARY, LOCATOR = 0, 2, 4
READ_ONLY = 1
HAS_HEADER, IS_HEADER = 1 << 31, 1 << 29
FILL_ALL = Policies(genre=FieldPolicy.FILL, mood=FieldPolicy.FILL, grouping=FieldPolicy.FILL, comment=FieldPolicy.FILL)
TITLE = id3_frame(4, "TIT2", text_content("A title"))
FRONT = id3_tag(3, [id3_frame(3, "TIT2", text_content("A", 0))], padding=20)
TAILS = {
    "nothing": b"",
    "id3v1": id3v1(),
    "id3v1+": id3v1(extended=True),
    "lyrics3v2, id3v1": lyrics3v2() + id3v1(),
    "lyrics3v1, id3v1": lyrics3v1() + id3v1(),
    "id3v2.4": appended_id3([TITLE]),
}


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


def item(key, value, flags=TEXT):
    key, value = (part.encode() if isinstance(part, str) else part for part in (key, value))
    return struct.pack("<LL", len(value), flags) + key + b"\0" + value


def edge(n_bytes, n_items, flags, version=2000, reserved=bytes(8)):
    return b"APETAGEX" + struct.pack("<LLLL", version, n_bytes + 32, n_items, flags) + reserved


def tag(items, *, header=True, flags=0, **others):
    n_bytes = sum(map(len, items))
    flags |= HAS_HEADER if header else 0
    first = edge(n_bytes, len(items), flags | IS_HEADER, **others) if header else b""
    return first + b"".join(items) + edge(n_bytes, len(items), flags, **others)


def read_tag(data, start):
    """Items of the tag that starts somewhere, raw and by key, and its edges; it must end where the data does."""
    data = data[start:]
    magic, version, n_bytes, n_items, flags = struct.unpack("<8sLLLL", data[-32:-8])
    assert (magic, version) == (b"APETAGEX", 2000)
    position = 32 if flags & HAS_HEADER else 0
    assert len(data) == position + n_bytes
    assert not flags & IS_HEADER
    if position:
        assert data[:20] == data[-32:-12]
        assert struct.unpack_from("<L", data, 20) == (flags | IS_HEADER,)
    raw, by_key = [], {}
    for _ in range(n_items):
        size, item_flags = struct.unpack_from("<LL", data, position)
        key_end = data.index(b"\0", position + 8)
        key, value = data[position + 8 : key_end], data[key_end + 1 : key_end + 1 + size]
        assert len(value) == size
        raw.append(data[position : key_end + 1 + size])
        by_key[key.decode("latin-1")] = (value, item_flags)
        position = key_end + 1 + size
    assert position == len(data) - 32
    return raw, by_key, (data[:32] if flags & HAS_HEADER else b"", data[-32:])


def texts(path, key):
    return list(APEv2(path).get(key, []))


@pytest.fixture(scope="session")
def wavpack():
    """A WavPack stream without any tag."""
    data = encode_audio("wavpack", "wv")
    n_bytes, _, flags = struct.unpack_from("<LLL", data, len(data) - 20)
    assert data[-32:-24] == b"APETAGEX"
    assert flags & HAS_HEADER
    return data[: -n_bytes - 32]


MINIMAL = {
    Container.APE: b"MAC \x96\x0f\0\0" + bytes(range(200)),
    Container.MUSEPACK: b"MPCKSH" + bytes(range(200)),
}
SV7 = b"MP+\x07" + bytes(range(200))


@pytest.fixture(params=["WavPack", "Monkey's Audio", "Musepack SV8", "Musepack SV7"])
def stream(request, wavpack):
    others = {"Monkey's Audio": MINIMAL[Container.APE], "Musepack SV8": MINIMAL[Container.MUSEPACK]}
    return {"WavPack": wavpack, "Musepack SV7": SV7, **others}[request.param]


@pytest.fixture
def path(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    path.write_bytes(wavpack + tag([item("Title", "A"), item("Cover Art (Front)", b"x.png\0\x89PNG", BINARY)]))
    return path


# What is written


def test_fields_are_items_with_lists(path):
    write(path)
    tags = APEv2(path)
    assert list(tags["tagcli_tags"]) == ["guitar", "rock"]
    assert list(tags["TAGCLI_SCORES"]) == ["0.912", "0.500"]
    assert list(tags["TAGCLI_MODEL"]) == ["tagcli-msd50"]
    assert list(tags["TAGCLI_SETTINGS"]) == ["clips=all"]
    assert list(tags["Genre"]) == ["Rock", "Jazz"]
    assert list(tags["Mood"]) == ["happy", "calm"]
    assert list(tags["Grouping"]) == ["live", "日本"]
    assert list(tags["Comment"]) == ["guitar; rock"]
    assert list(tags["Title"]) == ["A"]
    assert tags["Cover Art (Front)"].value == b"x.png\0\x89PNG"
    assert WavPack(path).tags["Genre"] == "Rock\0Jazz"


def test_ffmpeg_reads_the_first_values(path):
    write(path)
    with av.open(str(path)) as file:
        shown = file.metadata
    assert (shown["TAGCLI_TAGS"], shown["Genre"], shown["Comment"]) == ("guitar", "Rock", "guitar; rock")


def test_a_file_without_a_tag_gets_one(tmp_path, stream):
    path = tmp_path / "track"
    path.write_bytes(stream)
    assert read_metadata(path).version == ""
    write(path)
    data = path.read_bytes()
    _, by_key, (header, footer) = read_tag(data, len(stream))
    assert data[: len(stream)] == stream
    assert [*by_key] == [*OWN[:4], *SHARED, OWN[4]]
    assert by_key["TAGCLI_TAGS"] == (b"guitar\0rock", TEXT)
    assert (header[24:], footer[24:]) == (bytes(8), bytes(8))
    assert struct.unpack("<L", footer[20:24]) == (HAS_HEADER,)
    assert texts(path, "genre") == ["Rock", "Jazz"]
    assert read_metadata(path).version == "APEv2"


def test_writing_twice_is_writing_once(path):
    assert not write(path).is_empty
    before = path.read_bytes()
    assert write(path).is_empty
    assert write(path, make_fields(scores=(0.9125, 0.5))).is_empty
    assert path.read_bytes() == before


def test_planning_touches_nothing(path):
    before = path.read_bytes()
    plan = plan_write(path, make_fields(), policies=FILL_ALL)
    assert plan.container is Container.WAVPACK
    assert {change.name for change in plan.changes} == {*OWN, *SHARED}
    assert path.read_bytes() == before


def test_only_the_changed_items_are_new_bytes(path):
    plan = plan_write(path, make_fields(), policies=FILL_ALL)
    size = path.stat().st_size
    kept = [piece for piece in plan.pieces if isinstance(piece, Span)]
    assert kept[0].start == 0
    assert sum(span.end - span.start for span in kept) == size - 2 * 32


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("front", [b"", FRONT], ids=["no front", "id3v2"])
@pytest.mark.parametrize("items", [None, [item("Title", "A")]], ids=["no tag", "tag"])
def test_removal_leaves_the_file_as_it_was(tmp_path, stream, items, front, tail):
    path = tmp_path / "track"
    before = front + stream + (tag(items) if items else b"") + TAILS[tail]
    path.write_bytes(before)
    kind, payload = find_container(path), hash_payload(path)
    write(path)
    assert path.read_bytes() != before
    assert find_container(path) is kind
    assert hash_payload(path) == payload
    assert path.read_bytes().startswith(front + stream)
    assert path.read_bytes().endswith(TAILS[tail])
    read_tag(path.read_bytes().removesuffix(TAILS[tail]), len(front + stream))
    apply_plan(plan_removal(path))
    assert path.read_bytes() == before
    assert plan_removal(path).is_empty


@pytest.mark.parametrize("tail", ["nothing", "id3v1", "lyrics3v2, id3v1"])
def test_other_programs_find_the_tag(tmp_path, stream, tail):
    path = tmp_path / "track"
    path.write_bytes(stream + TAILS[tail])
    write(path)
    assert texts(path, "TAGCLI_TAGS") == ["guitar", "rock"]


def test_the_audio_stays_as_it_is(path):
    def packets():
        with av.open(io.BytesIO(path.read_bytes())) as file:
            return [bytes(packet) for packet in file.demux() if packet.size]

    before = packets()
    assert before
    write(path)
    assert packets() == before
    assert mutagen.File(path).info.length > 0


def test_the_last_tag_counts_and_the_first_one_stays(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    first, last = tag([item("Genre", "Blues")]), tag([item("TAGCLI_MODEL", "old")])
    path.write_bytes(wavpack + first + last)
    write(path)
    assert path.read_bytes().startswith(wavpack + first)
    assert texts(path, "Genre") == ["Rock", "Jazz"]
    apply_plan(plan_removal(path))
    assert path.read_bytes() == wavpack + first + tag([]), "an empty tag hides what it hid before"
    assert read_metadata(path).fields == ()


@pytest.mark.parametrize("header", [True, False])
def test_edges_keep_their_style(tmp_path, wavpack, header):
    path = tmp_path / "track.wv"
    others = {"flags": READ_ONLY, "reserved": b"reserved"}
    path.write_bytes(wavpack + tag([item("Title", "A")], header=header, **others))
    write(path)
    raw, _, edges = read_tag(path.read_bytes(), len(wavpack))
    assert path.read_bytes() == wavpack + tag(raw, header=header, **others)
    assert edges[1].endswith(b"reserved")


@pytest.mark.parametrize(
    ("policy", "old", "genres", "new"),
    [
        ("fill", None, ("Rock", "rock"), ["Rock"]),
        ("fill", "Blues", ("Rock",), ["Blues"]),
        ("fill", "", ("Rock",), ["Rock"]),
        ("append", "Blues", ("Rock", "blues"), ["Blues", "Rock"]),
        ("append", "Blues\0Pop", ("Rock",), ["Blues", "Pop", "Rock"]),
        ("append", "Blues/Rock", ("Rock",), ["Blues/Rock"]),
        ("replace", "Blues\0Pop", ("Rock", "Pop"), ["Rock", "Pop"]),
        ("replace", "Blues", (), ["Blues"]),
        ("never", None, ("Rock",), []),
    ],
)
def test_genre_policies(tmp_path, wavpack, policy, old, genres, new):
    path = tmp_path / "track.wv"
    items = [] if old is None else [item("GENRE", old, READ_ONLY)]
    path.write_bytes(wavpack + tag([item("Title", "A"), *items, item("Year", "1999")]))
    write(path, make_fields(genres=genres), Policies(genre=FieldPolicy(policy)))
    assert texts(path, "Genre") == new
    _, by_key, _ = read_tag(path.read_bytes(), len(wavpack))
    if old is not None:
        assert [*by_key][:3] == ["Title", "GENRE", "Year"], "the genre keeps its place and its case"
        assert by_key["GENRE"][1] == READ_ONLY


def test_items_of_the_same_key_become_one(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    items = [item("tagcli_model", "a"), item("Genre", "Blues"), item("TAGCLI_MODEL", "b"), item("genre", "Pop")]
    path.write_bytes(wavpack + tag(items))
    write(path, policies=Policies(genre=FieldPolicy.APPEND))
    _, by_key, _ = read_tag(path.read_bytes(), len(wavpack))
    assert [*by_key][:2] == ["tagcli_model", "Genre"]
    assert by_key["tagcli_model"][0] == b"tagcli-msd50"
    assert by_key["Genre"][0] == b"Blues\0Pop\0Rock\0Jazz"


@pytest.mark.parametrize(
    "unreadable",
    [item("Genre", "Rock", BINARY), item("Genre", "http://x", LOCATOR), item("Genre", b"Caf\xe9")],
    ids=["binary", "address", "not UTF-8"],
)
def test_a_genre_that_cannot_be_read_is_never_written_anew(tmp_path, wavpack, unreadable):
    path = tmp_path / "track.wv"
    path.write_bytes(wavpack + tag([unreadable, item("genre", "Jazz")]))
    write(path)
    with pytest.raises(MetadataError, match="cannot be read"):
        write(path, policies=Policies(genre=FieldPolicy.APPEND))
    write(path, make_fields(genres=()), Policies(genre=FieldPolicy.REPLACE))
    apply_plan(plan_removal(path))
    assert path.read_bytes() == wavpack + tag([unreadable, item("genre", "Jazz")])
    write(path, policies=Policies(genre=FieldPolicy.REPLACE))
    assert texts(path, "Genre") == ["Rock", "Jazz"]


def test_values_come_back_as_written(path):
    tags = ("R&B", "日本", "a\u0301 \U0001f3b8", " spaced ", "x" * 300)
    write(path, make_fields(tags=tags, scores=(0.5,) * 5))
    shown = {field.field: field.values for field in read_metadata(path).fields}
    assert shown["TAGCLI_TAGS"] == tags
    assert write(path, make_fields(tags=tags, scores=(0.5,) * 5)).is_empty


# What is not

KEYS = st.one_of(
    st.sampled_from(["Title", "TITLE", "Cover Art (Front)", "OggS", "", "\u00e9"]),
    st.sampled_from(["Genre", "genre", "MOOD", "Comment", "TAGCLI_TAGS", "tagcli_tags", "Tagcli_Model"]),
)
ITEMS = st.lists(
    st.one_of(
        st.builds(item, KEYS, st.text(max_size=12).map(lambda text: text.encode(errors="replace"))),
        st.builds(item, KEYS, st.binary(max_size=40), st.integers(0, 7)),
        st.builds(item, KEYS, st.just(b"APETAGEX"), st.sampled_from([BINARY, 0xFFFFFFFF])),
    ),
    max_size=8,
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
        settings=draw(st.sampled_from(["", "a", "xyz"])) * draw(st.sampled_from([1, 1000])),
        genres=tuple(draw(st.lists(TEXTS, max_size=3))),
        moods=tuple(draw(st.lists(TEXTS, max_size=2))),
        comment=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


def foreign_of(raw):
    names = [name.lower() for name in (*OWN, *SHARED)]
    return [part for part in raw if part[8 : part.index(b"\0", 8)].decode("latin-1").lower() not in names]


@given(
    items=ITEMS,
    header=st.booleans(),
    front=st.sampled_from([b"", FRONT]),
    before=st.sampled_from([b"", ape_tag({"Genre": "Blues"}), lyrics3v2(), id3v1()]),
    tail=st.sampled_from(list(TAILS.values())),
    fields=any_fields(),
    later=any_fields(),
    policy=st.sampled_from([FieldPolicy.FILL, FieldPolicy.REPLACE]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_foreign_survives_anything(tmp_path, items, header, front, before, tail, fields, later, policy):
    path = tmp_path / "track"
    head = front + MINIMAL[Container.APE] + before
    path.write_bytes(head + tag(items, header=header) + tail)
    assert find_container(path) is Container.APE
    payload, foreign = hash_payload(path), foreign_of(items)
    policies = Policies(genre=policy, mood=policy, grouping=policy, comment=policy)
    for wanted in (fields, later):
        write(path, wanted, policies)
        new = path.read_bytes()
        assert new.startswith(head)
        assert new.endswith(tail)
        if len(new) > len(head + tail):
            raw, by_key, _ = read_tag(new.removesuffix(tail), len(head))
            assert foreign_of(raw) == foreign
            own = [value for key, (value, _) in by_key.items() if key.lower() == "tagcli_tags"]
            assert own == (["\0".join(wanted.tags).encode()] if wanted.tags else [])
        else:
            assert not foreign
        assert hash_payload(path) == payload
        assert not looks_like_id3v1(new) or tail
        assert write(path, wanted, policies).is_empty
    apply_plan(plan_removal(path))
    new = path.read_bytes()
    assert new.startswith(head)
    assert new.endswith(tail)
    assert plan_removal(path).is_empty


def lose(what):
    """A write that loses an item."""

    def change(items, changes):
        return tuple(each for each in change_items(items, changes) if each.key != what)

    return change


@pytest.mark.parametrize(("what", "sentence"), [(b"Title", "did not survive"), (b"TAGCLI_MODEL", "read back")])
def test_a_copy_that_lost_something_is_found_out(path, monkeypatch, what, sentence):
    before = path.read_bytes()
    monkeypatch.setattr("tagcli.metadata.ape.change_items", lose(what))
    with pytest.raises(MetadataError, match=sentence):
        write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# What would look like an ID3v1 tag


NO_MORE = {"moods": (), "grouping": (), "comment": ()}
NO_TAGS = {"tags": (), "scores": (), "genres": ()} | NO_MORE


def looks_like_id3v1(data):
    return data[-128:].startswith(b"TAG") and not data[-131:].startswith(b"APETAGEX")


@pytest.mark.parametrize("items", [None, [], [item("Title", "A")], [item("Genre", "Pop"), item("Title", "A")]])
def test_no_name_of_ours_lies_where_an_id3v1_tag_would(tmp_path, wavpack, items):
    path = tmp_path / "track.wv"
    before = wavpack + (b"" if items is None else tag(items))
    orders = set()
    with Journal(tmp_path / "journal.sqlite") as journal:
        for n_bytes in range(201):
            path.write_bytes(before)
            fields = make_fields(settings="s" * n_bytes, **NO_MORE)
            Recorder(journal, "test").apply(plan_write(path, fields))
            data = path.read_bytes()
            assert not looks_like_id3v1(data)
            raw, by_key, _ = read_tag(data, len(wavpack))
            orders.add((*by_key,))
            assert [part for part in raw if part in (items or [])] == (items or [])
            assert write(path, fields).is_empty
            (entry,) = (entry for entry in journal.list_entries() if not entry.is_undone)
            undo_write(journal, entry)
            assert path.read_bytes() == before
    assert len(orders) > 2, "without settings, with them, and what was laid out differently"


def test_taglib_finds_the_title_however_long_a_field_is(tmp_path, wavpack):
    taglib = pytest.importorskip("taglib", reason="pytaglib is not installed")
    path = tmp_path / "track.wv"
    for n_bytes in range(201):
        path.write_bytes(wavpack + tag([item("Title", "A"), item("Artist", "B")]))
        write(path, make_fields(settings="s" * n_bytes, **NO_MORE))
        with taglib.File(path) as file:
            assert (file.tags["TITLE"], file.tags["ARTIST"]) == (["A"], ["B"])
            assert file.tags["TAGCLI_TAGS"] == ["guitar", "rock"]


def test_a_tag_of_our_names_only_gets_small_letters(tmp_path, wavpack):
    """In any order it begins with one of them."""
    path = tmp_path / "track.wv"
    found = []
    for n_bytes in range(1, 101):
        path.write_bytes(wavpack)
        fields = make_fields(settings="s" * n_bytes, **NO_TAGS)
        write(path, fields)
        data = path.read_bytes()
        assert not looks_like_id3v1(data)
        found += [key for key in read_tag(data, len(wavpack))[1] if key.islower()]
        assert (texts(path, "TAGCLI_MODEL"), texts(path, "TAGCLI_SETTINGS")) == (["tagcli-msd50"], ["s" * n_bytes])
        assert write(path, fields).is_empty
        apply_plan(plan_removal(path))
        assert path.read_bytes() == wavpack
    assert found == ["tagcli_model", "tagcli_settings"]


def test_our_unchanged_items_move_when_others_go(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    own = [item("TAGCLI_MODEL", "tagcli-msd50"), item("TAGCLI_SETTINGS", "clips=all")]
    title = item("Title", "A" * (128 - 32 + 8 - sum(map(len, own)) - 8 - 6))
    path.write_bytes(wavpack + tag([item("Artist", "B"), *own, title, item("TAGCLI_TAGS", "a")]))
    write(path, make_fields(**NO_TAGS))
    assert read_tag(path.read_bytes(), len(wavpack))[0] == [item("Artist", "B"), title, *own]


def test_the_users_item_is_not_pushed_there(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    for n_bytes in range(101):
        path.write_bytes(wavpack + tag([item("TAGS", "A"), item("Title", "A")]))
        write(path, make_fields(**(NO_TAGS | {"settings": "", "model": "m" * n_bytes, "genres": ("Rock",)})))
        assert not looks_like_id3v1(path.read_bytes())


def test_what_lay_there_before_stays(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    before = wavpack + tag([item("TAGS", "A" * (128 - 32 - 5)), item("TAGCLI_TAGS", "a")])
    path.write_bytes(before)
    apply_plan(plan_removal(path))
    assert path.read_bytes() == wavpack + tag([item("TAGS", "A" * (128 - 32 - 5))])
    path.write_bytes(wavpack + id3v1())
    write(path)
    assert path.read_bytes().endswith(id3v1())


def test_a_text_that_no_order_moves_is_refused(tmp_path, wavpack):
    path = tmp_path / "track.wv"
    path.write_bytes(wavpack)
    with pytest.raises(MetadataError, match="look like an ID3v1 tag"):
        write(path, make_fields(model="TAG" + "x" * 93, settings="", **NO_TAGS))
    assert path.read_bytes() == wavpack


# What is refused

GOOD = tag([item("Title", "A"), item("Year", "1999")])


def damaged(position, value):
    """Give a tag with another number somewhere; below zero counts from its end."""
    data = bytearray(GOOD)
    struct.pack_into("<L", data, position % len(data), value)
    return bytes(data)


@pytest.mark.parametrize("tail", [b"", id3v1()], ids=["end", "id3v1"])
@pytest.mark.parametrize(
    "broken",
    {
        "larger than the file": damaged(-20, 1 << 24),
        "smaller than its footer": damaged(-20, 31),
        "a byte too small": damaged(-20, len(GOOD) - 33),
        "a byte too large": damaged(-20, len(GOOD) - 31),
        "a header at the end": damaged(-12, HAS_HEADER | IS_HEADER),
        "no header where there is one": damaged(-12, 0),
        "a header where there is none": tag([item("Title", "A")], header=False)[:-12] + GOOD[-12:],
        "an item too many": damaged(-16, 3),
        "an item too few": damaged(-16, 1),
        "very many items": damaged(-16, 0xFFFFFFFF),
        "an item over the end": damaged(32, 1 << 20),
        "a value shorter than it was": damaged(32, 0),
        "a key without an end": tag([item("Title", "A")[:-2]]),
    }.items(),
    ids=lambda each: each[0],
)
def test_damaged_tags_are_refused_and_kept(tmp_path, wavpack, broken, tail):
    path = tmp_path / "track.wv"
    before = wavpack + broken[1] + tail
    path.write_bytes(before)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path), lambda: plan_removal(path)):
        with pytest.raises(MetadataError, match="damaged"):
            act()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "name"), [(1000, "APEv1"), (3000, "APEv3")])
def test_other_versions_are_refused(tmp_path, wavpack, version, name):
    path = tmp_path / "track.wv"
    before = wavpack + tag([item("Title", "A")], header=False, version=version)
    path.write_bytes(before)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with pytest.raises(UnsupportedContainerError, match=f"{name}, which cannot be written back"):
            act()
    assert path.read_bytes() == before


@given(data=st.binary(max_size=100), size=st.integers(0, 200), n_items=st.integers(0, 3), header=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_crash(tmp_path, data, size, n_items, header):
    path = tmp_path / "track.wv"
    path.write_bytes(b"wvpk" + data + edge(size, n_items, HAS_HEADER if header else 0))
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with suppress(TagcliError):
            act()


# What is read


def test_reading_shows_everything(path, wavpack):
    items = [
        item("Title", "A\0B"),
        item("Cover Art (Front)", bytes(50), BINARY),
        item("File", "http://x", LOCATOR),
        item("Long", "y" * 5000),
        item("Bad", b"\xff"),
    ]
    path.write_bytes(wavpack + tag(items))
    metadata = read_metadata(path)
    assert (metadata.container, metadata.version) == (Container.WAVPACK, "APEv2")
    assert [(field.field, field.values) for field in metadata.fields] == [
        ("Title", ("A", "B")),
        ("Cover Art (Front)", ("<50 bytes>",)),
        ("File", ("<8 bytes>",)),
        ("Long", ("<5000 bytes>",)),
        ("Bad", ("<1 bytes>",)),
    ]
