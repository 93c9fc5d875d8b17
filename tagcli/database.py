"""A SQLite file: its tables, its transactions between threads and processes, and what its errors mean."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tagcli.errors import TagcliError

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 30.0
"""For another process to finish its transaction, which takes a millisecond."""
_RETRY_SECONDS = 0.01  # between attempts where SQLite itself does not wait


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a file is for.

    Parameters
    ----------
    title
        What messages call it.
    tables
        Statements that make its tables, ``;`` behind each.
    version
        Number of these tables; a file of another number is refused.
    is_durable
        Whether each transaction is on the disk when it is done, and outlives a power cut.
    error
        What is raised.
    advice
        What messages say when it cannot be used.
    advice_of_other_version
        What they say when it has other tables.
    """

    title: str
    tables: str
    version: int
    is_durable: bool
    error: type[TagcliError]
    advice: str
    advice_of_other_version: str


class Database:
    """The open file; it may be used by several threads.

    Parameters
    ----------
    path
        Where it lies; it is created, with its folder, when it is not there.
    design
        What it is for.

    Attributes
    ----------
    lock
        Held by the thread that is at work; whoever holds it may read and write too.

    Raises
    ------
    TagcliError
        That of the design, when it cannot be opened, is damaged, or was made by another version.
    """

    def __init__(self, path: Path, design: Design) -> None:
        self.path = path
        self._design = design
        self.lock = threading.RLock()
        with self.translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._keep_write_ahead_log()
                # without an fsync at each transaction a killed process loses nothing, a power cut the last seconds
                for pragma in (f"synchronous = {'FULL' if design.is_durable else 'NORMAL'}", "temp_store = MEMORY"):
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
            msg = f"The {self._design.title} {self.path} cannot be used ({error}); {self._design.advice}."
            raise self._design.error(msg, path=self.path) from error

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
            for statement in filter(str.strip, self._design.tables.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._design.version}")
        elif version != self._design.version:
            advice = self._design.advice_of_other_version
            msg = f"The {self._design.title} {self.path} was made by another version of tagcli; {advice}."
            raise self._design.error(msg, path=self.path)


def files_of(path: Path) -> tuple[Path, ...]:
    """Name the files that SQLite keeps."""
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"), path
