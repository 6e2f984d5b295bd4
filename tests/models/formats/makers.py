"""One network stored in every format that users have on disk, by the tools that they have made it with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["FORMATS", "Made", "hugging_face_resnet"]


@dataclass(frozen=True)
class Made:
    """A network in a file.

    path: what is given as the model.  file: the one that is broken on purpose.  arch: to give with it, None for none.
    """

    path: Path
    file: Path
    arch: str | None


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone(memory_format=torch.contiguous_format) for key, value in module.state_dict().items()}


def _saved(folder: Path, name: str, content: Any, arch: str | None) -> Made:
    torch.save(content, folder / name)
    return Made(folder / name, folder / name, arch)


def _alone(path: Path) -> Made:
    return Made(path, path, None)


def _state_dict(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    return _saved(folder, "net.pth", _state(module), arch)


def _guessed(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    return _saved(folder, "net.pt", _state(module), None)


def _legacy(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    torch.save(_state(module), folder / "old.th", _use_new_zipfile_serialization=False)
    return Made(folder / "old.th", folder / "old.th", arch)


def _distributed(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    state = {f"module.{key}": value for key, value in _state(module).items()}
    return _saved(folder, "ddp.pth.tar", {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, arch)


def _compiled(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    compiled: Any = torch.compile(module)
    return _saved(folder, "compiled.pth", compiled.state_dict(), arch)


def _averaged(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    return _saved(folder, "swa.pth", torch.optim.swa_utils.AveragedModel(module).state_dict(), arch)


def _ema(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    other = {key: value + 1 if value.is_floating_point() else value for key, value in _state(module).items()}
    content = {"arch": arch.partition(":")[2], "state_dict": _state(module), "state_dict_ema": other}
    return _saved(folder, "checkpoint-3.pth.tar", content, arch)


def _lightning(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    state = {f"net.{key}": value for key, value in _state(module).items()}
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**state, "criterion.weight": torch.ones(5)},
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [],
    }
    return _saved(folder, "last.ckpt", content, arch)


def _safetensors(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    save_file(_state(module), folder / "net.safetensors")
    return Made(folder / "net.safetensors", folder / "net.safetensors", arch)


def _sharded(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    state = _state(module)
    names = list(state)
    halves = {"net-1.safetensors": names[: len(names) // 2], "net-2.safetensors": names[len(names) // 2 :]}
    for file, keys in halves.items():
        save_file({key: state[key] for key in keys}, folder / file)
    index = folder / "net.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: file for file, keys in halves.items() for key in keys}}))
    return Made(index, folder / "net-1.safetensors", arch)


def _traced(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and lies on many disks.
        torch.jit.trace(module, torch.zeros(1, 3, side, side)).save(folder / "traced.pt")
    return _alone(folder / "traced.pt")


def _scripted(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(folder / "scripted.pt")
    return _alone(folder / "scripted.pt")


def _exported(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    program = torch.export.export(module, (torch.zeros(2, 3, side, side),), dynamic_shapes=(batch,))
    torch.export.save(program, folder / "net.pt2")
    return _alone(folder / "net.pt2")


def _exported_for_one(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, side, side),)), folder / "one.pt2")
    return _alone(folder / "one.pt2")


def _onnx(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    _export_onnx(module, folder / "net.onnx", 2, side, dynamic=True)
    return _alone(folder / "net.onnx")


def _onnx_for_one(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    _export_onnx(module, folder / "one.onnx", 1, side, dynamic=False)
    return _alone(folder / "one.onnx")


def _onnx_external(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    _export_onnx(module, folder / "outside.onnx", 2, side, dynamic=True, external_data=True)
    return _alone(folder / "outside.onnx")


def _export_onnx(
    module: nn.Module, path: Path, count: int, side: int, *, dynamic: bool, external_data: bool = False
) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(count, 3, side, side),),
            path,
            dynamo=True,
            dynamic_shapes=shapes,
            external_data=external_data,
            verbose=False,
        )


def _half(module: nn.Module, arch: str, folder: Path, side: int) -> Made:
    halves = {key: value.half() if value.is_floating_point() else value for key, value in _state(module).items()}
    return _saved(folder, "half.bin", halves, arch)


FORMATS: dict[str, tuple[str, Callable[[nn.Module, str, Path, int], Made]]] = {
    "state dict": ("torch.save(state_dict)", _state_dict),
    "state dict, no --arch": ("torch.save(state_dict)", _guessed),
    "state dict, old pickle": ("torch.save, format before 1.6", _legacy),
    "distributed": ("module. prefix, .pth.tar of a trainer", _distributed),
    "compiled": ("torch.compile(module).state_dict()", _compiled),
    "averaged": ("swa_utils.AveragedModel.state_dict()", _averaged),
    "trained and EMA": ("timm's trainer, state_dict_ema beside", _ema),
    "Lightning": (".ckpt of a module that holds net", _lightning),
    "half precision": ("state dict in float16", _half),
    "safetensors": ("safetensors.torch.save_file", _safetensors),
    "sharded safetensors": ("two shards and their index", _sharded),
    "TorchScript, traced": ("torch.jit.trace(...).save", _traced),
    "TorchScript, scripted": ("torch.jit.script(...).save", _scripted),
    "torch.export": ("torch.export.save, any batch", _exported),
    "torch.export, batch of 1": ("torch.export.save", _exported_for_one),
    "ONNX": ("torch.onnx.export, any batch", _onnx),
    "ONNX, batch of 1": ("torch.onnx.export", _onnx_for_one),
    "ONNX, external data": ("torch.onnx.export, external_data", _onnx_external),
}
"""A description of each form, and its maker (module, architecture, folder, side of the input)."""


def hugging_face_resnet(module: nn.Module, folder: Path, classes: int) -> Made:
    """Store torchvision's resnet18 as a Hugging Face folder of the same network, with its preprocessing."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", num_labels=classes
    )
    network = ResNetForImageClassification(config).eval()
    network.load_state_dict({_hugging_face_name(key): value for key, value in module.state_dict().items()}, strict=True)
    network.save_pretrained(folder)
    processor = {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 224},
        "crop_pct": 0.875,
        "resample": 2,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return Made(folder, folder / "model.safetensors", None)


def _hugging_face_name(key: str) -> str:
    """torchvision's name of a tensor of resnet18 -> that of transformers."""
    first, _, rest = key.partition(".")
    if first == "conv1":
        return f"resnet.embedder.embedder.convolution.{rest}"
    if first == "bn1":
        return f"resnet.embedder.embedder.normalization.{rest}"
    if first == "fc":
        return f"classifier.1.{rest}"
    block, part, leaf = rest.split(".", 2)
    place = f"resnet.encoder.stages.{int(first[-1]) - 1}.layers.{block}"
    if part == "downsample":
        number, leaf = leaf.split(".")
        return f"{place}.shortcut.{('convolution', 'normalization')[int(number)]}.{leaf}"
    kind = "convolution" if part.startswith("conv") else "normalization"
    return f"{place}.layer.{int(part[-1]) - 1}.{kind}.{leaf}"
