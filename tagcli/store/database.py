"""The store's SQLite file: its tables, its transactions between threads and processes, and what its errors mean."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tagcli.errors import StoreError

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 30.0
"""For another process to finish its transaction, which takes a millisecond."""
_VERSION = 1
_RETRY_SECONDS = 0.01  # between attempts where SQLite itself does not wait

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


class Database:
    """The open file; it may be used by several threads.

    Parameters
    ----------
    path
        Where it lies; it is created, with its folder, when it is not there.

    Attributes
    ----------
    lock
        Held by the thread that is at work; whoever holds it may read and write too.

    Raises
    ------
    StoreError
        When it cannot be opened, is damaged, or was made by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        with self.translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._keep_write_ahead_log()
                # no fsync at each result: a killed process loses nothing by that, a power cut the last seconds
                for pragma in ("synchronous = NORMAL", "temp_store = MEMORY"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self.write(self._make_tables)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self.lock, suppress(sqlite3.Error):
            self._connection.close()

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Give every row of a query; other processes are not waited for."""
        with self.lock, self.translated():
            return self._connection.execute(query, values).fetchall()

    def write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do all of some work, or nothing of it; other processes wait meanwhile.

        Ctrl-C may come at any point. Python looks for it after calls and where a function begins: an `__exit__` in
        Python may end before its first line, and a generator be left at its `yield`. So the lock and the transaction
        are ended by their own `__exit__`, which are in C.
        """
        with self.lock, self.translated():
            if self._connection.in_transaction:  # this thread's: a given-up run may end as garbage in the middle of it
                msg = "cannot start a transaction within a transaction"
                raise sqlite3.OperationalError(msg)
            with self._connection:  # commits, or rolls back what has begun
                self._connection.execute("BEGIN IMMEDIATE")
                return work(self._connection)

    def compact(self) -> None:
        """Give the room of what was forgotten back to the system."""
        with self.lock, self.translated():
            self._connection.execute("VACUUM")

    def measure(self) -> int:
        """Count the bytes of the file and its journal."""
        with self.translated():
            return sum(path.stat().st_size for path in files_of(self.path) if path.exists())

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Say in one sentence what SQLite or the system says."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            msg = f"The cache {self.path} cannot be used ({error}); run `tagcli cache clear`, or give --no-cache."
            raise StoreError(msg, path=self.path) from error

    def _keep_write_ahead_log(self) -> None:
        """Let others read while one writes. SQLite does not wait for others that ask for this at the same time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
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

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        """Make the tables, or see that they are those of this version."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            msg = f"The cache {self.path} was made by another version of tagcli; run `tagcli cache clear` once."
            raise StoreError(msg, path=self.path)


def files_of(path: Path) -> tuple[Path, ...]:
    """Name the files that SQLite keeps."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path
