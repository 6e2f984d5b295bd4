"""Tensors of a file that no network computes with in evaluation, and those that the user leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from robench.errors import CheckpointError
from robench.models.checkpoints.fit import abbreviate
from robench.models.checkpoints.state_dict import Weights

__all__ = ["is_unused", "without_ignored"]

_ENDS = frozenset(
    [
        *("total_ops", "total_params"),  # counters of thop
        "num_batches_tracked",
        *("n_averaged", "num_updates", "initted"),  # counters of averaged models: torch, LitEma, ema_pytorch
        # Indices and masks that a layer computes from its shape.
        *("relative_position_index", "relative_coords_table", "attn_mask", "position_ids"),
    ]
)
"""Last parts of names."""
_STARTS = frozenset(
    [
        *("AuxLogits", "aux1", "aux2"),  # auxiliary heads of Inception and GoogLeNet
        *("criterion", "criterion_train", "criterion_val", "loss", "loss_fn", "loss_func", "loss_function"),
        *("train_loss", "val_loss", "loss_weight", "loss_weights", "class_weight", "class_weights", "pos_weight"),
        *("train_acc", "val_acc", "test_acc", "train_metrics", "val_metrics", "test_metrics"),
    ]
)
"""First parts of names."""


def is_unused(name: str) -> bool:
    """Return whether a tensor of that name is known to play no role in evaluation, if the network lacks it."""
    return name.rpartition(".")[2] in _ENDS or name.partition(".")[0] in _STARTS


def without_ignored(path: Path, weights: Weights, patterns: Sequence[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a file without those that the user ignores, and the names of those.

    Args:
        path: The file, for errors.
        weights: Tensors of the file.
        patterns: Names with the wildcards * and ?. A pattern that matches no whole name is compared with the ends of names,
            because messages name tensors without their prefixes.

    Raises:
        CheckpointError: A pattern matches nothing.
    """
    ignored: set[str] = set()
    for pattern in patterns:
        matching = [name for name in weights.state if fnmatchcase(name, pattern)]
        matching = matching or [name for name in weights.state if _ends_with(f"{weights.prefix}{name}", pattern)]
        if not matching:
            parts = abbreviate([*dict.fromkeys(name.partition(".")[0] for name in weights.state)])
            raise CheckpointError(
                f"{path} has no tensor {pattern}, which --ignore-key names", f"its names begin with {parts}"
            )
        ignored.update(matching)
    return {name: value for name, value in weights.state.items() if name not in ignored}, sorted(ignored)


def _ends_with(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[start:]), pattern) for start in range(len(parts)))
