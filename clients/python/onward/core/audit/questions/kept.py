"""How deadlines were kept, and on whose word that rests: a part of answers 2 and 4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from onward.core.audit.scope import Judged
from onward.core.audit.tables import Cell, Count, Equation, Table
from onward.core.audit.words import URGENCIES, word
from onward.core.timing import Judgement, Source

_WAITING: Final = "not due yet"
_JUDGEMENTS: Final = (*(judgement.value for judgement in Judgement), _WAITING)
_SOURCES: Final = tuple(source.value for source in Source)

SENTENCE: Final = (
    " Of {judged:deadline|deadlines} that came due, {met:was|were} met, "
    "{missed:was|were} missed, and {undetermined:is|are} undetermined, of which "
    "{disputed:is|are} disputed: claimed to be in time, but told after the breach. "
    "{witnesses:of these judgements rests|of these judgements rest} on witnesses, "
    "{timestamps} on timestamps, and {claims} on claims only."
)
"""What an answer says of them, with their figures."""


@dataclass(frozen=True)
class KeptDeadlines:
    """Some deadlines, counted by class, by how they were kept, and by source.

    Attributes:
        key: of the counts.
        judged: the deadlines.
    """

    key: str
    judged: Sequence[Judged]

    @property
    def figures(self) -> Mapping[str, Cell]:
        """For the answer's sentence: how many, how they were kept, on whose word."""
        return {
            "judged": self._count(),
            **{how.value: self._count(how=how.value) for how in Judgement},
            "disputed": Count(
                f"{self.key}.disputed", sum(item.kept.disputed for item in self.judged)
            ),
            **{source.name.lower(): self._count(source=source) for source in Source},
        }

    def table(self, name: str, title: str) -> Table:
        """Returns them by class and judgement, with one column for each source."""
        columns = ("class", "deadlines", "how many", *_SOURCES)
        return Table(name, title, columns, tuple(self._rows()))

    @property
    def equations(self) -> Iterator[Equation]:
        """Yields which of these counts add up."""
        for label in self._labels:
            for how in _JUDGEMENTS:
                parts = (self._count(label, how, source) for source in _SOURCES)
                yield Equation(self._count(label, how), tuple(parts))
        for how in _JUDGEMENTS:
            for source in ("", *_SOURCES):
                parts = (self._count(label, how, source) for label in self._labels)
                yield Equation(self._count("", how, source), tuple(parts))
        for source in ("", *_SOURCES):
            parts = (self._count("", how.value, source) for how in Judgement)
            yield Equation(self._count("", "", source), tuple(parts))

    def _rows(self) -> Iterator[tuple[Cell, ...]]:
        for label in (*self._labels, ""):
            for how in _JUDGEMENTS:
                whole = self._count(label, how)
                if whole.value:
                    parts = (self._count(label, how, source) for source in _SOURCES)
                    yield label or "all", how, whole, *parts

    @cached_property
    def _counts(self) -> Counter[tuple[str, str, str]]:
        """How many by class, judgement and source; empty words stand for all of them.

        What is not due yet is no judgement, and in no sum of judgements.
        """
        counts: Counter[tuple[str, str, str]] = Counter()
        alike = Counter((item.urgency, item.kept) for item in self.judged)
        for (urgency, kept), count in alike.items():
            label, source = word("Urgency", urgency), kept.source.value
            how = _WAITING if kept.waiting else kept.judgement.value
            for named in (label, ""):
                for said in (source, ""):
                    counts[named, how, said] += count
            if not kept.waiting:
                counts["", "", source] += count
                counts["", "", ""] += count
        return counts

    @property
    def _labels(self) -> Sequence[str]:
        known = [word("Urgency", urgency) for urgency in URGENCIES]
        named = dict.fromkeys((*known, *(label for label, _, _ in self._counts)))
        return [label for label in named if label and self._has(label)]

    def _has(self, label: str) -> bool:
        return any(self._counts[label, how, ""] for how in _JUDGEMENTS)

    def _count(self, label: str = "", how: str = "", source: str = "") -> Count:
        value = self._counts[label, how, source]
        return Count(f"{self.key}.{label}.{how}.{source}", value)
