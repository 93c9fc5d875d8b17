"""The program's table of contents, and the one place where errors become sentences and exit codes."""

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tagcli import __version__
from tagcli.cli.analyze import analyze_app
from tagcli.cli.cache import cache_app, errors
from tagcli.cli.clear import clear
from tagcli.cli.dataset import dataset_app
from tagcli.cli.env import env
from tagcli.cli.evaluate import evaluate
from tagcli.cli.finetune import finetune
from tagcli.cli.journal import history, undo, verify
from tagcli.cli.merge import merge
from tagcli.cli.predict import predict
from tagcli.cli.show import show
from tagcli.cli.taggram import taggram
from tagcli.cli.train import train
from tagcli.cli.user_config import read_user_config
from tagcli.cli.weights import weights_app
from tagcli.cli.write import write
from tagcli.errors import ConfigurationError, ExitCode, TagcliError


class _Program(TyperGroup):
    """The commands, with tagcli's own errors told in one sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; its errors become one line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except TagcliError as error:
            typer.secho(f"tagcli: {error.message}", err=True, fg="red")
            raise typer.Exit(_exit_code(error)) from None
        except BrokenPipeError:  # the reader has gone, which is no error of ours
            raise
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            typer.secho(f"tagcli: The system refuses{place}: {error.strerror or error}.", err=True, fg="red")
            raise typer.Exit(ExitCode.ERROR) from None
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


class _Talk(logging.Handler):
    """Says on stderr, wherever that leads at the moment, what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        typer.echo(self.format(record), err=True)


def _exit_code(error: TagcliError) -> ExitCode:
    """Tell wrong usage from an error at work."""
    return ExitCode.USAGE if isinstance(error, ConfigurationError) else ExitCode.ERROR


app = typer.Typer(
    name="tagcli",
    cls=_Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command("predict")(predict)
app.command("taggram")(taggram)
app.command("merge")(merge)
app.command("show")(show)
app.command("write")(write)
app.command("clear")(clear)
app.command("undo")(undo)
app.command("history")(history)
app.command("verify")(verify)
app.command("errors")(errors)
app.add_typer(dataset_app, name="dataset")
app.command("train")(train)
app.command("finetune")(finetune)
app.command("eval")(evaluate)
app.add_typer(analyze_app, name="analyze")
app.add_typer(cache_app, name="cache")
app.add_typer(weights_app, name="weights")
app.command("env")(env)


def _print_version(is_asked: bool) -> None:
    """Print the version and stop."""
    if is_asked:
        typer.echo(f"tagcli {__version__}")
        raise typer.Exit


@app.callback()
def program(
    ctx: typer.Context,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Tell more on stderr; twice for debugging.")
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress, warnings or summary; errors are still told.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Defaults for options (TOML, one table for each command)."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Tag audio collections by listening to them.

    Example: tagcli predict --model won2020-msd-fcn --write ~/Music
    """
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="tagcli: %(message)s", handlers=[_Talk()], force=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    ctx.obj = quiet
    ctx.default_map = read_user_config(config, ctx.command)
