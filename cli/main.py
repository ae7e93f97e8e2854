"""The hft command: verbs, and how each ends. Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 refused by a rule."""

import errno
import os
import sys

import typer
from typer.exceptions import TyperException

from cli import calibrate, demo, doctor, evop, models, replay, run, tape, trace
from cli.console import stderr
from cli.errors import Failed
from serving.runtime.settings import load_settings

INTERRUPTED = "interrupted: what was whole is kept, nothing half-written is taken for it"
_INTERRUPT = 130  # how typer says that Ctrl-C ended a verb

app = typer.Typer(
    help="Statistical arbitrage on crypto pairs, from a notebook to capital.\n\n"
    "Begin with `hft demo`: it makes a market, fits the models, runs champion and challengers, "
    "and opens a report of what was decided and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo.demo)
app.add_typer(tape.app, name="tape")
app.command("calibrate")(calibrate.calibrate)
app.command("replay")(replay.replay)
app.command("run")(run.run)
app.add_typer(evop.app, name="evop")
app.add_typer(models.app, name="models")
app.command("trace")(trace.trace)
app.command("doctor")(doctor.doctor)


@app.callback()
def settle(context: typer.Context) -> None:
    """Read the settings once, before any verb."""
    context.obj = load_settings()


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one verb; an expected failure is one sentence on stderr and its exit code."""
    try:
        code = app(arguments, prog_name="hft", standalone_mode=False)
        return _say(INTERRUPTED, 1) if code == _INTERRUPT else int(code or 0)
    except TyperException as error:  # bad usage, with its own help
        error.show()  # type: ignore[attr-defined]
        return int(getattr(error, "exit_code", 2))
    except (KeyboardInterrupt, typer.Abort):
        return _say(INTERRUPTED, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Failed as error:
        return _say(str(error), error.exit_code)
    except OSError as error:
        return _say(_os_sentence(error), 1)
    except Exception as error:
        sentence = _expected(error)
        if sentence is None:
            raise
        return _say(*sentence)


def _say(sentence: str, code: int) -> int:
    stderr.print(f"hft: {sentence}", markup=False, soft_wrap=True)
    return code


def _os_sentence(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}: free some space, or set HFT_HOME or --out to another disk"
    return f"{error.strerror or error}{where}"


def _expected(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit code of a failure that users can cause, by the name of its type."""
    for kind in type(error).__mro__:
        code = _EXPECTED.get(f"{kind.__module__}.{kind.__name__}")
        if code is not None:
            return " ".join(str(error).split()), code
    return None


# By name: importing MLflow and its database layer for this would cost every verb three seconds.
_EXPECTED = {
    "serving.runtime.settings.SettingsError": 2,
    "hft_lib.market.tape_manifest.DataError": 2,
    "hft_lib.fitting.result.FitRefused": 2,
    "serving.runtime.journal.JournalError": 2,
    "serving.runtime.embedded.Diverged": 1,
    "hft_lib.lineage.version.RegistryError": 1,
    "mlflow.exceptions.MlflowException": 1,
    "sqlalchemy.exc.OperationalError": 1,
}
