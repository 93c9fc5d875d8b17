"""Files for the tests of payload, container and metadata, built byte by byte without the code under test."""

import functools
import io
import struct
import zlib

import av
import numpy as np

FAKE_MP3_FRAME = bytes.fromhex("fffb9064") + bytes(413)
"""One silent MPEG-1 layer III frame of 128 kbit/s at 44.1 kHz: 417 bytes."""


@functools.cache
def encode_audio(codec: str = "mp3", container: str = "mp3", seconds: float = 0.4) -> bytes:
    """Encode noise; an mp3 comes without any tag."""
    options = {"id3v2_version": "0", "write_id3v1": "0"} if container == "mp3" else {}
    rate = 48000 if codec == "libopus" else 44100
    waveform = np.random.default_rng(3).uniform(-0.5, 0.5, (1, int(rate * seconds))).astype(np.float32)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 128_000
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 1152
        )
        frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout="mono")
        frame.sample_rate = rate
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                output.mux(packet)
    return buffer.getvalue()


def mp3() -> bytes:
    """Return real MPEG frames without any tag."""
    return encode_audio()


def syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def unsynchronise(data: bytes) -> bytes:
    out = bytearray()
    for index, byte in enumerate(data):
        out.append(byte)
        following = data[index + 1] if index + 1 < len(data) else None
        if byte == 0xFF and (following is None or following >= 0xE0 or following == 0):
            out.append(0)
    return bytes(out)


def id3_frame(version: int, name: str, content: bytes, flags: int = 0, *, plain: bool | None = None) -> bytes:
    plain = version == 3 if plain is None else plain
    size = struct.pack(">L", len(content)) if plain else syncsafe(len(content))
    return name.encode("latin-1") + size + struct.pack(">H", flags) + content


def id3_tag(
    version: int,
    frames: list[bytes],
    *,
    padding: int = 0,
    flags: int = 0,
    extended: bool = False,
    footer: bool = False,
    crc: bool = False,
) -> bytes:
    body = b"".join(frames)
    if extended:
        flags |= 0x40
        if version == 3:
            checksum = struct.pack(">L", zlib.crc32(body)) if crc else b""
            head = struct.pack(">LHL", 6 + len(checksum), 0x8000 if crc else 0, padding) + checksum
        else:
            head = syncsafe(12) + b"\x01\x20\x05" + bytes(5) if crc else syncsafe(6) + b"\x01\x00"
        body = head + body
    body += bytes(padding)
    if version == 3 and flags & 0x80:
        body = unsynchronise(body)
    if footer:
        flags |= 0x10
    rest = bytes((version, 0, flags)) + syncsafe(len(body))
    return b"ID3" + rest + body + (b"3DI" + rest if footer else b"")


def walk_id3(data: bytes, *, plain: bool | None = None) -> tuple[int, list[bytes], int]:
    """Return version, frames (of an unsynchronised v2.3 tag: resolved) and size of the tag at the start."""
    assert data[:3] == b"ID3"
    version, flags = data[3], data[5]
    size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
    body = data[10 : 10 + size]
    assert len(body) == size
    assert not flags & 0x40
    if version == 3 and flags & 0x80:
        resolved = bytearray()
        skip = False
        for index, byte in enumerate(body):
            skip = not skip and index > 0 and body[index - 1] == 0xFF and byte == 0
            if not skip:
                resolved.append(byte)
        body = bytes(resolved)
    frames = []
    offset = 0
    plain = version == 3 if plain is None else plain
    while offset < len(body) and body[offset]:
        raw = body[offset + 4 : offset + 8]
        length = struct.unpack(">L", raw)[0] if plain else raw[0] << 21 | raw[1] << 14 | raw[2] << 7 | raw[3]
        assert offset + 10 + length <= len(body)
        frames.append(body[offset : offset + 10 + length])
        offset += 10 + length
    assert not any(body[offset:])
    return version, frames, 10 + size + (10 if flags & 0x10 else 0)


def id3v1(title: bytes = b"Title", genre: int = 17, *, extended: bool = False) -> bytes:
    tag = b"TAG" + title.ljust(124, b"\0")[:124] + bytes((genre,))
    return (b"TAG+" + bytes(223) if extended else b"") + tag


def ape_tag(items: dict[str, str], *, header: bool = True) -> bytes:
    body = b"".join(
        struct.pack("<LL", len(value.encode()), 0) + key.encode() + b"\0" + value.encode()
        for key, value in items.items()
    )

    def edge(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<LLLL", 2000, len(body) + 32, len(items), flags) + bytes(8)

    flags = 0x80000000 if header else 0
    return (edge(flags | 0x20000000) if header else b"") + body + edge(flags)


def lyrics3v2(text: str = "la la la") -> bytes:
    body = b"LYRICSBEGIN" + b"IND0000200" + f"LYR{len(text):05d}{text}".encode()
    return body + f"{len(body):06d}LYRICS200".encode()


def lyrics3v1(text: str = "la la la") -> bytes:
    return b"LYRICSBEGIN" + text.encode() + b"LYRICSEND"


def appended_id3(frames: list[bytes]) -> bytes:
    """Return an ID3v2.4 tag as it stands at the end of a file, found by its footer."""
    return id3_tag(4, frames, footer=True)


def text_content(text: str, encoding: int = 3) -> bytes:
    codecs = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
    return bytes((encoding,)) + text.encode(codecs[encoding])


def user_text(version: int, description: str, text: str) -> bytes:
    return id3_frame(version, "TXXX", text_content(f"{description}\0{text}", 0 if version == 3 else 3))


def flac_block(kind: int, body: bytes, *, last: bool = False) -> bytes:
    return bytes((kind | last << 7,)) + len(body).to_bytes(3, "big") + body


def mp4_box(kind: bytes, body: bytes = b"", *, long: bool = False, open_ended: bool = False) -> bytes:
    if long:
        return (1).to_bytes(4, "big") + kind + (16 + len(body)).to_bytes(8, "big") + body
    return (0 if open_ended else 8 + len(body)).to_bytes(4, "big") + kind + body


def asf_object(guid: str, body: bytes, *, size: int | None = None) -> bytes:
    return bytes.fromhex(guid) + (24 + len(body) if size is None else size).to_bytes(8, "little") + body


def chunk(kind: bytes, body: bytes, *, size: int | None = None, big_endian: bool = False) -> bytes:
    n_bytes = len(body) if size is None else size
    return kind + n_bytes.to_bytes(4, "big" if big_endian else "little") + body + bytes(len(body) % 2)


def ogg_page(
    lacing: bytes, body: bytes, *, serial: int = 1, sequence: int = 0, granule: int = 0, flags: int = 0
) -> bytes:
    """Return a page whose checksum is nonsense, which `serial` and `sequence` tell from others."""
    sequence %= 1 << 32
    head = struct.pack("<4sBBqLLL", b"OggS", 0, flags, granule, serial, sequence, serial ^ sequence)
    return head + bytes((len(lacing),)) + lacing + body


def ogg_pages(
    packets: list[bytes], *, serial: int = 1, sequence: int = 0, granule: int = 0, flags: int = 0, n_segments: int = 255
) -> list[bytes]:
    """Lay packets on pages of at most so many segments; flags are those of the first page."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
    data, pages, is_continued = b"".join(packets), [], False
    for first in range(0, len(lacing), n_segments):
        part = lacing[first : first + n_segments]
        body, data = data[: sum(part)], data[sum(part) :]
        pages.append(
            ogg_page(
                part,
                body,
                serial=serial,
                sequence=sequence + len(pages),
                granule=granule if min(part) < 255 else -1,
                flags=is_continued | (0 if pages else flags),
            )
        )
        is_continued = part[-1] == 255
    return pages


def _compute_ogg_checksum(data: bytes) -> int:
    """Compute the remainder of a page byte by byte (RFC 3533, section 6)."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _OGG_CHECKSUMS[value >> 24 ^ byte]
    return value


def _divide(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


_OGG_CHECKSUMS = [_divide(byte << 24) for byte in range(256)]


def seal_ogg_page(page: bytes, damage: int = 0) -> bytes:
    """Give a page its right checksum, or one that damage is added to."""
    checksum = _compute_ogg_checksum(page[:22] + bytes(4) + page[26:]) ^ damage
    return page[:22] + checksum.to_bytes(4, "little") + page[26:]
