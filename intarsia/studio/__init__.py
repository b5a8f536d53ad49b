"""Intarsia Studio: the objects of a picture, changed in the browser. A server on this machine, and one page."""

import socket
import threading
import webbrowser
from pathlib import Path

from intarsia.errors import InputError
from intarsia.manipulation.opening import open_model

__all__ = ["serve"]


def serve(run: str | Path, host: str = "127.0.0.1", port: int = 0, show: bool = True) -> None:
    """Serve the studio for the newest model of a run until Ctrl-C; print where, and open it in a browser.

    Args:
        run: A run folder with stage 'vaes', or a model folder.
        host: Where to listen. Other machines reach any address but the loopback's.
        port: Likewise; 0 for any free one.
        show: Open the page in a browser.

    Raises:
        InputError: if there is no such model, its codes are not trained, the port is taken, or the studio's packages are
            missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError:
        raise InputError("The studio needs packages that are not installed: pip install 'intarsia[studio]'.") from None
    from intarsia.studio.server import create_app

    if not 0 <= port < 2**16:
        raise InputError(f"--port is {port}; it must be from 0 to {2**16 - 1}.")
    app = create_app(open_model(run), host)
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
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
