"""The server of the page: one read-only application for one token."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robench.errors import OptionError, RobenchError
from robench.viewer.images import SampleImages, encode_png
from robench.viewer.items import items, sample
from robench.viewer.page import policy, render
from robench.viewer.query import Query, find, parse_query
from robench.viewer.samples import SampleTable

__all__ = ["HOST", "make_app"]

HOST = "127.0.0.1"
"""The only address of the server, which no other machine can reach."""

_PAGE = 48
"""Most samples of an answer."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # The address holds the token.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
}


def make_app(
    table: SampleTable, overview: dict[str, Any], images: SampleImages | None, start: Query, token: str
) -> Starlette:
    """Return the application. All its addresses begin with the token; each takes GET alone, and none a path of a file.

    Args:
        table: The samples.
        overview: The content of the page that does not depend on a query.
        images: The images; None for none.
        start: The first query of the page.
        token: The secret part of the address.
    """
    page = render({"overview": overview, "start": start.text})

    def index(_: Request) -> Response:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    def samples(request: Request) -> Response:
        query = parse_query(request.query_params, table)
        first = request.query_params.get("start", "0")
        if not (first.isascii() and first.isdecimal() and len(first) < 10):
            raise OptionError(f"start must be a whole number, not {first!r}")
        found = find(table, query)
        content = {"images": found.images, "samples": len(found.rows), "items": items(table, found, int(first), _PAGE)}
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    def one_sample(request: Request) -> Response:
        row = table.position(request.path_params["sample"])
        if row is None:
            raise HTTPException(404, "there is no such sample")
        return JSONResponse(sample(table, row), headers={"Cache-Control": "no-store"})

    def image(request: Request) -> Response:
        name, number, frame = (request.path_params[key] for key in ("condition", "sample", "frame"))
        entry = table.conditions.get(name)
        if images is None or entry is None or table.position(number) is None or frame >= entry.frames:
            raise HTTPException(404, "there is no such image")
        # The pixels of an address never change; the browser keeps them while the token is valid.
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        return Response(encode_png(images.pixels(name, number, frame)), media_type="image/png", headers=headers)

    routes = [
        Route("/", index, methods=["GET"]),
        Route("/samples", samples, methods=["GET"]),
        Route("/samples/{sample:int}", one_sample, methods=["GET"]),
        Route("/images/{condition}/{sample:int}/{frame:int}", image, methods=["GET"]),
    ]
    app = Starlette(
        routes=[Mount("/{token}", routes=routes, middleware=[Middleware(_Token, token=token)])],
        middleware=[
            Middleware(_Headers),
            # A page of another site that resolves its own name to this address sends that name.
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False),
        ],
        exception_handlers={RobenchError: _problem},
    )
    app.router.redirect_slashes = False  # A redirection would answer without the token.
    return app


async def _problem(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 400)


class _Token:
    """Middleware that hides everything from requests without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = str(scope.get("path_params", {}).get("token", ""))
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            await PlainTextResponse("not found", 404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _Headers:
    """Middleware that adds the headers of security to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), text.encode()) for name, text in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)
