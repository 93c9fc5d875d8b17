"""Reverse patches: what gives back the very bytes of an old version from the new one, whatever the container.

A patch is made of

- the magic, which holds the number of the format;
- sizes of the old and the new version, eight bytes each, least significant first; their SHA-256;
- one zlib stream of runs. A run is three numbers and bytes: how many bytes are taken from the new version, how many
  follow in the run, how far the place in the new version then jumps beyond as many; and these bytes. Numbers have seven
  bits a byte, least significant first; the jump has its sign in the lowest bit. The rest of the old version is taken
  from the new one;
- the SHA-256 of all that.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tagcli.errors import JournalError
from tagcli.journal.versions import BLOCK_BYTES, Run, Version, compare, find_shifts

MAGIC = b"TAGCLIP\x01"
_HEADER = struct.Struct("<8sQQ32s32s")
_DIGEST_BYTES = 32
PATCH_BYTES = _HEADER.size + _DIGEST_BYTES + 8
"""Size of the patch of two equal versions: the stream is then eight bytes without content."""

_LEVEL = 6
_MAX_NUMBER_BYTES = 10
_FED_BYTES = 1 << 16
"""How much of a patch is given to zlib at a time; what it does not consume, it copies."""


@dataclass(frozen=True, kw_only=True)
class PatchFacts:
    """Which version of a file a patch gives back, and from which one.

    Parameters
    ----------
    old_size, new_size
        In bytes.
    old_sha256, new_sha256
        Of the whole file, 64 hexadecimal digits each.
    """

    old_size: int
    new_size: int
    old_sha256: str
    new_sha256: str


def make_patch(old: BinaryIO, new: BinaryIO) -> bytes:
    """Make what gives back the old version of a file from the new one, and prove that it does.

    Memory does not grow with the files, only with what differs.

    Parameters
    ----------
    old, new
        The versions, open for reading; they can be sought.

    Returns
    -------
    bytes
        The patch.

    Raises
    ------
    JournalError
        When a version changes meanwhile.
    OSError
        When one cannot be read.
    """
    before, after = Version(old), Version(new)
    new_digest = _hash(after)
    body = _pack(compare(before, after, find_shifts(before, after)))
    old_digest = hashlib.sha256()
    position = 0
    for block in _rebuild(after, before.size, body):
        # Comparing is as good a proof as a second hash, and faster.
        if before.read(position, len(block)) != block:
            message = f"{before} or its new version changed while they were compared; run again when nothing writes."
            raise JournalError(message, path=before.path)
        old_digest.update(block)
        position += len(block)
    patch = _HEADER.pack(MAGIC, before.size, after.size, old_digest.digest(), new_digest) + body
    return patch + hashlib.sha256(patch).digest()


def read_patch(patch: bytes) -> PatchFacts:
    """Read which versions a patch is for, and check that it is whole.

    Parameters
    ----------
    patch
        The patch.

    Returns
    -------
    PatchFacts
        Sizes and hashes.

    Raises
    ------
    JournalError
        When it is damaged, or of a format that this tagcli does not know.
    """
    content = memoryview(patch)[:-_DIGEST_BYTES]
    if len(content) < _HEADER.size or hashlib.sha256(content).digest() != patch[-_DIGEST_BYTES:]:
        raise _damaged()
    magic, old_size, new_size, old_digest, new_digest = _HEADER.unpack_from(patch)
    if magic != MAGIC:
        message = "What was stored of an old version has a format of another tagcli; put it back with that one."
        raise JournalError(message)
    return PatchFacts(old_size=old_size, new_size=new_size, old_sha256=old_digest.hex(), new_sha256=new_digest.hex())


def apply_patch(new: BinaryIO, patch: bytes, old: BinaryIO) -> None:
    """Write the old version of a file from the new one.

    Nothing is written unless `new` is the file that the patch was made for. What was written counts only when this
    returns, so let it be a file that nobody else sees yet.

    Parameters
    ----------
    new
        The new version, open for reading; it can be sought.
    patch
        What `make_patch` made.
    old
        Empty file, open for writing.

    Raises
    ------
    JournalError
        When the patch is damaged, or `new` is not the version that it was made for.
    OSError
        When a file cannot be read or written.
    """
    facts = read_patch(patch)
    after = Version(new)
    if after.size != facts.new_size or _hash(after).hex() != facts.new_sha256:
        message = f"{after} was changed since tagcli wrote it, so its old version cannot be put back; keep it as it is."
        raise JournalError(message, path=after.path)
    digest = hashlib.sha256()
    for block in _rebuild(after, facts.old_size, memoryview(patch)[_HEADER.size : -_DIGEST_BYTES]):
        old.write(block)
        digest.update(block)
    if digest.hexdigest() != facts.old_sha256:
        message = f"{after} changed while its old version was put back; run again when nothing else writes to it."
        raise JournalError(message, path=after.path)


def _damaged() -> JournalError:
    return JournalError(
        "What was stored of an old version is damaged, so it cannot be put back; keep the file as it is."
    )


def _hash(version: Version) -> bytes:
    digest = hashlib.sha256()
    for block in version.blocks():
        digest.update(block)
    return digest.digest()


def _pack(runs: Iterator[Run]) -> bytes:
    packer = zlib.compressobj(_LEVEL)
    parts = []
    pending = bytearray()
    position = shift = 0
    for run in runs:
        jump = run.shift - shift
        for number in (run.start - position, len(run.literal), jump << 1 if jump >= 0 else ~(jump << 1)):
            rest = number
            while rest > 0x7F:
                pending.append(rest & 0x7F | 0x80)
                rest >>= 7
            pending.append(rest)
        pending += run.literal
        position, shift = run.start + len(run.literal), run.shift
        if len(pending) >= BLOCK_BYTES:
            parts.append(packer.compress(pending))
            pending.clear()
    return b"".join((*parts, packer.compress(pending), packer.flush()))


class _Unpacker:
    """The content of a zlib stream, from its start, in bounded memory."""

    def __init__(self, packed: bytes | memoryview) -> None:
        self._packed = memoryview(packed)
        self._unpacker = zlib.decompressobj()
        self._n_fed = 0
        self._content = b""
        self._place = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all is read; the stream is then known to be whole."""
        return self._place == len(self._content) and not self._fill()

    def take_number(self) -> int:
        number = 0
        for index in range(_MAX_NUMBER_BYTES):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return number
        raise _damaged()

    def take(self, size: int) -> bytes:
        while len(self._content) - self._place < size:
            if not self._fill():
                raise _damaged()
        self._place += size
        return self._content[self._place - size : self._place]

    def _fill(self) -> bool:
        """Unpack some more; False at the end."""
        more = b""
        while not more and not self._unpacker.eof:
            fed: bytes | memoryview = self._unpacker.unconsumed_tail
            if not fed:
                fed = self._packed[self._n_fed : self._n_fed + _FED_BYTES]
                self._n_fed += len(fed)
            is_last = not fed
            try:
                more = self._unpacker.decompress(fed, BLOCK_BYTES)
            except zlib.error as error:
                raise _damaged() from error
            if is_last and not more and not self._unpacker.eof:
                raise _damaged()
        self._content, self._place = self._content[self._place :] + more, 0
        return bool(more)


def _rebuild(new: Version, old_size: int, packed: bytes | memoryview) -> Iterator[bytes]:
    """Yield the old version, block by block."""
    unpacker = _Unpacker(packed)
    position = place = 0
    while not unpacker.is_at_end:
        n_equal, n_literal = unpacker.take_number(), unpacker.take_number()
        sign_and_jump = unpacker.take_number()
        if position + n_equal + n_literal > old_size or n_literal > BLOCK_BYTES:
            raise _damaged()
        yield from _copy(new, place, n_equal)
        if n_literal:
            yield unpacker.take(n_literal)
        position += n_equal + n_literal
        jump = ~(sign_and_jump >> 1) if sign_and_jump & 1 else sign_and_jump >> 1
        place += n_equal + n_literal + jump
    yield from _copy(new, place, old_size - position)


def _copy(new: Version, start: int, size: int) -> Iterator[bytes]:
    if size and not 0 <= start <= start + size <= new.size:
        raise _damaged()
    for offset in range(start, start + size, BLOCK_BYTES):
        yield new.read(offset, min(BLOCK_BYTES, start + size - offset))
