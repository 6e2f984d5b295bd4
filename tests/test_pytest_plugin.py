"""The plugin in a pytest of its own (pytester). Oracle: the outcomes that `robench gate` gives for the same runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.gate.invented import first, write_run

pytest_plugins = ["pytester"]

N = 200
PLUGIN = ("-p", "robench.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture
def runs(pytester: pytest.Pytester) -> Path:
    cells = {("clean", 0): first(10, N), ("fog", 3): first(40, N)}
    write_run(pytester.path / "base", cells)
    write_run(pytester.path / "same", cells)
    write_run(pytester.path / "worse", {**cells, ("fog", 3): first(60, N)})
    return pytester.path


def test_options(pytester: pytest.Pytester, runs: Path) -> None:
    same = pytester.runpytest_inprocess(*PLUGIN, "--robench-gate", "same", "--robench-baseline", "base")
    same.assert_outcomes(passed=2)
    worse = pytester.runpytest_inprocess(*PLUGIN, "--robench-gate", "worse", "--robench-baseline", "base")
    worse.assert_outcomes(passed=1, failed=1)
    assert worse.ret == 1
    worse.stdout.fnmatch_lines(
        ["*mean_error of cifar-c went from 20.00 % to 30.00 %*", "FAILED worse::mean_error of cifar-c*"]
    )


def test_rules_file(pytester: pytest.Pytester, runs: Path) -> None:
    (runs / "rules.toml").write_text("[[rules]]\nmetric = 'error_rate'\nfail_if = 'worse'\nallowed = 0.1\n")
    gate = ("--robench-gate", "worse", "--robench-baseline", "base", "--robench-rules", "rules.toml")
    pytester.runpytest_inprocess(*PLUGIN, *gate).assert_outcomes(passed=2)


def test_mistakes_are_usage_errors(pytester: pytest.Pytester, runs: Path) -> None:
    for arguments in (["--robench-gate", "worse"], ["--robench-gate", "none", "--robench-baseline", "base"]):
        result = pytester.runpytest_inprocess(*PLUGIN, *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*robench: none is not a run directory*"])


def test_fixture(pytester: pytest.Pytester, runs: Path) -> None:
    pytester.makepyfile(
        """
        def test_same(robench_gate):
            assert len(robench_gate("same", "base").comparisons) == 2

        def test_worse(robench_gate):
            robench_gate("worse", "base", [{"metric": "error_rate"}])

        def test_allowed(robench_gate):
            robench_gate("worse", "base", [{"metric": "error_rate", "fail_if": "worse", "allowed": 0.2}])
        """
    )
    result = pytester.runpytest_inprocess(*PLUGIN)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*gate failed: 1 of 2 comparisons*"])
