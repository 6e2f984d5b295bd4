"""The table of a running run, which fills in while its conditions finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.text import Text

from robench.analysis.formatting import in_percent
from robench.display.tint import tint
from robench.runs.conditions import ConditionEntry
from robench.runs.observer import ConditionScore, StartedRun
from robench.suites import CLEAN, category_of, display_family, lookup_suite

__all__ = ["RunBoard", "metric_name", "percent"]

_NAME = 18
"""Characters of a corruption's name."""
_CELL = 6
"""Characters of a cell with the space before it."""

_METRIC_NAMES = {"error_rate": "error"}


def metric_name(metric: str) -> str:
    """Return a metric for people, such as `flip rate`."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def percent(value: float) -> str:
    """Return a fraction in percent with one decimal."""
    return f"{in_percent(value):.1f}"


@dataclass
class RunBoard:
    """The conditions of a run with the scores of those that are finished.

    Attributes:
        run: The run.
        scores: Score of each finished condition by name.
    """

    run: StartedRun
    scores: dict[str, ConditionScore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores.update(self.run.scores)

    @property
    def is_complete(self) -> bool:
        """Whether every condition is finished."""
        return len(self.scores) == len(self.run.conditions)

    def of_suite(self, suite: str) -> list[ConditionEntry]:
        """Return the conditions of a suite."""
        return [condition for condition in self.run.conditions if condition.suite == suite]

    def of_corruption(self, condition: ConditionEntry) -> list[ConditionEntry]:
        """Return the conditions with the suite and the corruption of `condition`."""
        return [one for one in self.of_suite(condition.suite) if one.corruption == condition.corruption]

    def are_finished(self, conditions: Sequence[ConditionEntry]) -> bool:
        """Return whether all of some conditions are finished."""
        return all(condition.name in self.scores for condition in conditions)

    def mean(self, conditions: Sequence[ConditionEntry]) -> ConditionScore | None:
        """Return the mean over the finished ones of some conditions; None if none is finished or if their metrics differ."""
        found = [self.scores[condition.name] for condition in conditions if condition.name in self.scores]
        if not found or len({score.metric for score in found}) > 1:
            return None
        return ConditionScore(found[0].metric, sum(score.value for score in found) / len(found))

    def suite_text(self, suite: str) -> str:
        """Return the mean of a suite over its finished conditions, such as `mean error 31.2 %, mCE 78.1`; may be empty."""
        conditions = self._averaged(suite)
        mean = self.mean(conditions)
        parts = [] if mean is None else [f"mean {metric_name(mean.metric)} {percent(mean.value)} %"]
        if (mce := self._mce(conditions, self.run.divisors.get(suite, {}))) is not None:
            parts.append(f"mCE {mce:.1f}")
        return ", ".join(parts)

    def _averaged(self, suite: str) -> list[ConditionEntry]:
        conditions, whole = self.of_suite(suite), lookup_suite(suite)
        if whole is None:
            return conditions
        covered = whole.own_or_extra(condition.corruption for condition in conditions)
        return [condition for condition in conditions if condition.corruption in covered]

    def _mce(self, conditions: Sequence[ConditionEntry], divisors: Mapping[str, float]) -> float | None:
        """Return the mean CE of the corruptions whose severities are all finished."""
        errors = []
        for corruption, group in groupby(conditions, key=lambda condition: condition.corruption):
            cells, whole = list(group), lookup_suite(conditions[0].suite)
            complete = whole is not None and len(cells) == len(whole.severities) and self.are_finished(cells)
            mean = self.mean(cells)
            if complete and mean is not None and corruption in divisors:
                errors.append(100 * mean.value / divisors[corruption])
        return sum(errors) / len(errors) if errors else None

    def clean_text(self) -> str:
        """Return `clean error 11.0 %`, once the clean images are classified."""
        mean = self.mean(self.of_suite(CLEAN))
        return "" if mean is None else f"clean error {percent(mean.value)} %"

    def lines(self, width: int, height: int) -> list[Text]:
        """Return at most `height` lines of at most `width` characters: the current suite as a table, a line for each other."""
        suites = [suite for suite in dict.fromkeys(one.suite for one in self.run.conditions) if suite != CLEAN]
        if not suites:
            return [_cropped(Text(self.clean_text()), width)] if self.clean_text() and height > 0 else []
        current = next((suite for suite in suites if not self.are_finished(self.of_suite(suite))), suites[-1])
        others = [Text(self._suite_line(suite)) for suite in suites if suite != current]
        if len(others) > max(2, height // 4):
            others = [Text(f"{len(others)} more suites")]
        table = self._table(current, width, height - len(others))
        return [_cropped(line, width) for line in (*table, *others)][: max(height, 0)]

    def one_line(self) -> str:
        """Return the run in one line: model, conditions and means."""
        suites = [suite for suite in dict.fromkeys(one.suite for one in self.run.conditions) if suite != CLEAN]
        means = [f"{suite} {text}" for suite in suites if (text := self.suite_text(suite))]
        return " · ".join([f"{self.run.model}: {len(self.scores)} of {len(self.run.conditions)} conditions", *means])

    def _suite_line(self, suite: str) -> str:
        conditions = self.of_suite(suite)
        done = sum(condition.name in self.scores for condition in conditions)
        text = self.suite_text(suite)
        state = (
            "waiting" if not done else f"{done} of {len(conditions)} conditions" if done < len(conditions) else "done"
        )
        return f"{suite}: {state}{f', {text}' if text else ''}"

    def _table(self, suite: str, width: int, height: int) -> list[Text]:
        """Return the table of a suite; categories of corruptions become one row each until the table fits."""
        conditions, whole = self.of_suite(suite), lookup_suite(suite)
        extra = whole.extra if whole is not None else ()
        rows: dict[str, list[ConditionEntry]] = {}
        for condition in conditions:
            rows.setdefault(condition.corruption, []).append(condition)
        sized = display_family(suite).has_resolutions
        levels = sorted({one.resolution if sized else one.severity for one in conditions})
        room = max(1, (width - _NAME - 2 * _CELL) // _CELL)
        levels, hidden = levels[:room], len(levels) - room
        header = Text(f"{suite:<{_NAME}.{_NAME}}", "bold")
        if len(levels) > 1:
            header.append("".join(f"{level:>{_CELL}}" for level in levels), "dim")
        header.append(f"{'mean' if len(levels) > 1 else '%':>{_CELL}}", "dim")
        if hidden > 0:
            header.append(f"  {hidden} more", "dim")
        if text := self.suite_text(suite):
            header.append(f"  {text}" if len(header) + len(text) + 2 <= width else "")
        blocks = [
            (category, [(name, rows[name]) for name in names])
            for category, group in groupby(rows, key=lambda name: category_of(name, extra))
            if (names := list(group))
        ]
        mixed = len({score.metric for one in conditions if (score := self.scores.get(one.name))}) > 1
        open_blocks = self._opened(blocks, height - 1)
        lines = [header]
        for number, (category, members) in enumerate(blocks):
            if number in open_blocks:
                lines += [self._row(name, cells, levels, sized, mixed) for name, cells in members]
            else:
                cells = [condition for _, group in members for condition in group]
                lines.append(self._row(f"{category} ({len(members)})", cells, levels, sized, mixed))
        if len(lines) > height:
            lines = [*lines[: max(height - 1, 0)], Text(f"{len(lines) - height + 1} more rows", "dim")]
        return lines

    def _opened(self, blocks: Sequence[tuple[str, list[tuple[str, list[ConditionEntry]]]]], height: int) -> set[int]:
        """Return the categories that are shown row by row: the current one always, finished ones are the first to close."""
        opened = set(range(len(blocks)))
        states = [self.are_finished([one for _, group in members for one in group]) for _, members in blocks]
        current = states.index(False) if False in states else len(blocks) - 1
        order = [number for number in range(len(blocks)) if number < current]
        order += [number for number in reversed(range(len(blocks))) if number > current]
        for number in order:
            if sum(len(members) if at in opened else 1 for at, (_, members) in enumerate(blocks)) <= height:
                break
            opened.discard(number)
        return opened

    def _row(self, name: str, cells: Sequence[ConditionEntry], levels: Sequence[int], sized: bool, mixed: bool) -> Text:
        line = Text(f"{name:<{_NAME}.{_NAME}}")
        if len(levels) > 1:
            for level in levels:
                at = [one for one in cells if (one.resolution if sized else one.severity) == level]
                line.append_text(_cell(self.mean(at), "·" if at else ""))
        mean = self.mean(cells)
        line.append_text(_cell(mean, "·"))
        if mean is not None and mixed:
            line.append(f"  {metric_name(mean.metric)}", "dim")
        return line


def _cell(score: ConditionScore | None, empty: str) -> Text:
    """Return a tinted value, or `empty` for a condition that is not finished."""
    if score is None:
        return Text(f"{empty:>{_CELL}}", "dim")
    return Text.assemble(" ", (f"{percent(score.value):>{_CELL - 1}}", tint(score.metric, score.value)))


def _cropped(line: Text, width: int) -> Text:
    line.truncate(max(width, 1), overflow="ellipsis")
    line.no_wrap = True
    return line
