"""The one loop that learns, whatever it begins with; it yields reports, and keeps its state in the run's folder."""

import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice, tee

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tagcli.audio.clips import ClipChoice
from tagcli.checkpoint import CheckpointHeader, save_checkpoint
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.loading import Loaded, load_batches
from tagcli.errors import CheckpointError, TrainingError
from tagcli.evaluation.scoring import score_examples
from tagcli.metrics import average_precision, macro, roc_auc
from tagcli.training.learner import Learner, LearningBatch, masked_loss
from tagcli.training.optimisation import make_optimizer, rate_at, set_rate, weigh_positives
from tagcli.training.ranks import Ranks
from tagcli.training.recipe import Recipe
from tagcli.training.run_folder import RunFolder
from tagcli.training.steps import Part, Step, StepPlan

logger = logging.getLogger(__name__)

_GPU_STEPS_A_REPORT = 20  # to ask for the loss more often would make a GPU wait


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Where an epoch stands.

    Parameters
    ----------
    epoch
        Number of the epoch, from 0.
    step, n_steps
        Steps that are done, of how many.
    loss
        Mean over the steps of the epoch so far.
    n_clips
        Clips learned from since the last report.
    """

    epoch: int
    step: int
    n_steps: int
    loss: float
    n_clips: int


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """How an epoch ended.

    Parameters
    ----------
    epoch
        Its number, from 0.
    loss
        Mean over its steps.
    roc_auc, pr_auc
        Macro, on the validation split; nan without one.
    n_tags
        How many tags these are means over.
    learning_rate
        Of the head, in the last step.
    is_best
        Whether the weights were kept as the best.
    seconds, validation_seconds, waited_seconds
        How long all of it took, the validation in it, and the waiting for clips in it; since the last resumption.
    clips_per_second
        Speed of learning, without the validation.
    """

    epoch: int
    loss: float
    roc_auc: float
    pr_auc: float
    n_tags: int
    learning_rate: float
    is_best: bool
    seconds: float
    validation_seconds: float
    waited_seconds: float
    clips_per_second: float


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is to be learned, and from what.

    Parameters
    ----------
    recipe
        Every number.
    header
        Of the checkpoints to be written.
    train, validation
        The examples, those of them that can be heard; no validation is None.
    fingerprint
        Of the data set: a state is only gone on from with the same.
    """

    recipe: Recipe
    header: CheckpointHeader
    train: ExampleAudio
    validation: ExampleAudio | None
    fingerprint: str


def train(
    lesson: Lesson, learner: Learner, *, folder: RunFolder, device: torch.device, ranks: Ranks, n_workers: int
) -> Generator[StepReport | EpochReport, None, None]:
    """Learn until the epochs are over or validation gets no better; goes on from the folder's state if there is one.

    Parameters
    ----------
    lesson
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
    StepReport or EpochReport
        As it goes.

    Raises
    ------
    TrainingError
        When the loss is not finite any more, nothing can be validated, or a file cannot be written.
    CheckpointError
        When the folder's state is damaged or belongs to another training.
    """
    yield from _Training(lesson, learner, folder, device, ranks, n_workers).run()


@dataclass(kw_only=True)
class _Place:
    """How far a training has come."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    validations: list[float]
    best: float = -math.inf
    best_epoch: int = -1


class _Training:
    """One training at work."""

    def __init__(
        self,
        lesson: Lesson,
        learner: Learner,
        folder: RunFolder,
        device: torch.device,
        ranks: Ranks,
        n_workers: int,
    ) -> None:
        self._lesson, self._learner, self._folder, self._device, self._ranks = lesson, learner, folder, device, ranks
        self._n_workers = n_workers
        self._recipe = lesson.recipe
        manifest, optimisation = lesson.train.manifest, lesson.recipe.optimisation
        self._plan = StepPlan(manifest, lesson.recipe, rank=ranks.rank, n_ranks=ranks.n_ranks)
        self._n_steps = self._plan.n_steps
        positive = weigh_positives(manifest.labels, manifest.known, optimisation)
        self._positive_weights = None if positive is None else positive.to(device)
        self._optimizer = make_optimizer(learner, optimisation, self._recipe.transfer)
        self._precision = choose_precision(self._recipe.optimisation.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._precision is torch.float16)
        self._place = _Place(validations=[])
        if folder.has_state:
            self._load()
        self._wrapped = ranks.wrap(learner, device)
        self._saved = time.monotonic()

    def run(self) -> Iterator[StepReport | EpochReport]:
        """Walk through the epochs that are left."""
        optimisation = self._recipe.optimisation
        while self._place.epoch < optimisation.epochs and not self._is_enough():
            started = time.perf_counter()
            times = _Times()
            yield from self._learn(times)
            yield self._end_epoch(started, times)

    def _is_enough(self) -> bool:
        patience = self._recipe.optimisation.patience
        return 0 < patience <= self._place.epoch - 1 - self._place.best_epoch

    def _learn(self, times: "_Times") -> Iterator[StepReport]:
        """See every example that is left in the epoch once."""
        place = self._place
        self._wrapped.train()
        steps, to_load = tee(islice(self._plan.epoch(place.epoch), place.step, None))
        loaded = load_batches(
            self._lesson.train,
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
        progress = place.epoch + place.step / self._n_steps
        set_rate(self._optimizer, rate_at(progress, optimisation, validations=place.validations))
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(step.own, start=1):
            heard = next(loaded)
            times.waited_seconds += heard.waited_seconds
            batch = self._make_batch(heard, part, step.n_known)
            waits = number < len(step.own) and isinstance(self._wrapped, nn.parallel.DistributedDataParallel)
            with self._wrapped.no_sync() if waits else nullcontext():  # type: ignore[operator]  # of DistributedDataParallel
                with torch.autocast(self._device.type, self._precision, enabled=self._precision is not torch.float32):
                    logits = self._wrapped(batch)
                loss = masked_loss(logits, batch, positive_weights=self._positive_weights)
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
        return LearningBatch(
            waveforms=self._bring(heard.waveforms),
            labels=self._bring(part.labels),
            known=self._bring(part.known * heard.is_heard[:, None].astype(np.float32)),
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
        place, lesson = self._place, self._lesson
        began = time.perf_counter()
        validation = self._validate()
        now = time.perf_counter()
        is_best = lesson.validation is None or validation.roc_auc > place.best
        if is_best:
            place.best, place.best_epoch = validation.roc_auc, place.epoch
        report = EpochReport(
            epoch=place.epoch,
            loss=place.loss_sum / self._n_steps,
            roc_auc=validation.roc_auc,
            pr_auc=validation.pr_auc,
            n_tags=validation.n_tags,
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
                save_checkpoint(self._folder.best, lesson.header, self._learner.tensors())
            entry = {key: None if math.isnan(value) else value for key, value in asdict(report).items()}
            self._folder.log(entry)
        self._save()
        return report

    def _validate(self) -> "_Validation":
        """Score the validation split, each process its share.

        Raises
        ------
        TrainingError
            When no tag has both positives and negatives there.
        """
        audio = self._lesson.validation
        if audio is None:
            return _Validation(roc_auc=math.nan, pr_auc=math.nan, n_tags=0)
        rows = np.arange(self._ranks.rank, len(audio.manifest), self._ranks.n_ranks)
        scores = score_examples(
            self._learner.to_tagger(self._lesson.header),
            audio,
            rows=rows,
            choice=ClipChoice.parse(self._recipe.data.validation_clips),
            n_workers=self._n_workers,
        )
        everything = self._ranks.gather_rows(rows, scores)
        labels, known = audio.manifest.labels, audio.manifest.known & np.isfinite(everything)
        areas = roc_auc(labels, everything, known)
        if not np.isfinite(areas).any():
            msg = (
                f"No tag of {audio.manifest.name} has both positives and negatives to validate by; build other splits."
            )
            raise TrainingError(msg)
        return _Validation(
            roc_auc=macro(areas).value,
            pr_auc=macro(average_precision(labels, everything, known)).value,
            n_tags=macro(areas).n_defined,
        )

    def _save(self) -> None:
        """Keep the state."""
        self._saved = time.monotonic()
        if not self._ranks.is_first:
            return
        self._folder.save_state(
            {
                "place": asdict(self._place),
                "learner": self._learner.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "log_bytes": self._folder.measure_log(),
                "identity": self._identity(),
            }
        )

    def _load(self) -> None:
        """Go on from the state that was kept.

        Raises
        ------
        CheckpointError
            When it is damaged, or belongs to another training.
        """
        state = self._folder.load_state()
        place = self._folder.path
        if state.get("identity") != self._identity():
            msg = f"The state in {place} was made with other data or another recipe; train into another folder."
            raise CheckpointError(msg, path=place)
        try:
            self._learner.load_state_dict(state["learner"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._scaler.load_state_dict(state["scaler"])
            self._place = _Place(**state["place"])
            log_bytes = int(state["log_bytes"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            msg = f"The state in {place} does not fit its recipe ({error}); delete {place} and begin anew."
            raise CheckpointError(msg, path=place) from error
        if self._ranks.is_first:
            self._folder.cut_log(log_bytes)

    def _identity(self) -> str:
        """Tell this training from another one."""
        return f"{self._lesson.fingerprint} {self._recipe!r} {self._ranks.n_ranks}"


@dataclass(kw_only=True)
class _Times:
    """What an epoch's time went into."""

    waited_seconds: float = 0.0
    n_clips: int = 0


@dataclass(frozen=True, kw_only=True)
class _Validation:
    """What the validation split says."""

    roc_auc: float
    pr_auc: float
    n_tags: int


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Choose the arithmetic: ``auto`` is bfloat16 on a GPU that has it, else float32."""
    if wanted == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
