"""Compare what weights cost on a CPU, pair by pair in one run: a clip, and the tracks of a folder.

    python benchmarks/weights.py tagcli-msd50 won2020-msd-fcn --rounds 7

clip     front end and network of one clip of noise, one thread, in the inference form; one process, in turn
tracks   `tagcli predict --format jsonl` over mp3 files of 3 to 5 minutes, with an empty score cache; processes in turn

Every name is compared with the last one, round by round; median and range of the ratios are printed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from harness import (
    Cost,
    describe,
    interleave,
    make_files,
    measure,
    print_costs,
    print_machine,
    print_ratio,
    without_cache,
)

N_CLIPS = 10  # of each round


def time_clips(names: list[str], n_rounds: int) -> dict[str, list[float]]:
    """Time a clip of each model, in milliseconds; the first round is not counted."""
    import torch

    from tagcli.tagger.device import prepare_device
    from tagcli.tagger.module import TaggerModule
    from tagcli.weights.catalogue import find_weights

    prepare_device(torch.device("cpu"))
    torch.set_num_threads(1)
    modules = {name: TaggerModule.from_checkpoint(find_weights(name)) for name in names}
    clips = {name: 0.1 * torch.randn(1, module.header.clip.n_samples) for name, module in modules.items()}
    costs: dict[str, list[float]] = {name: [] for name in names}
    for number in range(n_rounds + 1):
        for name, module in modules.items():
            started = time.perf_counter()
            for _ in range(N_CLIPS):
                module.score(clips[name], with_embeddings=False)
            if number:
                costs[name].append(1000 * (time.perf_counter() - started) / N_CLIPS)
    return costs


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="+", help="weights as --model takes them; the last one is what others are held to"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=20, help="0 for clips only")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one by default")
    options = parser.parse_args()
    print_machine()
    clips = time_clips(options.names, options.rounds)
    for name, values in clips.items():
        print(f"{name:20s} ms a clip {describe(values)}")
    *others, last = options.names
    for name in others:
        print_ratio(f"clip: {name} / {last}", clips[name], clips[last])
    if not options.files:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        seconds = make_files(folder / "music", options.files)
        environment = without_cache(folder / "cache")

        def run(name: str) -> Cost:
            without_cache(folder / "cache")
            command = [sys.executable, "-m", "tagcli", "-q", "predict", "--model", name, "--format", "jsonl"]
            return measure([*command, str(folder / "music")], environment)

        costs = interleave({name: lambda name=name: run(name) for name in options.names}, options.rounds)
    print(f"{options.files} files, {seconds / 60:.0f} min")
    print_costs(costs)
    for name in others:
        for kind in ("wall_seconds", "cpu_seconds"):
            values = [[getattr(cost, kind) for cost in costs[each]] for each in (name, last)]
            print_ratio(f"tracks, {kind}: {name} / {last}", *values)


if __name__ == "__main__":
    main()
