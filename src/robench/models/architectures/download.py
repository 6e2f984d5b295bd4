"""Whether published weights can be had: the libraries' own clients wait or retry for minutes where there is no network."""

from __future__ import annotations

import ssl
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

__all__ = ["unreachable"]

_SECONDS = 8


def unreachable(url: str) -> str | None:
    """Return why the host of an https URL cannot be reached, None if it answers in any way."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_SECONDS):
            return None
    except HTTPError:
        return None
    except URLError as error:
        # The libraries' clients may bring certificates of their own.
        return None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except OSError as error:
        return str(error)
