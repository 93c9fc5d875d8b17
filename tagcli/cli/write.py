"""The command `write`: store the tags of a results file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagcli.cli.options import (
    CommentOption,
    DryRunOption,
    ForOption,
    GenreOption,
    GroupingOption,
    Id3VersionOption,
    MoodOption,
    PreserveTimeOption,
    ResultFormat,
    SidecarOption,
    VocabularyOption,
)
from tagcli.metadata.fields import FieldPolicy, Policies
from tagcli.metadata.players import choose_dialect

if TYPE_CHECKING:
    from tagcli.results import Head
    from tagcli.tag_rules import TagRules


def write(
    ctx: typer.Context,
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS",
            help="What `tagcli predict` wrote as json, jsonl or csv; edited by hand, or made by another program.",
            show_default=False,
            readable=False,
        ),
    ],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0.0, max=1.0, help="Least score of a stored tag.", show_default="0.1"),
    ] = None,
    dry_run: DryRunOption = False,
    genre: GenreOption = FieldPolicy.FILL,
    mood: MoodOption = FieldPolicy.FILL,
    grouping: GroupingOption = FieldPolicy.NEVER,
    comment: CommentOption = FieldPolicy.NEVER,
    for_: ForOption = None,
    id3_version: Id3VersionOption = None,
    vocabulary: VocabularyOption = None,
    preserve_mtime: PreserveTimeOption = False,
    sidecar: SidecarOption = False,
    format_: Annotated[ResultFormat, typer.Option("--format", help="How results are printed.")] = ResultFormat.TABLE,
) -> None:
    """Write the tags of a results file into the tracks that it names: predict, look through a spreadsheet, write.

    A csv file needs the columns path and tag, a json row its path and tags; a tag without a score has 1. Nothing is
    listened to. Which tags are genres and which are moods, --vocabulary tells, or else the vocabulary of the
    model that the file names, or else those of all published models. Relative paths are read from where you are.

    Example: tagcli write tags.csv --dry-run
    """
    from contextlib import ExitStack

    from tagcli.annotate import make_results_policy, store_row
    from tagcli.cli.display import Tally
    from tagcli.cli.journal import warn_of_size
    from tagcli.cli.listing import walk
    from tagcli.cli.output import make_printable, make_writer, open_output
    from tagcli.edited_results import read_edited_results
    from tagcli.journal import Journal, Recorder, default_journal_path
    from tagcli.rows import Row, make_readable
    from tagcli.tag_rules import read_tag_rules

    rules = read_tag_rules(vocabulary) if vocabulary else None
    tally = Tally()
    with ExitStack() as stack:
        read = read_edited_results(results)
        head = read.head
        policy = make_results_policy(
            head,
            results,
            threshold=threshold,
            rules=rules or _find_rules(head),
            policies=Policies(genre=genre, mood=mood, grouping=grouping, comment=comment),
            has_sidecars=sidecar,
            dialect=choose_dialect(for_, new_version=id3_version.number if id3_version else None),
        )
        recorder = None
        if not dry_run:
            journal = stack.enter_context(Journal(default_journal_path()))
            warn_of_size(journal)
            recorder = Recorder(journal, "write", keeps_mtime=preserve_mtime)
        writer = make_writer(format_, stack.enter_context(open_output(None)))
        model = {"name": head.name, "sha256": head.sha256} if head else None
        writer.begin({"model": model, "settings": head.settings if head else {}})

        def handle(row: Row) -> bool:
            stored = store_row(row, policy, recorder=recorder, heard=None)
            tally.add(stored)
            writer.write(stored)
            if stored.message is not None and stored.written is not None:
                typer.echo(make_printable(make_readable(stored.message)), err=True)
            return stored.status == row.status

        def end() -> None:
            summary = tally.summarise(is_interrupted=False)
            writer.end(summary | {"elapsed_seconds": None, "x_real_time": None})
            counts = ", ".join(f"{count} {state}" for state, count in tally.written.items())
            if not ctx.obj:
                typer.echo(f"{counts or 'no tracks'}.", err=True)

        walk(read.rows, handle, end)


def _find_rules(head: "Head | None") -> "TagRules":
    """Say which tags are genres and which are moods, and how they are called in files."""
    from tagcli.errors import WeightsError
    from tagcli.tag_rules import TagRule, TagRules, make_rules
    from tagcli.weights.catalogue import describe_weights
    from tagcli.weights.vocabularies import PUBLISHED, load_vocabulary

    if head is not None:
        try:
            return make_rules(describe_weights(head.name).vocabulary)
        except WeightsError:
            pass  # a model of somebody else's
    by_tag: dict[str, TagRule] = {}
    for name in reversed(PUBLISHED):
        by_tag |= make_rules(load_vocabulary(name)).by_tag
    return TagRules(by_tag=by_tag)
