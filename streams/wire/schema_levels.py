"""Levels of schemas as records, and the gate by which a process writes no more than they allow."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from schemas import library
from schemas.codec import Codec
from streams.experiments.definition_versions import DEFINITION, DEFINITION_VERSION, later_fields
from streams.model.errors import ConfigurationError, EngineError, EventError
from streams.model.schema_levels import (
    MAX_LEVELS,
    LevelsChange,
    SchemaLevels,
    Versions,
    listed,
)
from streams.wire.records import (
    SINGLE_OBJECT,
    TIME_LIMIT_MS,
    check_range,
    event_errors,
    read,
)

_MAX_NAME = 64
_INT_LIMIT = 1 << 31
_SETTING = "EXPERIMENT_WRITE_SCHEMAS"


def readable() -> dict[str, int]:
    """Return the newest version of every schema that this process reads, by name."""
    return library.newest_versions() | {DEFINITION: DEFINITION_VERSION}


def encode_levels_change(change: LevelsChange) -> bytes:
    """Return the record of a change of levels. Always a single object, as those of generations."""
    return SINGLE_OBJECT.encode(
        "schema_levels",
        {
            "versions": dict(change.versions),
            "is_initial": change.is_initial,
            "at_ms": change.at_ms,
        },
    )


def decode_levels_change(value: bytes | None) -> LevelsChange:
    """Return the change of levels in a Kafka record.

    Raises:
        EventError: it cannot be read, or a field of it cannot be used.
    """
    record = read("schema_levels", value, SINGLE_OBJECT)
    with event_errors():
        versions: Mapping[str, int] = record["versions"]
        if len(versions) > MAX_LEVELS or any(len(name) > _MAX_NAME for name in versions):
            raise EventError("OUT_OF_RANGE", f"more than {MAX_LEVELS} names", "versions")
        return LevelsChange(
            versions={
                name: check_range(version, 0, _INT_LIMIT, "versions")
                for name, version in versions.items()
            },
            is_initial=record["is_initial"],
            at_ms=check_range(record["at_ms"], 0, TIME_LIMIT_MS, "at_ms"),
        )


def parse_pins(text: str) -> dict[str, int]:
    """Return the versions in a setting like `snapshot:1,tally_cell:1`.

    Raises:
        ConfigurationError: it is not of that form, or names what this process cannot write.
    """
    pins = {}
    known = readable()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, version = part.partition(":")
        if name not in known:
            raise ConfigurationError(
                f"{name[:_MAX_NAME]!r} is no schema, must be one of {', '.join(known)}", _SETTING
            )
        is_number = version.isascii() and version.isdigit() and len(version) <= len("1024")
        if not is_number or not 1 <= int(version) <= known[name]:
            raise ConfigurationError(
                f"{name}: {version[:_MAX_NAME]!r} must be in 1..{known[name]}", _SETTING
            )
        pins[name] = int(version)
    return pins


class SchemaGate:
    """Lets a process write the versions that every reader reads, and none above.

    Before the log of levels is known the newest versions are written: then the installation is new,
    or the setting says which ones. What a process writes outside of a registry's framing, as to its
    tables and to Redis, is gated, too.

    Args:
        pins: Versions that the setting holds writing at; they bound those of the log.

    Attributes:
        levels: What the log says, as far as it is known.
    """

    def __init__(self, pins: Versions | None = None) -> None:
        self._codecs = [SINGLE_OBJECT]
        self._pins = dict(pins or {})
        self._reads = readable()
        self.levels = SchemaLevels()
        self._apply()

    @property
    def reads(self) -> Versions:
        """The newest versions that this process reads."""
        return self._reads

    @property
    def written(self) -> dict[str, int]:
        """The version of every schema that this process writes."""
        levels = self.levels.versions
        allowed = {
            name: newest if levels is None else min(newest, levels.get(name, 0))
            for name, newest in self._reads.items()
        }
        return {
            name: min(version, self._pins.get(name, version)) for name, version in allowed.items()
        }

    @property
    def too_new(self) -> dict[str, int]:
        """What may be written by others and cannot be read here."""
        return self.levels.too_new(self._reads)

    def govern(self, codec: Codec) -> None:
        """Have a codec write what this gate allows, from now on."""
        self._codecs.append(codec)
        codec.write(self.written)

    def take(self, levels: SchemaLevels) -> None:
        """Write what these levels allow from now on."""
        if levels != self.levels:
            self.levels = levels
            self._apply()

    def require(self, name: str, version: int, path: str = "") -> None:
        """Return if a feature that needs this version may be used.

        Raises:
            EngineError: not every reader reads it (`SCHEMA_NOT_ENABLED`).
        """
        written = self.written.get(name, 0)
        if version > written:
            raise EngineError(
                "SCHEMA_NOT_ENABLED",
                f"this needs version {version} of {name}, and {written} is written until every "
                "process reads a newer one; see `experiment schemas status`",
                path,
            )

    def require_definition(self, model: BaseModel) -> None:
        """Return if every field that a definition, or a change of one, uses is enabled.

        Raises:
            EngineError: one is not (`SCHEMA_NOT_ENABLED`), with its path.
        """
        for path, version in later_fields(model):
            self.require(DEFINITION, version, path)

    def _apply(self) -> None:
        written = self.written
        for codec in self._codecs:
            codec.write(written)


def refusal(too_new: Versions) -> str:
    """Return why a process that cannot read these versions does not start, and what to do."""
    return (
        f"{listed(too_new)} may be written here, which is newer than what this release reads; "
        "start the release that wrote it, or a newer one (`experiment schemas status`)"
    )
