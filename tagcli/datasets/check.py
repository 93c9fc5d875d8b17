"""The doctor: what is wrong with a data set, found before anything is trained with it."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import numpy as np

from tagcli.artists import artist_key
from tagcli.audio.decode import Track
from tagcli.audio.excerpts import read_excerpt
from tagcli.cores import count_cores
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import order_splits
from tagcli.errors import AudioError, FailureCode, MetadataError
from tagcli.payload import hash_payload

_SAMPLE_RATE = 16_000  # what is decoded is thrown away
_AHEAD = 4  # tasks for each worker: results come in the order of the files, and wait for one before them
_HASHED_TOGETHER = 64  # files of a task that only hashes, which takes no longer than to hand it over


class Doubt(StrEnum):
    """What makes the numbers of a data set doubtful although each file can be heard."""

    DUPLICATE = "duplicate"
    ARTIST_LEAK = "artist_leak"
    FILE_LEAK = "file_leak"
    NO_POSITIVES = "no_positives"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    kind
        Why a file cannot be heard, as in results (``too_short`` also when an excerpt begins behind its end), or what
        is doubtful.
    message
        One sentence.
    paths
        The files concerned, as the manifest has them; nothing where a whole split is.
    splits
        The splits concerned.
    """

    kind: FailureCode | Doubt
    message: str
    paths: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether a file, or a part of it, cannot be heard."""
        return isinstance(self.kind, FailureCode)


def check_dataset(
    manifest: Manifest,
    *,
    decodes: bool = True,
    n_workers: int | None = None,
    on_file: Callable[[], None] | None = None,
) -> Iterator[Finding]:
    """Look for what is wrong with a data set.

    Parameters
    ----------
    manifest
        The data set.
    decodes
        Whether every excerpt is decoded; else files are only looked for and hashed.
    n_workers
        How many files are in work at a time; None for one for each core.
    on_file
        Called after each file.

    Yields
    ------
    Finding
        Tags without positives, artists and files in several splits, then file by file what cannot be heard, then
        duplicates.
    """
    yield from _find_missing_positives(manifest)
    yield from _find_leaks(manifest)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(manifest.paths):
        rows_of[path].append(row)
    copies: dict[str, list[str]] = defaultdict(list)
    for path, look in _look_at_all(manifest, rows_of, decodes=decodes, n_workers=n_workers or count_cores()):
        for code, message in look.failures:
            yield Finding(kind=code, message=message, paths=(path,), splits=_list_splits(manifest, rows_of[path]))
        if look.payload_sha256 is not None:
            copies[look.payload_sha256].append(path)
        if on_file is not None:
            on_file()
    for paths in copies.values():
        if len(paths) > 1:
            splits = _list_splits(manifest, [row for path in paths for row in rows_of[path]])
            where = f", in different splits ({', '.join(splits)})" if len(splits) > 1 else ""
            message = f"{len(paths)} files hold the same audio{where}: {', '.join(paths)}."
            yield Finding(kind=Doubt.DUPLICATE, message=message, paths=tuple(paths), splits=splits)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What one file is like."""

    payload_sha256: str | None
    failures: tuple[tuple[FailureCode, str], ...]


def _look_at_all(
    manifest: Manifest, rows_of: dict[str, list[int]], *, decodes: bool, n_workers: int
) -> Iterator[tuple[str, _Look]]:
    """Look at every file once, several at a time, and give them in order."""

    def look_at_some(paths: tuple[str, ...]) -> list[_Look]:
        return [_look_at(manifest, rows_of[path], decodes=decodes) for path in paths]

    n_of_a_task = 1 if decodes else _HASHED_TOGETHER
    waiting: deque[tuple[tuple[str, ...], Future[list[_Look]]]] = deque()
    files = iter(rows_of)
    pool = ThreadPoolExecutor(n_workers)
    try:
        while True:
            while len(waiting) < n_workers * _AHEAD and (paths := tuple(islice(files, n_of_a_task))):
                waiting.append((paths, pool.submit(look_at_some, paths)))
            if not waiting:
                return
            paths, future = waiting.popleft()
            yield from zip(paths, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at(manifest: Manifest, rows: list[int], *, decodes: bool) -> _Look:
    """Look at the file of some examples."""
    path = manifest.locate(rows[0])
    try:
        if path.stat().st_size == 0:
            return _fail(FailureCode.EMPTY, f"{path} is empty; get it again.")
        payload_sha256 = hash_payload(path)
    except FileNotFoundError:
        return _fail(FailureCode.MISSING, f"{path} is not there.")
    except (OSError, MetadataError) as error:
        return _fail(FailureCode.UNREADABLE, f"{path} cannot be read ({error}).")
    failures: list[tuple[FailureCode, str]] = []
    for row in rows if decodes else ():
        try:
            _decode(manifest, row)
        except AudioError as error:
            failures.append((error.code, error.message))
            if error.code is not FailureCode.TOO_SHORT:  # it concerns every excerpt
                break
    return _Look(payload_sha256=payload_sha256, failures=tuple(failures))


def _decode(manifest: Manifest, row: int) -> None:
    """Decode an excerpt; a whole file block by block, however long it is."""
    start, duration = float(manifest.starts_seconds[row]), float(manifest.durations_seconds[row])
    if start == 0 and np.isnan(duration):
        deque(Track(manifest.locate(row), _SAMPLE_RATE).blocks(), maxlen=0)
        return
    seconds = None if np.isnan(duration) else duration
    read_excerpt(manifest.locate(row), _SAMPLE_RATE, start_seconds=start, seconds=seconds)


def _fail(code: FailureCode, message: str) -> _Look:
    return _Look(payload_sha256=None, failures=((code, message),))


def _find_missing_positives(manifest: Manifest) -> Iterator[Finding]:
    """Find the tags that no example of a split carries: nothing is learned of them, and nothing can be measured."""
    splits = np.array(manifest.splits, dtype=object)
    for split in order_splits(manifest.splits):
        has_some = manifest.labels[splits == split].any(axis=0)
        without = [tag for tag, is_there in zip(manifest.tags, has_some.tolist(), strict=True) if not is_there]
        if without:
            where = f"The split {split}" if split else "What is in no split"
            message = f"{where} has no example of {len(without)} tags: {', '.join(without)}."
            yield Finding(kind=Doubt.NO_POSITIVES, message=message, splits=(split,))


def _find_leaks(manifest: Manifest) -> Iterator[Finding]:
    """Find artists, and files, that are in several splits."""
    for kind, what, names, keys in (
        (Doubt.ARTIST_LEAK, "artist", manifest.artists, map(artist_key, manifest.artists)),
        (Doubt.FILE_LEAK, "file", manifest.paths, manifest.paths),
    ):
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            if manifest.splits[row] and key:
                rows_of[key].append(row)
        for rows in rows_of.values():
            splits = _list_splits(manifest, rows)
            if len(splits) > 1:
                paths = tuple(dict.fromkeys(manifest.paths[row] for row in rows))
                where = f"in different splits ({', '.join(splits)}) with {len(rows)} examples"
                message = f"The {what} {names[rows[0]]!r} is {where}."
                yield Finding(kind=kind, message=message, paths=paths, splits=splits)


def _list_splits(manifest: Manifest, rows: list[int]) -> tuple[str, ...]:
    return order_splits(manifest.splits[row] for row in rows)
