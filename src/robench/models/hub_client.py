"""The client of the Hugging Face hub, kept off the network where the hub cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

__all__ = ["download_command", "offline_unless_reachable"]

_SECONDS = 5.0
"""Longest wait for an answer of the hub."""


def download_command(name: str, revision: str | None = None) -> str:
    """Return the command that downloads a model of the hub into the local cache."""
    return f"hf download {name}" + (f" --revision {revision}" if revision else "")


@contextmanager
def offline_unless_reachable() -> Iterator[bool]:
    """Yield whether the hub answers within some seconds; if not, keep its client off the network, which would retry for a minute."""
    from huggingface_hub import constants

    is_online, before = _answers(constants.ENDPOINT), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_online
    try:
        yield is_online
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(url: str) -> bool:
    """Return whether a server answers in time; the search for its address has no time limit of its own."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    answers: list[object] = []

    def ask() -> None:
        with suppress(Exception):  # The errors of the clients share no base class.
            answers.append(get_session().head(url, timeout=_SECONDS))

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return bool(answers)
