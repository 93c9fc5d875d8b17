"""What a training hears, and what it is to say of it: waveforms out of the cache, and labels or lessons."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagcli.audio.clips import ClipChoice
from tagcli.datasets.audio import DecodedAudio, ExampleAudio, ResampledAudio
from tagcli.datasets.clip_cache import ClipCache
from tagcli.datasets.clip_filling import CachePlan, CacheProgress, build_cache, plan_cache
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import order_splits
from tagcli.errors import TrainingError
from tagcli.training.lesson_plan import LessonPlan
from tagcli.training.lessons import LessonProgress, Lessons, hear_examples, prepare_lessons
from tagcli.training.ranks import Ranks
from tagcli.training.recipe import Recipe
from tagcli.training.steps import count_steps
from tagcli.training.teachers import Scores, Teachers, find_top
from tagcli.training.validation import check_labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What is learned from.

    Parameters
    ----------
    train, validation
        What is heard, as far as it can be; no validation is None.
    taught
        What teachers say of each training example, as logits [shape=(n_examples, n_tags)]; None where labels are
        learned.
    learned
        The examples of the data set that training ones are, or are made of.
    manifest
        The data set, with the best tags of the teachers as labels of what is validated by.
    missing
        Why others cannot be heard.
    """

    train: ExampleAudio
    validation: ExampleAudio | None
    taught: npt.NDArray[np.float32] | None
    learned: Manifest
    manifest: Manifest
    missing: list[str]


def gather_material(
    manifest: Manifest, recipe: Recipe, teachers: Teachers | None, *, ranks: Ranks, n_workers: int
) -> Generator[CachePlan | CacheProgress | LessonProgress, None, Material]:
    """Decode what is not in the cache, have teachers hear what they have not heard, and open it all.

    Parameters
    ----------
    manifest
        The data set.
    recipe
        Which splits, and how they are heard.
    teachers
        Who says what is to be learned; None for the labels.
    ranks
        The processes that train together; the first one on each machine does the work.
    n_workers
        Threads.

    Raises
    ------
    TrainingError
        When nothing can be heard, or there is nothing to learn or to validate by.
    """
    if teachers is None and not manifest.tags:
        msg = f"{manifest.name} has no tags; --teacher names weights that say what there is to be learned."
        raise TrainingError(msg)
    chosen = manifest.select(*recipe.data.train, *recipe.data.validation)
    own_rate = recipe.front_end.sample_rate
    sample_rate = max(own_rate, teachers.sample_rate) if teachers else own_rate
    if recipe.data.cache == "waveforms":
        if ranks.local_rank == 0:  # each machine has a cache of its own
            yield from _fill_cache(chosen, recipe, sample_rate, n_workers)
        ranks.wait()
    train, missing = _open_audio(chosen.select(*recipe.data.train), recipe, sample_rate)
    validation = None
    if recipe.data.validation:
        validation, more = _open_audio(chosen.select(*recipe.data.validation), recipe, sample_rate)
        missing += more
    if teachers is None:
        if validation is not None:
            check_labels(validation.manifest)
        return Material(
            train=train,
            validation=validation,
            taught=None,
            learned=train.manifest,
            manifest=manifest,
            missing=missing,
        )
    assert isinstance(train, ClipCache)  # the recipe sees to it
    plan = LessonPlan(
        train,
        manifest,
        teachers,
        recipe.teaching,
        seed=recipe.optimisation.seed,
        clip=recipe.clip,
        sample_rate=own_rate,
    )
    count_steps(plan.manifest, recipe, n_ranks=ranks.n_ranks)  # what cannot begin is not prepared for
    if isinstance(validation, ClipCache):
        choice = ClipChoice.parse(recipe.data.validation_clips)
        if ranks.local_rank == 0:
            yield from hear_examples(validation, plan, choice, n_workers=n_workers)
        ranks.wait()
        said = yield from hear_examples(validation, plan, choice, n_workers=n_workers)
        manifest = _add_labels(manifest, validation.manifest, said)
        validation, _ = _open_audio(manifest.select(*recipe.data.validation), recipe, sample_rate)
        check_labels(validation.manifest)
    if ranks.local_rank == 0:
        yield from prepare_lessons(plan, n_workers=n_workers)
    ranks.wait()
    lessons = Lessons(plan, n_workers=n_workers)
    return Material(
        train=lessons,
        validation=None if validation is None else ResampledAudio(validation, own_rate),
        taught=lessons.logits,
        learned=train.manifest,
        manifest=manifest,
        missing=missing,
    )


def _add_labels(manifest: Manifest, heard: Manifest, logits: Scores) -> Manifest:
    """Give examples the best tags of their teachers as labels, as far as these could hear them."""
    row_of_id = {id_: row for row, id_ in enumerate(manifest.ids)}
    is_heard = np.isfinite(logits).all(axis=1)
    rows = [row_of_id[heard.ids[row]] for row in np.flatnonzero(is_heard).tolist()]
    labels, known = manifest.labels.copy(), manifest.known.copy()
    labels[rows], known[rows] = find_top(logits[is_heard]), True
    return replace(manifest, labels=labels, known=known)


def _fill_cache(
    manifest: Manifest, recipe: Recipe, sample_rate: int, n_workers: int
) -> Generator[CachePlan | CacheProgress, None, None]:
    """Decode what is not in the cache yet."""
    plan = plan_cache(manifest, sample_rate=sample_rate, max_seconds=recipe.data.cache_seconds)
    yield plan
    yield from build_cache(plan, n_workers=n_workers)


def _open_audio(manifest: Manifest, recipe: Recipe, sample_rate: int) -> tuple[ClipCache | DecodedAudio, list[str]]:
    """Open the examples that can be heard; also why the others cannot.

    Raises
    ------
    TrainingError
        When none can.
    """
    seconds = recipe.data.cache_seconds
    if recipe.data.cache == "waveforms":
        missing = dict(ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds).missing)
    else:
        missing = {row: why for row in range(len(manifest)) if (why := _look(manifest.locate(row))) is not None}
    reasons = list(missing.values())
    if len(missing) == len(manifest):
        where = " and ".join(order_splits(manifest.splits))
        why = reasons[0].rstrip(".")
        msg = f"No example of {manifest.name} in {where} can be heard ({why}); give --audio, or look by dataset check."
        raise TrainingError(msg)
    if missing:
        manifest = manifest.take([row for row in range(len(manifest)) if row not in missing])
    if recipe.data.cache == "waveforms":
        return ClipCache(manifest, sample_rate=sample_rate, max_seconds=seconds), reasons
    return DecodedAudio(manifest, sample_rate=sample_rate, max_seconds=seconds), reasons


def _look(path: Path) -> str | None:
    """Say why a file cannot be heard, as far as a look at it tells."""
    try:
        return None if path.stat().st_size else f"{path} is empty"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
