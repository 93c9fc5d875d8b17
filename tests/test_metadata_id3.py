import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_files import id3_frame, id3_tag, text_content, unsynchronise, walk_id3

from tagcli.metadata.fields import StoredField, UnwritableError
from tagcli.metadata.frames import _read_text, decode_text, describe_frame, encode_text, name_genres
from tagcli.metadata.id3 import (
    FRESH_PADDING_BYTES,
    BrokenTagError,
    RawFrame,
    Tag,
    UnknownVersionError,
    build_tag,
    encode_syncsafe,
    measure_tag,
    parse_tag,
)

FRAME_IDS = st.one_of(
    st.sampled_from(
        ["TIT2", "TPE1", "TCON", "TXXX", "APIC", "GEOB", "PRIV", "TSOP", "CHAP", "RVA2", "XYZW", "TS2 ", "TT2\0"]
    ),
    st.from_regex(r"[A-Z][A-Z0-9]{3}", fullmatch=True),
)
CONTENTS = st.one_of(
    st.binary(max_size=40), st.binary(min_size=120, max_size=300), st.text(max_size=20).map(text_content)
)
FLAGS = st.integers(0, 0xFFFF)


@st.composite
def tags(draw):
    version = draw(st.sampled_from([3, 4]))
    frames = [
        id3_frame(version, name, content, flags)
        for name, content, flags in draw(st.lists(st.tuples(FRAME_IDS, CONTENTS, FLAGS), max_size=5))
    ]
    footer = version == 4 and draw(st.booleans())
    padding = 0 if footer else draw(st.integers(0, 600))
    flags = 0x80 if draw(st.booleans()) else 0
    extended, crc = draw(st.booleans()), draw(st.booleans())
    data = id3_tag(version, frames, padding=padding, flags=flags, extended=extended, footer=footer, crc=crc)
    return version, frames, data


@given(tags())
def test_frames_come_out_verbatim(generated):
    version, frames, data = generated
    assert measure_tag(data[:10]) == len(data)
    tag = parse_tag(data)
    assert (tag.version, tag.size) == (version, len(data))
    assert [frame.raw for frame in tag.frames] == frames


@given(tags())
def test_building_keeps_frames_version_and_size(generated):
    version, frames, data = generated
    built = build_tag(parse_tag(data), parse_tag(data).frames)
    assert walk_id3(built) == (version, frames, len(built))
    assert len(built) == len(data) or data[5] & 0x10


@given(tags(), st.binary(max_size=3000))
def test_growing_moves_no_frame(generated, content):
    version, frames, data = generated
    more = id3_frame(version, "XMOR", content)
    tag = parse_tag(data)
    built = build_tag(tag, (*tag.frames, RawFrame(raw=more)))
    assert walk_id3(built) == (version, [*frames, more], len(built))


def test_tag_that_fits_keeps_its_size_and_one_that_does_not_gets_fresh_padding():
    frame = RawFrame(raw=id3_frame(4, "XMOR", bytes(90)))
    roomy, tight = parse_tag(id3_tag(4, [], padding=100)), parse_tag(id3_tag(4, [], padding=99))
    assert len(build_tag(roomy, [frame])) == 110
    assert len(build_tag(tight, [frame])) == 110 + FRESH_PADDING_BYTES


def test_footer_stays_and_admits_no_padding():
    frames = [id3_frame(4, "TIT2", text_content("A title"))]
    data = id3_tag(4, frames, footer=True)
    tag = parse_tag(data)
    assert tag.size == len(data)
    assert build_tag(tag, tag.frames) == data
    assert build_tag(tag, []) == b"ID3\x04\0\x10\0\0\0\0" + b"3DI\x04\0\x10\0\0\0\0"


def test_unsynchronised_frames_are_resolved_and_marked_again():
    content = b"\x01\xff\xfeA\0\xff\0\xff\xff\xe0\xff"
    frame = id3_frame(3, "PRIV", content)
    for padding in (0, 20):
        data = id3_tag(3, [frame], flags=0x80, padding=padding)
        tag = parse_tag(data)
        assert [stored.raw for stored in tag.frames] == [frame]
        assert build_tag(tag, tag.frames) == data
        assert b"\xff\xff" not in data


def test_unsynchronised_tag_never_ends_in_half_a_sync_word():
    frame = RawFrame(raw=id3_frame(3, "PRIV", b"\x01\xff"))
    tight = Tag(version=3, flags=0x80, space=len(frame.raw), is_unsynchronised=True)
    assert walk_id3(build_tag(tight, [frame]))[1] == [frame.raw]
    assert len(build_tag(tight, [frame])) == 10 + len(frame.raw) + 1 + FRESH_PADDING_BYTES


def test_plain_sizes_of_old_itunes_are_understood_and_kept():
    frames = [id3_frame(4, "APIC", bytes(range(1, 201)) * 2, plain=True), id3_frame(4, "TIT2", b"\x03A", plain=True)]
    tag = parse_tag(id3_tag(4, frames, padding=50))
    assert tag.has_plain_sizes
    assert [frame.raw for frame in tag.frames] == frames
    ours = encode_text(tag, StoredField(field="TXXX:A", values=("b" * 300,)))
    assert walk_id3(build_tag(tag, (*tag.frames, ours)), plain=True)[1] == [*frames, ours.raw]


def test_syncsafe_sizes_go_first_where_both_could_be_meant():
    frames = [id3_frame(4, "APIC", bytes(200)), id3_frame(4, "TIT2", b"\x03A")]
    tag = parse_tag(id3_tag(4, frames, padding=2000))
    assert [frame.raw for frame in tag.frames] == frames


def test_extended_header_flag_without_an_extended_header():
    frames = [id3_frame(3, "TIT2", text_content("A title", 0))]
    assert [frame.raw for frame in parse_tag(id3_tag(3, frames, flags=0x40)).frames] == frames


TITLE = id3_frame(3, "TIT2", text_content("A title", 0))


@pytest.mark.parametrize(
    "data",
    {
        "no tag": b"XYZ" + bytes(20),
        "short header": b"ID3\x03\0",
        "size not syncsafe": b"ID3\x03\0\0\0\0\x80\0",
        "unknown flag": b"ID3\x03\0\x01\0\0\0\0",
        "cut": id3_tag(3, [TITLE])[:-1],
        "cut in the padding": id3_tag(3, [TITLE], padding=10)[:-1],
        "frame over the end": id3_tag(3, [TITLE[:-1]]),
        "frame over the end, v2.4": id3_tag(4, [id3_frame(4, "TIT2", b"\x03A")[:-1]]),
        "junk behind the frames": id3_tag(3, [TITLE, b"\0" * 20 + b"junk"]),
        "junk for a name": id3_tag(3, [TITLE, b"!!!!\0\0\0\1\0\0A"]),
        "half a header": id3_tag(3, [TITLE, b"TPE1\0"]),
        "extended header over the end": id3_tag(4, [b"\0\0\x7f\x7f"], flags=0x40),
        "extended header of an odd size": id3_tag(3, [b"\0\0\0\x07" + bytes(20)], flags=0x40),
        "not unsynchronised after all": b"ID3\x03\0\x80" + encode_syncsafe(22) + id3_frame(3, "PRIV", b"\xff\xff" * 6),
    }.items(),
    ids=lambda item: item[0],
)
def test_broken_tags_are_refused(data):
    with pytest.raises(BrokenTagError):
        parse_tag(data[1])


@pytest.mark.parametrize("version", [0, 2, 5, 255])
def test_other_versions_are_refused(version):
    with pytest.raises(UnknownVersionError, match=f"ID3v2.{version}"):
        parse_tag(b"ID3" + bytes((version,)) + bytes(6))


def test_a_tag_has_a_largest_size():
    frame = RawFrame(raw=bytes(1 << 27))
    with pytest.raises(UnwritableError):
        build_tag(Tag(version=4), [frame, frame])


@given(st.binary(max_size=200), st.sampled_from([3, 4]), st.integers(0, 255))
def test_random_bytes_never_crash(body, version, flags):
    data = b"ID3" + bytes((version, 0, flags)) + encode_syncsafe(len(body)) + body
    try:
        tag = parse_tag(data)
    except BrokenTagError:
        return
    for frame in tag.frames:
        decode_text(tag, frame)
        describe_frame(tag, frame)


@given(tags())
def test_any_frame_can_be_described(generated):
    tag = parse_tag(generated[2])
    for frame in tag.frames:
        field = describe_frame(tag, frame)
        assert all(isinstance(value, str) for value in field.values)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([3, 4]), st.sampled_from(["TXXX:TAGCLI_TAGS", "TCON"]))
def test_texts_survive_encoding(texts, version, field):
    tag = Tag(version=version)
    stored = StoredField(field=field, values=tuple(texts[:1] if version == 3 else texts))
    assert decode_text(tag, encode_text(tag, stored)) == stored


def test_own_texts_in_v24_hold_nothing_to_unsynchronise():
    frame = encode_text(Tag(version=4, flags=0x80), StoredField(field="TCON", values=("ÿ\uffff",)))
    assert b"\xff" not in frame.raw


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Rock", ("Rock",)),
        ("(17)", ("Rock",)),
        ("17", ("Rock",)),
        ("(4)Eurodisco", ("Disco", "Eurodisco")),
        ("(51)(39)", ("Techno-Industrial", "Noise")),
        ("RX", ("Remix",)),
        ("(250)", ("(250)",)),
        ("((Foo)", ("((Foo)",)),
        ("(17)a\nb", ("(17)a\nb",)),
        ("R&B/Soul", ("R&B/Soul",)),
    ],
)
def test_references_to_numbered_genres(text, names):
    assert name_genres(text) == names


@pytest.mark.parametrize(
    ("name", "content", "field", "values"),
    [
        ("TIT2", text_content("A title"), "TIT2", ("A title",)),
        ("TPE1", text_content("A\0B"), "TPE1", ("A", "B")),
        ("TXXX", text_content("MOOD\0calm"), "TXXX:MOOD", ("calm",)),
        ("COMM", b"\x03eng" + b"note\0words", "COMM:note:eng", ("words",)),
        ("USLT", b"\x03eng" + b"\0la la", "USLT::eng", ("la la",)),
        ("WOAR", b"http://a.b", "WOAR", ("http://a.b",)),
        ("WXXX", b"\x03shop\0http://a.b", "WXXX:shop", ("http://a.b",)),
        ("APIC", b"\x03image/jpeg\0\x03front\0" + bytes(12345), "APIC:front", ("<image/jpeg, 12345 bytes>",)),
        ("PRIV", b"owner\0" + bytes(9), "PRIV:owner", ("<9 bytes>",)),
        ("GEOB", b"\x00a/b\0name\0Serato\0" + bytes(7), "GEOB:Serato", ("<a/b, 7 bytes>",)),
        ("TIPL", text_content("mix\0Ann"), "TIPL", ("mix: Ann",)),
        ("TDRC", text_content("2004-05"), "TDRC", ("2004-05",)),
        ("XYZW", bytes(5), "XYZW", ("<5 bytes>",)),
        ("TIT2", b"\x09A", "TIT2", ("<2 bytes>",)),
    ],
)
def test_frames_are_shown_readable(name, content, field, values):
    tag = parse_tag(id3_tag(4, [id3_frame(4, name, content)]))
    assert describe_frame(tag, tag.frames[0]) == StoredField(field=field, values=values)


def test_compressed_and_encrypted_frames():
    content = text_content("MOOD\0calm", 0)
    packed = len(content).to_bytes(4, "big") + zlib.compress(content)
    tag = parse_tag(id3_tag(3, [id3_frame(3, "TXXX", packed, 0x80), id3_frame(3, "TXXX", content, 0x40)]))
    assert decode_text(tag, tag.frames[0]) == StoredField(field="TXXX:MOOD", values=("calm",))
    assert decode_text(tag, tag.frames[1]) is None


def test_frames_of_an_unsynchronised_v24_tag():
    content = unsynchronise(text_content("MOOD\0ÿ\0", 0))
    tag = parse_tag(id3_tag(4, [id3_frame(4, "TXXX", content)], flags=0x80))
    assert decode_text(tag, tag.frames[0]) == StoredField(field="TXXX:MOOD", values=("ÿ",))


def test_the_same_frame_in_tags_of_another_kind():
    """What was read of a frame before does not decide what it says in another tag."""
    frame = RawFrame(raw=id3_frame(4, "TXXX", b"\0MOOD\0\xff\0\xe0"))
    verbatim, unsynchronised = Tag(version=4), Tag(version=4, flags=0x80)
    for _ in range(2):
        assert decode_text(verbatim, frame).values == ("\xff", "\xe0")
        assert decode_text(unsynchronised, frame).values == ("\xff\xe0",)


@pytest.mark.parametrize("packed", [False, True])
def test_no_large_text_is_remembered(packed):
    text = b"\0MOOD\0" + bytes(1 << 20).replace(b"\0", b"x")
    content = len(text).to_bytes(4, "big") + zlib.compress(text) if packed else text
    n_before = _read_text.cache_info().misses
    tag = parse_tag(id3_tag(3, [id3_frame(3, "TXXX", content, 0x80 if packed else 0)]))
    assert len(decode_text(tag, tag.frames[0]).values[0]) == 1 << 20
    assert _read_text.cache_info().misses == n_before
