"""A collection with files of every container that can be made here: plain ones, and ones full of foreign metadata."""

import base64
from pathlib import Path

RATE = 48_000
SECONDS = 2.0
BIT_RATE = 128_000
_PCM_FRAME_BYTES = 4  # of a stereo sample of 16 bits; noise cannot be packed tighter
_BLOCK_SAMPLES = 65_536

CODECS = {
    "mp3": "libmp3lame",
    "flac": "flac",
    "ogg": "",  # Vorbis: soundfile's
    "oga": "flac",
    "opus": "libopus",
    "m4a": "aac",
    "alac.m4a": "alac",
    "wma": "wmav2",
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "wv": "wavpack",
    "tta": "tta",
    "aac": "aac",
}
"""By the end of the name; Monkey's Audio, Musepack and DSD cannot be encoded here."""
_PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 150 + b"\xff\xd9"
_TITLE = "Some title ÄÖ 日本"


def make_collection(folder: Path) -> None:
    """Make two files of each kind: one plain, one rich."""
    for number, kind in enumerate(CODECS):
        plain = folder / f"plain.{kind}"
        encode_noise(plain, int(SECONDS * RATE), seed=number)
        if kind != "aac":  # there is no place for metadata in it
            rich = folder / f"rich.{kind}"
            rich.write_bytes(plain.read_bytes())
            add_foreign_metadata(rich)


def make_big_file(path: Path, n_megabytes: float) -> None:
    """Make a FLAC file with foreign metadata."""
    encode_noise(path, int(n_megabytes * 1e6 / _PCM_FRAME_BYTES), seed=len(CODECS))
    add_foreign_metadata(path)


def encode_noise(path: Path, n_samples: int, seed: int) -> None:
    """Encode stereo noise; what kind of file is told by the end of the name."""
    import av
    import numpy as np
    import soundfile

    generator = np.random.default_rng(seed)
    codec = CODECS[path.name.partition(".")[2]]
    if not codec:
        soundfile.write(path, generator.uniform(-0.5, 0.5, (n_samples, 2)), RATE, format="OGG", subtype="VORBIS")
        return
    options = {"id3v2_version": "0", "write_id3v1": "0"} if path.suffix == ".mp3" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        stream.bit_rate = BIT_RATE
        resampler = av.AudioResampler(stream.format.name, "stereo", RATE)
        for start in range(0, n_samples, _BLOCK_SAMPLES):
            shape = (1, 2 * min(_BLOCK_SAMPLES, n_samples - start))
            block = generator.integers(-(1 << 15), 1 << 15, shape, dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def add_foreign_metadata(path: Path) -> None:
    """Add a title, a picture and what else other programs leave in a file of this kind."""
    import mutagen
    from mutagen.apev2 import BINARY, APEv2, APEValue
    from mutagen.asf import ASFByteArrayAttribute, ASFTags
    from mutagen.flac import FLAC, Picture
    from mutagen.id3 import APIC, ID3, PRIV, TIT2, TSOP
    from mutagen.mp4 import MP4Cover, MP4Tags

    if path.suffix == ".mp3":  # between the audio and the ID3v1 tag
        gain = APEv2()
        gain["REPLAYGAIN_TRACK_GAIN"] = "-3.21 dB"
        gain.save(path)
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    tags = file.tags
    if isinstance(tags, ID3):
        tags.add(TIT2(encoding=1, text=[_TITLE]))
        tags.add(TSOP(encoding=1, text=[_TITLE]))
        tags.add(PRIV(owner="cues", data=_PICTURE[:3000]))
        tags.add(APIC(encoding=0, mime="image/jpeg", type=3, desc="", data=_PICTURE))
        also_v1 = {"v1": 2} if path.suffix in (".mp3", ".tta") else {}
        file.save(v2_version=3, padding=_leave_none, **also_v1)
        return
    if isinstance(tags, MP4Tags):
        tags["\xa9nam"] = [_TITLE]
        tags["covr"] = [MP4Cover(_PICTURE, MP4Cover.FORMAT_JPEG)]
        tags["----:com.apple.iTunes:iTunNORM"] = [b" 00000A2B"]
    elif isinstance(tags, ASFTags):
        tags["Title"] = [_TITLE]
        tags["WM/Picture"] = [ASFByteArrayAttribute(_PICTURE)]
    elif isinstance(tags, APEv2):
        tags["Title"] = _TITLE
        tags["Cover Art (Front)"] = APEValue(b"cover.jpg\0" + _PICTURE, BINARY)
    else:
        tags["TITLE"] = [_TITLE]
        tags["REPLAYGAIN_TRACK_GAIN"] = ["-3.21 dB"]
        picture = Picture()
        picture.type, picture.mime, picture.data = 3, "image/jpeg", _PICTURE
        if isinstance(file, FLAC):
            file.add_picture(picture)
        else:
            tags["METADATA_BLOCK_PICTURE"] = [base64.b64encode(picture.write()).decode()]
    file.save(**({} if isinstance(tags, APEv2) else {"padding": _leave_none}))


def _leave_none(_) -> int:
    return 0
