"""The audio bytes of a file, and their hash: who a track is, whatever its tags say.

The payload is what lies between the outer tags, and of containers that keep their metadata inside only the parts that
are audio: one module for each kind. What does not parse counts from end to end, so that no audio is ever left out.
"""

import hashlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from tagcli.container import MAGIC_BYTES, Container, find_container_by_magic
from tagcli.files import open_track, read_at, read_blocks
from tagcli.outer_tags import find_content_of
from tagcli.payload import asf, chunks, flac, mp4, ogg

_FINDERS = {
    Container.FLAC: flac.find_audio,
    Container.MP4: mp4.find_audio,
    Container.ASF: asf.find_audio,
    Container.WAV: chunks.find_audio,
    Container.AIFF: chunks.find_audio,
}


def hash_payload(path: Path) -> str:
    """Hash the audio bytes of a file, in constant memory.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits. It stays the same when tags are added, edited or removed.

    Raises
    ------
    MetadataError
        When the file cannot be read.
    """
    digest = hashlib.sha256()  # twice as fast as BLAKE2b where the processor has instructions for it
    with open_track(path) as (file, size):
        for block in read_payload(file, size):
            digest.update(block)
    return digest.hexdigest()


def read_payload(file: BufferedReader, size: int) -> Iterator[bytes | memoryview]:
    """Read what says which audio a file holds, in constant memory.

    Parameters
    ----------
    file
        The file.
    size
        Its size in bytes.

    Yields
    ------
    bytes or memoryview
        The next bytes, good until the next ones are asked for. Of an Ogg file they are hashes of its streams, whose
        packets may lie scattered.
    """
    content = find_content_of(file, size)
    container = find_container_by_magic(read_at(file, content.start, min(MAGIC_BYTES, content.end - content.start)))
    if container is Container.OGG:
        yield from ogg.digest_streams(file, content)
        return
    find_audio = None if container is None else _FINDERS.get(container)
    spans = None if find_audio is None else find_audio(file, content)
    for span in (content,) if spans is None else spans:
        yield from read_blocks(file, span)
