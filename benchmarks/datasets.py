"""Measure how long `tagcli dataset` takes, and how much memory at its highest, on sets as large as the real ones.

    python benchmarks/datasets.py --rows 200000 --tracks 500000 --pairs 8000000 --msd DIR

Each case is a process of its own, from its start to its end. What the sets hold is drawn at random, with tags as
unequally frequent as real ones; files of audio are as small as they can be, so that what is measured is the work on
the set.

numpy      `import numpy`, nothing else (the floor of them all)
msd        `dataset info` on a folder of MSD's split files, when --msd names one
build      `dataset build` of a CSV: the 50 most frequent tags, splits without a common artist
info       `dataset info` on the manifest
check      `dataset check --no-decode` on it: every file is looked for and hashed
lastfm     `dataset build` of a SQLite file of the shape of Last.fm's: the 50 most frequent tags above 50
lastfm/4   the same of a file of a quarter of its size: memory must not grow faster than the set
"""

import argparse
import csv
import io
import sqlite3
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from harness import Cost, interleave, measure, print_costs, print_machine, print_ratio

N_TAGS = 500
N_LASTFM_TAGS = 500_000
TAGS_OF_A_ROW = 3
ROWS_OF_AN_ARTIST = 7
FILES_IN_A_FOLDER = 1000
BLOCK = 100_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def draw_tags(generator: np.random.Generator, n_tags: int, n_drawn: int) -> np.ndarray:
    """Draw tags of which the k-th is k times rarer than the first [shape=(n_drawn,)]."""
    return np.minimum(np.exp(generator.uniform(0, np.log(n_tags), n_drawn)).astype(np.int64), n_tags - 1)


def make_table(folder: Path, n_rows: int) -> Path:
    """Make a CSV and its files, unless they are there."""
    table = folder / "tracks.csv"
    if table.exists():
        return table
    generator = np.random.default_rng(0)
    audio = io.BytesIO()
    with wave.open(audio, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16))
    silence = audio.getvalue()
    tags = draw_tags(generator, N_TAGS, n_rows * TAGS_OF_A_ROW).reshape(n_rows, TAGS_OF_A_ROW)
    artists = generator.integers(0, n_rows // ROWS_OF_AN_ARTIST, n_rows)
    with table.with_suffix(".tmp").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "artist", "tags"])
        for row in range(n_rows):
            path = f"audio/{row // FILES_IN_A_FOLDER:03d}/{row:06d}.wav"
            if row % FILES_IN_A_FOLDER == 0:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(silence[:-4] + row.to_bytes(4, "little"))
            writer.writerow([path, f"artist {artists[row]}", "|".join(f"tag {tag}" for tag in set(tags[row].tolist()))])
    table.with_suffix(".tmp").replace(table)
    return table


def name_track(number: int) -> str:
    """Make an identifier of a track."""
    letters = "".join(LETTERS[number // 26**place % 26] for place in range(5))
    return f"TR{letters}{number:011X}"


def make_lastfm(path: Path, n_tracks: int, n_pairs: int) -> Path:
    """Make a SQLite file of the shape of Last.fm's, unless it is there."""
    if path.exists():
        return path
    generator = np.random.default_rng(0)
    n_tags = min(N_LASTFM_TAGS, n_tracks)

    def draw_pairs() -> Iterator[tuple[int, int, float]]:
        for start in range(0, n_pairs, BLOCK):
            n_drawn = min(BLOCK, n_pairs - start)
            tracks = generator.integers(1, n_tracks + 1, n_drawn)
            values = generator.integers(0, 101, n_drawn).astype(np.float64)
            tags = draw_tags(generator, n_tags, n_drawn)
            yield from zip(tracks.tolist(), tags.tolist(), values.tolist(), strict=True)

    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with closing(sqlite3.connect(temporary)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE tids (tid TEXT)")
        database.execute("CREATE TABLE tags (tag TEXT)")
        database.execute("CREATE TABLE tid_tag (tid INT, tag INT, val FLOAT)")
        database.executemany("INSERT INTO tids VALUES (?)", ((name_track(number),) for number in range(n_tracks)))
        database.executemany("INSERT INTO tags VALUES (?)", ((f"tag {number}",) for number in range(n_tags)))
        database.executemany("INSERT INTO tid_tag VALUES (?, ?, ?)", draw_pairs())
        database.commit()
    temporary.replace(path)
    return path


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--tracks", type=int, default=500_000)
    parser.add_argument("--pairs", type=int, default=8_000_000)
    parser.add_argument("--msd", type=Path, help="a folder of MSD's split files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the sets are made and kept; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{arguments.rows} rows").mkdir(exist_ok=True)
        table = make_table(place / f"{arguments.rows} rows", arguments.rows)
        lastfm, quarter = (
            make_lastfm(
                place / f"{arguments.tracks // part} tracks {arguments.pairs // part} pairs.db",
                arguments.tracks // part,
                arguments.pairs // part,
            )
            for part in (1, 4)
        )
        manifest = table.with_name("manifest.tsv")

        def dataset(*words: str | Path) -> Cost:
            return measure([sys.executable, "-m", "tagcli", "-q", "dataset", *map(str, words)])

        most_frequent = ("--top", "50", "--tagged-only")

        def build(source: Path, name: str) -> Cost:
            return dataset("build", source, "-o", place / name, *most_frequent, "--split", "none")

        cases = {
            "numpy": lambda: measure([sys.executable, "-c", "import numpy"]),
            "build": lambda: dataset("build", table, "-o", manifest, "--top", "50"),
            "info": lambda: dataset("info", manifest),
            "check": lambda: dataset("check", manifest, "--no-decode"),
            "lastfm": lambda: build(lastfm, "lastfm.tsv"),
            "lastfm/4": lambda: build(quarter, "quarter.tsv"),
        }
        if arguments.msd is not None:
            cases["msd"] = lambda: dataset("info", arguments.msd)
        costs = interleave(cases, arguments.rounds)
    print_machine()
    print(
        f"{arguments.rows} rows with their files, {arguments.tracks} tracks and {arguments.pairs} pairs in SQLite, "
        f"{arguments.rounds} rounds"
    )
    print_costs(costs)
    peak = {name: [cost.peak_mb for cost in runs] for name, runs in costs.items()}
    print_ratio("lastfm / lastfm/4, peak memory", peak["lastfm"], peak["lastfm/4"])


if __name__ == "__main__":
    main()
