"""The command line. `table` lists the commands; this module reads a command line and runs the command."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import tyro

from intarsia import __version__
from intarsia.commands.table import OVERVIEW, Command, Prepare
from intarsia.commands.train import Train
from intarsia.errors import InputError

__all__ = ["main", "parse"]

DONE, BAD_INPUT, STOPPED = 0, 2, 130  # exit codes


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return the exit code: 0, 2 for input that can't be used, or 130 after Ctrl-C and its like."""
    command: Command | None = None
    try:
        with _stopped_by_signals():
            command = parse(sys.argv[1:] if argv is None else argv)
            command.run()
    except SystemExit as stop:  # after help, or after a command line that tyro refused
        return int(stop.code or DONE)
    except InputError as error:
        return _complain(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}.")
    except KeyboardInterrupt:
        print("stopped; the same command resumes" if isinstance(command, Train | Prepare) else "stopped", file=sys.stderr)
        return STOPPED
    return DONE


def parse(argv: list[str]) -> Command:
    """Return the command that a command line asks for. Exits with code 0 after help, and with 2 if tyro refuses it."""
    if argv == ["--version"]:
        print(f"intarsia {__version__}")
        raise SystemExit(DONE)
    return tyro.cli(Command, prog="intarsia", description=OVERVIEW, args=argv or ["--help"])


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
