"""What is remembered between runs: scores and failures by the audio bytes of a track, in one SQLite file.

A file's path, size, time and inode lead to the hash of its audio bytes, and that hash with the model and its settings
to the result. So a look at the file system is enough for a file that nobody touched, and one pass over its bytes for
one that was renamed, moved or had its tags edited.

Several processes may use one store at a time. Each claims a track before it works on it; a claim ends with the result,
or with the process: the system gives its lock file free, however it died.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from tagcli.errors import SkipCode, StoreError
from tagcli.payload import FileIdentity

FILE_NAME = "scores.sqlite3"
_VERSION = 1
_PATIENCE_SECONDS = 30.0  # for another process to finish its transaction, which takes a millisecond
_RETRY_SECONDS = 0.01  # between attempts where SQLite itself does not wait
_SWEEP_SECONDS = 1.0  # how often the owners of claims are looked after
_LOCK_PATTERN = "claims-*.lock"
_INTEGER_RANGE = 2**64  # SQLite's integers are signed, and no longer

_SCHEMA = """
CREATE TABLE settings (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, sha256 TEXT NOT NULL, settings TEXT NOT NULL, UNIQUE (sha256, settings)
);
CREATE TABLE payloads (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE);
CREATE TABLE files (
    path BLOB PRIMARY KEY, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    payload INTEGER NOT NULL REFERENCES payloads
) WITHOUT ROWID;
CREATE INDEX files_by_payload ON files (payload);
CREATE TABLE results (
    payload INTEGER NOT NULL REFERENCES payloads, settings INTEGER NOT NULL REFERENCES settings,
    scores BLOB, n_clips INTEGER NOT NULL, duration_seconds REAL, warnings TEXT NOT NULL, code TEXT, message TEXT,
    PRIMARY KEY (payload, settings)
) WITHOUT ROWID;
CREATE TABLE claims (
    sha256 BLOB NOT NULL, settings INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (sha256, settings)
) WITHOUT ROWID;
"""
_SKIP_CODES = ", ".join(f"'{code.value}'" for code in SkipCode)
_RESULT = "results.scores, results.n_clips, results.duration_seconds, results.warnings, results.code, results.message"


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """What is remembered of one track under one model and its settings.

    Parameters
    ----------
    scores
        float32 [shape=(n_tags,)] as bytes in the machine's order; None for a track without scores.
    n_clips, duration_seconds
        How much of it was heard, and its length.
    warnings
        Codes of what was wrong with a track that was scored all the same.
    code, message
        Why there are no scores; the message has `PATH_MARK` where it names the file.
    """

    scores: bytes | None
    n_clips: int
    duration_seconds: float | None
    warnings: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None


PATH_MARK = "\0"
"""Stands for the path in a stored message: the bytes may go by another name the next time."""


@dataclass(frozen=True, kw_only=True)
class StoredFailure:
    """A file that is remembered to have failed.

    Parameters
    ----------
    path
        As bytes, as the file system has it.
    key
        Inode, size and time that the file had then.
    code, message
        Why; the message has `PATH_MARK` where it names the file.
    """

    path: bytes
    key: tuple[int, int, int]
    code: str
    message: str

    def is_of(self, identity: FileIdentity) -> bool:
        """Tell whether the file is still as it was."""
        return self.key == _key(identity)


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """How much is remembered.

    Parameters
    ----------
    path, size
        The store's file, and its size in bytes with its journal.
    n_files, n_payloads, n_failures
        Files, different audio contents, and results that are failures.
    n_results
        Results by model name and settings.
    """

    path: Path
    size: int
    n_files: int
    n_payloads: int
    n_failures: int
    n_results: dict[tuple[str, str], int]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was forgotten.

    Parameters
    ----------
    n_files
        Paths that lead to no file any more.
    n_results
        Results whose audio no remembered path leads to.
    """

    n_files: int
    n_results: int


def default_store_path() -> Path:
    """Say where the user's store lies."""
    return platformdirs.user_cache_path("tagcli") / FILE_NAME


class Store:
    """The open store; it may be used by several threads.

    Parameters
    ----------
    path
        Its file; it is created, with its folder, when it is not there.

    Raises
    ------
    StoreError
        When it cannot be opened, is damaged, or was made by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._owner = uuid.uuid4().hex
        self._owner_lock: FileLock | None = None
        self._swept = 0.0
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give every claim back and close the file."""
        with self._lock, suppress(sqlite3.Error, OSError):
            if self._connection.in_transaction:  # Ctrl-C came between
                self._connection.execute("ROLLBACK")
            if self._owner_lock is not None:
                self._connection.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
                self._owner_lock.release()
                Path(self._owner_lock.lock_file).unlink(missing_ok=True)
                self._owner_lock = None
        with suppress(sqlite3.Error):
            self._connection.close()

    # Results

    def find_settings(self, *, model: str, sha256: str, settings: str) -> int:
        """Give the number under which the results of a model with its settings are kept.

        Parameters
        ----------
        model
            Its name, for people.
        sha256
            Of the checkpoint.
        settings
            All else that a score depends on.
        """
        key = (sha256, settings)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO settings (model, sha256, settings) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (model, *key)
            )
            (number,) = connection.execute("SELECT id FROM settings WHERE sha256 = ? AND settings = ?", key).fetchone()
        return int(number)

    def find_by_file(self, path: bytes, identity: FileIdentity, settings: int) -> StoredResult | None:
        """Find the result of a file that is as it was; its bytes are not looked at."""
        query = (
            f"SELECT {_RESULT} FROM files JOIN results USING (payload)"
            " WHERE path = ? AND inode = ? AND size = ? AND mtime_ns = ? AND settings = ?"
        )
        return self._find(query, (path, *_key(identity), settings))

    def find_by_payload(
        self, sha256: str, settings: int, *, path: bytes, identity: FileIdentity
    ) -> StoredResult | None:
        """Find the result of audio bytes, and remember that this file holds them."""
        query = (
            f"SELECT {_RESULT} FROM payloads JOIN results ON payload = payloads.id"
            " WHERE payloads.sha256 = ? AND settings = ?"
        )
        result = self._find(query, (bytes.fromhex(sha256), settings))
        if result is not None:
            with self._transaction():
                self._note_file(path, identity, self._number_payload(sha256))
        return result

    def keep(self, sha256: str, settings: int, result: StoredResult, *, path: bytes, identity: FileIdentity) -> None:
        """Remember a result, and end the claim on it.

        Parameters
        ----------
        sha256
            Of the audio bytes, in hexadecimal.
        settings
            Number of model and settings.
        result
            What was heard.
        path, identity
            The file that holds the bytes.
        """
        with self._transaction() as connection:
            payload = self._number_payload(sha256)
            self._note_file(path, identity, payload)
            connection.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    payload,
                    settings,
                    result.scores,
                    result.n_clips,
                    result.duration_seconds,
                    " ".join(result.warnings),
                    result.code,
                    result.message,
                ),
            )
            connection.execute(
                "DELETE FROM claims WHERE sha256 = ? AND settings = ?", (bytes.fromhex(sha256), settings)
            )

    def note_change(self, path: bytes, identity: FileIdentity) -> None:
        """Remember that a file has another size and time now, and the same audio bytes."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET inode = ?, size = ?, mtime_ns = ? WHERE path = ?", (*_key(identity), path)
            )

    def forget_file(self, path: bytes) -> None:
        """Forget which audio bytes a file holds."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM files WHERE path = ?", (path,))

    # Claims

    def claim(self, sha256: str, settings: int) -> bool:
        """Claim audio bytes before the work on them begins; False when a thread or process is at work on them."""
        self._sweep()
        self._take_owner_lock()
        with self._transaction() as connection:
            claimed = connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (bytes.fromhex(sha256), settings, self._owner),
            )
            return claimed.rowcount == 1

    def release(self, sha256: str, settings: int) -> None:
        """End a claim without a result."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM claims WHERE sha256 = ? AND settings = ? AND owner = ?",
                (bytes.fromhex(sha256), settings, self._owner),
            )

    def _take_owner_lock(self) -> None:
        """Hold a lock for as long as this process lives."""
        with self._lock, self._translated():
            while self._owner_lock is None:
                path = self._lock_path(self._owner)
                lock = FileLock(path, thread_local=False)
                lock.acquire(timeout=_PATIENCE_SECONDS)
                if path.exists():  # else another process took it for a dead one's, just before it was locked
                    self._owner_lock = lock
                else:
                    lock.release()

    def _sweep(self) -> None:
        """Drop the claims of processes that are no more; not at every call."""
        with self._lock, self._translated():
            if time.monotonic() - self._swept < _SWEEP_SECONDS:
                return
            self._swept = time.monotonic()
            owners = {path.stem.removeprefix("claims-") for path in self.path.parent.glob(_LOCK_PATTERN)}
            owners |= {owner for (owner,) in self._connection.execute("SELECT DISTINCT owner FROM claims")}
            for owner in owners - {self._owner}:
                lock = FileLock(self._lock_path(owner), thread_local=False)
                with suppress(Timeout), lock.acquire(blocking=False):
                    self._connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))
                    with suppress(OSError):  # Windows removes no file that is open; elsewhere its owner may wait for it
                        Path(lock.lock_file).unlink()

    def _lock_path(self, owner: str) -> Path:
        """Name the file that is locked for as long as the owner of claims lives."""
        return self.path.with_name(f"claims-{owner}.lock")

    # Upkeep

    def list_failures(self) -> Iterator[StoredFailure]:
        """Yield each file that is remembered to have failed, once for each reason, by path."""
        query = (
            "SELECT DISTINCT path, inode, size, mtime_ns, code, message FROM files JOIN results USING (payload)"
            f" WHERE code IS NOT NULL AND code NOT IN ({_SKIP_CODES}) ORDER BY path"
        )
        with self._lock, self._translated():
            rows = self._connection.execute(query).fetchall()
        for path, inode, size, mtime_ns, code, message in rows:
            yield StoredFailure(path=path, key=(inode, size, mtime_ns), code=code, message=message)

    def describe(self) -> StoreFacts:
        """Count what is remembered."""
        with self._lock, self._translated():
            counts = [
                self._connection.execute(query).fetchone()[0]
                for query in (
                    "SELECT count(*) FROM files",
                    "SELECT count(*) FROM payloads",
                    f"SELECT count(*) FROM results WHERE code IS NOT NULL AND code NOT IN ({_SKIP_CODES})",
                )
            ]
            results = self._connection.execute(
                "SELECT model, settings.settings, count(*) FROM results JOIN settings ON settings.id = results.settings"
                " GROUP BY settings.id ORDER BY model, settings.settings"
            ).fetchall()
            size = sum(path.stat().st_size for path in _files_of(self.path) if path.exists())
        n_files, n_payloads, n_failures = counts
        return StoreFacts(
            path=self.path,
            size=size,
            n_files=n_files,
            n_payloads=n_payloads,
            n_failures=n_failures,
            n_results={(model, settings): count for model, settings, count in results},
        )

    def list_paths(self) -> list[bytes]:
        """Give every path that is remembered."""
        with self._lock, self._translated():
            return [path for (path,) in self._connection.execute("SELECT path FROM files ORDER BY path")]

    def forget(self, paths: list[bytes]) -> Pruned:
        """Forget paths, and all results that no remembered path leads to; the file shrinks.

        Parameters
        ----------
        paths
            Those to forget.
        """
        with self._transaction() as connection:
            connection.executemany("DELETE FROM files WHERE path = ?", [(path,) for path in paths])
            dropped = connection.execute("DELETE FROM results WHERE payload NOT IN (SELECT payload FROM files)")
            connection.execute("DELETE FROM payloads WHERE id NOT IN (SELECT payload FROM files)")
            # settings stay: another process may have just begun with them, and their number must not become others'
        with self._lock, self._translated():
            self._connection.execute("VACUUM")
        return Pruned(n_files=len(paths), n_results=dropped.rowcount)

    # The file

    def _prepare(self) -> None:
        """Make the tables, or see that they are those of this version."""
        self._keep_write_ahead_log()
        # no fsync at each result: a killed process loses nothing by that, a power cut the last seconds
        for pragma in ("synchronous = NORMAL", "temp_store = MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self._transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                msg = f"The cache {self.path} was made by another version of tagcli; run `tagcli cache clear` once."
                raise StoreError(msg, path=self.path)

    def _keep_write_ahead_log(self) -> None:
        """Let others read while one writes. SQLite does not wait for others that ask for this at the same time."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # above it is why
                if not is_busy or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _find(self, query: str, values: tuple[object, ...]) -> StoredResult | None:
        """Run a query for one result."""
        with self._lock, self._translated():
            row = self._connection.execute(query, values).fetchone()
        if row is None:
            return None
        scores, n_clips, duration_seconds, warnings, code, message = row
        return StoredResult(
            scores=scores,
            n_clips=n_clips,
            duration_seconds=duration_seconds,
            warnings=tuple(warnings.split()),
            code=code,
            message=message,
        )

    def _number_payload(self, sha256: str) -> int:
        """Give the number of audio bytes; inside a transaction."""
        key = (bytes.fromhex(sha256),)
        self._connection.execute("INSERT INTO payloads (sha256) VALUES (?) ON CONFLICT DO NOTHING", key)
        (number,) = self._connection.execute("SELECT id FROM payloads WHERE sha256 = ?", key).fetchone()
        return int(number)

    def _note_file(self, path: bytes, identity: FileIdentity, payload: int) -> None:
        """Remember which audio bytes a file holds; inside a transaction."""
        self._connection.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (path, *_key(identity), payload)
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all that stands in the context, or nothing of it; other processes wait meanwhile."""
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in one sentence what SQLite or the system says."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            msg = f"The cache {self.path} cannot be used ({error}); run `tagcli cache clear`, or give --no-cache."
            raise StoreError(msg, path=self.path) from error


def clear_store(path: Path) -> int:
    """Remove a store with all that it remembers, damaged or not.

    Parameters
    ----------
    path
        Its file.

    Returns
    -------
    int
        Number of bytes that it took.

    Raises
    ------
    StoreError
        When it cannot be removed.
    """
    n_bytes = 0
    try:
        for part in (*_files_of(path), *path.parent.glob(_LOCK_PATTERN)):
            with suppress(FileNotFoundError):
                size = part.stat().st_size
                part.unlink()
                n_bytes += size
    except OSError as error:
        msg = f"The cache {path} cannot be removed ({error.strerror}); remove it by hand."
        raise StoreError(msg, path=path) from error
    return n_bytes


def _files_of(path: Path) -> tuple[Path, ...]:
    """Name the files that SQLite keeps."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path


def _key(identity: FileIdentity) -> tuple[int, int, int]:
    """Give what is compared of a file: inode, size and time."""
    return _fold(identity.inode), identity.size, _fold(identity.mtime_ns)


def _fold(number: int) -> int:
    """Make a number one of SQLite's; inodes use all 64 bits, and times may lie past the year 2262."""
    return (number + _INTEGER_RANGE // 2) % _INTEGER_RANGE - _INTEGER_RANGE // 2
