"""Serves the page on this machine, and on no other."""

import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

from cnnzoo.analysis.explore.explorer import Explorer
from cnnzoo.errors import CnnzooError, one_line
from cnnzoo.ui.explore.app import build_app
from cnnzoo.ui.screen import print_error

HOST = "127.0.0.1"


def serve(explorer: Explorer, port: int, *, opens_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        explorer: The net.
        port: Where; 0 for a free one.
        opens_browser: Whether to open the page.
        announce: Told the address, once somebody listens there.

    Raises:
        CnnzooError: The port is taken, or not to be had.
        KeyboardInterrupt: Ctrl-C, after connections were closed.
    """
    import torch
    import uvicorn

    if explorer.is_small:
        torch.set_num_threads(1)  # more of them would only wait for each other where the machine is busy
    listening = listen(port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(16)
    address = f"http://{HOST}:{port}/{token}/"
    application, turns = build_app(explorer, token, port)
    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    announce(address)
    if opens_browser and _has_screen():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        if (
            turns.is_busy
        ):  # a computation cannot be interrupted, and Python would trip over its thread at the end
            print_error("stopped.")
            sys.stdout.flush()
            os._exit(130)
        raise


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone."""
    # By its protocol's name: else asyncio would not see that it is TCP, and each answer would wait 40 ms (Nagle).
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":  # a port that was left a moment ago is free; elsewhere this would share one in use
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise CnnzooError(
            f"port {port} cannot be had: {one_line(error)}. Choose another --port, or leave it out for a free one."
        ) from error
    return listening


def _has_screen() -> bool:
    """Whether a browser would open a window; one in the terminal would take the terminal."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
