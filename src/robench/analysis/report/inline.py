"""Content of inline elements of a page with a strict Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

__all__ = ["inline_json", "source_hash"]


def source_hash(content: str) -> str:
    """Return the source of a Content-Security-Policy that allows one inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def inline_json(value: Any) -> str:
    """Return JSON for a script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
