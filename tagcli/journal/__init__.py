"""What was in a file before it was written to, so that every write can be undone.

An entry is on the disk before the file is touched. It keeps what of the old version the new one lacks, so it is small
however large the file is.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import platformdirs

from tagcli.database import Database, Design
from tagcli.errors import JournalError
from tagcli.files import FileIdentity, open_track
from tagcli.journal.patch import make_patch
from tagcli.journal.records import Entry, FileState, Run, RunStart, decode_changes, encode_changes
from tagcli.metadata import Write, WritePlan, apply_plan
from tagcli.replacement import Versions

__all__ = ["Entry", "FileState", "Journal", "Recorder", "Run", "default_journal_path"]

_DESIGN = Design(
    title="journal",
    version=1,
    is_durable=True,
    error=JournalError,
    advice="without it nothing is written, as it could not be undone; move it away, or make room",
    advice_of_other_version="use that one, or move the journal away",
    tables="""
CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL, command TEXT NOT NULL);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs,
    path BLOB NOT NULL, inode INTEGER NOT NULL, payload BLOB NOT NULL, changes TEXT NOT NULL,
    old_size INTEGER NOT NULL, old_mtime_ns INTEGER NOT NULL, old_sha256 BLOB NOT NULL,
    new_size INTEGER NOT NULL, new_mtime_ns INTEGER NOT NULL, new_sha256 BLOB NOT NULL,
    is_undone INTEGER NOT NULL DEFAULT 0, patch BLOB NOT NULL
);
CREATE INDEX entries_by_run ON entries (run);
CREATE INDEX entries_by_path ON entries (path);
CREATE INDEX entries_by_payload ON entries (payload);
""",
)
_MOST_STEPS = 100
"""So many writes to one file are looked back over."""
_ENTRY = (
    "SELECT entries.id, run, started, path, payload, changes, old_size, old_mtime_ns, old_sha256,"
    " new_size, new_mtime_ns, new_sha256, is_undone FROM entries JOIN runs ON runs.id = run"
)


def default_journal_path() -> Path:
    """Say where the user's journal lies."""
    return platformdirs.user_state_path("tagcli") / "journal.sqlite3"


class Journal:
    """The open journal.

    Parameters
    ----------
    path
        Its file; it is created, with its folder, when it is not there.

    Raises
    ------
    JournalError
        When it cannot be opened, is damaged, or was made by another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = Database(path, _DESIGN)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def list_runs(self) -> list[Run]:
        """Give all runs, the oldest first."""
        query = (
            "SELECT runs.id, started, command, count(*), sum(is_undone), sum(length(patch))"
            " FROM runs JOIN entries ON run = runs.id GROUP BY runs.id ORDER BY runs.id"
        )
        return [
            Run(number=number, started=started, command=command, n_writes=count, n_undone=undone, n_bytes=n_bytes)
            for number, started, command, count, undone, n_bytes in self._database.read(query)
        ]

    def list_entries(self, run: int | None = None) -> Iterator[Entry]:
        """Give the writes of a run, or of all, the latest first."""
        where, values = ("", ()) if run is None else (" WHERE run = ?", (run,))
        for row in self._database.read(f"{_ENTRY}{where} ORDER BY entries.id DESC", values):
            yield _make_entry(row)

    def has_later_write(self, entry: Entry) -> bool:
        """Tell whether a file was written again after a write, and that was not undone."""
        query = "SELECT 1 FROM entries WHERE path = ? AND id > ? AND NOT is_undone LIMIT 1"
        return bool(self._database.read(query, (os.fsencode(entry.path), entry.number)))

    def explains(self, path: Path, *, old: FileIdentity, new: FileIdentity) -> bool:
        """Tell whether nothing but writes of tagcli lies between two versions of a file: its audio is then the same."""
        known = (new.size, _fold(new.mtime_ns))
        query = (
            "SELECT new_size, new_mtime_ns, old_size, old_mtime_ns FROM entries WHERE path = ? ORDER BY id DESC LIMIT ?"
        )
        for *after, size, mtime_ns in self._database.read(query, (os.fsencode(path), _MOST_STEPS)):
            if tuple(after) == known:
                known = (size, mtime_ns)
            if known == (old.size, _fold(old.mtime_ns)):
                return True
        return False

    def find_latest(self, path: Path) -> Entry | None:
        """Find the last write to a file, by its path with symbolic links resolved."""
        return self._find("path = ?", os.fsencode(path))

    def find_payload(self, sha256: str) -> Entry | None:
        """Find the last write to a file with these audio bytes, wherever it lay."""
        return self._find("payload = ?", bytes.fromhex(sha256))

    def read_patch(self, entry: Entry) -> bytes:
        """Give what undoes a write."""
        ((patch,),) = self._database.read("SELECT patch FROM entries WHERE id = ?", (entry.number,))
        return bytes(patch)

    def mark_undone(self, entry: Entry) -> None:
        """Note that the old version was put back."""
        values = (entry.number,)
        self._database.write(
            lambda connection: connection.execute("UPDATE entries SET is_undone = 1 WHERE id = ?", values)
        )

    def prune(self, *, days: int) -> int:
        """Forget the runs that began longer ago; they cannot be undone any more.

        Parameters
        ----------
        days
            How many days of runs are kept.

        Returns
        -------
        int
            How many writes were forgotten.
        """
        before = _format_time(datetime.now(UTC) - timedelta(days=days))

        def forget(connection: Connection) -> int:
            old_runs = "SELECT id FROM runs WHERE started < ?"
            n_entries = connection.execute(f"DELETE FROM entries WHERE run IN ({old_runs})", (before,)).rowcount
            connection.execute("DELETE FROM runs WHERE started < ?", (before,))
            return n_entries

        n_entries = self._database.write(forget)
        self._database.compact()
        return n_entries

    def measure(self) -> int:
        """Count the bytes that the journal takes."""
        return self._database.measure()

    def _find(self, where: str, value: bytes) -> Entry | None:
        rows = self._database.read(f"{_ENTRY} WHERE {where} ORDER BY entries.id DESC LIMIT 1", (value,))
        return _make_entry(rows[0]) if rows else None

    def begin_run(self, command: str) -> RunStart:
        """Begin a run of a command."""
        started = _format_time(datetime.now(UTC))

        def insert(connection: Connection) -> int | None:
            insertion = "INSERT INTO runs (started, command) VALUES (?, ?)"
            return connection.execute(insertion, (started, command)).lastrowid

        return RunStart(number=self._database.write(insert) or 0, started=started, command=command)

    def add_entry(self, run: RunStart, write: Write) -> int:
        """Note a write that is about to happen; give its number. It is on the disk when this returns."""
        plan, versions = write.plan, write.versions
        with open_track(plan.target) as (old, _):
            patch = make_patch(old, plan.pieces)
        values = (
            run.number,
            os.fsencode(plan.target),
            _fold(versions.old.inode),
            bytes.fromhex(write.payload_sha256),
            encode_changes(plan.changes),
            versions.old.size,
            _fold(versions.old.mtime_ns),
            bytes.fromhex(versions.old_sha256),
            versions.new.size,
            _fold(versions.new.mtime_ns),
            bytes.fromhex(versions.new_sha256),
            patch,
        )

        def insert(connection: Connection) -> int | None:
            # somebody may have pruned the run while it goes on
            again = (run.number, run.started, run.command)
            connection.execute("INSERT OR IGNORE INTO runs (id, started, command) VALUES (?, ?, ?)", again)
            return connection.execute(
                "INSERT INTO entries (run, path, inode, payload, changes, old_size, old_mtime_ns, old_sha256,"
                " new_size, new_mtime_ns, new_sha256, patch) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid

        return self._database.write(insert) or 0

    def remove_entry(self, number: int) -> None:
        """Take a note back: the write did not happen."""
        self._database.write(lambda connection: connection.execute("DELETE FROM entries WHERE id = ?", (number,)))


class Recorder:
    """Writes files, each with its entry; a run begins with the first one.

    Parameters
    ----------
    journal
        Where the entries go.
    command
        What is run, such as ``predict``.
    keeps_mtime
        Whether files keep their time of modification.
    """

    def __init__(self, journal: Journal, command: str, *, keeps_mtime: bool = False) -> None:
        self._journal = journal
        self._command = command
        self._keeps_mtime = keeps_mtime
        self._run: RunStart | None = None

    def explains(self, path: Path, *, old: FileIdentity, new: FileIdentity) -> bool:
        """Tell whether nothing but writes of tagcli lies between two versions of a file; see `Journal.explains`."""
        return self._journal.explains(path, old=old, new=new)

    def apply(self, plan: WritePlan) -> Versions | None:
        """Write what was planned; see `tagcli.metadata.apply_plan`.

        Parameters
        ----------
        plan
            The plan.

        Returns
        -------
        Versions or None
            What the file was, and is now; None when there was nothing to change.

        Raises
        ------
        MetadataError
            When the file cannot be written; it is then as it was.
        JournalError
            When the journal cannot be written; the file is then as it was.
        """
        noted: list[tuple[int, Write]] = []

        def note(write: Write) -> None:
            if self._run is None:
                self._run = self._journal.begin_run(self._command)
            noted.append((self._journal.add_entry(self._run, write), write))

        try:
            return apply_plan(plan, keeps_mtime=self._keeps_mtime, note=note)
        except BaseException:
            for number, write in noted:
                if not _has_happened(write):
                    with suppress(JournalError):
                        self._journal.remove_entry(number)
            raise


def _has_happened(write: Write) -> bool:
    """Tell whether the copy is in the place of the file; yes where that cannot be told."""
    new = write.versions.new
    with suppress(OSError):
        status = write.plan.target.stat()
        return (status.st_dev, status.st_ino) == (new.device, new.inode)
    return True


def _fold(number: int) -> int:
    """Make a number of 64 bits without a sign one with a sign, which SQLite can hold; some file systems need it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _format_time(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _make_entry(row: Any) -> Entry:
    number, run, started, path, payload, changes, old_size, old_mtime_ns, old_sha256 = row[:9]
    new_size, new_mtime_ns, new_sha256, is_undone = row[9:]
    return Entry(
        number=number,
        run=run,
        started=started,
        path=Path(os.fsdecode(path)),
        payload_sha256=payload.hex(),
        changes=decode_changes(changes),
        old=FileState(size=old_size, mtime_ns=old_mtime_ns, sha256=old_sha256.hex()),
        new=FileState(size=new_size, mtime_ns=new_mtime_ns, sha256=new_sha256.hex()),
        is_undone=bool(is_undone),
    )
