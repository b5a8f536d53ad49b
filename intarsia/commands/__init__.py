"""The command line. `table` lists the commands; this module reads a command line and runs the command."""

import dataclasses
import io
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

import tyro

from intarsia import __version__
from intarsia.commands.table import OVERVIEW, Command, Prepare
from intarsia.commands.train import Train, described, named_recipe
from intarsia.errors import InputError

__all__ = ["main", "parse"]

DONE, BAD_INPUT, BUG, STOPPED, UNHEARD = 0, 2, 70, 130, 141  # exit codes; 70 is EX_SOFTWARE of sysexits.h
SHELLS = "bash", "zsh", "fish"  # that tyro writes completions for
LARGEST = 2**63 - 1  # of any whole number on a command line


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return the exit code.

    It is 0, 2 for input that can't be used, 70 for a fault of the program itself, 130 after Ctrl-C and its like, or 141 if
    nobody reads the output any more, as in `intarsia --help | head`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no UTF-8
    argv = sys.argv[1:] if argv is None else argv
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python writes what is left when it ends
        return UNHEARD
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return _complain(f"{where}{error.strerror or error}.")
    except Exception as error:
        if _is_out_of_memory(error):
            return _complain(f"There is not enough memory: {(str(error).splitlines() or ['it is used up'])[0]}")
        return _report(argv, error)


def parse(argv: list[str]) -> Command:
    """Return the command that a command line asks for. Exits with code 0 after help, and with 2 if tyro refuses it.

    Raises:
        InputError: if there is no such recipe or shell, or a whole number has more than 63 bits.
    """
    if argv == ["--version"]:
        print(f"intarsia {__version__}")
        raise SystemExit(DONE)
    tyro._experimental_options["ansi_codes"] = not os.environ.get("NO_COLOR")
    with _fitted():
        command = _asked_for(argv)
    _check_numbers(command)
    return command


def _asked_for(argv: list[str]) -> Command:
    match argv:
        case ["--completion", *shell]:
            if len(shell) != 1 or shell[0] not in SHELLS:
                raise InputError(f"--completion is {' '.join(shell)!r}; it must be one of {', '.join(SHELLS)}.")
            argv = ["--tyro-print-completion", *shell]
        case ["train", name, *options] if not name.startswith("-"):
            recipe = named_recipe(name)
            prog, default = f"intarsia train {name}", Train(name, recipe)
            return tyro.cli(Train, prog=prog, description=described(recipe), args=options, default=default)
    return tyro.cli(Command, prog="intarsia", description=OVERVIEW, args=argv or ["--help"])


class _Printed(io.StringIO):
    """What is printed to a stream, held back. It looks like that stream."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def isatty(self) -> bool:
        return self.stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding


@contextmanager
def _fitted() -> Iterator[None]:
    """Print what the block prints; of help, no line wider than the terminal, and in the usage one word for all commands."""
    stream, width = sys.stdout, shutil.get_terminal_size().columns
    try:
        with redirect_stdout(_Printed(stream)) as printed:
            yield
    finally:
        usage, *lines = printed.getvalue().split("\n")
        if "usage:" in usage:
            usage = re.sub(r"\{.*\}", "DATASET/NAME" if "/" in usage else "COMMAND", usage)
            usage, *lines = (_broken(line, width) for line in (usage, *lines))
        stream.write("\n".join([usage, *lines]))


def _broken(line: str, width: int) -> str:
    """A line, broken between words if it is wider than that; what sets colours has no width."""
    wide = len(re.sub(r"\x1b\[[\d;]*m", "", line)) > width
    return textwrap.fill(line, width, break_on_hyphens=False) if wide else line


def _run(argv: list[str]) -> int:
    command: Command | None = None
    try:
        with _stopped_by_signals():
            command = parse(argv)
            command.run()
    except SystemExit as stop:  # after help, or after a command line that tyro refused
        return int(stop.code or DONE)
    except InputError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command resumes" if isinstance(command, Train | Prepare) else "stopped", file=sys.stderr)
        return STOPPED
    return DONE


def _check_numbers(options: Any) -> None:
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            _check_numbers(value)
        elif isinstance(value, int) and abs(value) > LARGEST:
            name = item.name.replace("_", "-")
            raise InputError(f"--{name} is a number of {len(str(abs(value)))} digits; it must be at most {LARGEST}.")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does. What is ignored, as under nohup, stays so."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()  # the only one that may set handlers
    kept = [number for number in numbers if main and signal.getsignal(number) == signal.SIG_DFL]
    for number in kept:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in kept:
            signal.signal(number, signal.SIG_DFL)


def _complain(text: str) -> int:
    print("intarsia: " + " ".join(text.split()), file=sys.stderr)
    return BAD_INPUT


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch says it in words on a CPU, and by an exception of its own on a GPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _report(argv: list[str], error: Exception) -> int:
    """Write the traceback into a file, and say so in one line."""
    text = f"intarsia {__version__}, Python {sys.version}\n{shlex.join(['intarsia', *argv])}\n\n"
    text += "".join(traceback.format_exception(error))
    handle, path = tempfile.mkstemp(".txt", "intarsia-")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    print(f"intarsia: {said}. This is a bug, please report it with the file {path}.", file=sys.stderr)
    return BUG
