"""Which form a data set is of: told by what a file begins with, or by what lies in a folder, before any name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagcli.datasets.draft import Draft
from tagcli.datasets.folders import TagField, read_library, read_tag_folders, read_unlabelled
from tagcli.datasets.jamendo import find_siblings, is_jamendo, read_jamendo
from tagcli.datasets.lastfm import read_lastfm
from tagcli.datasets.magnatagatune import (
    ANNOTATIONS,
    find_index,
    is_annotations,
    is_index,
    read_annotations,
    read_index,
)
from tagcli.datasets.manifest_file import COLUMNS, ID_COLUMN, read_manifest
from tagcli.datasets.msd_split import SPLIT_FILES, find_lists, read_msd_split
from tagcli.datasets.records import read_csv, read_json_lines
from tagcli.datasets.text_files import read_start
from tagcli.errors import DatasetError

_SQLITE_MAGIC = b"SQLite format 3\0"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader is told; most of it has a meaning for some forms only.

    Parameters
    ----------
    root
        Folder with the audio; None for what the data set says.
    column_tags
        Tags of the columns of a matrix of labels, where no list of them lies with it.
    from_fields
        Which field of a library's files are the tags.
    wants_labels
        Whether anything is to be the tags.
    labels_column
        Name of a table's column with the tags.
    path_template
        Where the previews of the Million Song Dataset lie.
    threshold
        What the value of a tag of Last.fm must be above.
    split_files
        Lists of the wanted examples.
    """

    root: Path | None = None
    column_tags: tuple[str, ...] | None = None
    from_fields: TagField | None = None
    wants_labels: bool = True
    labels_column: str | None = None
    path_template: str | None = None
    threshold: float | None = None
    split_files: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form.

    Parameters
    ----------
    name
        For people.
    read
        Makes a draft of it.
    options
        Fields of `Reading` that have a meaning for it, of those that not every form has.
    """

    name: str
    read: Callable[[Path, Reading], Draft]
    options: frozenset[str] = frozenset()


_LASTFM = Form(
    name="Last.fm's tags",
    read=lambda path, told: read_lastfm(
        path,
        root=told.root,
        path_template=told.path_template,
        threshold=told.threshold,
        split_files=told.split_files,
    ),
    options=frozenset({"path_template", "threshold"}),
)
_MSD_SPLIT = Form(
    name="a split of the Million Song Dataset",
    read=lambda path, told: read_msd_split(
        path, root=told.root, column_tags=told.column_tags, path_template=told.path_template
    ),
    options=frozenset({"path_template"}),
)
_ANNOTATIONS = Form(
    name="MagnaTagATune",
    read=lambda path, told: read_annotations(path / ANNOTATIONS if path.is_dir() else path, root=told.root),
)
_INDEX = Form(
    name="MagnaTagATune",
    read=lambda path, told: read_index(find_index(path) or path, root=told.root, column_tags=told.column_tags),
)
_JAMENDO = Form(
    name="MTG-Jamendo",
    read=lambda path, told: read_jamendo(find_siblings(path), root=told.root),
)
_MANIFEST = Form(name="a manifest", read=lambda path, told: Draft.of_manifest(read_manifest(path, root=told.root)))
_CSV = Form(
    name="a table",
    read=lambda path, told: read_csv(path, root=told.root, labels_column=told.labels_column),
    options=frozenset({"labels_column"}),
)
_JSON = Form(name="JSON", read=lambda path, told: read_json_lines(path, root=told.root))
_TAG_FOLDERS = Form(name="a folder for each tag", read=lambda path, told: read_tag_folders(path, root=told.root))
_UNLABELLED = Form(name="a folder of audio", read=lambda path, told: read_unlabelled(path, root=told.root))
_LIBRARY = Form(
    name="a library",
    read=lambda path, told: read_library(path, told.from_fields or "genre", root=told.root),
    options=frozenset({"from_fields"}),
)
_OPTIONS = {
    "from_fields": "--from-fields",
    "labels_column": "--labels-column",
    "path_template": "--path-template",
    "threshold": "--threshold",
}


def read_source(path: Path, reading: Reading) -> Draft:
    """Read a data set of whatever form.

    Parameters
    ----------
    path
        File or folder.
    reading
        What the user says of it.

    Raises
    ------
    DatasetError
        When it cannot be read, is of no known form, or is of one for which an option has no meaning.
    """
    form = find_form(path, from_fields=reading.from_fields, wants_labels=reading.wants_labels)
    for field, option in _OPTIONS.items():
        if getattr(reading, field) is not None and field not in form.options:
            msg = f"{path} is {form.name}, for which {option} has no meaning; leave it out."
            raise DatasetError(msg, path=path)
    return form.read(path, reading)


def find_form(path: Path, *, from_fields: TagField | None = None, wants_labels: bool = True) -> Form:
    """Find the form of a data set.

    Of a file decides how it begins: SQLite is Last.fm's tags, ``{`` JSON, and the names of the columns in its first
    line tell manifest, MTG-Jamendo and MagnaTagATune from other tables. Of a folder decides what lies in it: lists such
    as ``test_x_msd_id.txt``, ``annotations_final.csv``, ``index_mtt.tsv``, TSV files of MTG-Jamendo, else sub-folders.

    Parameters
    ----------
    path
        File or folder.
    from_fields
        Given for a library.
    wants_labels
        Whether sub-folders are tags; if not, a folder that nothing else is found in is audio, in whatever order.

    Raises
    ------
    DatasetError
        When it cannot be read, or is of no known form.
    """
    if path.is_dir():
        return _find_form_of_folder(path, from_fields, wants_labels=wants_labels)
    start = read_start(path)
    if start.startswith(_SQLITE_MAGIC):
        return _LASTFM
    if not start.strip():
        msg = f"{path} is empty; give a data set."
        raise DatasetError(msg, path=path)
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].rstrip()
    if first.startswith((b"{", b"[")):
        return _JSON
    if is_jamendo(first):
        return _JAMENDO
    if is_annotations(first):
        return _ANNOTATIONS
    if is_index(first):
        return _INDEX
    names = set(first.decode("utf-8", "replace").split("\t"))
    return _MANIFEST if set(COLUMNS) <= names <= {*COLUMNS, ID_COLUMN} else _CSV


def _find_form_of_folder(folder: Path, from_fields: TagField | None, *, wants_labels: bool) -> Form:
    if from_fields is not None:
        return _LIBRARY
    if any(find_lists(folder, split) for split in SPLIT_FILES):
        return _MSD_SPLIT
    if (folder / ANNOTATIONS).is_file():
        return _ANNOTATIONS
    if find_index(folder) is not None:
        return _INDEX
    files = sorted({*folder.glob("*.tsv"), *folder.glob("*.tsv.gz")})
    sets = {tuple(find_siblings(file)) for file in files if is_jamendo(read_start(file).split(b"\n", 1)[0].rstrip())}
    if len(sets) > 1:
        names = ", ".join(sorted(siblings[0].name for siblings in sets))
        msg = f"{folder} holds more than one set of MTG-Jamendo; name one of its files: {names}."
        raise DatasetError(msg, path=folder)
    if sets:
        ((first, *_),) = sets
        return Form(name=_JAMENDO.name, read=lambda _, told: _JAMENDO.read(first, told))
    return _TAG_FOLDERS if wants_labels else _UNLABELLED
