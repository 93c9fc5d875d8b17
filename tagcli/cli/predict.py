"""The command `predict`: tag a collection, print the tags, write them into the files."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import DeviceOption, ExcludeOption, JobsOption, ModelOption, PathsArgument, ResultFormat
from tagcli.errors import CollectionError, ExitCode
from tagcli.metadata.fields import GenrePolicy

if TYPE_CHECKING:
    from tagcli.annotate import StorePolicy
    from tagcli.audio.clips import ClipChoice
    from tagcli.cli.display import Tally
    from tagcli.cli.extras import Extras
    from tagcli.cli.output import ResultWriter
    from tagcli.tagger import Tagger, TagOptions


def _parse_clips(text: str) -> "ClipChoice":
    """Read the value of --clips."""
    from tagcli.audio.clips import ClipChoice

    try:
        return ClipChoice.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--clips") from error


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
    write: Annotated[bool, typer.Option("--write", help="Write the tags into the files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what --write would do, and touch nothing.")] = False,
    genre: Annotated[
        GenrePolicy, typer.Option("--genre", help="Whether the genre field is filled when empty, or otherwise changed.")
    ] = GenrePolicy.FILL,
    format_: Annotated[ResultFormat, typer.Option("--format", help="How results are printed.")] = ResultFormat.TABLE,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Print results into a file.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", metavar="FILE.npz", help="Save the mean embedding of each block, by track."),
    ] = None,
    over_time: Annotated[
        Path | None, typer.Option("--over-time", metavar="FILE", help="Save the scores of each clip as CSV.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Score every track afresh; this version always does.")
    ] = False,
) -> None:
    """Tag tracks by listening to them.

    Folders are searched for audio of every common format. Nothing is changed unless --write is given: then the tags go
    into fields of tagcli's own, and the genre is filled where it is empty. A file that fails keeps every byte, the
    others are tagged all the same, and the exit code is 3.

    Example: tagcli predict --model won2020-msd-fcn --write ~/Music
    """
    choice = _parse_clips(clips)
    from tagcli.audio.collection import find_tracks
    from tagcli.audio.quiet import quiet_decoders
    from tagcli.cli.display import Tally

    tracks = list(find_tracks(paths, exclude=exclude or []))
    if not tracks:
        places = ", ".join(str(path) for path in paths)
        msg = f"No audio was found in {places}; give files, or folders with audio in them."
        raise CollectionError(msg)

    from tagcli.cli.output import check_outputs, make_writer, open_output

    check_outputs((output, embeddings, over_time), tracks)

    from tagcli.annotate import make_policy
    from tagcli.cli.extras import Extras
    from tagcli.tagger import TagOptions, describe_device, load_tagger

    tagger = load_tagger(model, device=device)
    header = tagger.header
    options = TagOptions(
        clips=choice,
        n_workers=jobs,
        batch_size=batch_size,
        with_taggram=over_time is not None,
        with_embeddings=embeddings is not None,
    )
    policy = make_policy(
        header, tagger.sha256, clips=str(choice), top_n=top, threshold=threshold, genre=genre, is_dry_run=dry_run
    )
    head = {
        "model": {"name": header.name, "sha256": tagger.sha256},
        "settings": {"clips": str(choice), "top": top, "threshold": threshold or 0.0, "device": tagger.device.type},
    }
    tally = Tally(n_tracks=len(tracks))
    is_quiet = bool(ctx.obj)
    with ExitStack() as stack:
        stack.enter_context(quiet_decoders())
        writer = make_writer(format_, stack.enter_context(open_output(output)))
        extras = stack.enter_context(Extras.open(header.vocabulary, embeddings=embeddings, over_time=over_time))
        writer.begin(head)
        is_interrupted = _run(
            tagger,
            tracks,
            options,
            policy if write or dry_run else None,
            top_n=top,
            threshold=threshold or 0.0,
            writer=writer,
            extras=extras,
            tally=tally,
            is_quiet=is_quiet,
        )
        writer.end(tally.summarise(is_interrupted=is_interrupted))
        if not is_quiet:
            from tagcli.cli.display import print_summary

            print_summary(
                tally, model=header.name, device=describe_device(tagger.device), is_interrupted=is_interrupted
            )
    if is_interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if tally.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _run(
    tagger: "Tagger",
    tracks: list[Path],
    options: "TagOptions",
    policy: "StorePolicy | None",
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
    from tagcli.rows import make_row
    from tagcli.tags import TrackScores

    progress = Progress(tally, is_shown=not is_quiet)
    interrupts = Interrupts()
    try:
        with interrupts.watch(), closing(tagger.score(tracks, options)) as results:
            for result in results:
                with interrupts.held():
                    row = make_row(result, tagger.header.vocabulary, top_n=top_n, thresholds=threshold)
                    if policy is not None:
                        row = store_row(row, policy, heard=result.identity if isinstance(result, TrackScores) else None)
                    tally.add(row)
                    with progress.aside():
                        writer.write(row)
                    extras.add(result)
                    progress.advance()
    except KeyboardInterrupt:
        return True
    finally:
        progress.close()
    return False
