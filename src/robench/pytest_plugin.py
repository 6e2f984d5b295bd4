"""The gate as pytest tests: `pytest --robench-gate RUN --robench-baseline RUN|CSV`, or the fixture `robench_gate`.

Every pytest of an environment with robench imports this module, so it imports the gate only in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robench.analysis.gate import Comparison, Verdict

__all__ = ["robench_gate"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the gate."""
    group = parser.getgroup("robench", "robench: compare a run with its baseline")
    group.addoption("--robench-gate", metavar="RUN", help="run to judge, with one test for each comparison")
    group.addoption("--robench-baseline", metavar="RUN|CSV", help="run or results.csv to compare with")
    group.addoption("--robench-rules", metavar="FILE", help="TOML file with [[rules]]; default ./pyproject.toml")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each comparison of the gate; pytest exits with 4 if the run and the baseline are not comparable."""
    run, baseline = config.getoption("--robench-gate"), config.getoption("--robench-baseline")
    if run is None:
        if baseline is not None or config.getoption("--robench-rules") is not None:
            raise pytest.UsageError("--robench-baseline and --robench-rules need --robench-gate RUN")
        return
    if baseline is None:
        raise pytest.UsageError("--robench-gate needs --robench-baseline RUN|CSV")
    from robench.analysis.gate.gate import gate
    from robench.errors import RobenchError

    try:
        verdict = gate(run, baseline, config.getoption("--robench-rules"))
    except RobenchError as error:
        raise pytest.UsageError(f"robench: {error}") from error
    # A node id begins with a path, relative to the root of the tests where that is possible.
    place = Path(run).absolute()
    if place.is_relative_to(config.rootpath):
        place = place.relative_to(config.rootpath)
    items.extend(
        _ComparisonItem.from_parent(
            session,
            name=f"robench gate: {comparison.name}",
            nodeid=f"{place.as_posix()}::{comparison.name}",
            comparison=comparison,
        )
        for comparison in verdict.comparisons
    )


class _ComparisonError(Exception):
    """A comparison failed; the text is the report."""


class _ComparisonItem(pytest.Item):
    """One comparison as a test."""

    def __init__(self, *, comparison: Comparison, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._comparison = comparison

    def runtest(self) -> None:
        """Raise if the comparison failed."""
        from robench.analysis.gate.formats import sentence

        if self._comparison.failed:
            raise _ComparisonError(f"{sentence(self._comparison)}\nrule: {self._comparison.rule}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the report alone, without a traceback."""
        return (
            str(excinfo.value) if isinstance(excinfo.value, _ComparisonError) else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return a location without a line."""
        return self.path, None, self.name


@pytest.fixture
def robench_gate() -> Callable[..., Verdict]:
    """Return `robench_gate(run, baseline, rules=None)`, which fails the test if the gate fails and returns the verdict.

    `rules` is a TOML file, or a list of tables as in such a file; None means the rules of ./pyproject.toml.
    """
    from robench.analysis.gate.formats import outcome, sentence
    from robench.analysis.gate.gate import gate
    from robench.errors import RobenchError

    def check(
        run: Path | str, baseline: Path | str, rules: Path | str | Sequence[Mapping[str, Any]] | None = None
    ) -> Verdict:
        __tracebackhide__ = True
        try:
            verdict = gate(run, baseline, rules)
        except RobenchError as error:
            pytest.fail(f"robench: {error}", pytrace=False)
        if verdict.failed:
            pytest.fail("\n".join([outcome(verdict), *map(sentence, verdict.failed)]), pytrace=False)
        return verdict

    return check
