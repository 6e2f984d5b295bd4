"""The machine and software that results depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch

from robench.datasets import decoders
from robench.transforms.draws import DRAWS_VERSION

__all__ = ["Machine", "software"]


def software() -> dict[str, str]:
    """Return the versions of software that results depend on, on any device."""
    versions = {name: version(name) for name in ("robench", "torchvision", "numpy", "pyarrow")}
    return {**versions, "draws": str(DRAWS_VERSION), "torch": torch.__version__, "image decoders": decoders()}


@dataclass(frozen=True)
class Machine:
    """A device and the software on it.

    Attributes:
        device: Name of the GPU, or else the type of the device.
        threads: CPU threads of the model, which change the last bits of many models' logits; 0 if the CPU does not compute.
        versions: Versions of software that results depend on, by name.
    """

    device: str
    threads: int
    versions: Mapping[str, str]

    @classmethod
    def here(cls, device: torch.device) -> Machine:
        """Describe a device of this process."""
        on_cpu = device.type == "cpu"
        versions = software()
        if on_cpu:
            versions["instruction set"] = torch.backends.cpu.get_cpu_capability()
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return cls(name, torch.get_num_threads() if on_cpu else 0, versions)

    @property
    def batch_size(self) -> int:
        """Default images of a batch: with smaller ones the host of a GPU is slower than the GPU."""
        return 64 if self.threads or self.device == "mps" else 256

    def differences(self, other: Machine) -> list[str]:
        """Return the differences of another machine, such as `torch 2.9.1 instead of 2.14.1`; none for equal results."""
        mine = {"device": self.device, "threads": str(self.threads), **self.versions}
        theirs = {"device": other.device, "threads": str(other.threads), **other.versions}
        return [
            f"{name} {theirs.get(name)} instead of {mine.get(name)}"
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]
