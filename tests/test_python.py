"""Python's surface: any network or function, typed errors with Python's names, values with tables."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robench
from robench.errors import OptionError, RobenchError, RunError
from tests.builders import each

api: Any = robench
HOW: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "size": 32, "device": "cpu", "progress": False}
SOME: dict[str, Any] = {"corruption": "contrast", "severity": [1, 5]}


class Net(nn.Module):
    """A network with the parts that a hash must see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)
        self.temperature = 1.0
        self.register_buffer("shift", torch.zeros(3), persistent=False)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.norm(self.conv(images)).mean((2, 3))) / self.temperature + self.shift


class Other(Net):
    """The same tensors, other code."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).roll(1, 1)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_a_network_is_evaluated_and_comes_back_as_it_was(net: Net, picture_folder: Path, tmp_path: Path) -> None:
    net.train()
    net.head.weight.requires_grad_(False)
    net(torch.rand(2, 3, 32, 32)).sum().backward()
    before = {
        name: (one.data_ptr(), one.stride(), one.requires_grad, None if one.grad is None else one.grad.clone())
        for name, one in net.named_parameters()
    }
    statistics = net.norm.running_mean.clone()  # type: ignore[union-attr]
    state = torch.get_rng_state()
    run = robench.evaluate(net, picture_folder, suite="cifar-c", out=tmp_path / "run", **SOME, **HOW)
    for name, one in net.named_parameters():
        assert (one.data_ptr(), one.stride(), one.requires_grad) == before[name][:3], name
        assert (one.grad is None and before[name][3] is None) or torch.equal(one.grad, before[name][3]), name  # type: ignore[arg-type]
    assert all(part.training for part in net.modules())
    assert torch.equal(net.norm.running_mean, statistics)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)

    table = run.table("cifar-c")
    assert (list(table.index), list(table.columns)) == (["contrast"], [1, 5, "mean"])
    cells = run.results.query("metric == 'error_rate' and suite == 'cifar-c'")["value"]
    assert table.loc["contrast"].tolist() == pytest.approx([*cells, cells.mean()])
    assert run.metrics["cifar-c/mean_error"] == pytest.approx(cells.mean())
    assert run.metrics["clean/accuracy"] == 1 - run.metrics["clean/error_rate"]
    opened = robench.Run.open(run)
    assert opened.metrics == run.metrics
    assert "Net on pictures" in str(run)
    assert repr(run) == str(run)
    assert f">{100 * cells.iloc[0]:.1f}</td>" in run._repr_html_()
    with pytest.raises(OptionError, match="did you mean 'cifar-c'"):
        run.table("cifar_c")

    def function(images: Tensor) -> Any:
        return net.eval()(images)

    same = robench.evaluate(function, picture_folder, suite="cifar-c", out=tmp_path / "two", **SOME, **HOW)
    assert same.results["value"].tolist() == run.results["value"].tolist()
    with pytest.raises(RunError, match="which has no state_dict; choose another --out"):
        robench.evaluate(function, picture_folder, suite="cifar-c", out=tmp_path / "two", **SOME, **HOW)


def test_another_network_has_another_hash(net: Net) -> None:
    """Each change alters the logits; the same network and its copies have one hash in every process."""
    from robench.models.in_memory import module_sha256

    first = module_sha256(net)
    torch.manual_seed(0)
    assert module_sha256(Net()) == first
    torch.manual_seed(0)
    assert module_sha256(Other()) != first
    changes: list[Callable[[], Any]] = [
        lambda: net.shift.add_(1),  # type: ignore[operator]
        lambda: net.norm.running_var.mul_(2),  # type: ignore[union-attr]
        lambda: setattr(net, "temperature", 2.0),
        lambda: setattr(net.conv, "stride", (1, 1)),
        lambda: net.half(),
        lambda: setattr(net, "norm", nn.InstanceNorm2d(4)),
    ]
    seen = {first}
    for change in changes:
        change()
        seen.add(module_sha256(net))
    assert len(seen) == 1 + len(changes)


def test_values_have_tables(whole: Path) -> None:
    gate = robench.gate(whole, whole)
    assert gate.passed
    assert "gate passed" in str(gate)
    assert list(gate.frame["change"]) == [0] * len(gate.comparisons)
    differences = robench.compare(whole, robench.Run.open(whole))
    assert set(differences.frame["change"]) == {0}
    assert len(differences) == len(differences.frame) == len(robench.compare([whole, str(whole)]))
    assert str(differences).startswith("No difference: tiny")
    assert "accuracy, % and pp" not in str(differences)
    assert str(robench.compare(whole, whole, metric="accuracy")).startswith(
        "\naccuracy of clean: the difference is not"
    )
    board = robench.leaderboard(whole)
    assert str(board).startswith("Robustness in percent with 95 % intervals, ranked by mean error.")
    assert board.frame["model"].tolist() == ["tiny"]
    for value in (gate, differences, board):
        assert isinstance(value.frame, pd.DataFrame)
        assert "<table" in value._repr_html_()
    assert robench.score(robench.Run.open(whole)).equals(robench.Run.open(whole).results)


@each(
    ("call", "kind", "match"),
    [
        (lambda net, data, run: api.evaluate(net, None), TypeError, "the dataset must be a path.*not None"),
        (
            lambda net, data, run: api.evaluate(None, data),
            TypeError,
            "the model must be a path or a name .*not None",
        ),
        (lambda net, data, run: api.evaluate(Net, data), TypeError, "not the class Net .give an instance"),
        (
            lambda net, data, run: api.evaluate(net, data, suite=3),
            TypeError,
            "suite must be a name or a list of names, not 3",
        ),
        (
            lambda net, data, run: api.evaluate(net, data, limits=3),
            TypeError,
            "unknown argument 'limits'; did you mean 'limit'",
        ),
        (lambda net, data, run: api.evaluate(net, data, limit=0), RobenchError, "^limit must be at least 1, not 0"),
        (
            lambda net, data, run: api.evaluate(net, data, options={"limit": 5}),
            TypeError,
            "must be robench.Options, not a dict",
        ),
        (
            lambda net, data, run: api.evaluate(net, data, progress="yes"),
            TypeError,
            "progress must be True, False, None",
        ),
        (
            lambda net, data, run: api.evaluate(net, data, mean=0.5),
            RobenchError,
            "mean has 1 value, and Net states a std of 3",
        ),
        (
            lambda net, data, run: api.evaluate(net, data, size="32px"),
            TypeError,
            "must be a whole number of pixels, or HEIGHTxWIDTH, not '32px'",
        ),
        (lambda net, data, run: api.evaluate(net, data, suite="cifar-c", preset="ci"), RobenchError, "omit suite"),
        (lambda net, data, run: api.Options(per_class=0), RobenchError, "^per_class must be at least 1"),
        (lambda net, data, run: api.load_classifier(None), TypeError, "the model must be"),
        (lambda net, data, run: api.load_classifier(["a", "b"]), TypeError, "not a list"),
        (lambda net, data, run: api.open_dataset(None), TypeError, "the dataset must be"),
        (lambda net, data, run: api.compare(run), RobenchError, "one run cannot be compared; give two or more"),
        (lambda net, data, run: api.compare([]), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.compare(), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.leaderboard([]), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.leaderboard(), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.report([]), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.gate([], run), RobenchError, "no run is given; give one or more"),
        (lambda net, data, run: api.gate(run, []), RobenchError, "no baseline is given; give one or more"),
        (
            lambda net, data, run: api.compare(run, 3),
            TypeError,
            "the run must be the path of a run, a Run, or a list",
        ),
        (lambda net, data, run: api.compare(run, run, metric="acc"), RobenchError, "unknown metric 'acc'"),
        (lambda net, data, run: api.gate(run, run, rules="x"), RobenchError, "x: |rules of x"),
        (lambda net, data, run: api.gate(run, run, rules=3), TypeError, "rules must be a TOML file or a list"),
        (lambda net, data, run: api.gate(None, run), TypeError, "the run must be"),
        (lambda net, data, run: api.leaderboard(), RobenchError, "no run is given"),
        (lambda net, data, run: api.report(3), TypeError, "the run must be"),
        (lambda net, data, run: api.score(None), TypeError, "the run must be"),
        (lambda net, data, run: api.Run.open(None), TypeError, "the run must be"),
    ],
)
def test_mistakes(
    call: Any, kind: type[Exception], match: str, net: Net, picture_folder: Path, evaluated: Path
) -> None:
    """Errors name keywords, not flags; a new context is one outside the command line."""

    def check() -> None:
        with pytest.raises(kind, match=match) as error:
            call(net, picture_folder, evaluated)
        assert "--" not in str(error.value)

    contextvars.Context().run(check)
