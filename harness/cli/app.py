"""The entry point: commands, exit codes and signals.

0 ok · 1 a bug · 2 usage or data, nothing written · 3 finished but not every sample was answered · 4 the machine ·
5 a server does not answer · 130 and 143 signals. After 4, 5, 130 and 143 the last line is the command that resumes.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import typer

from harness import __version__
from harness.cli import advising, benching, creating, data, execution, judging, labelling, reading, running, scoring
from harness.cli.terminal import echo
from harness.core.errors import HarnessError
from harness.data.display import quote

app = typer.Typer(
    name="harness",
    help="Did tuning help, by how much, can I trust that, and which checkpoint do I ship?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(running.run)
app.command("evaluate")(scoring.evaluate)
app.command("rescore")(scoring.rescore)
app.command("select")(scoring.select)
app.command("label")(labelling.label)
app.command("resume")(running.resume)
app.command("bench")(benching.bench)
app.command("check")(running.check)
app.command("show")(running.show)
app.command("report")(reading.report)
app.command("list")(reading.list_things)
app.add_typer(data.app, name="data")
app.add_typer(creating.new, name="new")
app.add_typer(advising.advise, name="advise")
app.add_typer(judging.judge, name="judge")


class Stopped(BaseException):
    """A signal asked the run to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def main() -> None:
    """Run the command line and leave with the promised exit code."""
    wait_briefly()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_once)
    sys.exit(run_command_line())


def wait_briefly() -> None:
    """Let threads that wait for others sleep soon, unless the user has said how they should; read when torch loads.

    Those that go on spinning slow each other down many times over on a busy machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        # Of GNU's OpenMP, which torch has on Linux: some microseconds, in which most waits are over.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run_command_line() -> int:
    """Run the words in sys.argv; the exit code."""
    try:
        _require_text(sys.argv[1:])
        app(standalone_mode=False)
        return execution.exit_code
    except HarnessError as error:
        echo(str(error), error=True)
        return _with_resume(error.exit_code, resumable=getattr(error, "resumable", True))
    except Stopped as stop:
        echo(f"stopped by {signal.Signals(stop.exit_code - 128).name}; everything finished is on disk", error=True)
        return _with_resume(stop.exit_code)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except Exception as error:
        if not _is_out_of_memory(error):
            return _usage_or_bug(error)
        echo("error[E-OOM]: out of memory\n  fix: a smaller backend.tokens_per_batch or model", error=True)
        return _with_resume(4)


def _require_text(words: Sequence[str]) -> None:
    """Refuse what no file, hash or terminal could take: bytes that are not UTF-8 reach Python as lone surrogates."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError as err:
            raise HarnessError(
                f"word {number} of the command is not UTF-8: {quote(word)}",
                fix="type it in UTF-8, and rename the file or folder if it is the name of one",
            ) from err


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a machine's or a GPU's memory ran out; torch is not imported for it, but known where it was."""
    of_a_gpu = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    return isinstance(error, MemoryError | of_a_gpu)


def _usage_or_bug(error: Exception) -> int:
    """Typer's own usage errors carry a message and an exit code; anything else is a bug and shows its traceback.

    Files are looked for in many places, by names that were typed; what the store writes has errors of its own.
    """
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        what = f"no file or folder can have the name {quote(str(error.filename))}: it is too long"
        echo(str(HarnessError(what, fix="name one that is there, or a shorter new one", code="E-USAGE")), error=True)
        return 2
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        echo(f"error[E-USAGE]: {error.format_message()}\n  fix: harness --help", error=True)
        return 2
    echo(traceback.format_exc(), error=True)
    echo(f"this is a bug in harness {__version__}; please report it with the lines above", error=True)
    return _with_resume(1)


def _with_resume(code: int, *, resumable: bool = True) -> int:
    if resumable and code in (4, 5, 130, 143, 129) and execution.resume_command:
        echo(f"resume with: {execution.resume_command}", error=True)
    return code


def stop_once(number: int, frame: FrameType | None) -> None:
    """First signal: unwind, everything journaled stays. Second: leave at once."""
    signal.signal(number, lambda again, _: os._exit(128 + again))
    raise Stopped(number)
