"""Kill a training again and again, go on each time, and compare its weights with those of one that was let alone.

python benchmarks/resume.py DATASET --kills 10 --epochs 4
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tagcli.checkpoint import load_tensors
from tagcli.training.run_folder import RunFolder


def train(dataset: Path, run: Path, epochs: int, *, resumes: bool) -> subprocess.Popen[bytes]:
    """Start a training that keeps its state after each step."""
    command = [sys.executable, "-m", "tagcli", "-q", "train", str(dataset), "--out", str(run)]
    recipe = ["--epochs", str(epochs), "--set", "optimisation.save_minutes=1e-6"]
    is_more = resumes and (run / "config.toml").is_file()
    return subprocess.Popen(command + (["--resume"] if is_more else recipe), stdout=subprocess.DEVNULL)


def hash_weights(run: Path) -> str:
    """Hash the best weights, and everything that the last state holds of weights and optimizer."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_tensors(run / "best.safetensors").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    state = RunFolder(run).load_state()
    for name, tensor in sorted(state["learner"].items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    for number, moments in sorted(state["optimizer"]["state"].items()):
        for name, tensor in sorted(moments.items()):
            digest.update(f"{number} {name}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        started = time.monotonic()
        if train(options.dataset, whole, options.epochs, resumes=False).wait():
            sys.exit("the uninterrupted training failed")
        seconds = time.monotonic() - started
        n_kills = n_trials = 0
        while True:
            process = train(options.dataset, broken, options.epochs, resumes=True)
            n_trials += 1
            try:
                # the start takes some seconds of which each trial has its own
                code = process.wait(chance.uniform(0, seconds / 2) if n_kills < options.kills else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                n_kills += 1
                continue
            if code:
                sys.exit(f"trial {n_trials} ended with {code}")
            break
        same = hash_weights(whole) == hash_weights(broken)
        lines = [Path(run, "log.jsonl").read_text().count("\n") for run in (whole, broken)]
        print(f"{n_kills} kills, {options.epochs} epochs, {seconds:.0f} s without kills")
        print(
            f"weights and optimizer {'bit-equal' if same else 'DIFFERENT'}; lines of the log {lines[0]} and {lines[1]}"
        )
        sys.exit(not same)


if __name__ == "__main__":
    main()
