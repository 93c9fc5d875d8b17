"""Time the evaluation of stored scores: point values, and the intervals of a bootstrap, beside scikit-learn in one run.

    python benchmarks/evaluate.py --labels test_y.npy --replicates 1000 --rounds 3

Labels are those of a npy file [shape=(n_examples, n_tags)], or random ones as frequent as the tags of the Million Song
Dataset; scores are noise that leans towards the labels. scikit-learn computes roc_auc_score and average_precision_score
tag by tag and over all cells on a few replicates of the same draws; its time for all of them is extrapolated. Each of
both runs in a process of its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from harness import describe, print_machine

N_BASELINE = 3  # replicates that scikit-learn computes in each round


def make_table(labels_path: str, n_examples: int, n_tags: int) -> tuple[np.ndarray, np.ndarray]:
    """Read or draw labels, and make scores of them."""
    generator = np.random.default_rng(0)
    if labels_path:
        labels = np.load(labels_path, allow_pickle=False).astype(bool)
    else:
        labels = generator.random((n_examples, n_tags)) < np.geomspace(0.15, 0.003, n_tags)
    scores = generator.normal(size=labels.shape) + generator.uniform(0.5, 2.5, labels.shape[1]) * labels
    return labels, (1 / (1 + np.exp(3 - scores))).astype(np.float32)


def run_part(part: str, labels_path: str, n_examples: int, n_tags: int, n_replicates: int) -> dict[str, float]:
    """Do one part in this process; seconds and megabytes."""
    labels, scores = make_table(labels_path, n_examples, n_tags)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    if part == "points":
        from tagcli.metrics import measure

        value = measure(labels, scores).roc_auc.mean()
    elif part == "bootstrap":
        from tagcli.metrics import bootstrap, interval, mean_over_tags

        value = interval(mean_over_tags(bootstrap(labels, scores, n_replicates=n_replicates, seed=0).roc_auc)).low
    else:
        from sklearn.metrics import average_precision_score, roc_auc_score

        generator = np.random.default_rng(0)
        value = 0.0
        started = time.perf_counter()
        for _ in range(n_replicates):
            rows = generator.integers(len(labels), size=len(labels))
            drawn, drawn_scores = labels[rows], scores[rows]
            for measure in (roc_auc_score, average_precision_score):
                for tag in range(labels.shape[1]):
                    value += measure(drawn[:, tag], drawn_scores[:, tag])
                value += measure(drawn.ravel(), drawn_scores.ravel())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak, "before_mb": before, "value": float(value)}


def main() -> None:
    """Time them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", default="", help="npy file of labels")
    parser.add_argument("--examples", type=int, default=28_540)
    parser.add_argument("--tags", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    labels_path = str(Path(options.labels).resolve()) if options.labels else ""
    if options.part:
        print(json.dumps(run_part(options.part, labels_path, options.examples, options.tags, options.replicates)))
        return
    print_machine()
    costs: dict[str, list[dict[str, float]]] = {"points": [], "bootstrap": [], "scikit-learn": []}
    for _ in range(options.rounds):
        for part, found in costs.items():
            n_replicates = N_BASELINE if part == "scikit-learn" else options.replicates
            command = [sys.executable, __file__, "--part", part, "--labels", labels_path]
            command += ["--examples", str(options.examples), "--tags", str(options.tags)]
            command += ["--replicates", str(n_replicates)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ.copy())
            found.append(json.loads(done.stdout))
    for part, found in costs.items():
        seconds, peak = [run["seconds"] for run in found], max(run["peak_mb"] for run in found)
        print(f"{part:14s} s {describe(seconds)}   peak {peak:.0f} MB")
    ratios = [
        slow["seconds"] / N_BASELINE * options.replicates / fast["seconds"]
        for slow, fast in zip(costs["scikit-learn"], costs["bootstrap"], strict=True)
    ]
    print(f"scikit-learn for {options.replicates} replicates / bootstrap {describe(ratios)}")


if __name__ == "__main__":
    main()
