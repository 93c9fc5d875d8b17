"""Measure what safety costs: tags written into many small mp3 files by mutagen in place, and by tagcli.

    python benchmarks/write.py --files 100 1000 10000 --rounds 5

Each way is given the same files, in turn, with other values every time:

mutagen    `ID3(path)`, `add`, `save`: in place, as scripts do it; a crash in the middle damages the file
floor      no tags: a copy of the file is synced to the disk, takes its place, and the folder is synced
tagcli     a proved copy takes the place of the file; it cannot be undone
journal    the same with a journal, as `tagcli predict --write` does it
unsynced   the last two again, without waiting for the disk

The files are of about 65 kB, with an ID3v2.3 tag of a few frames and room for the new ones. One process, one thread.
Milliseconds for each file; ratios are taken within a round.
"""

import argparse
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from harness import describe, make_music, mark, print_machine, print_ratio

SECONDS = 2.5  # of sound, at 192 kbit/s
N_DIFFERENT = 20
PADDING_BYTES = 4096
FILES_IN_A_FOLDER = 500
TAGS, SCORES = ("rock", "guitar", "fast"), (0.9, 0.5, 0.1)
MODEL = "tagcli-msd50"
GENRE = "Rock"


def make_small_files(folder: Path, n_files: int) -> list[Path]:
    """Make files with tags."""
    from mutagen.id3 import ID3, TALB, TIT2, TPE1, TRCK

    paths: list[Path] = []
    for number in range(n_files):
        path = folder / f"{number // FILES_IN_A_FOLDER:03d}" / f"{number:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < N_DIFFERENT:
            make_music(path, SECONDS, seed=number)
            tags = ID3(path)
            tags.clear()
            for frame, text in ((TIT2, "A title"), (TPE1, "An artist"), (TALB, "An album"), (TRCK, "1/10")):
                tags.add(frame(encoding=1, text=[text]))
            tags.save(v2_version=3, padding=lambda _: PADDING_BYTES)
        else:
            path.write_bytes(mark(paths[number % N_DIFFERENT].read_bytes(), number))
        paths.append(path)
    return paths


def write_by_mutagen(paths: Sequence[Path], settings: str) -> None:
    """Write in place."""
    from mutagen.id3 import ID3, TCON, TXXX

    values = {
        "TAGS": TAGS,
        "SCORES": [f"{score:.3f}" for score in SCORES],
        "MODEL": [MODEL],
        "SETTINGS": [settings],
        "ADDED": [f"genre={GENRE}"],
    }
    for path in paths:
        tags = ID3(path)
        for name, texts in values.items():
            tags.add(TXXX(encoding=0, desc=f"TAGCLI_{name}", text=["; ".join(texts)]))
        tags.add(TCON(encoding=0, text=[GENRE]))
        tags.save(v2_version=3)


def replace_only(paths: Sequence[Path]) -> None:
    """Do the least that is safe, without any change."""
    for path in paths:
        copy_path = path.with_suffix(".tmp")
        with path.open("rb") as file, copy_path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        copy_path.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_by_tagcli(paths: Sequence[Path], settings: str, journal_path: Path | None) -> None:
    """Write safely; with a journal where one is to be kept."""
    from tagcli.journal import Journal, Recorder
    from tagcli.metadata import Fields, apply_plan, plan_write

    fields = Fields(tags=TAGS, scores=SCORES, model=MODEL, settings=settings, genres=(GENRE,))
    if journal_path is None:
        for path in paths:
            apply_plan(plan_write(path, fields))
        return
    with Journal(journal_path) as journal:
        recorder = Recorder(journal, "write")
        for path in paths:
            recorder.apply(plan_write(path, fields))


def write_unsynced(paths: Sequence[Path], settings: str, journal_path: Path | None) -> None:
    """Write as tagcli does, but wait for no disk."""
    import tagcli.journal

    design = dataclasses.replace(tagcli.journal._DESIGN, is_durable=False)
    with mock.patch("os.fsync"), mock.patch("tagcli.journal._DESIGN", design):
        write_by_tagcli(paths, settings, journal_path)


def measure_ways(paths: Sequence[Path], n_rounds: int, place: Path) -> tuple[dict[str, list[float]], float]:
    """Give the milliseconds a file of each way, round by round, and the bytes a file in the journal."""
    journal_path = place / "journal" / "journal.sqlite3"
    ways = {
        "mutagen": lambda settings: write_by_mutagen(paths, settings),
        "floor": lambda _: replace_only(paths),
        "tagcli": lambda settings: write_by_tagcli(paths, settings, None),
        "journal": lambda settings: write_by_tagcli(paths, settings, journal_path),
        "tagcli unsynced": lambda settings: write_unsynced(paths, settings, None),
        "journal unsynced": lambda settings: write_unsynced(paths, settings, journal_path),
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    n_bytes = 0
    for number in range(n_rounds):
        for name, write in ways.items():
            settings = f"round={number:03d} way={name:20s}"
            shutil.rmtree(journal_path.parent, ignore_errors=True)
            started = time.perf_counter()
            write(settings)
            costs[name].append(1000 * (time.perf_counter() - started) / len(paths))
            if name == "journal":
                n_bytes = journal_path.stat().st_size
    return costs, n_bytes / len(paths)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, nargs="+", default=[10, 5, 3], help="for each number of files")
    parser.add_argument("--folder", type=Path, help="in which a temporary one is made to work in")
    arguments = parser.parse_args()
    if len(arguments.rounds) != len(arguments.files):
        parser.error("--rounds has one number for each of --files")
    medians = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        place = Path(temporary)
        paths = make_small_files(place / "files", max(arguments.files))
        print_machine()
        print(f"files of {statistics.mean(path.stat().st_size for path in paths) / 1000:.0f} kB")
        measure_ways(paths[: min(arguments.files)], 1, place)  # everything is imported, the files have the new fields
        for n_files, n_rounds in zip(arguments.files, arguments.rounds, strict=True):
            costs, n_bytes = measure_ways(paths[:n_files], n_rounds, place)
            medians[n_files] = {name: statistics.median(runs) for name, runs in costs.items()}
            print(f"{n_files} files, {n_rounds} rounds; the journal takes {n_bytes:.0f} bytes a file")
            for name, runs in costs.items():
                print(f"{name:18s}ms a file {describe(runs)}")
            for name in ("tagcli", "journal"):
                print_ratio(f"{name} / mutagen", costs[name], costs["mutagen"])
                print_ratio(f"{name} / floor", costs[name], costs["floor"])
                print_ratio(f"{name} unsynced / {name}", costs[f"{name} unsynced"], costs[name])
    first, last = min(medians), max(medians)
    for name, median in medians[last].items():
        print(f"{f'{name}, a file of {last} / a file of {first}, medians':44s} {median / medians[first][name]:7.2f}")


if __name__ == "__main__":
    main()
