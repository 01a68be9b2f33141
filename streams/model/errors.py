"""Errors of the engine, sorted by who must act.

`code` and `path` are part of the public contract; the text of the message is not.
"""

from __future__ import annotations

from reprlib import Repr
from typing import Any

PATH_CHARACTERS = 200
"""Longest path of an error."""

MESSAGE_CHARACTERS = 1_000
"""Longest message of an error."""

QUOTED_CHARACTERS = 64
"""Characters of one piece of input that a message quotes at most."""

_CUT = "…"
_SHORT = Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = QUOTED_CHARACTERS


def quoted(value: object) -> str:
    r"""Return a piece of input as a message may quote it: short, on one line, without controls.

    Every message that repeats something a sender chose calls this. The result is printable and can
    be encoded whatever `value` is, and its cost does not grow with the size of `value`.

    >>> quoted("click"), quoted("\x1b[2J"), quoted(3)
    ("'click'", "'\\x1b[2J'", '3')
    >>> len(quoted("k" * 1_000_000))
    67
    """
    if isinstance(value, str | bytes) and len(value) > QUOTED_CHARACTERS:
        return quoted(value[:QUOTED_CHARACTERS]) + _CUT
    if isinstance(value, str | bytes):
        return repr(value)
    try:
        text = _SHORT.repr(value)
    except Exception:  # noqa: BLE001 - an integer of 5,000 digits, or a class of the caller
        text = f"<{type(value).__name__}>"
    return one_line(text, QUOTED_CHARACTERS)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, whose plural ends in s, as a message says them.

    >>> counted(1, "active variant"), counted(0, "key"), counted(1_250, "event")
    ('1 active variant', '0 keys', '1,250 events')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def one_line(text: str, limit: int) -> str:
    r"""Return at most `limit` characters of a text, with what is not printable escaped.

    >>> one_line("a\nb", 10), one_line("abcdef", 4)
    ('a\\nb', 'abc…')
    """
    if len(text) > limit:
        text = text[: limit - 1] + _CUT
    if text.isprintable():
        return text
    escaped = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + _CUT


class EngineError(Exception):
    """Base class of all errors of this engine.

    Attributes:
        code: Stable name of the condition, upper snake case.
        path: Field that is at fault, as in `variants[1].weight`; empty if no field is. At most
            `PATH_CHARACTERS`, printable.
        message: One sentence for a person. At most `MESSAGE_CHARACTERS`, printable.
    """

    def __init__(self, code: str, message: str, path: str = "") -> None:
        message = one_line(message, MESSAGE_CHARACTERS)
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = one_line(path, PATH_CHARACTERS)

    def __str__(self) -> str:
        """Return `CODE at path: message`."""
        place = f" at {self.path}" if self.path else ""
        return f"{self.code}{place}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes: the arguments of the exception are not those of its class."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[EngineError], args: tuple[Any, ...], state: dict[str, Any]) -> EngineError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidParameterError(EngineError, ValueError):
    """A number outside its domain reached the pure core: a bug of the caller."""

    def __init__(self, name: str, value: object, rule: str) -> None:
        super().__init__("INVALID_PARAMETER", f"{name} == {quoted(value)}, must be {rule}", name)


class InputError(EngineError):
    """Invalid input. The sender must change it; a retry will not help."""


class EventError(InputError):
    """One event cannot be used. It goes to the dead letters, and its record continues."""


class ReceiptError(EventError):
    """An assignment id that is forged, truncated, signed by an unknown key, or expired."""


class TransitionError(EngineError):
    """A command that the experiment's status does not allow."""


class ExperimentNotFoundError(EngineError):
    """No experiment has this id."""

    def __init__(self, experiment_id: str) -> None:
        super().__init__(
            "EXPERIMENT_NOT_FOUND",
            f"there is no experiment {quoted(experiment_id)}",
            "experimentId",
        )


class ExperimentNotRunningError(EngineError):
    """The experiment exists and assigns no units now."""

    def __init__(self, experiment_id: str, status: str) -> None:
        super().__init__(
            "EXPERIMENT_NOT_RUNNING",
            f"experiment {quoted(experiment_id)} is {status}, and only a running one assigns",
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


class NewerEntryError(EngineError):
    """State that a newer release wrote, and this one cannot read: it must not be written over.

    Operator action: start the release that wrote it, or a newer one.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            "NEWER_ENTRY",
            f"{what} was written by a newer release and is left untouched; start that release, or "
            "a newer one",
        )


class DamagedEntryError(EngineError):
    """A table entry is not one that any worker has written.

    Operator action: rebuild the tables from the log (`experiment replay rebuild`).
    """

    def __init__(self, what: str, error: Exception | None = None) -> None:
        reason = "" if error is None else f": {type(error).__name__}: {quoted(str(error))}"
        super().__init__("DAMAGED_ENTRY", f"{what} cannot be read{reason}")


class ConfigurationError(EngineError):
    """A process refuses to start with these settings.

    Operator action: correct the setting named in `path`.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__("CONFIGURATION", message, path)
