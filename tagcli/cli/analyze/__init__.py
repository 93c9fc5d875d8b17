"""The command `analyze`: what labels, weights and sounds tell; one file for each analysis."""

import typer

from tagcli.cli.analyze.cooccurrence import cooccurrence
from tagcli.cli.analyze.label_vectors import label_vectors

analyze_app = typer.Typer(no_args_is_help=True, help="Look into labels, weights and sounds as the papers do.")
analyze_app.command("cooccurrence")(cooccurrence)
analyze_app.command("label-vectors")(label_vectors)
