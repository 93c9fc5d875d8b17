"""Measure how much memory `tagcli predict` takes at its highest, beside a program that only imports torch.

    python benchmarks/memory.py --files 40 --short-files 2000 --hours 3 --rounds 5

Each case is a process of its own; its highest resident memory is what the operating system counted.

torch      `import torch`, nothing else (the floor of them all)
tracks     `tagcli predict` on mp3 files of 3 to 5 minutes
middle     the same with --clips middle
long       one mp3 file of some hours
half       half as many short files as the next
short      many files of ten seconds: memory must not grow with their number
"""

import argparse
import sys
import tempfile
from pathlib import Path

from harness import (
    Cost,
    interleave,
    make_checkpoint,
    make_files,
    make_music,
    mark,
    measure,
    print_costs,
    print_machine,
    print_ratio,
    without_cache,
)

SHORT_SECONDS = 10.0
N_DIFFERENT = 20


def make_short_files(folder: Path, n_files: int) -> None:
    """Make many short files: a few sounds, each file with other bytes."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for number in range(n_files):
        path = folder / f"{number:05d}.mp3"
        if number < N_DIFFERENT:
            make_music(path, SHORT_SECONDS, seed=number)
        else:
            path.write_bytes(mark((folder / f"{number % N_DIFFERENT:05d}.mp3").read_bytes(), number))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--short-files", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architecture", choices=("compact", "fcn", "crnn"), default="compact")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        tracks, short, half = (
            place / name
            for name in (
                f"{arguments.files} files",
                f"{arguments.short_files} short files",
                f"{arguments.short_files // 2} short files",
            )
        )
        long = place / f"{arguments.hours:g} hours.mp3"
        make_files(tracks, arguments.files)
        make_short_files(short, arguments.short_files)
        make_short_files(half, arguments.short_files // 2)
        make_music(long, 3600 * arguments.hours, seed=0)
        checkpoint, cache = Path(temporary) / "random.safetensors", Path(temporary) / "cache"
        make_checkpoint(checkpoint, arguments.architecture)

        def predict(path: Path, *options: str) -> Cost:
            command = [sys.executable, "-m", "tagcli", "-q", "predict", "--device", "cpu", "--format", "jsonl"]
            return measure([*command, "--model", str(checkpoint), *options, str(path)], without_cache(cache))

        costs = interleave(
            {
                "torch": lambda: measure([sys.executable, "-c", "import torch"]),
                "tracks": lambda: predict(tracks),
                "middle": lambda: predict(tracks, "--clips", "middle"),
                "long": lambda: predict(long),
                "half": lambda: predict(half),
                "short": lambda: predict(short),
            },
            arguments.rounds,
        )
    print_machine()
    print(
        f"{arguments.files} files, {arguments.short_files} short ones, {arguments.hours:g} h, "
        f"{arguments.architecture}, {arguments.rounds} rounds"
    )
    print_costs(costs)
    peak = {name: [cost.peak_mb for cost in runs] for name, runs in costs.items()}
    for name in ("tracks", "middle", "long", "short"):
        print_ratio(f"{name} / torch, peak memory", peak[name], peak["torch"])
    print_ratio("short / half, peak memory", peak["short"], peak["half"])


if __name__ == "__main__":
    main()
