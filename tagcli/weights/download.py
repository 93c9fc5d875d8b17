"""Fetch a published file, from its pinned address or a mirror, and believe only its hash."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tagcli.errors import WeightsError
from tagcli.weights.entries import CatalogueEntry

MIRROR_VARIABLE = "TAGCLI_WEIGHTS_MIRROR"
TIMEOUT_SECONDS = 30.0
BLOCK_BYTES = 64 * 1024

Progress = Callable[[int, int], None]


def fetch(entry: CatalogueEntry, folder: Path, *, progress: Progress | None) -> Path:
    """Fetch a published file and check its SHA-256.

    Where ``TAGCLI_WEIGHTS_MIRROR`` names a folder or an address, the file is looked for there and nowhere else.

    Parameters
    ----------
    entry
        The file; it has an address.
    folder
        Where to put what comes over the net.
    progress
        Called with the bytes that are here and the bytes that are to come in all.

    Returns
    -------
    Path
        The checked file, in `folder` or in the mirror.

    Raises
    ------
    WeightsError
        When the file cannot be had, or has other bytes than those that were pinned.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror and "://" not in mirror:
        return _check(entry, _find_in_mirror(entry, Path(mirror).expanduser()), place=mirror)
    address = f"{mirror.rstrip('/')}/{entry.path}" if mirror else str(entry.url)
    if not address.startswith(("http://", "https://")):
        msg = f"{MIRROR_VARIABLE}={mirror} is neither a folder nor an http or https address; set it to one of these."
        raise WeightsError(msg)
    target = folder / Path(entry.path).name
    _download(entry, address, target, progress)
    return _check(entry, target, place=address)


def sha256_of(path: Path) -> str:
    """Compute a file's SHA-256, in hexadecimal.

    Raises
    ------
    WeightsError
        When the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); check the path."
        raise WeightsError(msg, path=path) from error


def _find_in_mirror(entry: CatalogueEntry, mirror: Path) -> Path:
    path = mirror / entry.path
    if not path.is_file():
        msg = (
            f"The mirror {mirror} has no {entry.path}, the file of {entry.name}; put it there or unset "
            f"{MIRROR_VARIABLE}."
        )
        raise WeightsError(msg, path=path)
    return path


def _check(entry: CatalogueEntry, path: Path, *, place: str) -> Path:
    actual = sha256_of(path)
    if actual != entry.sha256:
        msg = (
            f"What {place} gives as {entry.path} is not the published file of {entry.name}: its SHA-256 is {actual} "
            f"in place of {entry.sha256}; nothing was stored, check {MIRROR_VARIABLE} or your connection."
        )
        raise WeightsError(msg, path=path)
    return path


class _Receiver:
    """The file that pooch writes into: it counts, reports, and stops at the size that was pinned."""

    def __init__(self, file: BinaryIO, entry: CatalogueEntry, address: str, progress: Progress | None) -> None:
        self._file = file
        self._entry = entry
        self._address = address
        self._progress = progress
        self._n_bytes = 0

    def write(self, block: bytes) -> None:
        self._n_bytes += len(block)
        if self._n_bytes > self._entry.n_bytes:
            msg = (
                f"{self._address} gives more than the {self._entry.n_bytes} bytes of {self._entry.name} (SHA-256 "
                f"{self._entry.sha256}); nothing was stored, check {MIRROR_VARIABLE} or your connection."
            )
            raise WeightsError(msg)
        self._file.write(block)
        if self._progress is not None:
            self._progress(self._n_bytes, self._entry.n_bytes)

    def flush(self) -> None:
        self._file.flush()


def _download(entry: CatalogueEntry, address: str, target: Path, progress: Progress | None) -> None:
    import pooch

    downloader = pooch.HTTPDownloader(chunk_size=BLOCK_BYTES, timeout=TIMEOUT_SECONDS)
    try:
        with target.open("wb") as file:
            downloader(address, _Receiver(file, entry, address, progress), None)
    except OSError as error:  # the exceptions of requests are OSErrors
        response = getattr(error, "response", None)
        if response is None:
            msg = f"{address} cannot be fetched ({_reason(error)}); check the connection and run the command again."
        else:
            msg = (
                f"{address} answers {response.status_code} {response.reason}; check {MIRROR_VARIABLE}, or fetch the "
                f"file of {entry.name} by other means and run `tagcli weights import FILE`."
            )
        raise WeightsError(msg) from error


def _reason(error: OSError) -> str:
    """Say what went wrong in a few words: the messages of requests quote whole objects."""
    if error.strerror:
        return error.strerror
    words = {
        "ConnectTimeout": "no connection in time",
        "ReadTimeout": "no answer in time",
        "SSLError": "its certificate is not trusted",
        "ProxyError": "the proxy does not answer",
        "ConnectionError": "no connection",
        "ChunkedEncodingError": "the connection broke off",
        "InvalidURL": "the address is not valid",
    }
    kind = type(error).__name__
    return words.get(kind, kind)
