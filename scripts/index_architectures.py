"""Write the index for the detection of architectures: fingerprints of the names and shapes of their tensors; some minutes.

    python scripts/index_architectures.py

Writes src/robench/models/architectures/architectures.csv for the installed versions of timm and torchvision, which its first line
names. An architecture that cannot be built for square colour images gets the empty structure, which no file has.
"""

from __future__ import annotations

import csv
from importlib.metadata import version
from pathlib import Path

from robench.errors import RobenchError
from robench.models import ARCHITECTURES, architecture_names
from robench.models.architectures.detect import shapes
from robench.models.architectures.fingerprint import Fingerprint, fingerprint

TARGET = Path(__file__).parents[1] / "src/robench/models/architectures/architectures.csv"
LIBRARIES = ("timm", "torchvision")


def main() -> None:
    """Build every architecture without values, and write a row for each structure."""
    structures: dict[Fingerprint, list[str]] = {}
    for family in ARCHITECTURES:
        for name in architecture_names(family):
            arch = f"{family}:{name}"
            try:
                structures.setdefault(fingerprint(shapes(arch)), []).append(arch)
            except RobenchError as error:
                print(f"{arch}: {error}")
                structures.setdefault(fingerprint({}), []).append(arch)
    versions = ", ".join(f"{library} {version(library).partition('+')[0]}" for library in LIBRARIES)
    with TARGET.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"# {versions}: written by scripts/index_architectures.py\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("structure", "sketch", "archs"))
        table.writerows((one.structure, one.sketch.hex(), " ".join(archs)) for one, archs in structures.items())
    print(f"{sum(map(len, structures.values()))} architectures of {len(structures)} structures in {TARGET.name}")


if __name__ == "__main__":
    main()
