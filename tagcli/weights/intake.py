"""How weights get here: pulled from where they were published, imported from a file that the user has, or made here."""

import tempfile
from pathlib import Path

from tagcli.checkpoint import Provenance, save_checkpoint
from tagcli.errors import WeightsError
from tagcli.weights.catalogue import unknown_name
from tagcli.weights.download import Progress, fetch, sha256_of
from tagcli.weights.entries import CATALOGUE, CatalogueEntry
from tagcli.weights.importers import convert
from tagcli.weights.places import SUFFIX, bundled_checkpoints, cached_place, published_checkpoint, weights_folder
from tagcli.weights.vocabularies import load_vocabulary


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """Fetch published weights into the weights folder; what is there already is not fetched again.

    Parameters
    ----------
    name
        A name of the catalogue.
    progress
        Called with the bytes that are here and the bytes that are to come in all.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    WeightsError
        When the name is unknown or may only be imported, the file cannot be had, or its bytes are not those that were
        pinned.
    CheckpointError
        When the checkpoint cannot be written.
    """
    bundled = bundled_checkpoints()
    if name in bundled:
        return bundled[name]
    entry = CATALOGUE.get(name)
    if entry is None:
        raise unknown_name(name, CATALOGUE)
    here = published_checkpoint(entry)
    if here is not None:
        return here
    if entry.url is None:
        msg = (
            f"{name} was published without a licence, so tagcli does not fetch it; get the file from its authors and "
            f"run `{entry.how_to_get}`."
        )
        raise WeightsError(msg)
    with tempfile.TemporaryDirectory(prefix="tagcli-") as folder:
        source = fetch(entry, Path(folder), progress=progress)
        return _store(source, entry, _make_place(entry))


def import_weights(source: Path, *, name: str | None = None, output: Path | None = None) -> Path:
    """Make a checkpoint of a file that the user has.

    A published file is recognised by its SHA-256. Another training of the same layout is taken as what `name` says,
    and goes to `output` only: under a catalogue name lies nothing but the published weights.

    Parameters
    ----------
    source
        The foreign file.
    name
        The catalogue name whose layout the file has; needless for a published file.
    output
        The ``.safetensors`` file to write; the weights folder when None.

    Returns
    -------
    Path
        The checkpoint.

    Raises
    ------
    WeightsError
        When the file is not recognised, or is not what `name` says.
    CheckpointError
        When the file is not of that layout, or the checkpoint cannot be written.
    """
    if name is not None and name not in CATALOGUE:
        raise unknown_name(name, CATALOGUE)
    if output is not None:
        _check_suffix(output)
    sha256 = sha256_of(source)
    published = next((entry for entry in CATALOGUE.values() if sha256 in {entry.sha256, entry.twin_sha256}), None)
    if published is not None:
        if name not in {None, published.name}:
            msg = f"{source} is {published.name} by its SHA-256, not {name}; leave `--as` away."
            raise WeightsError(msg, path=source)
        if output is not None and _catalogue_name(output) not in {None, published.name}:
            msg = f"{output} is the place of other weights than {published.name}; leave `--output` away."
            raise WeightsError(msg, path=output)
        return _store(source, published, output or _make_place(published))
    if source.suffix == SUFFIX:
        msg = f"{source} looks like a checkpoint already, which needs no import; give `--model {source}`."
        raise WeightsError(msg, path=source)
    if name is None:
        msg = (
            f"{source} is none of the published files that tagcli knows (its SHA-256 is {sha256}); say which of them "
            "it is another training of, with `--as NAME --output FILE.safetensors`."
        )
        raise WeightsError(msg, path=source)
    entry = CATALOGUE[name]
    if output is None or _catalogue_name(output) is not None:
        msg = (
            f"{source} is not the published file of {name} (its SHA-256 is {sha256} in place of {entry.sha256}); "
            "as another training it needs a name of its own, with `--output FILE.safetensors`."
        )
        raise WeightsError(msg, path=source)
    provenance = Provenance(
        source=source.name,
        source_sha256=sha256,
        licence="unknown",
        citation=entry.citation,
        training_data=f"unknown; the layout is that of {name}",
    )
    return _write(source, entry, output.stem, provenance, output)


def place_own(name: str, output: Path | None) -> Path:
    """Say where a checkpoint goes that tagcli makes, before the work begins: its folder is there then.

    Parameters
    ----------
    name
        What it is called in the weights folder.
    output
        Where the user wants it; None for the weights folder.

    Raises
    ------
    WeightsError
        When that is the place of published weights or of another file, has another ending, or no folder.
    """
    if output is None and Path(name).name != name:
        msg = f"{name!r} cannot be the name of a file; say where the checkpoint goes with `--output`."
        raise WeightsError(msg)
    target = cached_place(name) if output is None else output
    _check_suffix(target)
    owner = _catalogue_name(target)
    if owner is not None:
        msg = f"{target} is the place of the published weights {owner}; give another name with `--output`."
        raise WeightsError(msg, path=target)
    if target.exists():
        msg = f"{target} is there, and is not written over; give another name with `--output`, or move it away."
        raise WeightsError(msg, path=target)
    if output is None:
        _make_weights_folder()
    elif not output.parent.is_dir():
        msg = f"There is no folder {output.parent} to write {output.name} into; create it, or give another path."
        raise WeightsError(msg, path=output)
    return target


def _check_suffix(output: Path) -> None:
    if output.suffix != SUFFIX:
        msg = f"A checkpoint ends in {SUFFIX}, which {output} does not; give `--output {output.stem}{SUFFIX}`."
        raise WeightsError(msg, path=output)


def _catalogue_name(output: Path) -> str | None:
    """Say whose place in the weights folder a path is, None if nobody's."""
    return next((name for name in CATALOGUE if cached_place(name).resolve() == output.resolve()), None)


def _make_place(entry: CatalogueEntry) -> Path:
    _make_weights_folder()
    return cached_place(entry.name)


def _make_weights_folder() -> None:
    folder = weights_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"The weights folder {folder} cannot be created ({error.strerror}); check its parent folder."
        raise WeightsError(msg, path=folder) from error


def _store(source: Path, entry: CatalogueEntry, target: Path) -> Path:
    return _write(source, entry, entry.name, entry.provenance, target)


def _write(source: Path, entry: CatalogueEntry, name: str, provenance: Provenance, target: Path) -> Path:
    header, tensors = convert(
        source, entry.importer, name=name, vocabulary=load_vocabulary(entry.vocabulary), provenance=provenance
    )
    save_checkpoint(target, header, tensors)
    return target
