"""Data sets: one reader for each published form, one manifest for all of them."""

from collections.abc import Sequence
from pathlib import Path

from tagcli.datasets.choice import EVERY_TAG, TagChoice, choose_tags
from tagcli.datasets.folders import TagField
from tagcli.datasets.forms import Reading, read_source
from tagcli.datasets.manifest import Manifest
from tagcli.datasets.splits import apply_split_files

__all__ = ["Manifest", "TagChoice", "open_dataset"]


def open_dataset(
    source: Path,
    *,
    root: Path | None = None,
    choice: TagChoice = EVERY_TAG,
    from_fields: TagField | None = None,
    wants_labels: bool = True,
    labels_column: str | None = None,
    path_template: str | None = None,
    threshold: float | None = None,
    split_files: Sequence[Path] = (),
) -> Manifest:
    """Read a data set, whatever its form.

    Parameters
    ----------
    source
        A manifest, or what `tagcli dataset build` makes one of: see `forms.find_form`.
    root
        Folder that the audio is in, in place of what the data set says.
    choice
        Which of its tags.
    from_fields
        The field whose values are the tags, for a music library.
    wants_labels
        Whether the tags are wanted. If not, a folder of audio may be of any order: all of it is taken.
    labels_column
        Name of the column with the tags, for a table that calls it otherwise.
    path_template
        Where previews of the Million Song Dataset lie: see `msd_ids.make_paths`.
    threshold
        Value that a tag of Last.fm's must be above; None for `lastfm.DEFAULT_THRESHOLD`.
    split_files
        Lists of the examples of each split: see `splits.apply_split_files`.

    Raises
    ------
    DatasetError
        When it cannot be read, is of no known form, or does not have what is asked for.
    """
    reading = Reading(
        root=root,
        column_tags=choice.tags,
        from_fields=from_fields,
        wants_labels=wants_labels,
        labels_column=labels_column,
        path_template=path_template,
        threshold=threshold,
        split_files=split_files,
    )
    draft = read_source(source, reading)
    if split_files:
        draft = apply_split_files(draft, split_files)
    return choose_tags(draft, choice).to_manifest()
