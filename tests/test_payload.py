import base64
import hashlib
import itertools
import struct
import tracemalloc

import av
import mutagen
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_files import (
    FAKE_MP3_FRAME,
    appended_id3,
    asf_object,
    chunk,
    encode_audio,
    flac_block,
    id3_frame,
    id3_tag,
    id3v1,
    mp3,
    mp4_box,
    ogg_page,
    ogg_pages,
    text_content,
)
from mutagen.apev2 import BINARY, APEValue
from mutagen.asf import ASFByteArrayAttribute
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TIT2
from mutagen.mp4 import MP4Cover

from tagcli.errors import MetadataError
from tagcli.outer_tags import find_content_of
from tagcli.payload import hash_payload

MAX_PEAK_BYTES = 1 << 20
"""A buffer of 128 KB, one of Python's own, and what else there is."""
N_FLIPS = 60
TITLE = id3_frame(4, "TIT2", text_content("A title"))
OUTER = (id3_tag(4, [TITLE]), appended_id3([TITLE]) + id3v1())
GOLDEN_FRAMES = FAKE_MP3_FRAME * 3
GOLDEN_SHA256 = "446904869dac43a5b9995e32d37a1c5cf22c5268ed588da712d27f3aa31fbb67"
"""Caches hold such hashes: a payload that changes its hash is heard again by everybody."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "track"


@pytest.fixture
def hash_bytes(tmp_path):
    def hash_file(data):
        (tmp_path / "bytes").write_bytes(data)
        return hash_payload(tmp_path / "bytes")

    return hash_file


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# MPEG audio and whatever else has its tags around it


def test_hash_of_an_mp3_is_what_it_was(hash_bytes):
    head, tail = OUTER
    assert hash_bytes(head + GOLDEN_FRAMES + tail) == GOLDEN_SHA256


def test_payload_larger_than_a_block(hash_bytes, monkeypatch):
    monkeypatch.setattr("tagcli.files._READ_BYTES", 100)
    assert hash_bytes(OUTER[0] + mp3() + OUTER[1]) == sha256(mp3())


def test_hash_tells_tracks_apart(hash_bytes):
    assert hash_bytes(mp3()[:-1] + bytes((mp3()[-1] ^ 1,))) != hash_bytes(mp3())


@pytest.mark.parametrize(("codec", "muxer"), [("aac", "adts"), ("libopus", "matroska")])
def test_other_kinds_count_from_end_to_end(hash_bytes, codec, muxer):
    data = encode_audio(codec, muxer)
    assert hash_bytes(OUTER[0] + data + OUTER[1]) == sha256(data)


# Real files of every kind, edited by another program

KINDS = ("mp3", "flac", "ogg", "opus", "oga", "m4a", "mp4", "alac.m4a", "wma", "wav", "aiff", "wv")


@pytest.fixture(scope="module")
def originals(music, encode, tmp_path_factory):
    """A track of each kind, as it comes from an encoder."""
    folder = tmp_path_factory.mktemp("originals")
    planes = music(2, 48_000)
    paths = {kind: folder / f"track.{kind}" for kind in KINDS}
    for kind in KINDS:
        if kind == "oga":
            put_into_ogg(paths["flac"], paths["oga"])
        else:
            encode(paths[kind], planes, 48_000)
    return {kind: path.read_bytes() for kind, path in paths.items()}


def put_into_ogg(source, target):
    with av.open(str(source)) as input_, av.open(str(target), "w", format="ogg") as output:
        stream = output.add_stream_from_template(input_.streams.audio[0])
        for packet in input_.demux(input_.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)


def put_metadata(path, title, picture=None):
    """Write a title, and a picture, as a program that edits tags does."""
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    kind = type(file).__name__
    if isinstance(file.tags, ID3):
        file.tags.setall("TIT2", [TIT2(encoding=3, text=[title])])
        if picture is not None:
            file.tags.setall("APIC", [APIC(mime="image/png", type=3, data=picture)])
    elif kind == "MP4":
        file["\xa9nam"] = [title]
        if picture is not None:
            file["covr"] = [MP4Cover(picture, MP4Cover.FORMAT_PNG)]
    elif kind == "ASF":
        file["Title"] = [title[:30_000]]  # the size of this one has two bytes
        if picture is not None:
            file["WM/Picture"] = [ASFByteArrayAttribute(picture)]
    elif kind == "WavPack":
        file["Title"] = title
        if picture is not None:
            file["Cover Art (Front)"] = APEValue(picture, BINARY)
    else:
        file["title"] = [title]
        if picture is not None:
            cover = Picture()
            cover.data, cover.type, cover.mime = picture, 3, "image/png"
            if isinstance(file, FLAC):
                file.add_picture(cover)
            else:
                file["metadata_block_picture"] = [base64.b64encode(cover.write()).decode()]
    file.save()


@pytest.mark.parametrize("kind", KINDS)
def test_edited_metadata_leaves_the_hash(originals, tmp_path, kind):
    path = tmp_path / f"track.{kind}"
    path.write_bytes(originals[kind])
    before, contents = hash_payload(path), {originals[kind]}
    edits = [
        lambda: put_metadata(path, "A title"),
        lambda: put_metadata(path, "A long title " * 8000),
        lambda: put_metadata(path, "A picture", np.random.default_rng(1).bytes(200_000)),
        lambda: mutagen.File(path).delete(),
        lambda: put_metadata(path, "Another title"),
    ]
    for edit in edits:
        edit()
        contents.add(path.read_bytes())
        assert hash_payload(path) == before
    assert len(contents) >= len(edits)  # a file without metadata may be what the encoder made
    if kind not in ("mp3", "wv"):
        assert before != sha256(originals[kind])


def find_audio(kind, data):
    """Find where the audio of a file lies, in another way than the code under test."""
    if kind in ("ogg", "opus", "oga"):
        starts = [index for index in range(len(data)) if data.startswith(b"OggS\0", index)]
        uncounted = {start + offset for start in starts for offset in (5, *range(18, 26))}
        return [place for place in range(starts[-2], len(data)) if place not in uncounted]
    markers = {
        "mp3": (b"\xff\xfb", 0),
        "flac": (b"\xff\xf8", 0),
        "wma": (bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"), 24),
        "wav": (b"data", 8),
        "aiff": (b"SSND", 8),
        "m4a": (b"mdat", 4),
        "mp4": (b"mdat", 4),
        "alac.m4a": (b"mdat", 4),
    }
    marker, n_bytes = markers.get(kind, (b"", 0))
    start, end = data.index(marker), data.index(b"APETAGEX") if kind == "wv" else len(data)
    if marker == b"mdat":
        end = start - 4 + int.from_bytes(data[start - 4 : start], "big")
    return range(start + n_bytes, end)


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_the_audio_counts(originals, hash_bytes, kind):
    data = originals[kind]
    places = find_audio(kind, data)
    assert len(places) > 5000
    chosen = {places[index * (len(places) - 1) // N_FLIPS] for index in range(N_FLIPS + 1)}
    hashes = {hash_bytes(data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]) for place in chosen}
    assert len(hashes | {hash_bytes(data)}) == N_FLIPS + 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_track_that_is_cut_off_is_another_one(originals, hash_bytes, kind):
    data = originals[kind]
    cuts = [len(data) * share // 20 for share in range(1, 20)]
    if kind in ("mp4", "alac.m4a"):  # what follows the media data is no audio
        cuts = [cut for cut in cuts if cut < data.index(b"moov")]
    hashes = [hash_bytes(data[:cut]) for cut in [*cuts, len(data)]]
    assert len(set(hashes)) == len(hashes)


# Layouts that encoders here do not make: what counts is said byte by byte

STREAM_INFO = bytes(range(34))
FLAC_FRAMES = b"\xff\xf8" + bytes(range(256))
FORMAT, SAMPLES = bytes(range(16)), bytes(range(255))
HEADER_GUID = "3026b2758e66cf11a6d900aa0062ce6c"
DATA_GUID = "3626b2758e66cf11a6d900aa0062ce6c"
ASF_HEADER = asf_object(HEADER_GUID, bytes(100))
FTYP, MOOV = mp4_box(b"ftyp", b"M4A "), mp4_box(b"moov", bytes(50))
STREAMED = 0xFFFFFFFF


def riff(*chunks, form=b"RIFF", kind=b"WAVE"):
    return form + b"\xff\xff\xff\xff" + kind + b"".join(chunks)


def aiff(*chunks, kind=b"AIFF"):
    return riff(*chunks, form=b"FORM", kind=kind)


def ds64(n_bytes):
    return chunk(b"ds64", struct.pack("<QQQL", 0, n_bytes, 0, 0))


WAV_FORMAT, AIFF_COMMON = chunk(b"fmt ", FORMAT), chunk(b"COMM", FORMAT, big_endian=True)
LAYOUTS = {
    "flac": (b"fLaC" + flac_block(0, STREAM_INFO, last=True) + FLAC_FRAMES, STREAM_INFO + FLAC_FRAMES),
    "flac, many blocks": (
        b"fLaC"
        + flac_block(0, STREAM_INFO)
        + b"".join(flac_block(kind, bytes(9)) for kind in (4, 6, 6, 3, 2, 5, 100))
        + flac_block(1, bytes(70_000), last=True)
        + FLAC_FRAMES,
        STREAM_INFO + FLAC_FRAMES,
    ),
    "flac without frames": (b"fLaC" + flac_block(0, STREAM_INFO, last=True), STREAM_INFO),
    "mp4": (FTYP + MOOV + mp4_box(b"mdat", SAMPLES), SAMPLES),
    "mp4, media first": (FTYP + mp4_box(b"mdat", SAMPLES) + MOOV, SAMPLES),
    "mp4, long box": (FTYP + MOOV + mp4_box(b"mdat", SAMPLES, long=True) + mp4_box(b"free"), SAMPLES),
    "mp4, open box": (FTYP + MOOV + mp4_box(b"free") + mp4_box(b"mdat", SAMPLES, open_ended=True), SAMPLES),
    "mp4, cut box": (FTYP + MOOV + mp4_box(b"mdat", SAMPLES + bytes(9))[:-9], SAMPLES),
    "mp4, fragments": (
        FTYP + MOOV + b"".join(mp4_box(b"moof", bytes(7)) + mp4_box(b"mdat", part) for part in (SAMPLES, b"", FORMAT)),
        SAMPLES + FORMAT,
    ),
    "asf": (ASF_HEADER + asf_object(DATA_GUID, SAMPLES) + asf_object(HEADER_GUID, b"index"), SAMPLES),
    "asf, streamed": (ASF_HEADER + asf_object(DATA_GUID, SAMPLES, size=0), SAMPLES),
    "asf, cut": (ASF_HEADER + asf_object(DATA_GUID, SAMPLES, size=1 << 63), SAMPLES),
    "asf, object between": (
        ASF_HEADER + asf_object("00" * 16, bytes(9)) + asf_object(DATA_GUID, SAMPLES),
        SAMPLES,
    ),
    "wav": (riff(WAV_FORMAT, chunk(b"data", SAMPLES), chunk(b"LIST", bytes(9))), FORMAT + SAMPLES),
    "wav, list between": (riff(chunk(b"JUNK", bytes(7)), WAV_FORMAT, chunk(b"data", SAMPLES)), FORMAT + SAMPLES),
    "wav, streamed": (riff(WAV_FORMAT, chunk(b"data", SAMPLES[1:], size=STREAMED)), FORMAT + SAMPLES[1:]),
    "wav, not closed": (riff(WAV_FORMAT, chunk(b"data", SAMPLES[1:], size=0)), FORMAT + SAMPLES[1:]),
    "wav, cut": (riff(WAV_FORMAT, chunk(b"data", SAMPLES[1:], size=5000)), FORMAT + SAMPLES[1:]),
    "wav, junk behind": (riff(WAV_FORMAT, chunk(b"data", SAMPLES)) + b"junk", FORMAT + SAMPLES),
    **{
        f"{form}": (
            riff(
                ds64(len(SAMPLES)),
                WAV_FORMAT,
                chunk(b"data", SAMPLES, size=STREAMED),
                chunk(b"id3 ", bytes(30)),
                form=form.encode(),
            ),
            FORMAT + SAMPLES,
        )
        for form in ("RF64", "BW64")
    },
    "aiff": (
        aiff(AIFF_COMMON, chunk(b"SSND", SAMPLES, big_endian=True), chunk(b"ID3 ", bytes(9), big_endian=True)),
        FORMAT + SAMPLES,
    ),
    "aifc, samples first": (
        aiff(chunk(b"SSND", SAMPLES, big_endian=True), AIFF_COMMON, kind=b"AIFC"),
        SAMPLES + FORMAT,
    ),
}
SHAPELESS = {
    "flac, magic number": b"fLaC",
    "flac, no stream info": b"fLaC" + flac_block(4, bytes(34), last=True) + FLAC_FRAMES,
    "flac, stream info twice": b"fLaC" + flac_block(0, STREAM_INFO) + flac_block(0, STREAM_INFO, last=True),
    "flac, short stream info": b"fLaC" + flac_block(0, STREAM_INFO[1:], last=True) + FLAC_FRAMES,
    "flac, no last block": b"fLaC" + flac_block(0, STREAM_INFO) + flac_block(1, bytes(9)),
    "flac, block past the end": b"fLaC" + flac_block(0, STREAM_INFO) + flac_block(4, bytes(99), last=True)[:50],
    "flac, forbidden block": b"fLaC"
    + flac_block(0, STREAM_INFO)
    + flac_block(127, b"")
    + flac_block(1, b"", last=True)
    + FLAC_FRAMES,
    "flac, no frame": b"fLaC" + flac_block(0, STREAM_INFO, last=True) + b"\xff\xf0" + FLAC_FRAMES,
    "mp4, no media": FTYP + MOOV,
    "mp4, no description": FTYP + mp4_box(b"mdat", SAMPLES),
    "mp4, short box": FTYP + MOOV + mp4_box(b"mdat", SAMPLES) + b"\0\0\0\x07free",
    "mp4, short long box": FTYP + MOOV + mp4_box(b"mdat", SAMPLES) + b"\0\0\0\x01free" + bytes(7) + b"\x0f",
    "mp4, half a header": FTYP + MOOV + mp4_box(b"mdat", SAMPLES) + b"\0\0\0",
    "asf, header only": ASF_HEADER,
    "asf, half a header": ASF_HEADER[:20],
    "asf, object of nothing": ASF_HEADER + asf_object("00" * 16, b"", size=0) + asf_object(DATA_GUID, SAMPLES),
    "asf, object of everything": ASF_HEADER + asf_object("00" * 16, b"", size=(1 << 64) - 1) + SAMPLES,
    "asf, data shorter than its header": ASF_HEADER + asf_object(DATA_GUID, SAMPLES, size=23),
    "wav, no format": riff(chunk(b"data", SAMPLES)),
    "wav, no samples": riff(WAV_FORMAT, chunk(b"LIST", SAMPLES)),
    "aiff, no samples": aiff(AIFF_COMMON),
    "aiff, little-endian": aiff(chunk(b"COMM", FORMAT), chunk(b"SSND", SAMPLES)),
    "ogg, cut in its first header": ogg_page(b"\x05", b"abcde")[:20],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("head", [b"", OUTER[0]])
def test_what_counts(hash_bytes, layout, head):
    data, payload = LAYOUTS[layout]
    assert hash_bytes(head + data) == sha256(payload)


@pytest.mark.parametrize("layout", SHAPELESS)
@pytest.mark.parametrize(("head", "tail"), [(b"", b""), OUTER])
def test_what_does_not_parse_counts_from_end_to_end(hash_bytes, layout, head, tail):
    assert hash_bytes(head + SHAPELESS[layout] + tail) == sha256(SHAPELESS[layout])


@pytest.mark.parametrize(
    ("limit", "n_parts", "layout"),
    [
        ("payload.flac._MAX_BLOCKS", 2, "flac, many blocks"),
        ("payload.flac._MAX_BLOCKS", 2, "flac, no last block"),
        ("boxes.MAX_BOXES", 6, "mp4, fragments"),
        ("payload.asf._MAX_OBJECTS", 2, "asf, object between"),
        ("payload.chunks._MAX_CHUNKS", 2, "wav, list between"),
    ],
)
def test_endless_chains_are_not_walked(hash_bytes, monkeypatch, limit, n_parts, layout):
    monkeypatch.setattr(f"tagcli.{limit}", n_parts)
    data = SHAPELESS[layout] if layout in SHAPELESS else LAYOUTS[layout][0]
    assert hash_bytes(data) == sha256(data)


# Ogg, page by page

VORBIS = (b"\x01vorbis" + bytes(23), b"\x03vorbis", b"\x05vorbis" + bytes(3000))
SETUPS = {
    "vorbis": VORBIS,
    "opus": (b"OpusHead" + bytes(11), b"OpusTags"),
    "speex": (b"Speex   " + bytes(72), b""),
    "theora": (b"\x80theora" + bytes(35), b"\x81theora", b"\x82theora" + bytes(3000)),
    "flac": (b"\x7fFLAC\x01\0\0\0fLaC" + flac_block(0, STREAM_INFO), b"\x04"),
}
AUDIO = [b"\xff" + bytes((number,)) * size for number, size in enumerate((600, 0, 254, 255, 30_000))]


def ogg_stream(codec, comments=(b"",), *, audio=AUDIO, serial=1, n_segments=255, sequence=0, granule=960):
    """Lay out a stream: its pages of headers, then those of audio."""
    first, comment, *others = SETUPS[codec]
    headers = [comment + comments[0], *comments[1:], *others]
    pages = ogg_pages([first], serial=serial, flags=2)
    pages += ogg_pages(headers, serial=serial, sequence=1 + sequence, n_segments=n_segments)
    return pages + ogg_pages(audio, serial=serial, sequence=len(pages) + sequence, granule=granule, n_segments=9)


def hash_of(pages, folder):
    (folder / "track.ogg").write_bytes(b"".join(pages))
    return hash_payload(folder / "track.ogg")


@pytest.mark.parametrize("codec", SETUPS)
def test_ogg_comments_of_any_size_leave_the_hash(tmp_path, codec):
    before = hash_of(ogg_stream(codec), tmp_path)
    for size, n_segments in itertools.product((1, 247, 248, 255, 5000, 200_000), (1, 20, 255)):
        assert hash_of(ogg_stream(codec, (bytes(size),), n_segments=n_segments), tmp_path) == before
    assert hash_of(ogg_stream(codec, audio=[*AUDIO, b"\xff"]), tmp_path) != before


def test_ogg_flac_counts_no_metadata_block(tmp_path):
    before = hash_of(ogg_stream("flac"), tmp_path)
    blocks = (b"", flac_block(6, bytes(70_000)), flac_block(1, bytes(300)), flac_block(2, b"abcd", last=True))
    assert hash_of(ogg_stream("flac", blocks), tmp_path) == before


@given(
    codec=st.sampled_from(list(SETUPS)),
    audio=st.lists(st.binary(max_size=700).map(lambda packet: b"\xff" + packet), min_size=1, max_size=6),
    sizes=st.tuples(st.integers(0, 3000), st.integers(0, 3000)),
    segments=st.tuples(st.integers(1, 255), st.integers(1, 255)),
    place=st.integers(0, 5),
)
def test_ogg_packets_count_and_their_pages_do_not(tmp_path_factory, codec, audio, sizes, segments, place):
    folder = tmp_path_factory.getbasetemp()
    one, two = (
        hash_of(ogg_stream(codec, (bytes(size),), audio=audio, n_segments=n_segments), folder)
        for size, n_segments in zip(sizes, segments, strict=True)
    )
    assert one == two
    place %= len(audio)
    for other in (
        [*audio[:place], audio[place] + b"\0", *audio[place + 1 :]],
        [*audio[:place], b"\xfe" + audio[place][1:], *audio[place + 1 :]],
        [*audio[:place], b"\xff", *audio[place:]],
        [*audio[:place], audio[place] + b"\xff" + audio[place], *audio[place + 1 :]],
    ):
        assert hash_of(ogg_stream(codec, audio=other), folder) != one


def test_ogg_lengths_and_granule_positions_count(tmp_path):
    def hash_audio(*packets, granule=960):
        return hash_of(ogg_stream("opus", audio=packets, granule=granule), tmp_path)

    hashes = {
        hash_audio(b"ab", b"c"),
        hash_audio(b"a", b"bc"),
        hash_audio(b"abc"),
        hash_audio(b"abc", b""),
        hash_audio(b"abc", granule=961),
    }
    assert len(hashes) == 5


def test_ogg_end_of_stream_counts(tmp_path):
    pages = ogg_stream("opus", audio=[b"abc"])
    last = bytearray(pages[-1])
    last[5] |= 4
    assert hash_of([*pages[:-1], bytes(last)], tmp_path) != hash_of(pages, tmp_path)


def test_ogg_streams_count_each_for_itself(tmp_path):
    def lay_out(comment):
        """Lay two streams side by side, whose pages alternate; a third one follows behind them."""
        one = ogg_stream("vorbis", (comment,), serial=7)
        two = ogg_stream("opus", (comment[::2],), serial=8, audio=AUDIO[::-1])
        three = ogg_stream("speex", (comment,), serial=7)
        pages = [page for pair in itertools.zip_longest(one, two, fillvalue=b"") for page in pair]
        return one, two, three, [*pages, *three]

    one, two, three, pages = lay_out(b"")
    before = hash_of(pages, tmp_path)
    assert hash_of(lay_out(bytes(150_000))[-1], tmp_path) == before
    others = ([*one, *two, *three], [*pages, *three], pages[: -len(three)], [*three, *pages], pages[:-1])
    assert before not in {hash_of(other, tmp_path) for other in others}


def test_ogg_hash_is_of_packets_lengths_and_granule_positions(tmp_path):
    first, second = SETUPS["opus"][0], b"audio"
    pages = [*ogg_pages([first], flags=2), *ogg_pages([b"OpusTags"]), *ogg_pages([second], granule=5)]
    parts = (first + second, bytes((len(first), len(second))), b"\0" + struct.pack("<q", 5))
    digests = b"\0\x01" + b"".join(hashlib.sha256(part).digest() for part in parts)
    assert hash_of(pages, tmp_path) == sha256(digests)
    assert hash_of([*pages, b"what is no page"], tmp_path) == sha256(digests + b"what is no page")


def test_ogg_streams_side_by_side_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tagcli.payload.ogg._MAX_STREAMS", 2)
    pages = [ogg_page(b"\x01", b"a", serial=serial, flags=2) for serial in range(5)]
    digests = b"".join(hashlib.sha256(part).digest() for part in (b"a", b"\x01", b""))
    assert hash_of(pages, tmp_path) == sha256(b"\0\x03" + 3 * digests + b"".join(pages[3:]))


# Wild bytes and large files

MAGICS = {
    "flac": b"fLaC" + flac_block(0, STREAM_INFO),
    "ogg": b"OggS\0\x02",
    "ogg page": ogg_pages([VORBIS[0]], flags=2)[0] + b"OggS\0",
    "mp4": FTYP,
    "mp4 with moov": FTYP + MOOV,
    "asf": ASF_HEADER,
    "wav": riff(WAV_FORMAT),
    "rf64": riff(ds64(100), form=b"RF64"),
    "aiff": aiff(AIFF_COMMON),
    "bare flac": b"fLaC",
    "bare asf": bytes.fromhex(HEADER_GUID),
}
WORDS = (b"mdat", b"moov", b"data", b"ds64", b"SSND", b"OggS", bytes.fromhex(DATA_GUID), b"\xff" * 8, bytes(8))
wild = st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(WORDS)), max_size=20).map(b"".join)


@given(magic=st.sampled_from(list(MAGICS)), data=wild, tail=st.sampled_from([b"", OUTER[1]]))
def test_random_bytes_behind_a_magic_number_never_crash(tmp_path_factory, magic, data, tail):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(MAGICS[magic] + data + tail)
    assert hash_payload(path) == hash_payload(path)


@given(data=st.data(), kind=st.sampled_from([kind for kind in KINDS if kind != "mp3"]))
def test_damaged_files_never_crash(tmp_path_factory, originals, data, kind):
    content = bytearray(originals[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 200), st.integers(0, len(content))))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    assert len(hash_payload(path)) == 64


def trace_peak(path):
    tracemalloc.start()
    try:
        hash_payload(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SPARSE = {
    **MAGICS,
    "wav of 256 MB": riff(WAV_FORMAT, chunk(b"data", b"", size=1 << 28)),
    "rf64 of 256 MB": riff(ds64(1 << 28), WAV_FORMAT, chunk(b"data", b"", size=STREAMED), form=b"RF64"),
    "mp4 of 256 MB": FTYP + MOOV + mp4_box(b"mdat", open_ended=True),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_memory_is_constant(path, kind):
    with path.open("wb") as file:
        file.write(SPARSE[kind])
        file.truncate((1 << 28 if kind.endswith("256 MB") else 1 << 26) + 1000)
    assert trace_peak(path) < MAX_PEAK_BYTES


def test_memory_is_constant_with_large_comments_and_many_parts(path):
    stream = ogg_stream("vorbis", (bytes(4_000_000),), audio=[b"\xff" * 4_000_000])
    for content in (b"".join(stream), FTYP + MOOV + (mp4_box(b"moof") + mp4_box(b"mdat", b"a")) * 10_000):
        path.write_bytes(content)
        assert trace_peak(path) < MAX_PEAK_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_shrinks_while_it_is_read_is_no_crash(originals, tmp_path, monkeypatch, kind):
    path = tmp_path / "track"
    for n_bytes in (0, 3, 20, 30, 60, 5000):
        path.write_bytes(originals[kind])
        size = path.stat().st_size

        def shrink(file, _, n_bytes=n_bytes, size=size):
            path.write_bytes(originals[kind][:n_bytes])
            return find_content_of(file, size)

        with monkeypatch.context() as patch:
            patch.setattr("tagcli.payload.find_content_of", shrink)
            assert len(hash_payload(path)) == 64


def test_a_file_that_is_not_there_is_one_sentence(path):
    with pytest.raises(MetadataError, match="does not exist"):
        hash_payload(path)
