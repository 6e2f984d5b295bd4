"""The local server, from its socket to its end."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn

from robench.errors import OptionError
from robench.viewer.app import HOST, make_app
from robench.viewer.images import SampleImages
from robench.viewer.query import Query
from robench.viewer.samples import SampleTable

__all__ = ["serve"]

_SHUTDOWN = 2
"""Seconds that a request in progress may take after Ctrl-C."""


def serve(
    table: SampleTable,
    overview: dict[str, Any],
    images: SampleImages | None,
    start: Query,
    *,
    port: int,
    opens: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        table: The samples.
        overview: The content of the page that does not depend on a query.
        images: The images; None for none.
        start: The first query of the page.
        port: Port of the server; 0 for a free one.
        opens: Whether to open the page in the user's browser.
        ready: Receives the address when it answers.

    Raises:
        OptionError: The port is in use or not allowed.
    """
    # Named as TCP, or asyncio would leave Nagle's algorithm on, which delays small answers by 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, port))
            bound.listen()
        except OSError as error:
            raise OptionError(f"port {port} cannot be used: {error.strerror}", "omit --port for a free one") from error
        token = secrets.token_urlsafe(16)
        address = f"http://{HOST}:{bound.getsockname()[1]}/{token}/"
        app = make_app(table, overview, images, start, token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN,
        )
        ready(address)
        if opens:  # A browser of the terminal would hold the process.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        if images is not None and len(table.index):
            threading.Thread(target=images.warm, args=[int(table.index[0])], daemon=True).start()
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt:  # uvicorn has closed all connections, and raises the signal again.
            return
