"""Train on all folds of a data set but one, judge by that one, and so on in turn, with several seeds.

    python benchmarks/cross_validation.py DATASET OUT --seeds 3 [--from NAME] [--config FILE.toml]

DATASET has folds (`tagcli dataset build --folds 5`), with no artist in two of them. Nothing is chosen by the fold that
judges: training takes a fixed number of epochs, and the last weights. OUT gets a file of scores for each seed, of every
example by weights that have not seen its artist, and `mean.npz`, their mean over the seeds; `tagcli eval` takes them,
alone or compared. A run that was ended goes on where it was; OUT/settings.json tells what it is of, and another data
set, recipe or source wants another OUT.
"""

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from tagcli.audio.clips import ClipChoice
from tagcli.datasets import Manifest, open_dataset
from tagcli.datasets.audio import DecodedAudio
from tagcli.datasets.splits import order_splits
from tagcli.evaluation import SystemScores, write_scores
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import FINETUNE_DEFAULTS
from tagcli.training.recipe_document import read_document
from tagcli.training.reports import EpochReport
from tagcli.training.session import run_training
from tagcli.weights.catalogue import find_weights


def score_fold(manifest: Manifest, fold: str, run: Path, recipe: dict, source: Path | None, n_jobs: int) -> np.ndarray:
    """Train on the other folds and score this one [shape=(n_examples, n_tags)]."""
    others = [name for name in order_splits(manifest.splits) if name != fold]
    document = {**recipe, "data": {**recipe.get("data", {}), "train": others, "validation": []}}
    for report in run_training(
        manifest,
        document,
        place="the recipe",
        folder=run,
        resumes=True,
        device_name="auto",
        source=source,
        keeps_worse=True,
        n_workers=n_jobs,
    ):
        if isinstance(report, EpochReport) and report.epoch % 5 == 4:
            print(f"{run.name}: epoch {report.epoch + 1}, loss {report.loss:.4f}, {report.seconds:.1f} s", flush=True)
    module = TaggerModule.from_checkpoint(run / "best.safetensors")
    held_out = manifest.select(fold)
    audio = DecodedAudio(held_out, sample_rate=module.header.front_end.sample_rate)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return score_examples(module.to(device), audio, choice=ClipChoice(), n_workers=n_jobs)


def describe_settings(manifest: Manifest, recipe: dict, source: Path | None) -> dict:
    """Tell what every run is made of, apart from its seed and fold."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source else None
    return {"dataset": manifest.fingerprint, "recipe": recipe, "source": digest}


def claim_folder(out: Path, settings: dict) -> None:
    """Keep what the runs of a folder are made of, and refuse a folder of other ones."""
    path = out / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True, default=str)
    out.mkdir(parents=True, exist_ok=True)
    is_ours = path.read_text() == text if path.is_file() else not any(out.glob("seed-*"))
    if not is_ours:
        sys.exit(f"{out} holds runs with another data set, recipe or source than these; give another OUT or delete it")
    path.write_text(text)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--from", dest="source")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    manifest = open_dataset(arguments.dataset, root=arguments.audio)
    folds = order_splits(manifest.splits)
    if len(folds) < 2:
        sys.exit(f"{arguments.dataset} has no folds; build them with `tagcli dataset build --folds 5`")
    recipe = read_document(arguments.config) if arguments.config else {}
    source = find_weights(arguments.source) if arguments.source else None
    for name, preset in FINETUNE_DEFAULTS.items() if source else ():
        recipe[name] = {**preset, **recipe.get(name, {})}
    claim_folder(arguments.out, describe_settings(manifest, recipe, source))
    every = []
    for seed in range(arguments.seeds):
        path = arguments.out / f"seed-{seed}.npy"
        if not path.is_file():
            scores = np.full(manifest.labels.shape, np.nan, dtype=np.float32)
            seeded = {**recipe, "optimisation": {**recipe.get("optimisation", {}), "seed": seed}}
            for fold in folds:
                run = arguments.out / f"seed-{seed}-{fold}"
                rows = [row for row, split in enumerate(manifest.splits) if split == fold]
                scores[rows] = score_fold(manifest, fold, run, seeded, source, arguments.jobs)
            np.save(path, scores)
            for run in arguments.out.glob(f"seed-{seed}-*"):
                shutil.rmtree(run)
        every.append(np.load(path))
    named = {f"seed-{seed}": scores for seed, scores in enumerate(every)}
    for name, scores in {**named, "mean": np.mean(every, axis=0)}.items():
        with (arguments.out / f"{name}.npz").open("wb") as file:
            write_scores(SystemScores(name=name, tags=manifest.tags, ids=manifest.ids, scores=scores), file)
    print(f"now: tagcli eval - {arguments.dataset} --scores {arguments.out / 'mean.npz'}")


if __name__ == "__main__":
    main()
