"""Print docs/cli.md, the reference of every command: `python docs/generate_cli.py > docs/cli.md`.

What it prints is the help of the program itself, without colours and of a fixed width; a test compares the two.
"""

import os
from collections.abc import Iterator
from typing import Any

os.environ["TYPER_USE_RICH"] = "0"  # before typer is imported

import typer.main

from tagcli.cli import app

WIDTH = 110
INTRODUCTION = """\
# Command line reference

Made by `python docs/generate_cli.py > docs/cli.md` from the help of each command.
"""


def walk_commands(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help of a command, then those of its commands, in the order of the program."""
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )
    yield context.command_path, command.get_help(context)
    for child, child_command in getattr(command, "commands", {}).items():
        yield from walk_commands(child_command, child, context)


def main() -> None:
    """Print the reference."""
    print(INTRODUCTION)
    sections = [
        f"## {name}\n\n```text\n{help_}\n```" for name, help_ in walk_commands(typer.main.get_command(app), "tagcli")
    ]
    print("\n\n".join(sections))


if __name__ == "__main__":
    main()
