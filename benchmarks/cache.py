"""Measure what is saved by remembering: a collection that was heard before, read from the score cache.

    python benchmarks/cache.py --rows 100000 --files 10 --rounds 5

Two collections, each case a process of its own, in turn:

Many files that hold nothing, whose scores this script puts into the cache itself:

walk       the collection is searched for files, nothing else (the floor of the next)
recall     `tagcli predict --format jsonl`: nobody touched a file
top        the same with --top 3 --threshold 0.2 --format csv

Some mp3 files of 3 to 5 minutes:

fresh      `tagcli predict` with an empty cache
moved      after every file got another name: its bytes are read once, nothing is decoded
again      nobody touched a file
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import (
    Cost,
    interleave,
    make_checkpoint,
    make_files,
    measure,
    print_costs,
    print_machine,
    print_ratio,
    without_cache,
)

FILES_IN_A_FOLDER = 1000
WALK = "import sys; from tagcli.audio.collection import find_tracks; print(sum(1 for _ in find_tracks(sys.argv[1:])))"


def fill(folder: Path, store_path: Path, checkpoint: Path, n_rows: int) -> None:
    """Make a collection, and a cache that knows it."""
    import hashlib
    import os

    import numpy as np

    from tagcli.files import FileIdentity
    from tagcli.store import Store, StoredResult
    from tagcli.tagger import TagOptions, open_tagger

    generator = np.random.default_rng(0)
    with Store(store_path) as store:
        memory = open_tagger(checkpoint, device="cpu").remember(store, TagOptions())
        for number in range(n_rows):
            path = folder / f"{number // FILES_IN_A_FOLDER:04d}" / f"{number:06d} a track of some name.mp3"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            scores = generator.random(50, dtype=np.float32)
            store.keep(
                hashlib.sha256(path.name.encode()).hexdigest(),
                memory.settings_number,
                StoredResult(scores=scores.tobytes(), n_clips=9, duration_seconds=240.0),
                path=os.fsencode(path),
                identity=FileIdentity.from_status(path.stat()),
            )


def rename_all(folder: Path) -> None:
    """Give every file another name."""
    for path in sorted(folder.iterdir()):
        path.rename(path.with_name(f"x{path.name}"))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where music is made and kept; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "random.safetensors"
        make_checkpoint(checkpoint, "compact")
        many, cache, small_cache = (Path(temporary) / name for name in ("many", "cache", "small cache"))
        fill(many, cache / "tagcli" / "scores.sqlite3", checkpoint, arguments.rows)
        make_files((arguments.folder or Path(temporary)) / f"{arguments.files} files", arguments.files)
        some = Path(temporary) / "some"
        some.mkdir()
        for path in ((arguments.folder or Path(temporary)) / f"{arguments.files} files").iterdir():
            (some / path.name).write_bytes(path.read_bytes())

        def predict(folder: Path, *options: str) -> list[str]:
            common = (sys.executable, "-m", "tagcli", "-q", "predict", "--device", "cpu", "--model", str(checkpoint))
            return [*common, *options, str(folder)]

        def recall(*options: str) -> Callable[[], Cost]:
            return lambda: measure(predict(many, *options), {"XDG_CACHE_HOME": str(cache)})

        def moved() -> Cost:
            rename_all(some)
            return measure(predict(some), {"XDG_CACHE_HOME": str(small_cache)})

        costs = interleave(
            {
                "walk": lambda: measure([sys.executable, "-c", WALK, str(many)]),
                "recall": recall("--format", "jsonl"),
                "top": recall("--top", "3", "--threshold", "0.2", "--format", "csv"),
                "fresh": lambda: measure(predict(some), without_cache(small_cache)),
                "moved": moved,
                "again": lambda: measure(predict(some), {"XDG_CACHE_HOME": str(small_cache)}),
            },
            arguments.rounds,
        )
        size = (cache / "tagcli" / "scores.sqlite3").stat().st_size
    print_machine()
    print(f"{arguments.rows} rows ({size / 1e6:.0f} MB), {arguments.files} files, {arguments.rounds} rounds")
    print_costs(costs)
    wall = {name: [cost.wall_seconds for cost in runs] for name, runs in costs.items()}
    print_ratio("recall / walk, wall", wall["recall"], wall["walk"])
    print_ratio("fresh / moved, wall", wall["fresh"], wall["moved"])
    print_ratio("fresh / again, wall", wall["fresh"], wall["again"])


if __name__ == "__main__":
    main()
