"""What a step of training costs, against the plain form of the same network, and how long it waits for clips.

    python benchmarks/train.py --rounds 7

plain       the figure of the paper as it stands there: convolution, batch norm, activation, pooling; log-mels are given
front end   waveforms to log-mels, alone
step        a step as `tagcli train` takes it: waveforms, front end, network, loss, gradients, AdamW
bfloat16    the same step with the network in bfloat16

All forms take the same batch, in turn, in one process; ratios are taken within a round against `plain`, and medians and
ranges printed. Then two epochs are trained on generated music, and what part of the time was waited for clips is told.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from harness import print_machine
from torch import Tensor, nn
from torch.nn import functional

from tagcli.datasets.manifest import Manifest
from tagcli.models.convnet import ConvNet
from tagcli.tagger.device import choose_device, prepare_device
from tagcli.training.learner import Learner, LearningBatch
from tagcli.training.losses import label_loss
from tagcli.training.optimisation import make_optimizer
from tagcli.training.recipe import Recipe
from tagcli.training.recipe_document import resolve_recipe
from tagcli.training.session import run_training

N_TAGS = 50


def make_batch(recipe: Recipe, n_clips: int, device: torch.device) -> LearningBatch:
    """Make a batch of noise."""
    generator = torch.Generator().manual_seed(0)
    return LearningBatch(
        waveforms=(0.1 * torch.randn(n_clips, recipe.clip.n_samples, generator=generator)).to(device),
        wanted=(torch.rand(n_clips, N_TAGS, generator=generator) < 0.1).float().to(device),
        known=torch.ones(n_clips, N_TAGS, device=device),
        n_known=n_clips * N_TAGS,
        gains=torch.ones(n_clips, device=device),
        mix_shares=None,
        band_masks=torch.zeros(n_clips, 0, 2, dtype=torch.int64, device=device),
        frame_masks=torch.zeros(n_clips, 0, 2, dtype=torch.int64, device=device),
    )


def make_forms(recipe: Recipe, batch: LearningBatch, device: torch.device) -> dict[str, Callable[[], object]]:
    """Make each form a function without arguments."""
    plain = ConvNet(recipe.model).to(device)
    plain_optimizer = torch.optim.AdamW(plain.parameters())
    learner = Learner(recipe.front_end, recipe.model, recipe.transfer).to(device)
    learner.initialise(0)
    optimizer = make_optimizer(learner, recipe.optimisation, recipe.transfer)
    with torch.no_grad():
        log_mel = learner.front_end(batch.waveforms)

    def run_plain() -> Tensor:
        maps = log_mel.unsqueeze(1)
        for block in plain.blocks:
            maps = block.pool(block.activation(block.norm(block.conv(maps))))
        loss = functional.binary_cross_entropy_with_logits(plain.dense(maps.flatten(1)), batch.wanted)
        plain_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        plain_optimizer.step()
        return loss

    def run_front_end() -> Tensor:
        with torch.no_grad():
            return learner.front_end(batch.waveforms)

    def run_step(*, is_half: bool) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            logits = learner(batch)
        loss = label_loss()(logits, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        return loss

    return {
        "plain": run_plain,
        "front end": run_front_end,
        "step": lambda: run_step(is_half=False),
        "bfloat16": lambda: run_step(is_half=True),
    }


def time_forms(forms: dict[str, Callable[[], object]], n_rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Time the forms in turn, in milliseconds; the first round warms up."""
    costs: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(n_rounds + 1):
        for name, form in forms.items():
            started = time.perf_counter()
            form()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                costs[name].append(1000 * (time.perf_counter() - started))
    return costs


def train_epochs(recipe: Recipe, n_examples: int, n_epochs: int, device_name: str) -> list[dict[str, float]]:
    """Train on generated music; gives the lines of the log."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generator = np.random.default_rng(0)
        for row in range(n_examples):
            music = 0.1 * generator.standard_normal(round(30.5 * recipe.front_end.sample_rate))
            soundfile.write(root / f"{row}.wav", music, recipe.front_end.sample_rate, subtype="PCM_16")
        labels = generator.random((n_examples, N_TAGS)) < 0.3
        names = tuple(f"{row}.wav" for row in range(n_examples))
        manifest = Manifest(
            name="noise",
            root=root,
            tags=tuple(f"tag {column}" for column in range(N_TAGS)),
            paths=names,
            ids=names,
            splits=tuple("validation" if row % 5 == 0 else "train" for row in range(n_examples)),
            artists=names,
            starts_seconds=np.zeros(n_examples),
            durations_seconds=np.full(n_examples, math.nan),
            labels=labels,
            known=np.ones_like(labels),
        )
        document = recipe.to_document()
        document["optimisation"]["epochs"] = n_epochs
        for _ in run_training(
            manifest, document, place="the recipe", folder=root / "run", resumes=False, device_name=device_name
        ):
            pass
        return [json.loads(line) for line in (root / "run" / "log.jsonl").read_text().splitlines()]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--architecture", choices=("compact", "fcn"), default="compact")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--examples", type=int, default=80, help="of the two epochs; 0 for none")
    arguments = parser.parse_args()
    document = {"model": {"architecture": arguments.architecture}, "optimisation": {"batch_size": arguments.batch_size}}
    recipe = resolve_recipe(document, n_tags=N_TAGS, place="the benchmark")
    device = choose_device(arguments.device)
    prepare_device(device)
    print_machine()
    n_clips = arguments.batch_size
    forms = make_forms(recipe, make_batch(recipe, n_clips, device), device)
    costs = time_forms(forms, arguments.rounds, device)
    print(f"{arguments.architecture}, {n_clips} clips of 29 s, {device}, {torch.get_num_threads()} threads")
    print(f"{'form':10s}  ms a clip (range)        ratio to plain (range)   {arguments.rounds} rounds")
    for name, times in costs.items():
        clips = [cost / n_clips for cost in times]
        ratios = [cost / base for cost, base in zip(times, costs["plain"], strict=True)]
        each = f"{statistics.median(clips):7.2f} ({min(clips):.2f} to {max(clips):.2f})"
        print(f"{name:10s}  {each:24s} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if arguments.examples:
        *_, last = train_epochs(recipe, arguments.examples, 2, arguments.device)
        learning = last["seconds"] - last["validation_seconds"]
        share = last["waited_seconds"] / learning
        print(f"second epoch: {last['clips_per_second']:.1f} clips/s, {share:.1%} of it waited for clips")


if __name__ == "__main__":
    main()
