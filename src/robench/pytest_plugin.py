"""The gate as tests: `pytest --robench-gate RUN --robench-baseline RUN|CSV`, or the fixture `robench_gate`.

pytest finds this module by its entry point in every environment that has robench, so it imports nothing until it is used.
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
    group = parser.getgroup("robench", "robench: is a run worse than its baseline?")
    group.addoption("--robench-gate", metavar="RUN", help="judge this run: one test for each comparison")
    group.addoption("--robench-baseline", metavar="RUN|CSV", help="what the run is compared with")
    group.addoption("--robench-rules", metavar="FILE", help="TOML file with [[rules]]; default ./pyproject.toml")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each comparison of the gate; pytest exits with 4 if the two sides do not compare."""
    run, baseline = config.getoption("--robench-gate"), config.getoption("--robench-baseline")
    if run is None:
        if baseline is not None or config.getoption("--robench-rules") is not None:
            raise pytest.UsageError("--robench-baseline and --robench-rules need --robench-gate RUN")
        return
    if baseline is None:
        raise pytest.UsageError("--robench-gate needs --robench-baseline RUN|CSV")
    from robench.analysis.gate import gate, read_rules
    from robench.errors import RobenchError

    rules = config.getoption("--robench-rules")
    try:
        verdict = gate(run, baseline, read_rules(None if rules is None else Path(rules)))
    except RobenchError as error:
        raise pytest.UsageError(f"robench: {error}") from error
    for one in verdict.comparisons:
        items.append(_Compared.from_parent(session, name=f"robench gate: {one.name}", comparison=one))  # noqa: PERF401


class _ComparisonError(Exception):
    """A comparison failed; its text is the sentence that is reported."""


class _Compared(pytest.Item):
    """One comparison as a test."""

    def __init__(self, *, comparison: Comparison, **given: Any) -> None:
        super().__init__(**given)
        self._comparison = comparison

    def runtest(self) -> None:
        """Fail if the comparison did."""
        from robench.analysis.gate.formats import sentence

        if self._comparison.failed:
            raise _ComparisonError(f"{sentence(self._comparison)}\nrule: {self._comparison.rule}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence alone, without a traceback."""
        return (
            str(excinfo.value) if isinstance(excinfo.value, _ComparisonError) else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is: at no line."""
        return self.path, None, self.name


@pytest.fixture
def robench_gate() -> Callable[..., Verdict]:
    """Return `robench_gate(run, baseline, rules=None)`: it fails the test where the gate fails, and returns the verdict.

    rules: a TOML file, or a list of tables as in one; None as on the command line.
    """
    from robench.analysis.gate import gate, read_rules, rules_from
    from robench.analysis.gate.formats import outcome, sentence
    from robench.errors import RobenchError

    def check(
        run: Path | str, baseline: Path | str, rules: Path | str | Sequence[Mapping[str, Any]] | None = None
    ) -> Verdict:
        __tracebackhide__ = True
        of_file = rules is None or isinstance(rules, str | Path)
        try:
            chosen = read_rules(None if rules is None else Path(rules)) if of_file else rules_from(rules)  # type: ignore[arg-type]
            verdict = gate(run, baseline, chosen)
        except RobenchError as error:
            pytest.fail(f"robench: {error}", pytrace=False)
        if verdict.failed:
            pytest.fail("\n".join([outcome(verdict), *map(sentence, verdict.failed)]), pytrace=False)
        return verdict

    return check
