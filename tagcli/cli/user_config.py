"""The user's own defaults for options, from a TOML file."""

import tomllib
from pathlib import Path
from typing import Any

from tagcli.errors import ConfigurationError


def read_user_config(path: Path | None, program: Any) -> dict[str, Any]:
    """Read defaults: one table for each command, one key for each long option.

    Parameters
    ----------
    path
        The file; None for ``config.toml`` in the user's configuration folder, which need not exist.
    program
        The command group, whose commands and options the keys must name.

    Raises
    ------
    ConfigurationError
        When the file cannot be read or names something that there is not.
    """
    if path is None:
        from platformdirs import user_config_path

        path = user_config_path("tagcli") / "config.toml"
        if not path.exists():
            return {}
    try:
        defaults = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read as TOML ({error}); correct it or give another --config."
        raise ConfigurationError(msg, path=path) from error
    return {command: _check_table(path, program, command, table) for command, table in defaults.items()}


def _check_table(path: Path, program: Any, command: str, table: Any) -> dict[str, Any]:
    """Turn a command's option names into the parameter names that the parser looks up."""
    if command not in program.commands or not isinstance(table, dict):
        msg = f"{path}: there is no command {command!r}; use one of {', '.join(program.commands)}."
        raise ConfigurationError(msg, path=path)
    parameters = {
        option.removeprefix("--"): parameter.name
        for parameter in program.commands[command].params
        for option in parameter.opts
        if option.startswith("--")
    }
    unknown = set(table) - set(parameters)
    if unknown:
        msg = f"{path}: {command} has no option {', '.join(sorted(unknown))}; use one of {', '.join(parameters)}."
        raise ConfigurationError(msg, path=path)
    return {parameters[option]: value for option, value in table.items()}
