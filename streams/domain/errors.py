"""Every error of the engine, sorted by who must act.

`code` and `path` are part of the public contract; the text of the message is not.
"""

from __future__ import annotations

from typing import Any


class EngineError(Exception):
    """Base class of all errors of this engine.

    Attributes:
        code: Stable name of the condition, upper snake case.
        path: Field that is at fault, as in `variants[1].weight`; empty when there is none.
        message: One sentence for a person.
    """

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path

    def __str__(self) -> str:
        """Return `CODE at path: message`."""
        place = f" at {self.path}" if self.path else ""
        return f"{self.code}{place}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it cross to another process; its arguments are not those of its class."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[EngineError], args: tuple[Any, ...], state: dict[str, Any]) -> EngineError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidParameterError(EngineError, ValueError):
    """A number outside its domain reached the pure core: a bug of the caller."""

    def __init__(self, name: str, value: object, rule: str) -> None:
        super().__init__("INVALID_PARAMETER", f"{name} == {value!r}, must be {rule}", name)


class InputError(EngineError):
    """What was sent cannot be used as it is. The sender must change it; a retry will not help."""


class EventError(InputError):
    """One event cannot be used. Agents put it with the dead letters and go on."""


class ReceiptError(EventError):
    """An assignment id that is forged, truncated, signed by an unknown key, or expired."""


class TransitionError(EngineError):
    """A command that the experiment's status does not allow."""


class ExperimentNotFoundError(EngineError):
    """No experiment has this id."""

    def __init__(self, experiment_id: str) -> None:
        super().__init__(
            "EXPERIMENT_NOT_FOUND", f"there is no experiment {experiment_id!r}", "experimentId"
        )


class ExperimentNotRunningError(EngineError):
    """The experiment exists and assigns nobody now."""

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(
            "EXPERIMENT_NOT_RUNNING",
            f"experiment {experiment_id!r} is {status}, and only a running one assigns",
            "experimentId",
        )


class DependencyError(EngineError):
    """Kafka, Redis or the schema registry does not answer. Nothing accepted is lost; retry.

    Attributes:
        dependency: Name of what is missing.
        retry_after_s: Seconds after which a retry is worth while.

    Operator action: see `GET /ready`, which names what is missing.
    """

    def __init__(
        self,
        dependency: str,
        message: str,
        *,
        code: str = "DEPENDENCY_UNAVAILABLE",
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(code, message)
        self.dependency = dependency
        self.retry_after_s = retry_after_s


class ConfigurationError(EngineError):
    """A process refuses to start with these settings.

    Operator action: correct the setting named in `path`.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__("CONFIGURATION", message, path)
