"""The command `analyze`: what can be learned from labels, weights and sounds; one file for each analysis."""

import typer

from tagcli.cli.analyze.cooccurrence import cooccurrence
from tagcli.cli.analyze.frequency_profile import frequency_profile
from tagcli.cli.analyze.groundtruth import groundtruth_app
from tagcli.cli.analyze.histogram import histogram
from tagcli.cli.analyze.label_vectors import label_vectors
from tagcli.cli.analyze.reliability import reliability
from tagcli.cli.analyze.tag_noise import tag_noise

analyze_app = typer.Typer(no_args_is_help=True, help="Look into labels, weights and sounds as the papers do.")
analyze_app.command("cooccurrence")(cooccurrence)
analyze_app.command("label-vectors")(label_vectors)
analyze_app.add_typer(groundtruth_app, name="groundtruth")
analyze_app.command("reliability")(reliability)
analyze_app.command("tag-noise")(tag_noise)
analyze_app.command("histogram")(histogram)
analyze_app.command("frequency-profile")(frequency_profile)
