"""Checks that every process can read the written schema versions, and of newer versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streams.model.schema_levels import SchemaLevels, Versions, above, listed
from streams.projection.presence import ProcessSchemas


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """Facts about schemas.

    Attributes:
        levels: What the log says may be written.
        processes: The processes that send heartbeats.
    """

    levels: SchemaLevels
    processes: Sequence[ProcessSchemas]

    @property
    def common(self) -> dict[str, int]:
        """The newest version of each schema that every live process reads; empty without any."""
        if not self.processes:
            return {}
        names = set.intersection(*(set(each.reads) for each in self.processes))
        return {name: min(each.reads[name] for each in self.processes) for name in sorted(names)}

    @property
    def raisable(self) -> dict[str, int]:
        """Versions that every live process reads and that the log does not permit to write yet."""
        levels = self.levels.versions
        return {} if levels is None else above(self.common, levels)

    def too_old(self, versions: Versions) -> Iterator[tuple[ProcessSchemas, dict[str, int]]]:
        """Yield the processes that cannot read these versions, with those that they cannot."""
        for process in self.processes:
            missing = above(versions, process.reads)
            if missing:
                yield process, missing


def blockers(facts: SchemaFacts, versions: Versions) -> list[str]:
    """Return why these versions must not be written yet, a sentence each; empty when they may."""
    if not facts.processes:
        return ["no process sends heartbeats, so what they read is not known"]
    kinds = {process.kind for process in facts.processes}
    found = [] if "worker" in kinds else ["no worker sends heartbeats"]
    return found + [
        f"{process.kind} {process.name} cannot read {listed(missing)}"
        for process, missing in facts.too_old(versions)
    ]
