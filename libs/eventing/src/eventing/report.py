"""What a `verify` found: checks with counts, the first offenders by name, and anomalies that are no faults."""

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 10


@dataclass
class Finding:
    """One thing that is counted: `checked` cases of it were looked at, `count` of them stand out."""

    name: str
    checked: int = 0
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one that stands out; the first `SHOWN` are kept by name."""
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append(example)

    def expect(self, fine: bool, example: str) -> None:
        """Look at one case."""
        self.checked += 1
        if not fine:
            self.add(example)


@dataclass
class Report:
    """The findings of one run: a difference is a fault, an anomaly is worth knowing and no fault."""

    title: str
    differences: dict[str, Finding] = field(default_factory=dict)
    anomalies: dict[str, Finding] = field(default_factory=dict)

    def check(self, name: str) -> Finding:
        """The check of this name, made on first use."""
        return self.differences.setdefault(name, Finding(name))

    def anomaly(self, name: str) -> Finding:
        """The anomaly of this name, made on first use."""
        return self.anomalies.setdefault(name, Finding(name))

    @property
    def is_clean(self) -> bool:
        """Whether no check found a difference."""
        return not any(finding.count for finding in self.differences.values())

    def lines(self) -> Iterator[str]:
        """The report as people read it."""
        yield f"{self.title}: {'verified' if self.is_clean else 'DIFFERENCES FOUND'}"
        for finding in self.differences.values():
            verdict = "ok" if finding.count == 0 else f"{finding.count:,} WRONG"
            yield f"  {finding.name}: {finding.checked:,} checked, {verdict}"
            yield from (f"      {example}" for example in finding.examples)
        for finding in self.anomalies.values():
            if finding.count:
                yield f"  anomaly, {finding.name}: {finding.count:,}"
                yield from (f"      {example}" for example in finding.examples)
