"""Intarsia Studio: change the objects of a picture in the browser. A server on this machine, and one page."""

import os
import socket
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from intarsia.errors import InputError
from intarsia.weights import latest

__all__ = ["serve"]

END_SECONDS = 0.5  # that the call of a network may still take after Ctrl-C; it can't be interrupted
INTERRUPTED = 130  # exit code


def serve(runs: Sequence[Path], host: str = "127.0.0.1", port: int = 0, show: bool = True) -> None:
    """Serve the studio until Ctrl-C; print its address and open it in a browser.

    It shows the newest model of the first run, and can switch to those of the others and to the shipped models.

    Args:
        runs: Run folders with stage 'vaes', model folders, or names of shipped models.
        host: The address to listen on. Other machines can reach all addresses but the loopback address.
        port: The port to listen on; 0 for any free one.
        show: Whether to open the page in a browser.

    Raises:
        InputError: if there is no model at all, or no such one, its codes are not trained, the port is taken, or the studio's
            packages are missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise InputError("The studio needs packages that are not installed: pip install 'intarsia[studio]'.") from None
    from intarsia.studio.listening import Server
    from intarsia.studio.models import named
    from intarsia.studio.server import create_app
    from intarsia.studio.worker import Worker

    if not 0 <= port < 2**16:
        raise InputError(f"--port is {port}; it must be from 0 to {2**16 - 1}.")
    for run in runs:
        latest(run, with_codes=True)
    models, worker = named(runs), Worker()
    if not models:
        raise InputError("There is no model to serve: the package comes with none; name a run.")
    app = create_app(models, host, worker)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise InputError(
            f"Can't listen on {host}, port {port}: {error.strerror}; give others with --host and --port."
        ) from None
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}/"
    print(f"Intarsia Studio: {address} (Ctrl-C ends it)", flush=True)
    if show:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        Server(app).run(sockets=[listening])
    finally:
        if not worker.rests_within(END_SECONDS):
            os._exit(INTERRUPTED)  # nothing is lost: the page keeps the edits
