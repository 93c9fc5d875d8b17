"""Every container alike: what is written is read, by others too; the audio stays; and undo gives back every byte."""

import dataclasses
import functools
import hashlib
import io
import os

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metadata_files import (
    ape_tag,
    asf_object,
    encode_audio,
    id3_frame,
    id3_tag,
    id3v1,
    lyrics3v2,
    ogg_pages,
    seal_ogg_page,
    text_content,
)

from tagcli.container import Container, find_container
from tagcli.errors import MetadataError
from tagcli.files import hash_file, read_pieces
from tagcli.journal import Journal, Recorder, default_journal_path
from tagcli.journal.undo import Identity, Undone, undo_write, verify_audio
from tagcli.metadata import FieldPolicy, Fields, Policies, apply_plan, plan_removal, plan_write, read_metadata
from tagcli.metadata.fields import Kind
from tagcli.payload import hash_payload

FILES = {
    "mp3": ("mp3", "mp3", Container.MP3),
    "flac": ("flac", "flac", Container.FLAC),
    "opus": ("libopus", "ogg", Container.OGG),
    "ogg-flac": ("flac", "ogg", Container.OGG),
    "m4a": ("aac", "ipod", Container.MP4),
    "mp4": ("aac", "mp4", Container.MP4),
    "alac": ("alac", "ipod", Container.MP4),
    "wma": ("wmav2", "asf", Container.ASF),
    "wav": ("pcm_s16le", "wav", Container.WAV),
    "aiff": ("pcm_s16be", "aiff", Container.AIFF),
    "wavpack": ("wavpack", "wv", Container.WAVPACK),
}
OLD_TIME_NS = 1_234_567_890_123_456_700
ALL_POLICIES = ("genre", "mood", "grouping", "comment")
FFMPEG_READS_GENRE = {name: name not in ("wav", "aiff") for name in FILES} | {"aiff": True}
"""FFmpeg's demuxer of WAV looks at LIST chunks only."""


def make_fields(**changes):
    values = {
        "tags": ("guitar", "female vocalists", "Rhythm & Blues", "日本"),
        "scores": (0.91, 0.5, 0.25, 0.125),
        "model": "tagcli-msd50@0123456789ab",
        "settings": "clips=all top=5 threshold=0.1",
        "genres": ("Rhythm & Blues", "Rock"),
        "moods": ("calm",),
        "grouping": ("guitar", "Rock"),
        "comment": ("guitar", "Rock"),
    }
    return Fields(**(values | changes))


@functools.cache
def remux_flac():
    """FLAC in Ogg, which cannot be encoded straight."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(encode_audio("flac", "flac"))) as source, av.open(buffer, "w", format="ogg") as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return buffer.getvalue()


EVERYWHERE = Policies(**dict.fromkeys(ALL_POLICIES, FieldPolicy.REPLACE))


@pytest.fixture(params=FILES)
def name(request):
    return request.param


@pytest.fixture
def path(name, tmp_path):
    codec, muxer, _ = FILES[name]
    path = tmp_path / "music" / f"track.{'oga' if name == 'ogg-flac' else name}"
    path.parent.mkdir()
    path.write_bytes(remux_flac() if name == "ogg-flac" else encode_audio(codec, muxer))
    os.utime(path, ns=(OLD_TIME_NS, OLD_TIME_NS))
    return path


@pytest.fixture
def journal():
    with Journal(default_journal_path()) as journal:
        yield journal


def hash_packets(path):
    """Hash what a demuxer gives to the decoder, as ``ffmpeg -c copy -f md5`` does."""
    digest = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            digest.update(bytes(packet))
    return digest.hexdigest()


def values_of(path):
    """All values that a file holds, by the ends of their names."""
    return {field.field.rpartition(":")[2].upper(): field.values for field in read_metadata(path).fields}


def test_what_is_written_is_read_and_the_audio_stays(path, name, journal):
    assert find_container(path) is FILES[name][2]
    before, payload, packets = hash_file(path), hash_payload(path), hash_packets(path)
    plan = plan_write(path, make_fields(), policies=EVERYWHERE)
    Recorder(journal, "test").apply(plan)
    assert hash_payload(path) == payload
    assert hash_packets(path) == packets
    assert list(path.parent.iterdir()) == [path]
    content = path.read_bytes()
    assert len(content) == plan.new_size
    again = plan_write(path, make_fields(), policies=EVERYWHERE)
    assert again.is_empty, [(change.name, change.old, change.new) for change in again.changes]
    values = values_of(path)
    assert any("guitar" in str(shown) and "日本" in str(shown) for shown in values.values())
    with av.open(str(path)) as container:
        streams = [stream.metadata for stream in container.streams]
        seen = {key.lower(): value for data in (container.metadata, *streams) for key, value in data.items()}
    if FFMPEG_READS_GENRE[name]:
        assert seen["genre"].startswith("Rhythm & Blues")

    (entry,) = journal.list_entries()
    assert verify_audio(journal, path)[0] is Identity.SAME
    assert undo_write(journal, entry) is Undone.UNDONE
    assert (hash_file(path), path.stat().st_mtime_ns) == (before, OLD_TIME_NS)


def test_removal_leaves_nothing_of_ours(path):
    apply_plan(plan_write(path, make_fields(), policies=EVERYWHERE))
    first = hash_packets(path)
    apply_plan(plan_removal(path))
    assert plan_removal(path).is_empty
    shown = {key: values for key, values in values_of(path).items() if "TAGCLI" in key or "guitar" in str(values)}
    assert not shown
    assert hash_packets(path) == first
    content = path.read_bytes()
    apply_plan(plan_write(path, make_fields(), policies=EVERYWHERE))
    apply_plan(plan_removal(path))
    assert path.read_bytes() == content, "there and back is the same file once there is padding"


def test_genre_is_filled_appended_replaced(path):
    def write(genre, policy):
        apply_plan(plan_write(path, make_fields(genres=(genre,)), policies=Policies(genre=policy)))
        with_all = plan_write(path, make_fields(genres=("x",)), policies=Policies(genre=FieldPolicy.REPLACE))
        return next(change.old for change in with_all.changes if change.field == "genre")

    assert write("A", FieldPolicy.NEVER) == ()
    assert write("A", FieldPolicy.FILL) == ("A",)
    assert write("B", FieldPolicy.FILL) == ("B",), "a genre of tagcli's own is no genre of the user's"
    assert write("C", FieldPolicy.NEVER) == ("B",)
    assert write("D", FieldPolicy.APPEND) == ("D",)
    assert write("E", FieldPolicy.REPLACE) == ("E",)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    versions=st.lists(
        st.tuples(
            st.lists(st.text(st.characters(exclude_characters="\0;/,", exclude_categories=["Cs", "Cc"]), max_size=9)),
            st.sampled_from([0, 10, 700, 9000, 70_000]),
            st.sampled_from(FieldPolicy),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_writes_and_removals_are_undone_to_the_same_bytes(path, journal, versions):
    before, time_ns, payload = hash_file(path), path.stat().st_mtime_ns, hash_payload(path)
    known = {entry.number for entry in journal.list_entries()}
    recorder = Recorder(journal, "test")
    for texts, size, policy, is_removal in versions:
        tags = tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))
        fields = make_fields(
            tags=tags, scores=(0.5,) * len(tags), settings="x" * size, genres=tags[:2], moods=tags[2:4], comment=tags
        )
        policies = Policies(**dict.fromkeys(ALL_POLICIES, policy))
        plan = plan_removal(path) if is_removal else plan_write(path, fields, policies=policies)
        recorder.apply(plan)
        assert hash_payload(path) == payload
        again = plan_removal(path) if is_removal else plan_write(path, fields, policies=policies)
        assert again.is_empty, [(change.name, change.old, change.new) for change in again.changes]
    for entry in journal.list_entries():
        if entry.number not in known:
            undo_write(journal, entry)
    assert (hash_file(path), path.stat().st_mtime_ns) == (before, time_ns)


def test_the_version_is_a_kind_that_players_know(path):
    apply_plan(plan_write(path, make_fields(), policies=EVERYWHERE))
    assert read_metadata(path).version in set(Kind)


# What lies around a container's own metadata and audio: a plan that loses or alters it is found out


INDEX_OBJECT = "90080033b1e5cf1189f400a0c90349cb"


def chained_link(text, serial):
    """A second Ogg stream behind the first one, as recorded radio has it."""
    head = b"OpusHead\1\1\x38\1" + (48000).to_bytes(4, "little") + bytes(3)
    comment = b"OpusTags" + (3).to_bytes(4, "little") + text + bytes(4)
    first = ogg_pages([head], serial=serial, flags=2)
    rest = ogg_pages([comment], serial=serial, sequence=1)
    rest += ogg_pages([b"\xfc\xff\xfe"], serial=serial, sequence=2, granule=960)
    return b"".join(map(seal_ogg_page, first + rest))


def surround(name, audio):
    """Put foreign things around a file; give it with those of them that can be lost, each with where to alter it."""
    front = id3_tag(3, [id3_frame(3, "TIT2", text_content("in front", 0))], padding=20)
    parts = {"an ID3v2 tag in front": (front, b"in front")}
    if name == "wma":
        unknown, index = asf_object("ab" * 16, b"unknown"), asf_object(INDEX_OBJECT, b"an index" + bytes(20))
        parts |= {"an object before the data": (unknown, b"unknown"), "an index": (index, b"index")}
        header_end = int.from_bytes(audio[16:24], "little")
        audio = audio[:header_end] + unknown + audio[header_end:] + index
    if name in ("opus", "ogg-flac"):
        other, same = chained_link(b"two", 77), chained_link(b"own", int.from_bytes(audio[14:18], "little"))
        parts |= {"a link of a chain": (other, b"two"), "one with the name of the first": (same, b"own")}
        parts["junk behind the pages"] = (b"no page at all", b"page")
        audio += other + same + b"no page at all"
    if name == "mp3":  # the first one is where tagcli writes
        second = id3_tag(4, [id3_frame(4, "TIT2", text_content("the second"))], padding=20)
        parts = {"a second ID3v2 tag": (second, b"second")}
        audio = front + second + audio
    else:
        audio = front + audio
    tags = {
        "an APE tag": (ape_tag({"Title": "behind"}), b"behind"),
        "a Lyrics3 tag": (lyrics3v2("la la lo"), b"la lo"),
        "an ID3v1 tag": (id3v1(b"the end", extended=True), b"the end"),
    }
    if name == "wavpack":  # its own tag is the APE tag
        del tags["an APE tag"]
    return audio + b"".join(tag for tag, _ in tags.values()), parts | tags


def spoil(data, part, mark, how):
    """Lose a part, or alter one byte of it."""
    assert data.count(part) == 1
    at = data.index(part)
    if how == "lost":
        return data[:at] + data[at + len(part) :]
    place = at + part.index(mark)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("how", ["kept", "lost", "altered"])
def test_a_plan_that_spoils_what_lies_around_is_found_out(path, name, how):
    before, parts = surround(name, path.read_bytes())
    for what, (part, mark) in parts.items():
        path.write_bytes(before)
        plan = plan_write(path, make_fields(), policies=EVERYWHERE)
        with path.open("rb") as file:
            planned = b"".join(map(bytes, read_pieces(file, plan.pieces)))
        if how == "kept":
            apply_plan(dataclasses.replace(plan, pieces=(planned,)))
            assert path.read_bytes().count(part) == 1
            continue
        spoilt = dataclasses.replace(plan, pieces=(spoil(planned, part, mark, how),))
        with pytest.raises(MetadataError):
            pytest.fail(f"{what} was {how}, and {apply_plan(spoilt)} written")
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]


# By others: TagLib is what many players read with; tinytag is written in Python


GENRES_OF_TAGLIB = {"wma": ["Rock", "Rhythm & Blues"]}
"""Of ASF it lists what the Metadata Library holds first; there FFmpeg and Windows look first where the best one is."""


def test_taglib_reads_every_value(path, name):
    taglib = pytest.importorskip("taglib", reason="pytaglib is not installed")
    apply_plan(plan_write(path, make_fields(), policies=EVERYWHERE))
    with taglib.File(path) as file:
        tags = dict(file.tags)
    assert tags["GENRE"] == GENRES_OF_TAGLIB.get(name, ["Rhythm & Blues", "Rock"])
    assert tags["MOOD"] == ["calm"]
    assert tags["COMMENT"] == ["guitar; Rock"]
    if name != "wma":  # it knows no attributes of others there
        assert tags["TAGCLI_TAGS"] == ["guitar", "female vocalists", "Rhythm & Blues", "日本"]
        assert tags["TAGCLI_SCORES"] == ["0.910", "0.500", "0.250", "0.125"]
    grouping = tags.get("GROUPING") or tags["WORK"]  # TIT1 is a work to it
    assert sorted("; ".join(grouping).split("; ")) == ["Rock", "guitar"]


def test_tinytag_reads_the_genre(path, name):
    tinytag = pytest.importorskip("tinytag", reason="tinytag is not installed")
    if name == "wavpack":
        pytest.skip("tinytag does not know WavPack")
    apply_plan(plan_write(path, make_fields(), policies=EVERYWHERE))
    tag = tinytag.TinyTag.get(path)
    assert tag.genre == GENRES_OF_TAGLIB.get(name, ["Rhythm & Blues"])[0]
    assert tag.comment == "guitar; Rock"
