"""The verbs of the hft command, and how each ends."""

import errno
import logging
import os
import shutil
import sys
from typing import Any

import structlog
import typer
from typer import rich_utils
from typer.exceptions import TyperException

from cli import (
    audit,
    backtest,
    calibrate,
    demo,
    doctor,
    evop,
    halts,
    kill,
    ledger,
    models,
    pairs,
    pipeline,
    positions,
    reconcile,
    replay,
    run,
    statement,
    status,
    tape,
    trace,
)
from cli.console import WIDTH_MAX, stderr
from cli.errors import Failed, told
from serving.runtime import logs
from serving.runtime.settings import load_settings

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
app.add_typer(pairs.app, name="pairs")
app.add_typer(pipeline.app, name="pipeline")
app.command("calibrate")(calibrate.calibrate)
app.command("backtest")(backtest.backtest)
app.command("replay")(replay.replay)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("kill")(kill.kill)
app.command("reset-kill")(kill.reset_kill)
app.command("flatten")(halts.flatten)
app.add_typer(halts.app, name="pair")
app.add_typer(evop.app, name="evop")
app.add_typer(models.app, name="models")
app.command("trace")(trace.trace)
app.command("positions")(positions.positions)
app.command("statement")(statement.statement)
app.command("reconcile")(reconcile.reconcile)
app.add_typer(ledger.app, name="ledger")
app.command("audit")(audit.audit)
app.command("doctor")(doctor.doctor)


@app.callback()
def settle(context: typer.Context) -> None:
    """Read the settings once, before any verb, and send logs to stderr.

    Stdout is the verb's answer alone.
    """
    settings = load_settings()
    structlog.configure(
        processors=logs.processors(settings, programs=False),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(settings.log_level)
        ),
        logger_factory=lambda *names: structlog.PrintLogger(sys.stderr),
    )
    context.obj = settings


def run_verb(arguments: list[str]) -> int:
    """Run one verb; an expected failure is one sentence on stderr and its exit code."""
    rich_utils.MAX_WIDTH = min(WIDTH_MAX, shutil.get_terminal_size().columns)
    try:
        code = app(arguments, prog_name="hft", standalone_mode=False)
        if code == _INTERRUPT:
            raise KeyboardInterrupt
        return int(code or 0)
    except TyperException as error:
        return _say(_usage(error, arguments), int(getattr(error, "exit_code", 2)))
    except typer.Abort as error:
        raise KeyboardInterrupt from error
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


def _usage(error: Any, arguments: list[str]) -> str:
    """What is wrong with the arguments, with the value, and where to read how it goes."""
    said = " ".join(error.format_message().split()).rstrip(".")
    options = getattr(getattr(error, "param", None), "opts", ())
    given = [value for name, value in zip(arguments, arguments[1:]) if name in options]
    was = f", was {given[-1]!r}" if given and given[-1] not in said else ""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "hft"
    return f"{said}{was}: see `{command} --help`"


def _os_sentence(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return _disk_full(where)
    said = f"{error.strerror or error}{where}"
    if error.errno in _DENIED:
        return f"{said}: name a folder that this user may write, with HFT_HOME or --out"
    return said


def _disk_full(where: str = "") -> str:
    return f"the disk is full{where}: free some space, or set HFT_HOME or --out to another disk"


def _expected(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit code of a failure that users can cause, by the name of its type."""
    for kind in type(error).__mro__:
        code = _EXPECTED.get(f"{kind.__module__}.{kind.__name__}")
        if code is not None:
            return _first_line(error), code
    return None


def _first_line(error: Exception) -> str:
    """What happened, without the statement and the links that a database adds to it."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in _DISK:
        return _os_sentence(error.__cause__)
    if "disk is full" in str(error):
        return _disk_full()
    said = told(error).partition("[SQL:")[0].partition("(Background on")[0]
    return " ".join(said.split()) or type(error).__name__


_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_DISK = (errno.ENOSPC, *_DENIED)
# By name: importing MLflow and its database layer for this would cost every verb three seconds.
_EXPECTED = {
    "serving.runtime.settings.SettingsError": 2,
    "hft_lib.market.tape_manifest.DataError": 2,
    "hft_lib.fitting.result.FitRefused": 2,
    "serving.runtime.journal.JournalError": 2,
    "serving.runtime.opening.RunError": 2,
    "serving.runtime.opening.NotThisLine": 3,
    "serving.runtime.kept_words.Unreadable": 1,
    "serving.runtime.audit.Unwritable": 1,
    "serving.runtime.embedded.Diverged": 1,
    "serving.runtime.chain.Diverged": 1,
    "serving.runtime.chained.BusError": 1,
    "cimpl.KafkaException": 1,
    "serving.ledger.database.LedgerError": 1,
    "hft_lib.lineage.version.RegistryError": 1,
    "mlflow.exceptions.MlflowException": 1,
    "sqlalchemy.exc.OperationalError": 1,
    "sqlalchemy.exc.DatabaseError": 1,
    "sqlite3.Error": 1,
    "builtins.MemoryError": 1,
}
