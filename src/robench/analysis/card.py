"""The results of a run as a section of a Hugging Face model card, with its metadata (`model-index`)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from robench.analysis.comparison import ResultsSet, Source, check_finished, load_results
from robench.analysis.formatting import escape_markdown
from robench.analysis.metrics import METRICS
from robench.analysis.report.words import last_part, metric_words
from robench.analysis.run_summary import Headline, harms_of, headlines, verdict
from robench.errors import OptionError, one_line
from robench.suites import CLEAN, category_of, display_family, lookup_suite
from robench.types import Results

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["Card", "read_card"]

_INDEX = "model-index"
_TASK = "image-classification"
_OWN = "robench"
"""Argument of a result's dataset by which a result of robench is known."""

_FRONT_MATTER = re.compile(r"\A(\ufeff?\s*---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)
_TAIL = re.compile(r"(?:^[ \t]*(?:#[^\n]*)?\r?\n)*\Z", re.MULTILINE)
"""Empty lines and comments at the end of a block of YAML."""


@dataclass(frozen=True)
class Card:
    """The contents of a model card that follow from the results of a run.

    Attributes:
        results: The results.
        frame: The same as a table.
        headlines: At least one headline value.
    """

    results: ResultsSet
    frame: Results
    headlines: tuple[Headline, ...]

    @property
    def main(self) -> Headline:
        """The headline of the first suite, or the clean accuracy without a suite."""
        return next((one for one in self.headlines if one.suite != CLEAN), self.headlines[0])

    @property
    def _markers(self) -> tuple[str, str]:
        """The comments around the section, one section for each dataset."""
        dataset = re.sub(r"[^\w.]+", "-", self.results.dataset)
        return f"<!-- robench card: {dataset} -->", f"<!-- end of robench card: {dataset} -->"

    def new(self, image: str = "") -> str:
        """Return a whole card.

        Args:
            image: Address of the badge; empty for none.
        """
        return self.into("", image, title=f"# {escape_markdown(self.results.model)}\n\n")

    def into(self, card: str, image: str = "", *, title: str = "", name: str = "the card") -> str:
        """Return a card with its section and metadata added or replaced; all else stays as it is.

        Args:
            card: The text of a model card.
            image: Address of the badge; empty for none.
            title: Text before the section of a new card.
            name: Name of the card, for errors.

        Raises:
            OptionError: The card's metadata or markers are damaged.
        """
        line_end = "\r\n" if "\r\n" in card else "\n"
        match = _FRONT_MATTER.match(card)
        merged = _with_metadata(card, self._index_of("" if match is None else match[2], name), name, line_end)
        section = self.section(image).replace("\n", line_end)
        begin, end = self._markers
        counts = merged.count(begin), merged.count(end)
        if counts == (1, 1) and merged.index(begin) < merged.index(end):
            whole = merged[: merged.index(begin)] + section + merged[merged.index(end) + len(end) :]
        elif counts == (0, 0):
            gap = "" if not card or merged.endswith(line_end * 2) else line_end * (1 if merged.endswith("\n") else 2)
            whole = f"{merged}{gap}{title}{section}{line_end}"
        else:
            raise OptionError(f"{name} has damaged markers {begin} and {end}", "leave one of each, in this order")
        _validate(whole, name)
        return whole

    def section(self, image: str = "") -> str:
        """Return the section between its markers: headlines, verdict, errors by corruption, protocol and command.

        Args:
            image: Address of the badge; empty for none.
        """
        begin, end = self._markers
        main = self.main
        parts = [begin, "## Robustness"]
        if image:
            parts.append(f"![{escape_markdown(f'{main.name}: {main.text}')}]({quote(image)})")
        parts.append(self._answer())
        parts += [f"> **Warning:** {escape_markdown(warning)}" for warning in self._warnings()]
        if sentences := verdict(self.frame):
            parts.append("\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences))
        parts.append(_table(["metric", "value", "95 % interval"], [_headline_cells(one) for one in self.headlines]))
        for suite in dict.fromkeys(self.frame["suite"]):
            rows = self.frame[self.frame["suite"] == suite]
            table = _members(suite, rows) if display_family(suite).has_frames else _errors(suite, rows)
            if suite != CLEAN and table:
                parts.append(table)
        return "\n\n".join([*parts, *self._provenance(), end])

    def _answer(self) -> str:
        main, clean = self.main, next((one for one in self.headlines if one.suite == CLEAN), None)
        interval = f" (95 % interval {main.ends[0]} to {main.ends[1]})" if main.ends else ""
        second = f"; clean accuracy: {clean.text}" if clean is not None and clean is not main else ""
        images = f"{self.results.images:,} images of {escape_markdown(self.results.dataset)}"
        return f"**{escape_markdown(main.name)}: {main.text}**{interval}{second}. Measured on {images}."

    def _warnings(self) -> list[str]:
        return [text.removeprefix(f"{run.path}: ") for run in self.results.runs for text in run.warnings]

    def _provenance(self) -> list[str]:
        results, runs = self.results, self.results.runs
        protocols = dict.fromkeys(self.frame["protocol"])
        treatment = f" Treatment: {escape_markdown(results.treatment)}." if results.treatment else ""
        weights = {str(run.manifest["model"].get("sha256") or "")[:12] for run in runs} - {""}
        facts = [
            f"Measured with robench {escape_markdown(results.version)}, seed {escape_markdown(results.seed)}",
            f"samples {_code(results.data_sha[:12])}",
            *(f"weights {_code(sha)}" for sha in sorted(weights)),
            f"protocol{'s' if len(protocols) > 1 else ''} {', '.join(map(_code, protocols))}",
        ]
        parts = [f"{', '.join(facts)}.{treatment}"]
        commands = [(run.manifest.get("environment") or {}).get("command") for run in runs]
        lines = [shlex.join(["robench", *(last_part(str(word)) for word in words)]) for words in commands if words]
        return [*parts, "\n".join(["```", *dict.fromkeys(lines), "```"])] if lines else parts

    def evaluations(self) -> list[EvalResult]:
        """Return the headlines as Hugging Face has them; fractions in percent."""
        from huggingface_hub import EvalResult

        found = []
        for one in self.headlines:
            unit = METRICS[one.metric].unit
            scale, sign = (100, ", %") if unit == "fraction" else (1, ", %" if unit == "percent" else f", {unit}")
            ends = (
                {} if pd.isna(one.low) else {"ci_low": _rounded(scale * one.low), "ci_high": _rounded(scale * one.high)}
            )
            arguments = {
                _OWN: self.results.version,
                "images": self.results.images,
                "samples": self.results.data_sha[:12],
                "seed": self.results.seed,
                "protocol": str(one.row["protocol"]),
            }
            found.append(
                EvalResult(
                    task_type=_TASK,
                    task_name="Image Classification",
                    dataset_type=self.results.dataset,
                    dataset_name=f"{self.results.dataset} ({one.suite})",
                    dataset_config=one.suite,
                    dataset_args=arguments,
                    metric_type=one.metric,
                    metric_name=f"{one.label}{f' ({one.detail})' if one.detail else ''}{sign}",
                    metric_value=_rounded(scale * one.value),
                    metric_args=ends or None,
                )
            )
        return found

    def _index_of(self, front_matter: str, name: str) -> list[Any] | None:
        """Return the model-index of a card with these results in place of older ones of the dataset; None for no change."""
        from huggingface_hub.repocard_data import eval_results_to_model_index

        (new,) = eval_results_to_model_index(self.results.model, self.evaluations())
        old = _parsed(front_matter, name).get(_INDEX)
        if old is None:
            return [new]
        if not isinstance(old, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("results"), list) for entry in old
        ):
            raise OptionError(f"the {_INDEX} of {name} is not a list of results by model", "correct it")
        if not old:
            return [new]
        chosen = next((number for number, entry in enumerate(old) if entry.get("name") == new["name"]), None)
        if chosen is None and len(old) > 1:
            return [*old, new]
        entry = old[chosen or 0]
        others = [result for result in entry["results"] if not self._is_own(result)]
        index = [*old]
        index[chosen or 0] = {**entry, "results": [*others, *new["results"]]}
        return None if index == old else index

    def _is_own(self, result: object) -> bool:
        dataset = result.get("dataset") if isinstance(result, Mapping) else None
        arguments = dataset.get("args") if isinstance(dataset, Mapping) else None
        return (
            isinstance(dataset, Mapping)
            and isinstance(arguments, Mapping)
            and _OWN in arguments
            and dataset.get("type") == self.results.dataset
        )


def read_card(run: Source) -> Card:
    """Return the contents of a model card from a run, several seeds of one model, or a CSV of results.

    Raises:
        OptionError: The results have no headline value.
        RunError: The run cannot be read, or is interrupted.
        TableError: The results are damaged.
    """
    results = load_results(run)
    for directory in results.runs:
        check_finished(directory)
    frame = results.frame
    found = headlines(frame)
    if not found:
        raise OptionError(f"{results.name} has no headline value", "evaluate a whole suite")
    return Card(results, frame, tuple(found))


# The section.


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', '').split())}`"


def _headline_cells(headline: Headline) -> list[str]:
    return [escape_markdown(headline.name), headline.text, " to ".join(headline.ends) if headline.ends else ""]


def _errors(suite: str, rows: Results) -> str:
    """Return a folded table of the errors by corruption and severity, in percent."""
    cells = rows[(rows["metric"] == "error_rate") & rows["corruption"].notna()]
    sizes = cells["resolution"].nunique()
    severities = sorted(cells["severity"].unique())
    whole = lookup_suite(suite)
    lines = []
    for (name, size), group in cells.groupby(["corruption", "resolution"], sort=False):
        errors = dict(zip(group["severity"], group["value"], strict=True))
        means = f"{100 * group['value'].mean():.1f}"
        numbers = [f"{100 * errors[severity]:.1f}" if severity in errors else "" for severity in severities]
        label = f"{name} at {size} px" if sizes > 1 else str(name)
        lines.append(
            [category_of(str(name), () if whole is None else whole.extra), escape_markdown(label), *numbers, means]
        )
    header = ["category", "corruption", *map(str, severities), "mean"]
    return _folded(f"{suite}: error by corruption and severity, in %", _table(header, lines, 2)) if lines else ""


def _members(suite: str, rows: Results) -> str:
    """Return a folded table with a value for each perturbation."""
    lines = []
    for row in harms_of(suite, rows).to_dict("records"):
        one = Headline(suite, str(row["corruption"]), row["metric"], row["value"], row["ci_low"], row["ci_high"])
        lines.append([escape_markdown(one.label), one.text, " to ".join(one.ends) if one.ends else ""])
    if not lines:
        return ""
    metric = metric_words(str(harms_of(suite, rows)["metric"].iloc[0]))
    return _folded(f"{suite}: {metric} by perturbation", _table(["perturbation", metric, "95 % interval"], lines))


def _folded(title: str, table: str) -> str:
    return f"<details><summary>{escape_markdown(title)}</summary>\n\n{table}\n\n</details>"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a table whose columns after the first `texts` are aligned to the right."""
    rules = ["---"] * texts + ["--:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *lines))


def _rounded(value: float) -> float:
    return round(float(value), 2)


# The metadata. Only the text of `model-index` is written, so that all else stays byte for byte.


def _parsed(front_matter: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        parsed = yaml.safe_load(front_matter)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise OptionError(f"the metadata of {name} is not YAML ({one_line(error)})", "correct it") from error
    if parsed is not None and not isinstance(parsed, dict):
        raise OptionError(f"the metadata of {name} is not a table of keys and values", "correct it")
    return parsed or {}


def _with_metadata(card: str, index: list[Any] | None, name: str, line_end: str) -> str:
    """Return a card with another `model-index`; None leaves it as it is."""
    import yaml

    if index is None:
        return card
    block: str = yaml.safe_dump({_INDEX: index}, sort_keys=False, allow_unicode=True, width=10_000)
    block = block.replace("\n", line_end)
    match = _FRONT_MATTER.match(card)
    if match is None:
        return f"---{line_end}{block}---{line_end}{line_end * (not card)}{card}"
    front_matter = match[2]
    start, stop = _span(front_matter, name)
    changed = front_matter[:start] + block + front_matter[stop:]
    return card[: match.start(2)] + changed + card[match.end(2) :]


def _span(front_matter: str, name: str) -> tuple[int, int]:
    """Return start and end of the text of `model-index`; the end of all for none."""
    import yaml

    node = yaml.compose(front_matter, Loader=yaml.SafeLoader)
    if node is None:
        return len(front_matter), len(front_matter)
    if node.flow_style:
        raise OptionError(f"the metadata of {name} is one line in braces", "write a line for each key")
    for key, value in reversed(node.value):  # Of two equal keys, the last one counts.
        if key.value == _INDEX:
            stop = value.end_mark.index
            if isinstance(value, yaml.ScalarNode) or value.flow_style:  # It ends within a line.
                stop = front_matter.find("\n", stop) + 1 or len(front_matter)
            tail = _TAIL.search(front_matter, key.start_mark.index, stop)
            return key.start_mark.index, stop if tail is None else tail.start()
    return len(front_matter), len(front_matter)


def _validate(card: str, name: str) -> None:
    """Raise OptionError unless Hugging Face's own reader accepts a card; nothing is sent anywhere."""
    from huggingface_hub import ModelCard

    try:
        ModelCard(card)
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(
            f"Hugging Face does not accept the metadata of {name} ({one_line(error)})", "correct it"
        ) from error
