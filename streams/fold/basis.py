"""Basis of a recommended action: which state of an experiment it was decided on."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import orjson

from streams.experiments.snapshot import Snapshot
from streams.model.events import Decision
from streams.model.generations import FIRST

_DIGEST_BYTES = 8
_PERSON = b"cells"

OtherT = TypeVar("OtherT")


def stated(evidence: Mapping[str, Any], name: str, otherwise: OtherT) -> int | OtherT:
    """Return a whole number of the evidence of a decision; any other value states nothing."""
    found = evidence.get(name)
    return found if isinstance(found, int) else otherwise


class Basis(NamedTuple):
    """State of an experiment that an action was decided on.

    The version of a snapshot counts commands and records, so it is that of one state only while one
    worker evaluates: another one may have other cells with as many records.

    Attributes:
        generation: Generation of the snapshot. Others may have different cells at the same offsets.
        commands: Version of the experiment; 0 in a decision from before this was logged.
        version: Version of the snapshot.
        cells: Hexadecimal digest of the places of its cells; empty where `commands` is 0.
    """

    generation: int = FIRST
    commands: int = 0
    version: int = 0
    cells: str = ""

    @classmethod
    def of(cls, snapshot: Snapshot, generation: int = FIRST) -> Basis:
        """Return the basis of an action that a snapshot recommends."""
        places = [(each.source, each.partition, each.last_offset) for each in snapshot.cells]
        digest = blake2b(orjson.dumps(sorted(places)), digest_size=_DIGEST_BYTES, person=_PERSON)
        return cls(generation, snapshot.experiment.version, snapshot.version, digest.hexdigest())

    @classmethod
    def of_decision(cls, decision: Decision) -> Basis:
        """Return the basis of a logged action."""
        evidence = decision.evidence
        found = evidence.get("basis")
        known: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        return cls(
            stated(evidence, "generation", FIRST),
            stated(known, "commands", 0),
            decision.version,
            str(known.get("cells", "")),
        )

    @property
    def unstated(self) -> Basis:
        """The part of it that a decision from before this was logged has."""
        return Basis(self.generation, version=self.version)

    def evidence(self) -> dict[str, Any]:
        """Return what the evidence of an action states beside generation and version."""
        return {"commands": self.commands, "cells": self.cells}

    def is_behind(self, other: Basis) -> bool:
        """Return whether another state, of the same generation, has what this one lacks.

        Cells and commands are never lost. So the worker that has this state comes to one that
        includes both, and its order, by commands and version, is later than either's.
        """
        if self.generation != other.generation:
            return False
        if not other.commands:
            return self.version < other.version
        own, others = (self.commands, self.version), (other.commands, other.version)
        return own < others or (own == others and self.cells != other.cells)
