"""Files that are no models, or broken ones, and what every format must say to them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robench.errors import CheckpointError
from robench.models.formats.base import LoadedModel, LoadRequest

CPU = torch.device("cpu")
Load = Callable[[LoadRequest], LoadedModel]


def request(path: Path, trust_pickle: bool = False) -> LoadRequest:
    return LoadRequest(path, None, CPU, trust_pickle=trust_pickle)


def refusal(load: Load, path: Path, trust_pickle: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(request(path, trust_pickle))
    text = str(caught.value)
    assert "\n" not in text
    return text


def small(classes: int = 5) -> nn.Sequential:
    """A network with random weights, always the same, for images of any side."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def images(count: int = 4, side: int = 32) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(1))


def difference(loaded: LoadedModel, original: nn.Module, x: Tensor) -> float:
    """Largest absolute difference of the logits."""
    with torch.inference_mode():
        out = loaded.module.eval()(x)
        expected = original(x)
    assert out.shape == expected.shape
    return float((out - expected).abs().max())


def outcome(load: Load, path: Path) -> LoadedModel | None:
    """Load a file that may be broken; None where it is refused, in one line."""
    try:
        return load(request(path))
    except CheckpointError:
        refusal(load, path)
        return None


def truncations(path: Path) -> Iterator[str]:
    """Cut a file at five points, one after the other."""
    whole = path.read_bytes()
    for kept in (0.02, 0.25, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * kept)])
        yield f"{kept} of {len(whole)}"
    path.write_bytes(whole)


def flips(path: Path, count: int = 25) -> Iterator[str]:
    """Turn one bit, at `count` points in turn."""
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // count)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        yield f"byte {place} of {len(whole)}"
    path.write_bytes(whole)


def no_models(folder: Path, extension: str) -> Iterator[Path]:
    """Make what a user may give by mistake, or an attacker on purpose: each with the right extension."""
    empty = folder / f"empty{extension}"
    empty.touch()
    text = folder / f"text{extension}"
    text.write_text("<html>404: not found</html>")
    sparse = folder / f"sparse{extension}"
    with sparse.open("wb") as file:
        file.truncate(100 * 2**30)
    directory = folder / f"directory{extension}"
    directory.mkdir()
    loop = folder / f"loop{extension}"
    loop.symlink_to(loop)
    yield from (empty, text, sparse, directory, loop, folder / f"absent{extension}")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive, every member through `change`, which returns None to drop it; names come without their folder."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for info in before.infolist():
            root, _, name = info.filename.partition("/")
            content = change(name, before.read(info))
            if content is not None:
                after.writestr(f"{root}/{name}", content)
    return target
