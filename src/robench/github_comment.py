"""One comment on a pull request on GitHub, which the action of the gate keeps up to date.

    python -m robench.github_comment NAME < summary.md

A hidden marker with the name tells the comment from others, so that each gate of a pull request has its own. GitHub's environment variables
name the pull request and the job; TOKEN must be allowed to write to pull requests. Without this permission, which tokens of forks lack,
nothing is written, and a line in the job's log says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from os import environ
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

__all__ = ["update_comment"]

_LONGEST = 65_536
"""Most characters of a comment on GitHub."""
_PAGE = 100
"""Most comments that GitHub returns at once."""
_SECONDS = 20
"""Longest wait for an answer."""

_NO_VERDICT = "### ⚠️ robench gate: no verdict\n\nThe gate ended with an error; the job's log has it.\n"


def update_comment(name: str, text: str, variables: Mapping[str, str]) -> str:
    """Create the comment of a pull request or replace its text, and return a line for the job's log.

    Args:
        name: Name of the comment.
        text: Markdown; an empty text says that there is no verdict.
        variables: GitHub's environment variables, and TOKEN.

    Raises:
        OSError: GitHub cannot be reached or refuses; `HTTPError` is one.
        KeyError: A variable is missing.
    """
    pull = json.loads(Path(variables["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8")).get("pull_request")
    if pull is None:
        return "no comment: the job is not of a pull request"
    marker = f"<!-- robench gate: {name.replace('--', '- -')} -->"
    job = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}".format_map(variables)
    footer = f"\n<sub>Commit {pull['head']['sha'][:10]} · [job]({job})</sub>\n"
    body = f"{marker}\n{_shortened(text.strip() or _NO_VERDICT, _LONGEST - len(marker) - len(footer) - 1)}\n{footer}"
    api = f"{variables['GITHUB_API_URL']}/repos/{variables['GITHUB_REPOSITORY']}/issues"
    found = _find(f"{api}/{pull['number']}/comments", marker, variables)
    if found is None:
        _ask("POST", f"{api}/{pull['number']}/comments", variables, {"body": body})
        return "the pull request has a new comment"
    _ask("PATCH", f"{api}/comments/{found}", variables, {"body": body})
    return "the comment on the pull request is up to date"


def _find(url: str, marker: str, variables: Mapping[str, str]) -> int | None:
    """Return the number of the comment with the marker; a comment of another author never counts."""
    try:
        author = _ask("GET", f"{variables['GITHUB_API_URL']}/user", variables)["login"]
    except HTTPError:  # The token of a job or of an app has no user of its own.
        author = None
    for comment in _comments(url, variables):
        user = comment["user"] or {}
        is_own = user.get("login") == author if author else user.get("type") == "Bot"
        if is_own and (comment["body"] or "").startswith(marker):
            return int(comment["id"])
    return None


def _comments(url: str, variables: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    number = 1
    while page := _ask("GET", f"{url}?per_page={_PAGE}&page={number}", variables):
        yield from page
        if len(page) < _PAGE:
            return
        number += 1


def _ask(method: str, url: str, variables: Mapping[str, str], content: object = None) -> Any:
    headers = {
        "Authorization": f"Bearer {variables['TOKEN']}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "Content-Type": "application/json",
        "User-Agent": "robench",
    }
    data = None if content is None else json.dumps(content).encode()
    with urlopen(Request(url, data, headers, method=method), timeout=_SECONDS) as answer:
        return json.load(answer)


def _shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters: whole lines, and a note on those left out."""
    if len(text) <= most:
        return text
    note = "\n\n</details>\n\nThe rest is in the summary of the job.\n"
    return text[: text.rfind("\n", 0, most - len(note)) + 1].rstrip() + note


def _main() -> None:
    try:
        line = update_comment(sys.argv[1], sys.stdin.read(), environ)
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
        reason = (
            f"HTTP {error.code} {error.reason}" if isinstance(error, HTTPError) else f"{type(error).__name__} {error}"
        )
        hint = "; the job needs `permissions: {pull-requests: write}`, which jobs of forks cannot have"
        line = (
            f"no comment on the pull request: {reason}{hint if isinstance(error, HTTPError) and error.code in (401, 403, 404) else ''}. "
            "The summary of the job has the verdict."
        )
    print(f"::notice title=robench gate::{' '.join(line.split())}")  # noqa: T201 - the module's output


if __name__ == "__main__":
    _main()
