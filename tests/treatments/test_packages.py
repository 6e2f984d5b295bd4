"""Treatments of other installed packages. The oracle is a package written by hand, as pip would leave it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import robench
from robench.cli.entry import command
from robench.errors import OptionError
from robench.models import Classifier
from robench.plan import Options
from robench.treatments import parse_treatments

CODE = """
from dataclasses import replace
from robench.treatments import Method
from robench.treatments.treatment import Parameter

def method(name, layers=lambda module, values: 3):
    return Method(
        name=name, summary="nothing at all", data="none", per_image="yes", source="a test", stage="network",
        layers=layers, start=lambda classifier, values, calibration: (classifier, None),
    )

class Late:
    def begin(self, condition, sample):
        raise KeyError("begin")

    def show(self, frame):
        pass

def strange(text):
    raise KeyError(text)

LATE = replace(method("late"), start=lambda classifier, values, calibration: (classifier, Late()))
REMARK = replace(method("remark"), remarks=lambda values: 1 // 0)
NOTHING = replace(method("nothing"), start=lambda classifier, values, calibration: classifier)
ASKING = replace(method("asking"), parameters=(Parameter("p", strange, "a number", (1, 1)), Parameter("q", int, "a number", (1, 1))))
IDLE, BROKEN, TEST = method("idle"), method("broken", lambda module, values: 1 // 0), method("bn-test")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    metadata = place / "idling-1.2.dist-info"
    metadata.mkdir(parents=True)
    (place / "idling_module.py").write_text(CODE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: idling\nVersion: 1.2\n")
    more = [f"{name} = idling_module:{name.upper()}" for name in ("late", "remark", "nothing", "asking")]
    entries = (*more, "idle = idling_module:IDLE", "broken = idling_module:BROKEN", "bn-test = idling_module:TEST")
    (metadata / "entry_points.txt").write_text("\n".join(["[robench.treatments]", *entries]) + "\n")
    monkeypatch.syspath_prepend(place)


@pytest.mark.usefixtures("package")
def test_a_package_s_treatment(
    normalised: Classifier,
    picture_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    done = robench.evaluate(
        normalised, picture_folder, ["clean"], tmp_path / "run", Options(adapt=["idle", "bn-test:n=8"])
    )
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["treatment"] == "idle+bn-test:n=8"
    assert manifest["identity"]["packages"] == ["idling-1.2"]
    assert "idle changes 3 layers" in manifest["notes"]
    assert "bn-test:n=8 changes 2 layers" in manifest["notes"], "a built-in name means what it did"
    assert command(["list", "treatments"]) == 0
    shown = capsys.readouterr()
    assert "nothing at all" in shown.out
    assert "the treatment 'bn-test' of idling 1.2 is ignored: that name is built in" in shown.err


@pytest.mark.usefixtures("package")
def test_its_mistakes_name_it(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"idling 1\.2 fails in the treatment 'broken': ZeroDivisionError"):
        robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", Options(adapt=["broken"]))
    with pytest.raises(OptionError, match=r"did you mean 'idle'\?"):
        parse_treatments(["idl"])


def test_without_the_package_the_name_is_unknown() -> None:
    with pytest.raises(OptionError, match="unknown treatment 'idle'"):
        parse_treatments(["idle"])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("text", ["broken", "late", "remark", "nothing", "asking:p=3"])
def test_its_mistakes_are_the_package_s(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, text: str
) -> None:
    with pytest.raises(OptionError, match=r"idling 1\.2 fails in the treatment"):
        robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", Options(adapt=[text]))


@pytest.mark.usefixtures("package")
def test_a_wrong_value_is_its_user_s_mistake() -> None:
    with pytest.raises(OptionError, match="asking takes a number as q, not 'x'"):
        parse_treatments(["asking:q=x"])
