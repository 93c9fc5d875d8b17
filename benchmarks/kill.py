"""Kill tagcli with `kill -9` at random moments of writing, again and again, and count what came to harm.

    python benchmarks/kill.py --trials 200

The collection has files of every container that can be made here: plain ones, ones full of foreign metadata, ones that
tagcli wrote into before, and a large one. Containers that tagcli does not write into must stay as they are. A trial is:

killed         a process writes tags into all files, and is killed; the moment is uniform over what it takes undisturbed
again          the same run, to its end; in every fourth trial it is left out
undo killed    a process undoes all writes, and is killed; in every fourth trial
undone         `tagcli undo` of each run, the latest first

After each of these, every file is looked at: whether its bytes are the old ones or wholly the new ones (after *again*
the new ones; after *undone* the old ones, with the old time of modification), whether its audio bytes and its packets
are those of the first day, and whether tagcli, mutagen and FFmpeg can read it. All is counted and printed; the exit
code is 1 when anything that must be 0 is not.
"""

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from containers import make_big_file, make_collection
from harness import print_machine

if TYPE_CHECKING:
    from tagcli.journal import Entry
    from tagcli.metadata import Fields

BIG = "big.flac"
LONG_SETTINGS = "x" * 9000  # more than most files have room for
N_UNDISTURBED = 3  # runs that tell how long one takes
PHASES = ("killed", "again", "undo killed", "undone")
FLAWS = ("bytes not as due", "other audio bytes", "other packets", "cannot be read", "old bytes, another time")
MISHAPS = ("run failed by itself", "copy left over by a whole run", "undo failed", "journal cannot be read")


@dataclass(frozen=True)
class Content:
    """What a file holds: hashes of its audio bytes, and of its packets as FFmpeg finds them."""

    payload: str
    packets: str


@dataclass(frozen=True)
class Versions:
    """A file as it was at first, and what writing makes of it: the same where tagcli does not write."""

    old: str
    new: str
    old_mtime_ns: int


def make_fields(settings: str) -> "Fields":
    """Give what is written into every file."""
    from tagcli.metadata import Fields

    tags, scores = ("rock", "guitar", "fast", "male vocals", "80s"), (0.9, 0.7, 0.5, 0.3, 0.1)
    return Fields(tags=tags, scores=scores, model="m", settings=settings, genres=("Rock",), moods=("Happy",))


def list_tracks(folder: Path) -> list[Path]:
    """Give the files, without copies that were left over."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def list_leftovers(folder: Path) -> list[Path]:
    """Give the copies that were left over."""
    return sorted(folder.glob(".tagcli-*.tmp"))


def name_kind(name: str) -> str:
    """Tell what kind of file it is; the large one is of its own."""
    return name if name == BIG else name.partition(".")[2]


def run_write(folder: Path) -> None:
    """Write into every file, and say which one before. This is killed."""
    from tagcli.errors import UnsupportedContainerError
    from tagcli.journal import Journal, Recorder, default_journal_path
    from tagcli.metadata import plan_write

    with Journal(default_journal_path()) as journal:
        recorder = Recorder(journal, "kill")
        print("ready", flush=True)
        for path in list_tracks(folder):
            print(path.name, flush=True)
            with suppress(UnsupportedContainerError):
                recorder.apply(plan_write(path, make_fields(LONG_SETTINGS)))


def run_undo(_: Path) -> None:
    """Undo every write, the latest first, and say which one before. This is killed."""
    from tagcli.journal import Journal, default_journal_path
    from tagcli.journal.undo import undo_write

    with Journal(default_journal_path()) as journal:
        entries = [entry for entry in journal.list_entries() if not entry.is_undone]
        print("ready", flush=True)
        for entry in entries:
            print(entry.path.name, flush=True)
            undo_write(journal, entry)


JOBS: dict[str, Callable[[Path], None]] = {"write": run_write, "undo": run_undo}


def read_content(path: Path) -> Content:
    """Read a file in every way; raises what its reader raises."""
    import av
    import mutagen

    from tagcli.errors import UnsupportedContainerError
    from tagcli.metadata import read_metadata
    from tagcli.payload import hash_payload

    with suppress(UnsupportedContainerError):
        read_metadata(path)
    mutagen.File(path)
    digest = hashlib.sha256()
    with av.open(str(path), metadata_errors="replace") as container:
        for packet in container.demux(container.streams.audio[0]):
            digest.update(bytes(packet))
    return Content(payload=hash_payload(path), packets=digest.hexdigest())


class Trials:
    """A collection, and what has come of it.

    Attributes
    ----------
    harm
        What must not happen, counted, by the phase.
    n_looks
        How many files were looked at, by the phase.
    moments, kinds
        What a process was doing when it was killed, and to which kind of file, by its job.
    """

    def __init__(self, place: Path, big_mb: float, seed: int) -> None:
        from tagcli.files import hash_file
        from tagcli.journal import default_journal_path

        self._chance = random.Random(seed)
        self.folder, self._pristine, self._state = (place / name for name in ("collection", "pristine", "state"))
        os.environ["XDG_STATE_HOME"] = str(self._state)
        self._journal_path = default_journal_path()
        if place not in self._journal_path.parents:
            sys.exit("The journal cannot be kept elsewhere on this system, and yours is left alone.")
        self.harm: Counter[tuple[str, str]] = Counter()
        self.n_looks: Counter[str] = Counter()
        self.moments: Counter[tuple[str, str]] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.n_undone = self.n_left = 0
        self._contents: dict[str, Content | str] = {}  # by SHA-256: the same bytes are read once
        self._pending: int | None = None  # number of an entry whose write was prevented by a kill
        _make_files(self._pristine, big_mb)
        shutil.copytree(self._pristine, self.folder)
        self.seconds = self._time_jobs()
        self._run("write")
        self.versions = {
            path.name: Versions(hash_file(path), hash_file(self.folder / path.name), path.stat().st_mtime_ns)
            for path in list_tracks(self._pristine)
        }
        for name in self.versions:
            self._read(self._pristine / name)
        self._look("again")
        self._undo()
        if self.harm:
            sys.exit("There is harm before anything was killed.")

    def try_once(self, number: int) -> bool:
        """Do all that the first lines here say; False when the process had ended before it could be killed."""
        is_hit = self._kill("write")
        self._look("killed")
        if number % 4 != 1:
            self._run("write")
            for path in list_leftovers(self.folder):
                self._note("copy left over by a whole run", "again", path.name)
            self._look("again")
        if number % 4 == 3:
            self._kill("undo")
            self._look("undo killed")
        self._undo()
        return is_hit

    def list_kinds(self, *, written: bool) -> str:
        """Name the kinds that tagcli writes into, or the others."""
        names = (name for name, versions in self.versions.items() if (versions.new != versions.old) == written)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(map(name_kind, names)).items()))

    def print_counts(self) -> None:
        """Print what was seen."""
        for job in JOBS:
            print(f"{sum(count for (known, _), count in self.moments.items() if known == job)} kills in `{job}`")
            for title, counter in (("when", self.moments), ("at", self.kinds)):
                for (known, what), count in counter.most_common():
                    if known == job:
                        print(f"  {title:6s}{what:48s}{count:6d}")
        print(f"{self.n_undone} writes undone; {len(self._contents)} different contents, each read in every way")
        print(f"{self.n_left} copies left over where the run was not done again; the next write removes them")
        rows = {"": PHASES, "looks at a file": [self.n_looks[phase] for phase in PHASES], "must be 0:": ()}
        rows |= {f"  {what}": [self.harm[what, phase] for phase in PHASES] for what in (*FLAWS, *MISHAPS)}
        for title, values in rows.items():
            print(f"{title:32s}" + "".join(f"{value:>13}" for value in values))

    def _time_jobs(self) -> dict[str, float]:
        seconds: dict[str, list[float]] = {job: [] for job in JOBS}
        for _ in range(N_UNDISTURBED):
            for job, known in seconds.items():
                known.append(self._run(job))
            shutil.rmtree(self._state)
        return {job: statistics.median(known) for job, known in seconds.items()}

    def _start(self, job: str) -> subprocess.Popen:
        """Start a process, and wait until it has imported all it needs."""
        command = [sys.executable, __file__, "--run", job, "--folder", str(self.folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        process.stdout.readline()
        return process

    def _run(self, job: str) -> float:
        """Run a process to its end; give the seconds."""
        with self._start(job) as process:
            started = time.perf_counter()
            _, errors = process.communicate()
        if process.returncode:
            self._note("run failed by itself", "again", errors.decode(errors="replace"))
        return time.perf_counter() - started

    def _kill(self, job: str) -> bool:
        """Let a process work for a random time, and kill it; False when it had ended."""
        with self._start(job) as process:
            time.sleep(self._chance.uniform(0, self.seconds[job]))
            process.kill()
            said, errors = process.communicate()
        if process.returncode > 0:
            phase = "killed" if job == "write" else "undo killed"
            self._note("run failed by itself", phase, errors.decode(errors="replace"))
        if process.returncode >= 0:
            return False
        names = said.decode().splitlines()
        self.kinds[job, name_kind(names[-1]) if names else "none yet"] += 1
        self.moments[job, self._find_moment(job)] += 1
        return True

    def _find_moment(self, job: str) -> str:
        """Tell what a process was doing, from what it left behind."""
        from tagcli.files import hash_file

        entries = [entry for entry in self._list_entries("killed") if not entry.is_undone]
        leftovers = list_leftovers(self.folder)
        whole = {sha256 for versions in self.versions.values() for sha256 in (versions.old, versions.new)}
        if leftovers and hash_file(leftovers[0]) not in whole:
            return "the copy was being made"
        is_old = bool(entries) and hash_file(entries[0].path) == entries[0].old.sha256
        if job == "write":
            self._pending = entries[0].number if is_old else None
            if is_old:
                return "the write was noted, the file not replaced"
        elif is_old and entries[0].number != self._pending:
            return "the file was put back, that not noted"
        return "the copy was being proved" if leftovers else "between two files"

    def _list_entries(self, phase: str) -> "list[Entry]":
        """Read the journal, the latest write first."""
        from tagcli.errors import JournalError
        from tagcli.journal import Journal

        try:
            with Journal(self._journal_path) as journal:
                return list(journal.list_entries())
        except JournalError as error:
            self._note("journal cannot be read", phase, error.message)
            return []

    def _look(self, phase: str) -> None:
        """See that every file is of a version that it may be of, and holds what it held."""
        for name, versions in self.versions.items():
            self.n_looks[phase] += 1
            path = self.folder / name
            sha256 = self._read(path)
            allowed = {"again": (versions.new,), "undone": (versions.old,)}.get(phase, (versions.old, versions.new))
            if sha256 not in allowed:
                self._note("bytes not as due", phase, name)
            if sha256 == versions.old and path.stat().st_mtime_ns != versions.old_mtime_ns:
                self._note("old bytes, another time", phase, name)
            content, first = self._contents[sha256], self._contents[versions.old]
            if isinstance(content, str) or isinstance(first, str):
                self._note("cannot be read", phase, f"{name}: {content}")
                continue
            if content.payload != first.payload:
                self._note("other audio bytes", phase, name)
            if content.packets != first.packets:
                self._note("other packets", phase, name)

    def _read(self, path: Path) -> str:
        """Read a file in every way unless the same bytes were; give their hash."""
        from tagcli.files import hash_file

        sha256 = hash_file(path)
        if sha256 not in self._contents:
            try:
                self._contents[sha256] = read_content(path)
            except Exception as error:  # whatever a reader says: it cannot be read
                self._contents[sha256] = repr(error)
        return sha256

    def _undo(self) -> None:
        """Undo all runs by the command, the latest first, and make everything ready for the next trial."""
        entries = self._list_entries("undone")
        for run in sorted({entry.run for entry in entries}, reverse=True):
            command = [sys.executable, "-m", "tagcli", "undo", "--yes", "--run", str(run)]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                self._note("undo failed", "undone", done.stderr.decode(errors="replace"))
        self.n_undone += sum(not entry.is_undone for entry in entries)
        self._look("undone")
        for path in list_leftovers(self.folder):
            self.n_left += 1
            path.unlink()
        if self.harm:
            shutil.copytree(self._pristine, self.folder, dirs_exist_ok=True)
        shutil.rmtree(self._state)

    def _note(self, what: str, phase: str, detail: str) -> None:
        self.harm[what, phase] += 1
        print(f"{phase}: {what}: {detail}", file=sys.stderr)


def _make_files(folder: Path, big_mb: float) -> None:
    """Make the collection; some files hold tags of an earlier run, and each has a time of its own."""
    from tagcli.errors import UnsupportedContainerError
    from tagcli.metadata import apply_plan, plan_write

    folder.mkdir()
    make_collection(folder)
    make_big_file(folder / BIG, big_mb)
    for path in list(folder.glob("rich.*")):
        tagged = path.with_name(path.name.replace("rich", "tagged"))
        shutil.copyfile(path, tagged)
        try:
            apply_plan(plan_write(tagged, make_fields("of an earlier run")))
        except UnsupportedContainerError:
            tagged.unlink()
    for number, path in enumerate(list_tracks(folder)):
        os.utime(path, ns=(10**18, 10**18 + 123_456_789 * number))


def main() -> int:
    """Try, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--big-mb", type=float, default=80.0)
    parser.add_argument("--folder", type=Path, help="in which a temporary one is made to work in")
    parser.add_argument("--run", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        JOBS[arguments.run](arguments.folder)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        trials = Trials(Path(temporary).resolve(), arguments.big_mb, arguments.seed)
        print_machine()
        print(f"written into: {trials.list_kinds(written=True)}")
        print(f"not written into: {trials.list_kinds(written=False)}")
        print(f"undisturbed: {trials.seconds['write']:.2f} s to write, {trials.seconds['undo']:.2f} s to undo")
        n_hits = n_tried = 0
        while n_hits < arguments.trials and n_tried < 2 * arguments.trials:
            n_hits += trials.try_once(n_tried)
            n_tried += 1
        trials.print_counts()
    return int(trials.harm.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
