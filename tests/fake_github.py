"""GitHub's endpoints for the comments of a pull request, on loopback, as docs.github.com/rest/issues/comments describes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["FakeGitHub", "fake_github"]

_REPOSITORY, _PULL = "me/nets", 7


class FakeGitHub:
    """The comments of one pull request, and the variables of a job that runs for it.

    login: the user of the token; None for the token of a job, which has none.
    may_write: False for the token of a fork.
    """

    def __init__(self, folder: Path) -> None:
        self.login: str | None = None
        self.may_write = True
        self.comments: list[dict[str, Any]] = []
        self.requests: list[str] = []
        event = folder / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": _PULL, "head": {"sha": "0123456789abcdef"}}}))
        self.variables = {
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": _REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": "42",
            "TOKEN": "secret",
        }

    def add(self, body: str, login: str, kind: str = "User") -> None:
        self.comments.append({"id": 100 + len(self.comments), "user": {"login": login, "type": kind}, "body": body})

    def answer(self, method: str, url: str, token: str | None, content: Any) -> tuple[int, Any]:
        self.requests.append(f"{method} {url}")
        place, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        if token != "Bearer secret":
            return 401, {"message": "Bad credentials"}
        if (method, place) == ("GET", "/user"):
            return (200, {"login": self.login}) if self.login else (403, {"message": "Resource not accessible"})
        issues = f"/repos/{_REPOSITORY}/issues"
        if (method, place) == ("GET", f"{issues}/{_PULL}/comments"):
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return 200, self.comments[size * (page - 1) : size * page]
        if not self.may_write:
            return 403, {"message": "Resource not accessible by integration"}
        if (method, place) == ("POST", f"{issues}/{_PULL}/comments"):
            self.add(content["body"], self.login or "github-actions[bot]", "User" if self.login else "Bot")
            return 201, self.comments[-1]
        for comment in self.comments:
            if (method, place) == ("PATCH", f"{issues}/comments/{comment['id']}"):
                comment["body"] = content["body"]
                return 200, comment
        return 404, {"message": "Not Found"}


@contextmanager
def fake_github(folder: Path) -> Iterator[FakeGitHub]:
    """Serve a `FakeGitHub` while the context lasts."""
    state = FakeGitHub(folder)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content = json.loads(sent) if sent else None
            code, body = state.answer(self.command, self.path, self.headers["Authorization"], content)
            written = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.variables["GITHUB_API_URL"] = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
