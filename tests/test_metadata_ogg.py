"""Ogg files: what changes in the comments of their first stream, and above all what does not."""

import base64
import dataclasses
import io
import itertools
import struct
import tracemalloc
from contextlib import suppress

import av
import mutagen
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from metadata_files import (
    encode_audio,
    flac_block,
    id3_frame,
    id3_tag,
    id3v1,
    ogg_page,
    ogg_pages,
    seal_ogg_page,
    text_content,
)

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError, TagcliError
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write, read_metadata
from tagcli.metadata.ogg import FRESH_PADDING_BYTES
from tagcli.metadata.vorbis import change_comments
from tagcli.payload import hash_payload

OURS = ("TAGCLI_TAGS", "TAGCLI_SCORES", "TAGCLI_MODEL", "TAGCLI_SETTINGS", "TAGCLI_ADDED", "GENRE")
CONTINUES, BEGINS, ENDS = 1, 2, 4
PADDING, PICTURE, LAST = 1, 6, 0x80
NOWHERE = -1
"""Granule position of a page on which no packet ends."""
NUMBER = slice(18, 26)
"""Sequence number and checksum of a page."""
STREAM_INFO = bytes.fromhex("10001000 00000000 0000 0ac442f0 00000000") + bytes(16)
SPEEX = b"Speex   1.2rc1".ljust(28, b"\0") + struct.pack("<13l", 1, 80, 44100, 0, 4, 1, -1, 320, 0, 1, 0, 0, 0)
FIRST = {
    "vorbis": b"\x01vorbis" + struct.pack("<LBLlllBB", 0, 2, 44100, 0, 128_000, 0, 0xB8, 1),
    "opus": b"OpusHead" + struct.pack("<BBHLhB", 1, 2, 312, 48000, 0, 0),
    "speex": SPEEX,
    "flac": b"\x7fFLAC\x01\0\0\0fLaC" + flac_block(0, STREAM_INFO),
}
FRONT = {"vorbis": b"\x03vorbis", "opus": b"OpusTags", "speex": b"", "flac": b"?" * 4}
SETUP = b"\x05vorbis" + bytes(range(256)) * 15
AUDIO = [bytes((0xFF, number)) + bytes((number,)) * size for number, size in enumerate((600, 0, 253, 254, 30_000, 9))]
THEORA = [b"\x80theora" + bytes(35), b"\x81theora" + bytes(20), b"\x82theora" + bytes(3000), *AUDIO[::-1]]


def make_fields(**changes):
    values = {
        "tags": ("guitar", "rock"),
        "scores": (0.91234, 0.5),
        "model": "tagcli-msd50",
        "settings": "clips=all",
        "genres": ("Rock",),
    }
    return Fields(**(values | changes))


def write(path, fields=None, genre=FieldPolicy.FILL, **policies):
    plan = plan_write(path, fields or make_fields(), policies=Policies(genre=genre, **policies))
    apply_plan(plan)
    return plan


def remove(path):
    plan = plan_removal(path)
    apply_plan(plan)
    return plan


# Files, built and taken apart without the program's own reading


def comment_packet(codec, entries=(), *, behind=b"", vendor=b"libVorbis", framing=b"\1"):
    sized = [struct.pack("<L", len(part)) + part for part in (vendor, *entries)]
    body = sized[0] + struct.pack("<L", len(entries)) + b"".join(sized[1:])
    if codec == "flac":
        return flac_block(4, body + behind)
    return FRONT[codec] + body + (framing if codec == "vorbis" else b"") + behind


def lay_out(codec, entries=(), *, others=(), serial=1, sequence=0, n_segments=255, audio=AUDIO, **comments):
    """Lay a stream on pages: the first packet, those of comments and headers, audio."""
    first = FIRST[codec]
    headers = [comment_packet(codec, entries, **comments)]
    if codec == "vorbis":
        headers.append(SETUP)
    elif codec == "flac":
        headers += others
        first = first[:7] + struct.pack(">H", len(headers)) + first[9:]
        headers[-1] = bytes((headers[-1][0] | LAST,)) + headers[-1][1:]
    pages = ogg_pages([first], serial=serial, sequence=sequence, flags=BEGINS)
    pages += ogg_pages(headers, serial=serial, sequence=sequence + 1, n_segments=n_segments)
    pages += ogg_pages(audio, serial=serial, sequence=sequence + len(pages), granule=960, n_segments=9)
    pages[-1] = pages[-1][:5] + bytes((pages[-1][5] | ENDS,)) + pages[-1][6:]
    return list(map(seal_ogg_page, pages))


def lay_plain(packets, *, serial, n_segments=255):
    """Lay a stream on pages that the program has nothing to do with."""
    pages = ogg_pages(packets[:1], serial=serial, flags=BEGINS)
    pages += ogg_pages(packets[1:], serial=serial, sequence=1, granule=5, n_segments=n_segments)
    return list(map(seal_ogg_page, pages))


def lay_side_by_side(*streams):
    return [page for pages in itertools.zip_longest(*streams) for page in pages if page]


@dataclasses.dataclass
class Page:
    raw: bytes
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes


def walk(data):
    """Take a file apart that is nothing but pages; each has the right checksum."""
    pages = []
    while data:
        magic, flags, granule, serial, sequence, _, n_segments = struct.unpack_from("<5sBqLLLB", data)
        assert magic == b"OggS\0"
        lacing = data[27 : 27 + n_segments]
        n_bytes = 27 + n_segments + sum(lacing)
        raw, data = data[:n_bytes], data[n_bytes:]
        assert len(raw) == n_bytes
        assert seal_ogg_page(raw) == raw
        pages.append(Page(raw, flags, granule, serial, sequence, lacing, raw[27 + n_segments :]))
    return pages


def join(pages):
    """Give the packets of one stream, whose pages follow one another as they must."""
    packets, begun = [], None
    for index, page in enumerate(pages):
        assert page.sequence == (pages[0].sequence + index) % 2**32
        assert bool(page.flags & CONTINUES) == (begun is not None)
        assert bool(page.flags & BEGINS) == (index == 0)
        assert (page.granule == NOWHERE) == (min(page.lacing) == 255)
        offset = 0
        for value in page.lacing:
            begun = (begun or b"") + page.body[offset : offset + value]
            offset += value
            if value < 255:
                packets.append(begun)
                begun = None
    assert begun is None
    return packets


def read_packets(path, serial=1):
    return join([page for page in walk(path.read_bytes()) if page.serial == serial])


def read_comments(codec, packet):
    """Vendor, entries and what is behind them."""
    packet = packet[len(FRONT[codec]) :]
    (size,) = struct.unpack_from("<L", packet)
    vendor, packet = packet[4 : 4 + size], packet[4 + size :]
    (n_entries,) = struct.unpack_from("<L", packet)
    packet, entries = packet[4:], []
    for _ in range(n_entries):
        (size,) = struct.unpack_from("<L", packet)
        entries.append(packet[4 : 4 + size])
        packet = packet[4 + size :]
    return vendor, entries, packet


def is_ours(entry):
    return b"=" in entry and entry.partition(b"=")[0].upper().decode("latin-1") in OURS


def leave_ours_out(entries):
    return [entry for entry in entries if not is_ours(entry)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "track.ogg"


CODECS = tuple(FIRST)


# What is written, into files of other programs


@pytest.fixture(scope="module")
def originals(music, encode, tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    flac = av.open(io.BytesIO(encode_audio("flac", "flac", 3)))
    with flac, av.open(str(folder / "x.oga"), "w", format="ogg") as output:
        stream = output.add_stream_from_template(flac.streams.audio[0])
        for packet in flac.demux():
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return {
        "vorbis": encode(folder / "x.ogg", music(3, 44_100), 44_100).read_bytes(),
        "opus": encode_audio("libopus", "ogg", 3),
        "flac": (folder / "x.oga").read_bytes(),
        "speex": b"".join(lay_out("speex", [b"TITLE=A"], audio=[bytes(38)] * 9)),
    }


def demux(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux()]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("n_more_bytes", [0, 200_000])
def test_other_programs_read_what_is_written_and_the_same_audio(path, originals, codec, n_more_bytes):
    path.write_bytes(originals[codec])
    packets, payload = demux(path), hash_payload(path)
    assert len(packets) > 5
    before = mutagen.File(path)
    write(path, make_fields(settings="x" * n_more_bytes, grouping=("a", "b"), comment=("c", "d")), **FILL_ALL)
    after = mutagen.File(path)
    assert after.tags["TAGCLI_TAGS"] == ["guitar", "rock"]
    assert after.tags["TAGCLI_SCORES"] == ["0.912", "0.500"]
    assert after.tags["TAGCLI_MODEL"] == ["tagcli-msd50"]
    assert after.tags.get("TAGCLI_SETTINGS", []) == ["x" * n_more_bytes] * bool(n_more_bytes)
    assert (after.tags["GENRE"], after.tags["GROUPING"], after.tags["COMMENT"]) == (["Rock"], ["a", "b"], ["c; d"])
    assert after.info.length == before.info.length
    assert after.tags.vendor == before.tags.vendor
    with av.open(str(path)) as container:
        shown = container.metadata | container.streams.audio[0].metadata
    assert (shown["TAGCLI_TAGS"], shown["TAGCLI_MODEL"], shown["COMMENT"]) == ("guitar;rock", "tagcli-msd50", "c; d")
    assert demux(path) == packets
    assert hash_payload(path) == payload
    remove(path)
    assert sorted(mutagen.File(path).tags) == sorted(before.tags)
    assert demux(path) == packets
    assert hash_payload(path) == payload


FILL_ALL = {"grouping": FieldPolicy.FILL, "comment": FieldPolicy.FILL}


@pytest.mark.parametrize("codec", CODECS)
def test_writing_twice_is_writing_once(path, codec):
    path.write_bytes(b"".join(lay_out(codec, [b"title=A"])))
    fields = make_fields(comment=("c", "d"))
    assert not write(path, fields, **FILL_ALL).is_empty
    before = path.read_bytes()
    assert write(path, fields, **FILL_ALL).is_empty
    assert write(path, make_fields(comment=("c", "d"), scores=(0.9125, 0.5)), **FILL_ALL).is_empty
    assert path.read_bytes() == before


def test_planning_touches_nothing(path):
    path.write_bytes(b"".join(lay_out("opus")))
    before = path.read_bytes()
    plan = plan_write(path, make_fields())
    assert plan.container is Container.OGG
    assert [change.name for change in plan.changes] == [
        "TAGCLI_TAGS", "TAGCLI_SCORES", "TAGCLI_MODEL", "TAGCLI_SETTINGS", "GENRE", "TAGCLI_ADDED",
    ]  # fmt: skip
    assert path.read_bytes() == before


# What is not


KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7D, exclude_characters="="), min_size=1, max_size=12)
ENTRIES = st.lists(
    st.one_of(
        st.tuples(KEYS, st.binary(max_size=30)).map(lambda pair: pair[0].encode() + b"=" + pair[1]),
        st.sampled_from([b"TITLE=A", b"title=B", b"no key", b"GENRE=Caf\xe9", b"COVER=" + b"x" * 70_000]),
        st.sampled_from([b"TAGCLI_TAGS=old", b"tagcli_scores=1", b"Genre=Jazz", b"GENRE=", b"TAGCLI_MODEL=x"]),
    ),
    max_size=6,
)  # fmt: skip
BLOCKS = st.lists(
    st.one_of(
        st.builds(flac_block, st.just(PADDING), st.sampled_from([0, 1, 251, 2000, 65_000]).map(bytes)),
        st.builds(flac_block, st.sampled_from([2, 3, 5, PICTURE]), st.binary(max_size=600)),
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
        settings=draw(st.sampled_from(["", "a", "x" * 9000, "x" * 66_000])),
        genres=tuple(draw(st.lists(TEXTS, max_size=2))),
    )


@given(
    codec=st.sampled_from(CODECS),
    entries=ENTRIES,
    others=BLOCKS,
    behind=st.one_of(st.sampled_from([0, 1, 30, 300, 5000]).map(bytes), st.sampled_from([b"\1abc", b"\0\0\2\0"])),
    n_segments=st.sampled_from([1, 2, 17, 254, 255]),
    sequence=st.sampled_from([0, 7, 2**32 - 2]),
    has_company=st.booleans(),
    chained=st.sampled_from([None, 1, 9]),
    front=st.sampled_from([b"", id3_tag(3, [id3_frame(3, "TIT2", text_content("A"))])]),
    tail=st.sampled_from([b"", id3v1(), b"junk"]),
    fields=any_fields(),
    later=any_fields(),
    policy=st.sampled_from(FieldPolicy),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_foreign_survives_anything(
    path, codec, entries, others, behind, n_segments, sequence, has_company, chained, front, tail, fields, later, policy
):
    stream = lay_out(codec, entries, others=others, behind=behind, n_segments=n_segments, sequence=sequence)
    company = lay_plain(THEORA, serial=2, n_segments=20)
    pages = lay_side_by_side(company, stream) if has_company else stream
    chain = lay_out("opus", [b"TITLE=B"], serial=chained) if chained else []
    path.write_bytes(front + b"".join([*pages, *chain]) + tail)
    assert find_container(path) is Container.OGG
    payload = hash_payload(path)
    old = [page for page in walk(b"".join(pages)) if page.serial == 1]
    n_old_headers = len(stream) - len(ogg_pages(AUDIO, n_segments=9))
    had, kept_rest = read_comments(codec, join(old)[1])[:2], read_comments(codec, join(old)[1])[2]
    for wanted in (fields, later, None):
        remove(path) if wanted is None else write(path, wanted, genre=policy)
        data = path.read_bytes()
        assert data.startswith(front)
        assert data.endswith(b"".join(chain) + tail)
        new_pages = walk(data[len(front) : len(data) - len(b"".join(chain) + tail)])
        assert [page.raw for page in new_pages if page.serial == 2] == company * has_company
        new = [page for page in new_pages if page.serial == 1]
        packets = join(new)
        assert new[0].raw == stream[0]
        assert [page.raw[:18] + page.raw[26:] for page in new[-len(old) + n_old_headers :]] == [
            page[:18] + page[26:] for page in stream[n_old_headers:]
        ]
        assert {page.granule for page in new[: -len(old) + n_old_headers]} <= {0, NOWHERE}
        if codec == "flac":
            n_headers = struct.unpack_from(">H", packets[0], 7)[0]
            blocks = packets[1 : 1 + n_headers]
            assert [block[0] >= LAST for block in blocks] == [False] * (n_headers - 1) + [True]
            assert all(int.from_bytes(block[1:4], "big") == len(block) - 4 for block in blocks)
            assert [block[0] % LAST for block in blocks] == [4, *(block[0] for block in others)]
            assert [block[1:] for block in blocks[1:] if block[0] % LAST != PADDING] == [
                block[1:] for block in others if block[0] != PADDING
            ]
            assert packets[1 + n_headers :] == AUDIO
        else:
            assert packets[2:] == join(old)[2:]
        vendor, kept, rest = read_comments(codec, packets[1])
        assert (vendor, leave_ours_out(kept)) == (had[0], leave_ours_out(had[1]))
        assert rest == kept_rest or not (behind.strip(b"\0") or rest.strip(b"\0\1"))
        assert [entry for entry in kept if entry.startswith(b"TAGCLI_TAGS=")] == [
            f"TAGCLI_TAGS={tag}".encode() for tag in (wanted.tags if wanted else ())
        ]
        assert hash_payload(path) == payload
        assert (plan_removal(path) if wanted is None else write(path, wanted, genre=policy)).is_empty


# Room


@pytest.mark.parametrize("codec", ["vorbis", "opus", "speex", "flac"])
@pytest.mark.parametrize("n_segments", [7, 17, 255])
def test_the_file_keeps_its_size_where_there_is_room(path, codec, n_segments):
    room = {"others": [flac_block(PICTURE, bytes(700)), flac_block(PADDING, bytes(2040))]}
    stream = lay_out(codec, **room if codec == "flac" else {"behind": bytes(2000)}, n_segments=n_segments)
    path.write_bytes(b"".join(stream))
    n_audio_pages = len(ogg_pages(AUDIO, n_segments=9))
    for act in (write, lambda path: write(path, make_fields(settings="x" * 999)), remove):
        plan = act(path)
        pages = [page.raw for page in walk(path.read_bytes())]
        assert len(pages) == len(stream)
        assert plan.fits or codec == "flac"  # of two packets, the numbers of lacing values may differ by one
        assert abs(plan.new_size - plan.identity.size) <= 1
        assert pages[-n_audio_pages:] == stream[-n_audio_pages:], "no page is numbered anew"


@pytest.mark.parametrize("granule", [0, NOWHERE])
def test_pages_keep_their_form_where_nothing_grows(path, granule):
    """Some programs write no granule position but zero on pages of headers."""
    stream = lay_out("vorbis", behind=bytes(2000), n_segments=3)
    stream[1:3] = [seal_ogg_page(page[:6] + struct.pack("<q", granule) + page[14:]) for page in stream[1:3]]
    path.write_bytes(b"".join(stream))
    write(path)
    pages = walk(path.read_bytes())
    assert [(page.raw[:22], page.lacing) for page in pages] == [
        (page.raw[:22], page.lacing) for page in walk(b"".join(stream))
    ]


@pytest.mark.parametrize("codec", ["vorbis", "opus", "speex", "flac"])
def test_growing_leaves_fresh_room(path, codec):
    others = [flac_block(PADDING, bytes(3))] if codec == "flac" else []
    path.write_bytes(b"".join(lay_out(codec, others=others)))
    assert not write(path).fits
    packets = read_packets(path)
    padding = packets[2][4:] if codec == "flac" else read_comments(codec, packets[1])[2].removeprefix(b"\1")
    assert padding == bytes(FRESH_PADDING_BYTES)
    n_pages = len(walk(path.read_bytes()))
    assert write(path, make_fields(settings="clips=middle top=12")).fits or codec == "flac"
    assert len(walk(path.read_bytes())) == n_pages


def test_flac_padding_is_never_larger_than_a_block(path, monkeypatch):
    monkeypatch.setattr("tagcli.metadata.ogg.MAX_BODY_BYTES", 2000)
    entries = [b"TAGCLI_SETTINGS=" + b"x" * 1500]
    path.write_bytes(b"".join(lay_out("flac", entries, others=[flac_block(PADDING, bytes(1000))])))
    remove(path)
    assert read_packets(path)[2] == flac_block(PADDING, bytes(2000), last=True)


def test_flac_without_a_block_of_padding_gets_none(path):
    path.write_bytes(b"".join(lay_out("flac", others=[flac_block(PICTURE, b"abc")])))
    write(path)
    assert [packet[0] for packet in read_packets(path)[1:3]] == [4, PICTURE | LAST]
    assert read_comments("flac", read_packets(path)[1])[2] == b""


@pytest.mark.parametrize("behind", [b"\1kept", b"\0\0\2", b"\3"])
@pytest.mark.parametrize("codec", ["vorbis", "opus", "speex"])
def test_what_is_no_padding_is_kept_and_not_padded(path, codec, behind):
    """RFC 7845, section 5.2: a set bit asks to preserve what follows."""
    path.write_bytes(b"".join(lay_out(codec, [b"TITLE=A"], behind=behind)))
    for act in (write, remove):
        act(path)
        rest = read_comments(codec, read_packets(path)[1])[2]
        assert rest == (b"\1" if codec == "vorbis" else b"") + behind


def test_a_framing_byte_with_other_bits_stays(path):
    path.write_bytes(b"".join(lay_out("vorbis", framing=b"\xff")))
    write(path)
    assert read_comments("vorbis", read_packets(path)[1])[2] == b"\xff" + bytes(FRESH_PADDING_BYTES)


@pytest.mark.parametrize("codec", CODECS)
def test_pages_behind_are_numbered_anew_and_nothing_else_of_them_changes(path, codec):
    stream = lay_out(codec)
    path.write_bytes(b"".join(stream))
    n_audio_pages = len(ogg_pages(AUDIO, n_segments=9))
    plan = write(path, make_fields(settings="x" * 200_000))
    pages = walk(path.read_bytes())
    assert len(pages) == len(stream) + 3
    assert [page.raw[:18] + page.raw[26:] for page in pages[-n_audio_pages:]] == [
        page[:18] + page[26:] for page in stream[-n_audio_pages:]
    ]
    assert [page.granule for page in pages[1:4]] == [NOWHERE] * 3
    fresh = [piece for piece in plan.pieces if isinstance(piece, bytes)]
    assert list(map(len, fresh[1:])) == [8] * n_audio_pages
    remove(path)
    assert len(walk(path.read_bytes())) == (len(stream) if codec == "flac" else len(pages))


def test_comments_that_shrink_may_take_pages_with_them(path):
    """Nothing can be padded there, so that each page has less than one lacing value left."""
    path.write_bytes(b"".join(lay_out("opus", [b"TAGCLI_MODEL=" + b"x" * 5000], behind=b"\1", n_segments=1)))
    n_pages = len(walk(path.read_bytes()))
    remove(path)
    assert len(walk(path.read_bytes())) < n_pages
    assert read_packets(path)[2:] == AUDIO


@pytest.mark.parametrize("codec", CODECS)
def test_a_picture_of_megabytes_stays(path, codec):
    picture = b"METADATA_BLOCK_PICTURE=" + base64.b64encode(bytes(range(256)) * 3000)
    path.write_bytes(b"".join(lay_out(codec, [b"TITLE=A", picture, b"ARTIST=B"])))
    write(path)
    assert read_comments(codec, read_packets(path)[1])[1][:3] == [b"TITLE=A", picture, b"ARTIST=B"]
    assert mutagen.File(path).tags["TAGCLI_TAGS"] == ["guitar", "rock"]
    remove(path)
    assert read_comments(codec, read_packets(path)[1])[1] == [b"TITLE=A", picture, b"ARTIST=B"]


@pytest.mark.parametrize("codec", ["opus", "vorbis"])
@pytest.mark.parametrize("n_bytes", range(254, 258))
@pytest.mark.parametrize("n_full", [0, 237, 238, 239, 253, 254, 255, 256, 510])
def test_packets_that_end_at_the_edge_of_a_page(path, codec, n_bytes, n_full):
    """Of Vorbis, the page holds sixteen lacing values of another packet."""
    path.write_bytes(b"".join(lay_out(codec, behind=b"\1")))
    n_other_bytes = len(comment_packet(codec, [b"TAGCLI_SETTINGS="], behind=b"\1"))
    text = "x" * (n_full * 255 + n_bytes - n_other_bytes)
    write(path, make_fields(tags=(), scores=(), genres=(), model="", settings=text))
    packets = read_packets(path)
    assert len(packets[1]) == n_full * 255 + n_bytes
    assert packets[2:] == [SETUP] * (codec == "vorbis") + AUDIO


# Streams in company


def test_the_first_of_several_audio_streams_is_the_one(path):
    skeleton = [b"fishead\0" + struct.pack("<HH", 3, 0) + bytes(52), b"fisbone\0" + bytes(60), b""]
    streams = [
        lay_plain(skeleton, serial=5),
        lay_plain(THEORA, serial=2),
        lay_out("speex", serial=3),
        lay_out("vorbis", serial=1),
    ]  # fmt: skip
    path.write_bytes(b"".join(lay_side_by_side(*streams)))
    write(path, make_fields(settings="x" * 70_000))
    pages = walk(path.read_bytes())
    for serial, stream in zip((5, 2, 1), (streams[0], streams[1], streams[3]), strict=True):
        assert [page.raw for page in pages if page.serial == serial] == stream
    assert b"TAGCLI_TAGS=rock" in read_comments("speex", read_packets(path, 3)[1])[1]


@pytest.mark.parametrize("serial", [1, 9])
def test_of_a_chain_the_first_link_is_written(path, serial):
    links = [lay_out("vorbis", [b"TITLE=A"]), lay_out("opus", [b"TITLE=B"], serial=serial), lay_out("vorbis")]
    path.write_bytes(b"".join(page for link in links for page in link))
    write(path, make_fields(settings="x" * 70_000))
    assert path.read_bytes().endswith(b"".join(page for link in links[1:] for page in link))
    assert mutagen.File(path).tags["TAGCLI_TAGS"] == ["guitar", "rock"]
    assert {field.field for field in read_metadata(path).fields} >= {"TITLE", "TAGCLI_TAGS"}


@pytest.mark.parametrize("version", [3, 4])
def test_positions_of_a_skeleton_are_never_made_wrong(path, version):
    skeleton = lay_plain([b"fishead\0" + struct.pack("<HH", version, 0) + bytes(68)], serial=5)
    path.write_bytes(b"".join([*skeleton, *lay_out("vorbis", behind=bytes(500))]))
    assert write(path).fits
    before = path.read_bytes()
    if version == 3:
        assert not write(path, make_fields(settings="x" * 900)).fits
    else:
        with pytest.raises(MetadataError, match="Skeleton"):
            write(path, make_fields(settings="x" * 900))
        assert path.read_bytes() == before


def test_audio_on_the_last_page_of_the_headers_stays_there(path):
    """Against the specifications, but no reason to lose anything."""
    headers = ogg_pages([comment_packet("opus", [b"TITLE=A"]), *AUDIO[:3]], sequence=1, granule=77)
    stream = (
        ogg_pages([FIRST["opus"]], flags=BEGINS) + headers + ogg_pages(AUDIO[3:], sequence=2, granule=960, flags=ENDS)
    )
    path.write_bytes(b"".join(map(seal_ogg_page, stream)))
    payload = hash_payload(path)
    for n_bytes in (10, 70_000, 64_000):
        write(path, make_fields(settings="x" * n_bytes))
        assert read_packets(path)[2:] == AUDIO
        granules = [page.granule for page in walk(path.read_bytes())]
        assert granules == [0, *[NOWHERE] * (n_bytes > 10), 77, 960]
        assert hash_payload(path) == payload


@pytest.mark.parametrize("n_bytes", [10, 70_000])
def test_a_stream_without_audio_ends_on_its_last_page(path, n_bytes):
    path.write_bytes(b"".join(lay_out("opus", audio=[])))
    write(path, make_fields(settings="x" * n_bytes))
    pages = walk(path.read_bytes())
    assert [page.flags & ENDS for page in pages] == [0] * (len(pages) - 1) + [ENDS]
    assert len(pages) == (2 if n_bytes == 10 else 3)


# Damage


def renumber(page, shift):
    return seal_ogg_page(page[:18] + struct.pack("<L", struct.unpack_from("<L", page, 18)[0] + shift) + page[22:])


def reflag(page, flags):
    return seal_ogg_page(page[:5] + bytes((flags,)) + page[6:])


LONG = lay_out("opus", [b"TITLE=" + b"x" * 2000], n_segments=3)
SHORT = lay_out("vorbis", [b"TITLE=A"])
FLAC = lay_out("flac", [b"TITLE=A"], others=[flac_block(PICTURE, b"abcd")])


def spoil_packet(codec, packet, *others):
    pages = ogg_pages([FIRST[codec]], flags=BEGINS) + ogg_pages([packet, *others, *AUDIO], sequence=1)
    return list(map(seal_ogg_page, pages))


DAMAGED = {
    "a page is missing": ([*LONG[:2], *LONG[3:]], "a page of its headers is missing"),
    "a page comes twice": ([*LONG[:2], LONG[1], *LONG[2:]], "a page of its headers is missing"),
    "pages are swapped": ([LONG[0], LONG[2], LONG[1], *LONG[3:]], "a page of its headers is missing"),
    "a page of no segments": (
        [LONG[0], seal_ogg_page(ogg_page(b"", b"", sequence=1)), *(renumber(page, 1) for page in LONG[1:])],
        "is missing",
    ),
    "nothing is continued": ([LONG[0], reflag(LONG[1], 0), reflag(LONG[2], 0), *LONG[3:]], "does not go on"),
    "a beginning is continued": ([LONG[0], reflag(LONG[1], CONTINUES), *LONG[2:]], "does not go on"),
    "another stream begins": ([*LONG[:2], reflag(LONG[2], BEGINS | CONTINUES), *LONG[3:]], "end too early"),
    "the stream ends": ([*LONG[:2], reflag(LONG[2], ENDS | CONTINUES), *LONG[3:]], "end too early"),
    "cut between pages": (LONG[:3], "end too early"),
    "cut in a page": ([*LONG[:2], LONG[2][:-1]], "ends behind the file"),
    "cut in the first page": ([LONG[0][:-1]], "ends behind the file"),
    "cut in lacing values": ([*LONG[:2], LONG[2][:28]], "ends behind the file|wrong checksum"),
    "junk between pages": ([*LONG[:2], b"junk", *LONG[2:]], "end too early"),
    "wrong checksum": ([*LONG[:2], seal_ogg_page(LONG[2], 1), *LONG[3:]], "wrong checksum"),
    "wrong checksum of the first page": ([seal_ogg_page(LONG[0], 1), *LONG[1:]], "wrong checksum"),
    "two packets on the first page": (
        [seal_ogg_page(ogg_pages([FIRST["opus"], comment_packet("opus")], flags=BEGINS)[0]), *LONG[1:]],
        "more or less than one packet",
    ),
    "the first packet goes on": (
        [seal_ogg_page(ogg_page(b"\xff", FIRST["opus"].ljust(255, b"\0"), flags=BEGINS)), *LONG[1:]],
        "more or less than one packet",
    ),
    "no beginning": (LONG[1:], "no stream at its start"),
    "film without sound": (list(map(seal_ogg_page, ogg_pages(THEORA, flags=BEGINS))), "no stream at its start"),
    "sound behind a film only": ([*lay_plain(THEORA, serial=2), *LONG], "no stream at its start"),
    "the framing bit is not set": (lay_out("vorbis", framing=b"\xfe"), "the bit that ends"),
    "no framing bit": (lay_out("vorbis", framing=b""), "the bit that ends"),
    "no comments": (spoil_packet("vorbis", SETUP), "holds no comments"),
    "comments of another codec": (spoil_packet("opus", comment_packet("vorbis")), "holds no comments"),
    "a comment over the end": (spoil_packet("opus", comment_packet("opus", [b"A=A"])[:-1]), "longer than the header"),
    "no number of comments": (spoil_packet("speex", b"\0\0\0\0\1"), "number of its comments"),
    "an empty packet": (spoil_packet("speex", b""), "longer than the header"),
    "a picture before the comments": (spoil_packet("flac", flac_block(PICTURE, b"", last=True)), "holds no comments"),
    "a block shorter than its packet": (
        spoil_packet("flac", comment_packet("flac"), flac_block(PICTURE | LAST, b"a") + b"b"),
        "not as long as",
    ),
    "no last block": (spoil_packet("flac", comment_packet("flac")), "not as long as"),
    "a block of no bytes": (spoil_packet("flac", comment_packet("flac"), b""), "not as long as"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_headers_are_refused_and_kept(path, damage):
    pages, reason = DAMAGED[damage]
    damaged = b"".join(pages)
    path.write_bytes(damaged)
    for act in (lambda: plan_write(path, make_fields()), lambda: plan_removal(path), lambda: read_metadata(path)):
        with pytest.raises(MetadataError, match=f"(damaged|cannot take the change).*({reason})"):
            act()
    assert path.read_bytes() == damaged


def test_headers_too_large_are_refused(path, monkeypatch):
    monkeypatch.setattr("tagcli.metadata.ogg_headers.MOST_METADATA_BYTES", 2000)
    path.write_bytes(b"".join(LONG))
    with pytest.raises(MetadataError, match="too large"):
        read_metadata(path)


def test_flac_comments_larger_than_a_block_are_refused(path):
    path.write_bytes(b"".join(FLAC))
    with pytest.raises(MetadataError, match="16 MB"):
        write(path, make_fields(settings="x" * (1 << 24)))
    assert path.read_bytes() == b"".join(FLAC)


@pytest.mark.parametrize("n_bytes", [0, 70_000])
def test_damaged_audio_stays_as_damaged_as_it_was(path, n_bytes):
    """A page whose checksum is wrong is not made right by another number."""
    stream = [*SHORT[:3], seal_ogg_page(SHORT[3], 0x1234), *SHORT[4:]]
    stream[4] = seal_ogg_page(stream[4][:-1] + b"?", 0x5678)
    path.write_bytes(b"".join(stream))
    write(path, make_fields(settings="x" * n_bytes))
    new = path.read_bytes()
    assert new.endswith(b"".join(renumber(page, n_bytes > 0) for page in stream[5:]))
    for page, damage in ((stream[3], 0x1234), (stream[4], 0x5678)):
        moved = seal_ogg_page(renumber(page, n_bytes > 0), damage)
        assert moved in new


def test_gaps_between_pages_of_audio_stay(path):
    path.write_bytes(b"".join([*SHORT[:3], *SHORT[4:]]))
    write(path, make_fields(settings="x" * 70_000))
    assert [page.sequence for page in walk(path.read_bytes())] == [0, 1, 2, 3, *range(5, len(SHORT) + 1)]


@pytest.mark.parametrize(
    "junk", [b"junk", *(bytes((1 << 17) - n_bytes) for n_bytes in range(5)), b"OggS\1" + bytes(50)]
)
def test_pages_behind_junk_are_not_numbered_anew(path, junk):
    stream = lay_out("vorbis", behind=bytes(300))
    damaged = b"".join([*stream[:-1], junk, stream[-1]])
    path.write_bytes(damaged)
    with pytest.raises(MetadataError, match="is no page"):
        write(path, make_fields(settings="x" * 70_000))
    assert path.read_bytes() == damaged
    assert write(path).fits, "no number changes"
    assert path.read_bytes().endswith(b"".join([stream[-2], junk, stream[-1]]))


@pytest.mark.parametrize("n_less", [1, 9, 5000])
@pytest.mark.parametrize("tail", [b"", bytes(1000), id3v1()])
def test_a_file_that_was_cut_off_is_written(path, n_less, tail):
    data = b"".join(SHORT)[:-n_less]
    path.write_bytes(data + tail)
    payload = hash_payload(path)
    write(path, make_fields(settings="x" * 70_000))
    assert hash_payload(path) == payload
    assert path.read_bytes().endswith(tail)
    assert write(path, make_fields(settings="x" * 70_000)).is_empty


@pytest.mark.parametrize("n_left", range(20, 40))
def test_a_file_that_was_cut_off_in_the_header_of_a_page_is_written(path, n_left):
    path.write_bytes(b"".join(SHORT[:-1]) + SHORT[-1][:n_left])
    payload = hash_payload(path)
    write(path, make_fields(settings="x" * 70_000))
    assert hash_payload(path) == payload


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
    before = b"".join(SHORT)
    path.write_bytes(before)
    monkeypatch.setattr("tagcli.metadata.ogg.change_comments", lose(what))
    with pytest.raises(MetadataError, match=sentence):
        write(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@given(
    codec=st.sampled_from(CODECS),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.binary(max_size=9)), min_size=1, max_size=4),
    is_sealed=st.booleans(),
    n_bytes=st.sampled_from([0, 70_000]),
)
@example(codec="flac", edits=[(0, 0, b"")], is_sealed=False, n_bytes=0)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_never_crash_and_never_lose_audio(path, codec, edits, is_sealed, n_bytes):
    pages = [bytearray(page) for page in lay_out(codec, [b"TITLE=A"], behind=bytes(9))]
    for place, n_less, more in edits:
        page = pages[place % 5 % len(pages)]
        page[place % 80 : place % 80 + n_less] = more
    path.write_bytes(b"".join(seal_ogg_page(bytes(page)) if is_sealed else bytes(page) for page in pages))
    with suppress(TagcliError):
        payload = hash_payload(path)
        write(path, make_fields(settings="x" * n_bytes))
        assert hash_payload(path) == payload
        assert write(path, make_fields(settings="x" * n_bytes)).is_empty


@given(data=st.binary(max_size=300), codec=st.sampled_from(CODECS))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_never_crash(path, data, codec):
    path.write_bytes(lay_out(codec)[0] + b"OggS\0" + data)
    for act in (lambda: plan_write(path, make_fields()), lambda: read_metadata(path)):
        with suppress(TagcliError):
            act()


# What is read, and what it costs


def test_reading_shows_everything(path):
    entries = [b"TITLE=A", b"title=B", b"no key", b"X=" + b"y" * 5000, b"BAD=\xff"]
    others = [flac_block(PADDING, bytes(9)), flac_block(PICTURE, bytes(50))]
    path.write_bytes(b"".join(lay_out("flac", entries, others=others)))
    metadata = read_metadata(path)
    assert (metadata.container, metadata.version) == (Container.OGG, "Vorbis comments")
    assert {field.field: field.values for field in metadata.fields} == {
        "TITLE": ("A", "B"),
        "": ("no key",),
        "X": ("<5000 bytes>",),
        "BAD": ("\ufffd",),
        "PICTURE": ("<50 bytes>",),
    }


def test_an_hour_is_numbered_anew_in_little_memory(path):
    """So many pages an hour has at 128 kbit/s; the program reads none of what is on them."""
    audio = [ogg_page(b"\xff\xff\0", b"\xff" * 510, sequence=2 + index, granule=1) for index in range(12_000)]
    path.write_bytes(b"".join([*lay_out("opus")[:2], *audio]))
    tracemalloc.start()
    try:
        plan = plan_write(path, make_fields(settings="x" * 70_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(plan.pieces) == 2 + 2 * 12_000 + 1
    assert peak < 12_000_000
