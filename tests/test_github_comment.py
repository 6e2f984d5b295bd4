"""One comment of a pull request. Oracle: GitHub's documented endpoints, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError

import pytest

from robench.github_comment import update_comment
from tests.fake_github import FakeGitHub, fake_github

MARKER = "<!-- robench gate: robench -->"


@pytest.fixture
def github(tmp_path: Path) -> Iterator[FakeGitHub]:
    with fake_github(tmp_path) as state:
        yield state


def test_a_pull_request_has_one_comment_for_each_gate(github: FakeGitHub) -> None:
    for number in range(250):
        github.add(f"remark {number}", "someone")
    for name, text in (("robench", "failed"), ("large model", "passed"), ("robench", "passed now"), ("robench", "")):
        update_comment(name, text, github.variables)
    remarks, (first, second) = github.comments[:250], github.comments[250:]
    assert [one["body"] for one in remarks] == [f"remark {number}" for number in range(250)]
    assert first["body"].startswith(f"{MARKER}\n### ⚠️ robench gate: no verdict\n"), "not the verdict of an older commit"
    assert second["body"].startswith("<!-- robench gate: large model -->\npassed\n")
    assert "Commit 0123456789 · [job](https://github.example/me/nets/actions/runs/42)" in second["body"]


def test_comments_of_others_stay(github: FakeGitHub) -> None:
    """Anybody can write the marker; a user's token knows its user, and the token of a job is a bot's."""
    for login in (None, "me"):
        github.login, github.comments = login, []
        github.add(f"{MARKER}\nforged", "somebody")
        github.add(f"a quotation of {MARKER}", login or "github-actions[bot]", "User" if login else "Bot")
        for text in ("failed", "passed"):
            update_comment("robench", text, github.variables)
        assert [one["body"].splitlines()[1:2] for one in github.comments] == [["forged"], [], ["passed"]]


def test_a_long_verdict_is_cut_between_lines(github: FakeGitHub) -> None:
    line = "| ok | accuracy of clean | 🟨 |"
    update_comment("robench", "\n".join(["<details>", *[line] * 4000]), github.variables)
    (comment,) = github.comments
    assert 65_000 < len(comment["body"]) <= 65_536
    rows = [one for one in comment["body"].splitlines() if one.startswith("|")]
    assert set(rows) == {line}
    assert "</details>\n\nThe rest is in the summary of the job." in comment["body"]


def test_without_a_pull_request_nothing_is_asked(github: FakeGitHub) -> None:
    Path(github.variables["GITHUB_EVENT_PATH"]).write_text('{"ref": "refs/heads/main"}')
    assert update_comment("robench", "passed", github.variables) == "no comment: the job is not of a pull request"
    assert github.requests == []


def printed(variables: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "robench.github_comment", "robench"]
    done = subprocess.run(command, input="passed", env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("::notice title=robench gate::")
    return done.stdout


def test_a_fork_has_a_line_in_the_log(github: FakeGitHub) -> None:
    github.may_write = False
    with pytest.raises(HTTPError, match="403"):
        update_comment("robench", "passed", github.variables)
    job = os.environ | github.variables
    assert "HTTP 403 Forbidden; the job needs `permissions: {pull-requests: write}`" in printed(job)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # Nobody listens there.
        assert "Connection refused" in printed({**job, "GITHUB_API_URL": f"http://127.0.0.1:{free.getsockname()[1]}"})
    assert github.comments == []
