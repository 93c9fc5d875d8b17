"""Train on all folds of a data set but one, judge by that one, and so on in turn, with several seeds.

    python benchmarks/cross_validation.py DATASET OUT --seeds 3 [--from NAME] [--config FILE.toml] [--judge OTHER]

DATASET has folds (`tagcli dataset build --folds 5`), with no artist in two of them. Nothing is chosen by the fold that
judges: training takes a fixed number of epochs, and the last weights. OUT gets a file of scores for each seed, of every
example by weights that have not seen its artist, and `mean.npz`, their mean over the seeds; `tagcli eval` takes them,
alone or compared. With teachers in the recipe, DATASET needs no labels (`--unlabelled`). OTHER is a data set with music
of the same artists, such as labelled parts of it: its examples are scored, too, each by weights that have not heard its
artist, into files that end with its name; those of other artists are left out. A run that was ended goes on where it
was; OUT/settings.json tells what it is of, and another data set, recipe or source wants another OUT.
"""

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tagcli.artists import artist_key
from tagcli.audio.clips import ClipChoice
from tagcli.datasets import Manifest, open_dataset
from tagcli.datasets.audio import DecodedAudio
from tagcli.datasets.splits import order_splits
from tagcli.evaluation import SystemScores, read_scores, write_scores
from tagcli.evaluation.scoring import score_examples
from tagcli.tagger.module import TaggerModule
from tagcli.training.beginning import FINETUNE_DEFAULTS
from tagcli.training.recipe_document import read_document
from tagcli.training.reports import EpochReport
from tagcli.training.session import run_training
from tagcli.weights.catalogue import find_weights


def train_fold(
    manifest: Manifest, fold: str, run: Path, recipe: dict, source: Path | None, n_jobs: int
) -> TaggerModule:
    """Train on the other folds."""
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
    return module.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def find_judged(manifest: Manifest, judged: Manifest, fold: str) -> list[int]:
    """Find the examples of a data set that are of a fold, or of its artists."""
    if judged is manifest:
        return [row for row, split in enumerate(manifest.splits) if split == fold]
    artists = {artist_key(artist) for artist in manifest.select(fold).artists} - {""}
    return [row for row, artist in enumerate(judged.artists) if artist_key(artist) in artists]


def score_all(
    manifest: Manifest, all_judged: list[Manifest], run: str, recipe: dict, source: Path | None, n_jobs: int
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Score every example of each data set by weights that have not learned from its artist; also what is scored."""
    scores, tags = [], ()
    for fold in order_splits(manifest.splits):
        module = train_fold(manifest, fold, Path(f"{run}-{fold}"), recipe, source, n_jobs)
        tags, rate = module.header.vocabulary.tags, module.header.front_end.sample_rate
        scores = scores or [np.full((len(judged), len(tags)), np.nan, dtype=np.float32) for judged in all_judged]
        for own, judged in zip(scores, all_judged, strict=True):
            rows = find_judged(manifest, judged, fold)
            audio = DecodedAudio(judged.take(rows), sample_rate=rate)
            own[rows] = score_examples(module, audio, choice=ClipChoice(), n_workers=n_jobs)
    return scores, tags


def describe_settings(manifest: Manifest, all_judged: dict[str, Manifest], recipe: dict, source: Path | None) -> dict:
    """Tell what every run is made of, apart from its seed and fold."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source else None
    others = {end: judged.fingerprint for end, judged in all_judged.items() if judged is not manifest}
    return {
        "dataset": manifest.fingerprint,
        "recipe": recipe,
        "source": digest,
        **({"judged": others} if others else {}),
    }


def claim_folder(out: Path, settings: dict) -> None:
    """Keep what the runs of a folder are made of, and refuse a folder of other ones."""
    path = out / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True, default=str)
    out.mkdir(parents=True, exist_ok=True)
    is_ours = path.read_text() == text if path.is_file() else not any(out.glob("seed-*"))
    if not is_ours:
        sys.exit(f"{out} holds runs with another data set, recipe or source than these; give another OUT or delete it")
    path.write_text(text)


def save(path: Path, system: SystemScores) -> None:
    """Write scores, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        write_scores(system, file)
    temporary.replace(path)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--from", dest="source")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--judge", type=Path, action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    manifest = open_dataset(arguments.dataset, root=arguments.audio)
    ends = [f"-{path.stem}" for path in arguments.judge]
    if len(set(ends)) < len(ends):
        sys.exit("two data sets of --judge have the same name, as their scores would; rename one of them")
    all_judged = {"": manifest, **{end: open_dataset(path) for end, path in zip(ends, arguments.judge, strict=True)}}
    if len(order_splits(manifest.splits)) < 2:
        sys.exit(f"{arguments.dataset} has no folds; build them with `tagcli dataset build --folds 5`")
    recipe = read_document(arguments.config) if arguments.config else {}
    source = find_weights(arguments.source) if arguments.source else None
    for name, preset in FINETUNE_DEFAULTS.items() if source else ():
        recipe[name] = {**preset, **recipe.get(name, {})}
    claim_folder(arguments.out, describe_settings(manifest, all_judged, recipe, source))
    for seed in range(arguments.seeds):
        paths = [arguments.out / f"seed-{seed}{end}.npz" for end in all_judged]
        if not all(path.is_file() for path in paths):
            seeded = {**recipe, "optimisation": {**recipe.get("optimisation", {}), "seed": seed}}
            run = f"{arguments.out}/seed-{seed}"
            every, tags = score_all(manifest, list(all_judged.values()), run, seeded, source, arguments.jobs)
            for path, judged, scores in zip(paths, all_judged.values(), every, strict=True):
                save(path, SystemScores(name=path.stem, tags=tags, ids=judged.ids, scores=scores))
            for fold in order_splits(manifest.splits):
                shutil.rmtree(f"{run}-{fold}")
    for end, place in zip(all_judged, [arguments.dataset, *arguments.judge], strict=True):
        every = [read_scores(arguments.out / f"seed-{seed}{end}.npz") for seed in range(arguments.seeds)]
        path = arguments.out / f"mean{end}.npz"
        save(path, replace(every[0], name=path.stem, scores=np.mean([system.scores for system in every], axis=0)))
        print(f"now: tagcli eval - {place} --scores {path}")


if __name__ == "__main__":
    main()
