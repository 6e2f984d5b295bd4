"""What computes a run, as far as its results depend on it: a worker elsewhere must be the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch

from robench.datasets import decoders
from robench.transforms.draws import DRAWS_VERSION

__all__ = ["Machine", "software"]


def software() -> dict[str, str]:
    """Return the versions of what results depend on, on any device."""
    versions = {name: version(name) for name in ("robench", "torchvision", "numpy", "pyarrow")}
    return {**versions, "draws": str(DRAWS_VERSION), "torch": torch.__version__, "image decoders": decoders()}


@dataclass(frozen=True)
class Machine:
    """A device and the software on it.

    device: name of the GPU, else the type.  threads: on which a CPU computes the model, which moves the last bits of its logits
        with many a network; 0 where the CPU does not.
    versions: of what results depend on, by name.
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

    def unlike(self, other: Machine) -> list[str]:
        """Say what differs on another machine, `torch 2.9.1 instead of 2.14.1`; nothing where results are equal to the bit."""
        mine = {"device": self.device, "threads": str(self.threads), **self.versions}
        its = {"device": other.device, "threads": str(other.threads), **other.versions}
        return [
            f"{name} {its.get(name)} instead of {mine.get(name)}"
            for name in dict.fromkeys([*mine, *its])
            if mine.get(name) != its.get(name)
        ]
