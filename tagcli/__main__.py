"""Run the program by ``python -m tagcli``."""

from tagcli.cli import app

app(prog_name="tagcli")
