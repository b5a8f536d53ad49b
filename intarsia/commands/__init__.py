"""The command line. `table` lists the commands; this module reads a command line and runs the command."""

import dataclasses
import io
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tyro

from intarsia import __version__
from intarsia.commands.table import OVERVIEW, Command, Prepare
from intarsia.commands.train import Train
from intarsia.errors import InputError

__all__ = ["main", "parse"]

DONE, BAD_INPUT, BUG, STOPPED, UNHEARD = 0, 2, 70, 130, 141  # exit codes; 70 is EX_SOFTWARE of sysexits.h
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
        InputError: if a whole number has more than 63 bits.
    """
    if argv == ["--version"]:
        print(f"intarsia {__version__}")
        raise SystemExit(DONE)
    command = tyro.cli(Command, prog="intarsia", description=OVERVIEW, args=argv or ["--help"])
    _check_numbers(command)
    return command


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
