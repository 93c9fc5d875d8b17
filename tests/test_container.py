import pytest
from metadata_files import FAKE_MP3_FRAME, encode_audio, id3_frame, id3_tag, text_content

from tagcli.container import Container, find_container


@pytest.fixture
def path(tmp_path):
    return tmp_path / "misleading.name"


@pytest.mark.parametrize(
    ("codec", "muxer", "container"),
    [
        ("mp3", "mp3", Container.MP3),
        ("flac", "flac", Container.FLAC),
        ("libopus", "ogg", Container.OGG),
        ("aac", "mp4", Container.MP4),
        ("aac", "adts", Container.AAC),
        ("pcm_s16le", "wav", Container.WAV),
        ("pcm_s16be", "aiff", Container.AIFF),
        ("wmav2", "asf", Container.ASF),
        ("wavpack", "wv", Container.WAVPACK),
        ("tta", "tta", Container.TTA),
        ("mp2", "mp2", Container.UNKNOWN),
        ("libopus", "matroska", Container.MATROSKA),
    ],
)
@pytest.mark.parametrize("tagged", [False, True])
def test_container_by_its_bytes(path, codec, muxer, container, tagged):
    path.write_bytes(
        (id3_tag(3, [id3_frame(3, "TIT2", text_content("A title", 0))]) if tagged else b"") + encode_audio(codec, muxer)
    )
    assert find_container(path) is container


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b"", Container.UNKNOWN),
        (b"\xff", Container.UNKNOWN),
        (FAKE_MP3_FRAME, Container.MP3),
        (FAKE_MP3_FRAME * 2, Container.MP3),
        (FAKE_MP3_FRAME[:200], Container.MP3),
        (FAKE_MP3_FRAME + bytes(400), Container.UNKNOWN),
        (bytes(5000) + FAKE_MP3_FRAME * 2, Container.MP3),
        (bytes(70000) + FAKE_MP3_FRAME * 2, Container.UNKNOWN),
        ("UTF-16 text \u00ff\u00fb".encode("utf-16"), Container.UNKNOWN),
        (b"RIFF\0\0\0\0AVI LIST", Container.UNKNOWN),
        (b"JUNK\0\0\0\0WAVEfmt ", Container.UNKNOWN),
        (bytes(2) + FAKE_MP3_FRAME, Container.UNKNOWN),
        (b"\xff\xf1\x50\x80\x00\x1f\xfc", Container.AAC),
    ],
)
def test_container_of_odd_bytes(path, data, container):
    path.write_bytes(data)
    assert find_container(path) is container
