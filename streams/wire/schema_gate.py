"""The gate that keeps a process from writing schema versions that some reader cannot read."""

from __future__ import annotations

from pydantic import BaseModel

from schemas import library
from schemas.codec import Codec
from streams.experiments.definition_versions import DEFINITION, DEFINITION_VERSION, later_fields
from streams.model.errors import ConfigurationError, EngineError
from streams.model.schema_levels import MAX_NAME_CHARACTERS, SchemaLevels, Versions, listed
from streams.wire.records import SINGLE_OBJECT

_SETTING = "EXPERIMENT_WRITE_SCHEMAS"


def readable() -> dict[str, int]:
    """Return the newest version of every schema that this process reads, by name."""
    return library.newest_versions() | {DEFINITION: DEFINITION_VERSION}


def parse_pins(text: str) -> dict[str, int]:
    """Return the versions in a setting such as `snapshot:1,tally_cell:1`.

    Raises:
        ConfigurationError: the setting has another form, or names a schema or version that this
            process cannot write.
    """
    pins = {}
    known = readable()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, version = part.partition(":")
        if name not in known:
            raise ConfigurationError(
                f"{name[:MAX_NAME_CHARACTERS]!r} is not a schema, must be one of "
                f"{', '.join(known)}",
                _SETTING,
            )
        is_number = version.isascii() and version.isdigit() and len(version) <= len("1024")
        if not is_number or not 1 <= int(version) <= known[name]:
            raise ConfigurationError(
                f"{name}: {version[:MAX_NAME_CHARACTERS]!r} must be in 1..{known[name]}", _SETTING
            )
        pins[name] = int(version)
    return pins


class SchemaGate:
    """The versions that a process may write: at most those that every reader reads.

    Until the log of levels is known, the newest versions are written, bounded by the pins: the
    installation is new. Records outside of a registry's framing, such as table entries and values
    in Redis, are gated as well.

    Args:
        pins: Upper bounds of the versions, from the setting.

    Attributes:
        levels: The levels of the log, as far as it has been read.
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
        """Versions that may be written by others and that this process cannot read."""
        return self.levels.too_new(self._reads)

    def govern(self, codec: Codec) -> None:
        """Make a codec write the versions that this gate allows, from now on."""
        self._codecs.append(codec)
        codec.write(self.written)

    def take(self, levels: SchemaLevels) -> None:
        """Write the versions that these levels allow, from now on."""
        if levels != self.levels:
            self.levels = levels
            self._apply()

    def require(self, name: str, version: int, path: str = "") -> None:
        """Check that a feature that needs this version may be used.

        Raises:
            EngineError: some reader cannot read it (`SCHEMA_NOT_ENABLED`).
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
        """Check that every field that a definition, or a change of one, uses is enabled.

        Raises:
            EngineError: a field is not enabled (`SCHEMA_NOT_ENABLED`); the error has its path.
        """
        for path, version in later_fields(model):
            self.require(DEFINITION, version, path)

    def _apply(self) -> None:
        written = self.written
        for codec in self._codecs:
            codec.write(written)


def refusal(too_new: Versions) -> str:
    """Return the message for a process that cannot read these versions: cause and remedy."""
    return (
        f"{listed(too_new)} may be written here, which is newer than what this release reads; "
        "start the release that wrote it, or a newer one (`experiment schemas status`)"
    )
