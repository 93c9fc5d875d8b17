"""The one loop that learns, whatever it begins with; it yields reports, and keeps its state in the run's folder."""

import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import tee

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tagcli.audio.clips import ClipChoice
from tagcli.checkpoint import CheckpointHeader, save_checkpoint
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.loading import Loaded, load_batches
from tagcli.errors import TrainingError
from tagcli.training.learner import Learner, LearningBatch
from tagcli.training.losses import choose_loss
from tagcli.training.optimisation import make_optimizer, rate_at, set_rate
from tagcli.training.ranks import Ranks
from tagcli.training.recipe import Recipe
from tagcli.training.reports import EpochReport, StepReport, Summary
from tagcli.training.run_folder import RunFolder
from tagcli.training.state import Place, TrainingState, identify
from tagcli.training.steps import Part, Step, StepPlan
from tagcli.training.validation import validate

logger = logging.getLogger(__name__)

_LEAST_GAIN = 1e-9  # of the ROC-AUC: less is rounding
_GPU_STEPS_A_REPORT = 20  # to ask for the loss more often would make a GPU wait


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What is to be learned, and from what.

    Parameters
    ----------
    recipe
        Every number.
    header
        Of the checkpoints to be written.
    train, validation
        The examples, those of them that can be heard; no validation is None.
    plan
        The steps of every epoch.
    taught
        What teachers say of the training examples, as logits [shape=(n_examples, n_tags)]; None where labels are
        learned.
    """

    recipe: Recipe
    header: CheckpointHeader
    train: ExampleAudio
    validation: ExampleAudio | None
    plan: StepPlan
    taught: npt.NDArray[np.float32] | None = None


def train(
    task: TrainingTask, learner: Learner, *, folder: RunFolder, device: torch.device, ranks: Ranks, n_workers: int
) -> Generator[StepReport | EpochReport | Summary, None, None]:
    """Learn until the epochs are over or validation gets no better; goes on from the folder's state if there is one.

    Parameters
    ----------
    task
        What, and from what.
    learner
        What learns, with the weights to begin with, on the device.
    folder
        Where log, state and the best checkpoint go.
    device
        Where the learner is.
    ranks
        The processes that train together.
    n_workers
        Threads that read examples.

    Yields
    ------
    StepReport, EpochReport or Summary
        As it goes, and what came of it.

    Raises
    ------
    TrainingError
        When the loss is not finite any more, nothing can be validated, or a file cannot be written.
    CheckpointError
        When the folder's state is damaged or belongs to another training.
    """
    yield from _Training(task, learner, folder, device, ranks, n_workers).run()


class _Training:
    """One training at work."""

    def __init__(
        self,
        task: TrainingTask,
        learner: Learner,
        folder: RunFolder,
        device: torch.device,
        ranks: Ranks,
        n_workers: int,
    ) -> None:
        self._task, self._learner, self._folder, self._device, self._ranks = task, learner, folder, device, ranks
        self._n_workers = n_workers
        self._recipe = task.recipe
        self._n_steps = task.plan.n_steps
        self._loss = choose_loss(task.recipe, task.train.manifest, task.taught, device)
        self._optimizer = make_optimizer(learner, task.recipe.optimisation, task.recipe.transfer)
        self._precision = choose_precision(self._recipe.optimisation.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._precision is torch.float16)
        audios = [task.train, *([task.validation] if task.validation else [])]
        self._state = TrainingState(
            learner=learner,
            optimizer=self._optimizer,
            scaler=self._scaler,
            place=Place(validations=[]),
            identity=identify([audio.manifest for audio in audios], task.recipe, ranks.n_ranks, task.taught),
        )
        n_bytes = self._state.load(folder) if folder.has_state else 0  # of the log; more was not kept
        self._place = self._state.place
        if ranks.is_first:
            folder.cut_log(n_bytes)
        self._wrapped = ranks.wrap(learner, device)
        self._saved = time.monotonic()

    def run(self) -> Iterator[StepReport | EpochReport | Summary]:
        """Walk through the epochs that are left."""
        place, n_before = self._place, self._place.epoch
        while place.epoch < self._recipe.optimisation.epochs and not self._is_enough():
            started = time.perf_counter()
            times = _Times()
            yield from self._learn(times)
            yield self._end_epoch(started, times)
        yield Summary(
            n_epochs=place.epoch,
            is_new=place.epoch > n_before,
            best_epoch=place.best_epoch,
            roc_auc=place.best_roc_auc,
            pr_auc=place.best_pr_auc,
            n_tags=place.best_n_tags,
        )

    def _is_enough(self) -> bool:
        patience = self._recipe.optimisation.patience
        return 0 < patience <= self._place.epoch - 1 - self._place.best_epoch

    def _learn(self, times: "_Times") -> Iterator[StepReport]:
        """See every example that is left in the epoch once."""
        place = self._place
        self._wrapped.train()
        steps, to_load = tee(self._task.plan.epoch(place.epoch, place.step))
        loaded = load_batches(
            self._task.train,
            (part.requests for step in to_load for part in step.own),
            rule=self._recipe.clip,
            n_workers=self._n_workers,
        )
        steps_a_report = 1 if self._device.type == "cpu" else _GPU_STEPS_A_REPORT
        loss = torch.zeros(
            (), dtype=torch.float64 if self._device.type == "cpu" else torch.float32, device=self._device
        )
        n_clips = 0
        with closing(loaded):
            for step in steps:
                loss += self._step(step, loaded, times)
                n_clips += step.n_examples
                place.step += 1
                is_last = place.step == self._n_steps
                if not (is_last or place.step % steps_a_report == 0):
                    continue
                place.loss_sum += self._ranks.add(loss.clone()).item()
                loss.zero_()
                if not math.isfinite(place.loss_sum):
                    where = self._folder.path
                    msg = f"The loss of {where} is not finite in epoch {place.epoch + 1}; lower its learning rate."
                    raise TrainingError(msg, path=where)
                if time.monotonic() - self._saved > 60 * self._recipe.optimisation.save_minutes and not is_last:
                    self._save()
                mean = place.loss_sum / place.step
                yield StepReport(epoch=place.epoch, step=place.step, n_steps=self._n_steps, loss=mean, n_clips=n_clips)
                times.n_clips += n_clips
                n_clips = 0

    def _step(self, step: Step, loaded: Iterator[Loaded], times: "_Times") -> torch.Tensor:
        """Change the weights once; gives the loss of this process's share."""
        optimisation, place = self._recipe.optimisation, self._place
        progress = place.epoch + (place.step + 0.5) / self._n_steps
        set_rate(self._optimizer, rate_at(progress, optimisation, validations=place.validations))
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(step.own, start=1):
            heard = next(loaded)
            times.waited_seconds += heard.waited_seconds
            times.n_unheard += int((~heard.is_heard).sum())
            batch = self._make_batch(heard, part, step.n_known)
            waits = number < len(step.own) and isinstance(self._wrapped, nn.parallel.DistributedDataParallel)
            with self._wrapped.no_sync() if waits else nullcontext():  # type: ignore[operator]  # of DistributedDataParallel
                with torch.autocast(self._device.type, self._precision, enabled=self._precision is not torch.float32):
                    logits = self._wrapped(batch)
                loss = self._loss(logits, batch)
                self._scaler.scale(loss * self._ranks.n_ranks).backward()  # type: ignore[no-untyped-call]  # as torch
            total += loss.detach()
        if optimisation.max_gradient_norm:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._learner.parameters(), optimisation.max_gradient_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return total

    def _make_batch(self, heard: Loaded, part: Part, n_known: int) -> LearningBatch:
        """Bring a part of a batch to the device."""
        variation = part.variation
        is_heard = heard.is_heard & heard.is_heard[::-1] if part.is_mixed else heard.is_heard
        return LearningBatch(
            waveforms=self._bring(heard.waveforms),
            wanted=self._bring(part.wanted),
            known=self._bring(part.known * is_heard[:, np.newaxis].astype(np.float32)),
            n_known=n_known,
            gains=self._bring(variation.gains),
            mix_shares=self._bring(variation.mix_shares) if part.is_mixed else None,
            band_masks=self._bring(variation.band_masks),
            frame_masks=self._bring(variation.frame_masks),
        )

    def _bring(self, array: npt.NDArray[np.generic]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _end_epoch(self, started: float, times: "_Times") -> EpochReport:
        """Validate, keep what is better, log and save."""
        place, task = self._place, self._task
        began = time.perf_counter()
        validation = validate(
            self._learner,
            task.header,
            task.validation,
            choice=ClipChoice.parse(self._recipe.data.validation_clips),
            ranks=self._ranks,
            n_workers=self._n_workers,
        )
        now = time.perf_counter()
        is_chosen = self._recipe.optimisation.keep == "best" and task.validation is not None
        is_best = not is_chosen or validation.roc_auc > place.best_roc_auc + _LEAST_GAIN
        if is_best:
            place.best_epoch, place.best_roc_auc = place.epoch, validation.roc_auc
            place.best_pr_auc, place.best_n_tags = validation.pr_auc, validation.n_tags
        report = EpochReport(
            epoch=place.epoch,
            loss=place.loss_sum / self._n_steps,
            roc_auc=validation.roc_auc,
            pr_auc=validation.pr_auc,
            n_tags=validation.n_tags,
            n_unheard=times.n_unheard + validation.n_unheard,
            learning_rate=max(group["lr"] for group in self._optimizer.param_groups),
            is_best=is_best,
            seconds=now - started,
            validation_seconds=now - began,
            waited_seconds=times.waited_seconds,
            clips_per_second=times.n_clips / max(began - started, 1e-9),
        )
        place.validations.append(validation.roc_auc)
        place.epoch, place.step, place.loss_sum = place.epoch + 1, 0, 0.0
        if self._ranks.is_first:
            if is_best:
                save_checkpoint(self._folder.best, task.header, self._learner.tensors())
            entry = {key: None if math.isnan(value) else value for key, value in asdict(report).items()}
            self._folder.log(entry)
        self._save()
        return report

    def _save(self) -> None:
        """Keep the state."""
        self._saved = time.monotonic()
        if self._ranks.is_first:
            self._state.save(self._folder)


@dataclass(kw_only=True)
class _Times:
    """What an epoch's time went into."""

    waited_seconds: float = 0.0
    n_clips: int = 0
    n_unheard: int = 0


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Choose the arithmetic: ``auto`` is bfloat16 on a GPU that has it, else float32."""
    if wanted == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
