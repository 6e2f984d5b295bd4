"""Models of the Hugging Face hub by their names, from the local cache or downloaded."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from robench.errors import CheckpointError, one_line
from robench.models.checkpoints.sharded import is_index, shards
from robench.models.formats.base import CONFIG_NAME
from robench.models.formats.huggingface import PROCESSORS, WEIGHTS
from robench.models.hub_client import download_command, offline_unless_reachable
from robench.models.zero_shot.text_encoder import TOKENIZER_FILES

__all__ = ["PREFIX", "is_hub_id", "provide_folder"]

PREFIX = "hf:"
_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)
_SAFETENSORS, _PICKLES = "model*.safetensors*", "pytorch_model*.bin*"


def is_hub_id(text: str) -> bool:
    """Return whether a text can be OWNER/NAME of the hub."""
    return _ID.fullmatch(text) is not None


def provide_folder(text: str) -> Path:
    """Return the local folder of a model, downloaded if the cache lacks it.

    Args:
        text: `hf:OWNER/NAME`, optionally with `@REVISION`.

    Raises:
        CheckpointError: The name is invalid, the hub has no such model, or it cannot be reached.
    """
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    if not is_hub_id(name):
        raise CheckpointError(f"{text} names no model of the Hugging Face hub", "give hf:OWNER/NAME[@REVISION]")
    folder = _cached(name, revision or None)
    if folder is not None:
        return folder
    with offline_unless_reachable() as is_online:
        if not is_online:
            raise CheckpointError(
                f"{text} is not in the local cache, and the Hugging Face hub cannot be reached",
                f"download it where there is a network: {download_command(name, revision)}",
            )
        return _downloaded(text, name, revision or None)


def _cached(name: str, revision: str | None) -> Path | None:
    """Return the folder of a complete model in the cache, or None."""
    from huggingface_hub import snapshot_download

    for pattern in (_SAFETENSORS, _PICKLES):
        with suppress(OSError, ValueError, CheckpointError):
            folder = Path(
                snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[CONFIG_NAME, pattern])
            )
            weights = next(folder / file for file in (*WEIGHTS, "") if not file or (folder / file).is_file())
            if (folder / CONFIG_NAME).is_file() and weights != folder:
                return folder if not is_index(weights) or shards(weights) else None
    return None


def _downloaded(text: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        for pattern in (_SAFETENSORS, _PICKLES):
            folder = Path(
                snapshot_download(
                    name, revision=revision, allow_patterns=[CONFIG_NAME, *PROCESSORS, *TOKENIZER_FILES, pattern]
                )
            )
            if any((folder / file).is_file() for file in WEIGHTS):
                break
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the Hugging Face hub has no model {name} that you can read",
            "check the name; for a private model, run: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{name} has no revision {revision!r} on the Hugging Face hub", "check it") from error
    except Exception as error:  # The errors of the clients share no base class.
        raise CheckpointError(
            f"{text} cannot be downloaded ({one_line(error)})", f"try: {download_command(name, revision)}"
        ) from error
    finally:
        if shown:
            enable_progress_bars()
    return folder
