"""The command `env`: what this installation consists of."""

import json
import platform
import sys

import typer

from tagcli import __version__
from tagcli.cli.options import ListFormat, ListFormatOption

_PACKAGES = ("torch", "numpy", "av", "soundfile", "soxr", "librosa", "mutagen", "safetensors", "h5py", "typer", "rich")


def env(
    format_: ListFormatOption = ListFormat.TABLE,
) -> None:
    """Print versions, device and folders: what a bug report needs.

    Example: tagcli env
    """
    from importlib.metadata import PackageNotFoundError, version

    from platformdirs import user_config_path

    from tagcli.store import default_store_path
    from tagcli.tagger.device import choose_device, describe_device
    from tagcli.weights.places import weights_folder

    facts = {
        "tagcli": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "missing"
    facts["device"] = describe_device(choose_device("auto"))
    facts["weights folder"] = str(weights_folder())
    facts["cache"] = str(default_store_path())
    facts["config file"] = str(user_config_path("tagcli") / "config.toml")
    if format_ is ListFormat.JSON:
        typer.echo(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            typer.echo(f"{name:<15} {value}")
