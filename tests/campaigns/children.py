"""Functions run in a process of their own, which may be killed, starved or limited: all libraries are loaded already."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

LOST = 99  # exit code after an exception


class Ended(NamedTuple):
    """How a process ended.

    code: Its exit code, or minus the number of the signal that ended it.
    said: What it wrote to standard output and standard error.
    seconds: How long it ran.
    """

    code: int
    said: str
    seconds: float


def in_child(
    work: Callable[[], int],
    stop: tuple[float, signal.Signals] | None = None,
    file_bytes: int | None = None,
    memory_bytes: int | None = None,
) -> Ended:
    """Run a function in a child and wait for it.

    Args:
        work: Returns the exit code.
        stop: After how many seconds to send which signal.
        file_bytes: The largest size of a file that it writes, as on a disk that is full.
        memory_bytes: The most that it may allocate beyond what it starts with.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    started = time.monotonic()
    if not (child := os.fork()):
        os.close(reading)
        _run(work, writing, file_bytes, memory_bytes)
    os.close(writing)
    os.set_blocking(reading, False)
    said, status, sent = bytearray(), None, False
    while status is None:
        said += _available(reading)
        finished, code = os.waitpid(child, os.WNOHANG)
        if finished:
            status = code
        elif stop and not sent and time.monotonic() - started >= stop[0]:
            os.kill(child, stop[1])
            sent = True
        else:
            time.sleep(0.001)
    said += _available(reading)
    os.close(reading)
    return Ended(os.waitstatus_to_exitcode(status), said.decode(errors="replace"), time.monotonic() - started)


def _run(work: Callable[[], int], output: int, file_bytes: int | None, memory_bytes: int | None) -> None:
    code = LOST
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        if memory_bytes is not None:
            with open("/proc/self/statm") as pages:
                most = int(pages.read().split()[0]) * resource.getpagesize() + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _available(descriptor: int) -> bytes:
    found = bytearray()
    while True:
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return bytes(found)
        if not part:
            return bytes(found)
        found += part
