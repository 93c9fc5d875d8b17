"""The command `predict`: tag a collection, print the tags, write them into the files."""

import gc
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import (
    CommentOption,
    DeviceOption,
    DryRunOption,
    ExcludeOption,
    ForOption,
    GenreOption,
    GroupingOption,
    Id3VersionOption,
    JobsOption,
    ModelOption,
    MoodOption,
    PathsArgument,
    PreserveTimeOption,
    ResultFormat,
    ShardOption,
    SidecarOption,
    VocabularyOption,
)
from tagcli.errors import ExitCode
from tagcli.metadata.fields import FieldPolicy, Policies
from tagcli.metadata.players import choose_dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tagcli.annotate import StorePolicy
    from tagcli.audio.clips import ClipChoice
    from tagcli.audio.collection import Shard
    from tagcli.cli.display import Tally
    from tagcli.cli.extras import Extras
    from tagcli.cli.output import ResultWriter
    from tagcli.journal import Recorder
    from tagcli.tagger import Memory, Tagger, TagOptions
    from tagcli.tags import Failure, TrackScores, Vocabulary

logger = logging.getLogger(__name__)


def _parse_clips(text: str) -> "ClipChoice":
    """Read the value of --clips."""
    from tagcli.audio.clips import ClipChoice

    try:
        return ClipChoice.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--clips") from error


def _parse_shard(text: str | None) -> "Shard | None":
    """Read the value of --shard."""
    from tagcli.audio.collection import Shard

    try:
        return None if text is None else Shard.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error


def predict(
    ctx: typer.Context,
    paths: PathsArgument,
    model: ModelOption = None,
    top: Annotated[int, typer.Option("-n", "--top", min=1, help="Number of tags for each track.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1.0,
            help="Least score of a tag.",
            show_default="none for what is printed; the model's own, or 0.1, for what is written",
        ),
    ] = None,
    clips: Annotated[
        str,
        typer.Option("--clips", metavar="all|middle|N", help="Clips to listen to: all, the middle one, or N of them."),
    ] = "all",
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Clips scored at a time.", show_default="1 on a CPU, 64 on a GPU"),
    ] = None,
    jobs: JobsOption = None,
    exclude: ExcludeOption = None,
    shard: ShardOption = None,
    write: Annotated[bool, typer.Option("--write", help="Write the tags into the files.")] = False,
    dry_run: DryRunOption = False,
    genre: GenreOption = FieldPolicy.FILL,
    mood: MoodOption = FieldPolicy.FILL,
    grouping: GroupingOption = FieldPolicy.NEVER,
    comment: CommentOption = FieldPolicy.NEVER,
    vocabulary: VocabularyOption = None,
    for_: ForOption = None,
    id3_version: Id3VersionOption = None,
    preserve_mtime: PreserveTimeOption = False,
    sidecar: SidecarOption = False,
    format_: Annotated[ResultFormat, typer.Option("--format", help="How results are printed.")] = ResultFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Print results into a file.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", metavar="FILE.npz", help="Save the mean embedding of each block, by track."),
    ] = None,
    over_time: Annotated[
        Path | None,
        typer.Option(
            "--over-time",
            metavar="FILE",
            help="Save the scores of each clip as CSV (path, start_seconds, a column for each tag), or, where FILE "
            "ends in .npz, as arrays: scores, tags, and of each clip paths, start_seconds and duration_seconds.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Score every track afresh, and remember nothing of it.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try tracks again that are remembered to have failed.")
    ] = False,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Run the network in half precision, where the device has it; scores differ a little."
        ),
    ] = False,
) -> None:
    """Tag tracks by listening to them.

    Folders are searched for audio of every common format. Nothing is changed unless --write is given: then the tags go
    into fields of tagcli's own, and the genre is filled where it is empty. A file that fails keeps every byte, the
    others are tagged all the same, and the exit code is 3.

    Scores are remembered by the audio bytes of each track: a further run, with other options or after files were
    renamed or their tags edited, does not listen again (see `tagcli cache`).

    Example: tagcli predict --model won2020-msd-fcn --write ~/Music
    """
    choice, share = _parse_clips(clips), _parse_shard(shard)
    from tagcli.audio.collection import find_collection, find_tracks
    from tagcli.audio.quiet import quiet_decoders
    from tagcli.cli.display import Tally

    tracks = list(find_tracks(paths, exclude=exclude or [], shard=share))
    if not tracks:
        find_collection(paths, exclude=exclude or [])  # a share may be empty, a collection not

    from tagcli.cli.output import check_outputs, make_writer, open_output

    check_outputs((output, embeddings, over_time), tracks)

    from tagcli.annotate import NO_RULES, make_policy
    from tagcli.cli.extras import Extras
    from tagcli.cli.journal import warn_of_size
    from tagcli.journal import Journal, Recorder, default_journal_path
    from tagcli.tag_rules import read_tag_rules
    from tagcli.tagger import StageTimes, TagOptions, open_tagger

    tagger = open_tagger(model, device=device)
    header = tagger.header
    options = TagOptions(
        clips=choice,
        n_workers=jobs,
        batch_size=batch_size,
        half=half,
        with_taggram=over_time is not None,
        with_embeddings=embeddings is not None,
    )
    rules = read_tag_rules(vocabulary) if vocabulary else NO_RULES
    if unknown := rules.by_tag.keys() - set(header.vocabulary.tags):
        logger.warning("%s names tags that %s does not have: %s.", vocabulary, header.name, ", ".join(sorted(unknown)))
    policy = make_policy(
        header,
        tagger.sha256,
        clips=str(choice),
        top_n=top,
        threshold=threshold,
        half=half,
        rules=rules,
        policies=Policies(genre=genre, mood=mood, grouping=grouping, comment=comment),
        has_sidecars=sidecar,
        dialect=choose_dialect(for_, new_version=id3_version.number if id3_version else None),
    )
    head = {
        "model": {"name": header.name, "sha256": tagger.sha256},
        "settings": {
            "clips": str(choice),
            "top": top,
            "threshold": threshold or 0.0,
            **({"half": True} if half else {}),
        },
    }
    tally = Tally(n_tracks=len(tracks))
    is_quiet = bool(ctx.obj)
    if model is None and not is_quiet:
        _tell_of_default(header.name)
    with ExitStack() as stack:
        stack.enter_context(quiet_decoders())
        writer = make_writer(format_, stack.enter_context(open_output(output)))
        extras = stack.enter_context(
            Extras.open(
                header.vocabulary,
                clip_seconds=header.clip.n_samples / header.front_end.sample_rate,
                embeddings=embeddings,
                over_time=over_time,
            )
        )
        memory = None if no_cache else _open_memory(stack, tagger, options, retry_failed=retry_failed)
        recorder = None
        if write and not dry_run:
            journal = stack.enter_context(Journal(default_journal_path()))
            warn_of_size(journal)
            recorder = Recorder(journal, "predict", keeps_mtime=preserve_mtime)
        writer.begin(head)
        times = StageTimes()
        is_interrupted = _run(
            lambda: tagger.score(tracks, options, memory=memory, times=times),
            header.vocabulary,
            memory,
            policy if write or dry_run else None,
            recorder,
            top_n=top,
            threshold=threshold or 0.0,
            writer=writer,
            extras=extras,
            tally=tally,
            is_quiet=is_quiet,
        )
        tally.shares = times.shares
        tally.n_recalled = memory.n_recalled if memory else 0
        tally.device = tagger.device_description
        writer.end(tally.summarise(is_interrupted=is_interrupted))
        if not is_quiet:
            from tagcli.cli.display import print_summary

            print_summary(tally, model=header.name, is_interrupted=is_interrupted)
    gc.freeze()  # else the interpreter looks through all of torch once more before it ends
    if is_interrupted:
        from tagcli.cli.interrupts import ignore_from_now_on

        ignore_from_now_on()
        raise typer.Exit(ExitCode.INTERRUPTED)
    if tally.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _tell_of_default(name: str) -> None:
    """Say which weights are used where none are named, and how others are had."""
    from tagcli.weights.catalogue import FIRST_PULL

    others = f"others: `tagcli weights pull {FIRST_PULL}`, then --model {FIRST_PULL}"
    typer.echo(f"Tagging with {name}, which comes with tagcli ({others}).", err=True)


def _open_memory(stack: ExitStack, tagger: "Tagger", options: "TagOptions", *, retry_failed: bool) -> "Memory | None":
    """Open the cache; a run goes on without one that cannot be used, and says so."""
    from tagcli.errors import StoreError
    from tagcli.store import Store, default_store_path

    try:
        store = stack.enter_context(Store(default_store_path()))
        return tagger.remember(store, options, retries_failures=retry_failed)
    except StoreError as error:
        logger.warning("%s This run goes on without it.", error)
        return None


def _run(
    score: "Callable[[], Generator[TrackScores | Failure]]",
    vocabulary: "Vocabulary",
    memory: "Memory | None",
    policy: "StorePolicy | None",
    recorder: "Recorder | None",
    *,
    top_n: int,
    threshold: float,
    writer: "ResultWriter",
    extras: "Extras",
    tally: "Tally",
    is_quiet: bool,
) -> bool:
    """Pass every track through; True when Ctrl-C ended it early."""
    from contextlib import closing

    from tagcli.annotate import store_row
    from tagcli.cli.display import Progress
    from tagcli.cli.interrupts import Interrupts
    from tagcli.cli.output import make_printable
    from tagcli.rows import Status, make_readable, make_row
    from tagcli.tags import TrackScores

    progress = Progress(tally, is_shown=not is_quiet)
    interrupts = Interrupts()
    try:
        with interrupts.watch(), closing(score()) as results:
            for result in results:
                with interrupts.held():
                    row = make_row(result, vocabulary, top_n=top_n, thresholds=threshold)
                    if policy is not None:
                        row = store_row(
                            row,
                            policy,
                            recorder=recorder,
                            heard=result.identity if isinstance(result, TrackScores) else None,
                            on_written=memory.note_change if memory else None,
                        )
                    tally.add(row)
                    with progress.aside():
                        writer.write(row)
                        if is_quiet and row.status is Status.FAILED:
                            typer.echo(make_printable(make_readable(row.message or "")), err=True)
                    extras.add(result)
                    progress.advance()
    except KeyboardInterrupt:
        return True
    finally:
        progress.close()
    return False
