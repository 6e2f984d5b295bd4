"""Modules from the user's own code, and what they say about their input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from robench.errors import CheckpointError
from robench.models.architectures.factory import call_factory, is_factory, preprocessing_of
from robench.models.preprocessing import Preprocessing
from robench.models.preprocessing.from_config import from_timm_config
from tests.builders import each

CODE = """
import sibling_of_factory
from torch import nn

number = 3

class Net(nn.Linear):
    preprocessing = {"crop": 32, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}

def build(width=2, name="none", wide=False, sizes=(1,)):
    print("built")
    net = Net(width, sibling_of_factory.CLASSES)
    net.given = (width, name, wide, sizes)
    return net

def wrong():
    return [1]

def fails():
    raise RuntimeError("no\\nweights here")

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sibling_of_factory.py").write_text("CLASSES = 7")
    path = tmp_path / "net_of_factory.py"
    path.write_text(CODE)
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        if "of_factory" in name:
            del sys.modules[name]


def refusal(text: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        call_factory(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_a_factory() -> None:
    for text in (
        "net.py:build",
        "/a/b c/net.py:build?x=1",
        "package.module:build",
        "module:Net",
        "C:\\x\\net.py:build",
    ):
        assert is_factory(text), text
    for text in (
        "weights.pth",
        "net.py",
        "demo",
        "a:b:c",
        "folder/module:build",
        "net.py:",
        ":build",
        "net.py:1x",
        "a-b:c",
    ):
        assert not is_factory(text), text


def test_a_file_is_called_with_its_arguments(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.path)
    net = call_factory(f"{file}:build?width=5&name=a:b=c&wide=True&sizes=[1,2]")
    assert isinstance(net, nn.Linear)
    assert (net.in_features, net.out_features) == (5, 7)
    assert net.given == (5, "a:b=c", True, [1, 2])
    assert sys.path == before
    assert capsys.readouterr() == ("", "built\n")  # stdout belongs to tables


def test_a_module_is_found_in_the_current_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert isinstance(call_factory("net_of_factory:build"), nn.Linear)
    assert isinstance(call_factory("torch.nn:Identity"), nn.Identity)
    assert isinstance(call_factory("net_of_factory.py:build"), nn.Linear)


NET = "from torch import nn\ndef net(classes=K):\n    return nn.Linear(3, classes)\n"


def written(folder: Path, files: dict[str, str]) -> None:
    for name, code in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code)


@each(
    "imports, base",
    [
        ("from .base import K\n", "models/base.py"),  # part of a package
        ("from models.base import K\n", "models/base.py"),
        ("from ..base import K\n", "base.py"),  # no package, as for `python -m`
        ("import base\nK = base.K\n", "models/base.py"),  # a script
    ],
)
def test_a_file_imports_its_neighbours_of_each_of_two_repositories(tmp_path: Path, imports: str, base: str) -> None:
    """Oracle: Python, for which the two repositories would be two processes."""
    for repository, number in (("first", 5), ("second", 6), ("first", 5)):
        folder = tmp_path / repository / "top"
        written(folder, {"models/net.py": f"{imports}{NET}", base: f"K = {number}\n"})
        if "." not in imports.split()[1][:2] or imports.startswith("from .base"):
            written(folder, {"models/__init__.py": ""})
        module = call_factory(f"{folder}/models/net.py:net")
        assert isinstance(module, nn.Linear)
        assert module.out_features == number
    assert not any(str(tmp_path) in entry for entry in sys.path)


@each(
    "files, told",
    [
        ({"net.py": "import absent_package"}, "pip install the package of absent_package"),
        ({"a/net.py": "import beside", "beside.py": ""}, "which holds beside"),
        ({"net.py": "import rel", "rel.py": "from .x import K"}, "--arch package.module:function"),
        ({"net.py": "1 / 0"}, "`python "),
        ({"net.py": "def net(width, depth=3): ..."}, "it takes (width, depth=3), given as ?name=value&..."),
    ],
)
def test_an_error_of_the_users_code_names_the_way_out(tmp_path: Path, files: dict[str, str], told: str) -> None:
    written(tmp_path, files)
    assert told in refusal(f"{tmp_path}/{next(iter(files))}:net")


def test_what_goes_wrong_is_one_line(file: Path) -> None:
    assert "no file" in refusal(f"{file.parent}/absent.py:build")
    assert "no module 'absent_of_factory'" in refusal("absent_of_factory:build")
    assert "it has" in refusal(f"{file}:absent")
    assert "is a int" in refusal(f"{file}:number")
    assert "returns a list" in refusal(f"{file}:wrong")
    assert "raised RuntimeError: no weights here" in refusal(f"{file}:fails")
    assert "raised SystemExit: 3" in refusal(f"{file}:leaves")
    assert "raised TypeError" in refusal(f"{file}:build?absent=1")
    assert "write ?key=value" in refusal(f"{file}:build?width")
    assert "is no factory" in refusal("weights.pth")
    for code, told in (
        ("x = (", "SyntaxError"),
        ("import absent_of_factory", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ):
        file.write_text(code)
        assert f"cannot be imported: {told}" in refusal(f"{file}:build")


def test_preprocessing_is_what_the_module_says(file: Path) -> None:
    own = preprocessing_of(call_factory(f"{file}:build"))
    assert own == Preprocessing(37, 32, "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert preprocessing_of(nn.Identity()) is None
    config = {"input_size": (3, 64, 64), "crop_pct": 1.0, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    assert preprocessing_of(stating(pretrained_cfg=config)) == Preprocessing(64, 64, "bicubic", (0.5,) * 3, (0.25,) * 3)
    assert preprocessing_of(stating(pretrained_cfg=config, preprocessing=own)) is own
    for bad in (
        {"crop": 32},
        {"crop": 32, "mean": (1, 2), "std": (1, 1, 1)},
        {"crop": 1, "mean": (0,) * 3, "std": (0,) * 3},
    ):
        with pytest.raises(CheckpointError, match="preprocessing"):
            preprocessing_of(stating(preprocessing=bad))


def stating(**attributes: object) -> nn.Module:
    """Return a module with attributes."""
    module: nn.Module = type("Stating", (nn.Identity,), attributes)()
    return module


def test_timms_own_modules_are_understood() -> None:
    import timm

    stated = timm.data.resolve_model_data_config(module := timm.create_model("resnet10t"))
    found = preprocessing_of(module)
    assert found is not None
    assert (found.crop, found.interpolation, found.mean) == (
        stated["input_size"][1],
        stated["interpolation"],
        stated["mean"],
    )


@pytest.mark.parametrize("fraction", [1e-9, 1e-3])
def test_a_crop_of_nearly_nothing_is_the_configurations_mistake(fraction: float) -> None:
    with pytest.raises(CheckpointError, match="far more than crop"):
        from_timm_config({"input_size": (3, 224, 224), "crop_pct": fraction}, "x")
