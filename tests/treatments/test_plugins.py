"""Treatments of other installed packages. The oracle is a package written by hand, as pip would leave it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import robench
from robench.cli.entry import run_cli
from robench.errors import DeviceError, OptionError
from robench.evaluation.options import Options
from robench.evaluation.plan import make_plan
from robench.models import Classifier
from robench.transforms.apply import condition_frames
from robench.treatments import Parameter, Value, adapt, parse_treatments
from robench.treatments.bn_calibrated import BN_CALIB
from robench.treatments.calibration import open_calibration
from tests.treatments.networks import CLEAN

CODE = """
from dataclasses import replace
from robench.treatments import Method
from robench.treatments import Parameter

def method(name, layers=lambda module, values: 3):
    return Method(
        name=name, summary="nothing at all", data="none", per_image="yes", source="a test", stage="network",
        layers=layers, start=lambda classifier, values, calibration: (classifier, None),
    )

class Late:
    def start_condition(self, condition, sample):
        raise KeyError("begin")

    def before_batch(self, frame):
        pass

def strange(text):
    raise KeyError(text)

LATE = replace(method("late"), start=lambda classifier, values, calibration: (classifier, Late()))
REMARK = replace(method("remark"), notes=lambda values: 1 // 0)
NOTHING = replace(method("nothing"), start=lambda classifier, values, calibration: classifier)
ASKING = replace(method("asking"), parameters=(Parameter("p", strange, "a number", (1, 1)), Parameter("q", int, "a number", (1, 1))))
EMPTY = replace(method("empty"), start=lambda classifier, values, calibration: (None, None))
WORDS = replace(method("words"), start=lambda classifier, values, calibration: (classifier, "session"))

class Sized:
    def __init__(self, images):
        self.images = images

    def start_condition(self, condition, sample):
        return self.images

    def before_batch(self, frame):
        pass

SIZE = Parameter("size", int, "a number", (12, 12))
NONE = replace(method("none"), start=lambda classifier, values, calibration: (classifier, Sized(0)))
OTHERS = replace(method("others"), data="calibration", stage="calibration", parameters=(SIZE,), images="size")
FREEZING = replace(
    method("freezing"), data="test batch", stage="statistics", frames="frozen", parameters=(SIZE,), images="size",
    start=lambda classifier, values, calibration: (classifier, Sized(values["size"])),
)
NAMED = replace(OTHERS, name="named", parameters=(replace(SIZE, read=str),))

def hungry(classifier, values, calibration):
    import torch
    raise (torch.OutOfMemoryError("full") if values["how"] == 1 else RuntimeError("can't allocate memory: 8 bytes"))

HUNGRY = replace(method("hungry"), start=hungry, parameters=(Parameter("how", int, "a number", (1, 1)),))
BY_SIZE = replace(method("by-size"), per_resolution=True)
BN_RESOLUTIONS = method("bn-resolutions")
IDLE, BROKEN, TEST = method("idle"), method("broken", lambda module, values: 1 // 0), method("bn-test")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    metadata = place / "idling-1.2.dist-info"
    metadata.mkdir(parents=True)
    (place / "idling_module.py").write_text(CODE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: idling\nVersion: 1.2\n")
    names = (
        *("late", "remark", "nothing", "asking", "empty", "words", "none", "others", "freezing", "named", "hungry"),
        *("idle", "broken", "by-size", "bn-resolutions"),
    )
    entries = (
        *(f"{name} = idling_module:{name.upper().replace('-', '_')}" for name in names),
        "bn-test = idling_module:TEST",
    )
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
        normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=["idle", "bn-test:n=8"])
    )
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["treatment"] == "idle+bn-test:n=8"
    assert manifest["identity"]["packages"] == ["idling-1.2"]
    assert "idle changes 3 layers" in manifest["notes"]
    assert "bn-test:n=8 changes 2 layers" in manifest["notes"], "a built-in name means what it did"
    assert run_cli(["list", "treatments"]) == 0
    shown = capsys.readouterr()
    assert "nothing at all" in shown.out
    assert "the treatment 'bn-test' of idling 1.2 is ignored because the name is built in" in shown.err


@pytest.mark.usefixtures("package")
def test_its_mistakes_name_it(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"idling 1\.2 fails in the treatment 'broken': ZeroDivisionError"):
        robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=["broken"]))
    with pytest.raises(OptionError, match=r"did you mean 'idle'\?"):
        parse_treatments(["idl"])


def test_without_the_package_the_name_is_unknown() -> None:
    with pytest.raises(OptionError, match="unknown treatment 'idle'"):
        parse_treatments(["idle"])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("text", ["broken", "late", "remark", "nothing", "asking:p=3", "empty", "words", "none"])
def test_its_mistakes_are_the_package_s(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, text: str
) -> None:
    with pytest.raises(OptionError, match=r"idling 1\.2 fails in the treatment"):
        robench.evaluate(normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=[text]))


@pytest.mark.usefixtures("package")
def test_what_its_start_returns_is_said(normalised: Classifier) -> None:
    for text, kinds in (("empty", "NoneType and NoneType"), ("words", "Classifier and str"), ("nothing", "Classifier")):
        with pytest.raises(OptionError, match=f"TypeError: start returns {kinds}, not a Classifier and a Session or"):
            adapt(normalised, [text], None, 0).start()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("how", [1, 2])
def test_running_out_of_memory_is_not_its_mistake(
    normalised: Classifier, picture_folder: Path, tmp_path: Path, how: int
) -> None:
    with pytest.raises(DeviceError, match="cpu ran out of memory with 128 images for a treatment's statistics"):
        robench.evaluate(
            normalised, picture_folder, ["clean"], tmp_path / "run", options=Options(treatment=[f"hungry:how={how}"])
        )


@pytest.mark.usefixtures("package")
def test_its_number_of_images_may_have_any_name(normalised: Classifier, picture_folder: Path, tmp_path: Path) -> None:
    """In the identity, in the notes and in what --dry-run counts."""
    done = robench.evaluate(
        normalised,
        picture_folder,
        ["clean"],
        tmp_path / "run",
        options=Options(treatment=["others"], calibration=picture_folder),
    )
    own = open_calibration(picture_folder, 0)
    assert done.directory.manifest["identity"]["calibration"] == own.fingerprint(12) != own.fingerprint(20)
    adaptation = adapt(normalised, ["others"], picture_folder, 0)
    assert list(adaptation.calibration_passes([CLEAN])) == [("clean", 12)]
    assert list(adaptation.limited(5).calibration_passes([CLEAN])) == [("clean", 5)]
    shift = make_plan(["shift"], Options(corruption=["crop"]), normalised.preprocessing).conditions
    freezing = adapt(normalised, ["freezing"], None, 0)
    assert "so freezing:size=12 is frozen, with statistics of 12 samples" in freezing.notes(shift)[1]
    assert freezing.estimation_frames(shift[-1:], 30) == 12 * condition_frames(shift[-1])


@pytest.mark.usefixtures("package")
def test_the_untreated_network_is_beside_what_says_so(normalised: Classifier) -> None:
    """Whatever it is called."""
    for texts, there in ((["idle"], False), (["bn-resolutions"], False), (["idle", "by-size"], True)):
        options = Options(treatment=texts, resolution=[32])
        plan = make_plan(["resolution"], options, normalised.preprocessing)
        assert ("untreated" in {one.corruption for one in plan.conditions}) == there, texts


@pytest.mark.parametrize(("images", "default"), [("", (1, 1)), ("n", (1, 1)), ("size", (0, 1)), ("size", (1, "many"))])
def test_a_method_that_takes_images_says_how_many(images: str, default: tuple[Value, Value]) -> None:
    parameters = (Parameter("size", int, "a number", default),)
    with pytest.raises(ValueError, match=rf"takes images \(calibration\) .* as its field images, not '{images}'"):
        replace(BN_CALIB, parameters=parameters, images=images)


@pytest.mark.usefixtures("package")
def test_a_wrong_value_is_its_user_s_mistake() -> None:
    with pytest.raises(OptionError, match="asking takes a number as q, not 'x'"):
        parse_treatments(["asking:q=x"])
    with pytest.raises(OptionError, match=r"idling 1\.2 fails .*'named': TypeError: size is read as '3', no number of"):
        parse_treatments(["named:size=3"])
