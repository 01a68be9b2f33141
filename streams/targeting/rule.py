"""Rules: JSONLogic over the attributes of a request, checked and compiled once.

The language is that of flagd's targeting (jsonlogic.com, without what iterates or builds texts). In
three points it is stricter: what is missing never matches (`streams.targeting.operators`), whatever
a request could not have is refused, and so is what would take long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from streams.model.errors import counted, quoted
from streams.model.validation import problem
from streams.targeting.attributes import NAMES, Read, RequestAttributes, reader_of
from streams.targeting.operators import OPERATORS_BY_NAME, ArgumentError, Operand

MAX_DEPTH = 16
"""Operators within each other, at most."""

MAX_OPERATORS = 64
"""Operators of a rule, at most: 64 comparisons take about 10 us."""

MAX_VALUES = 1_000
"""Constants of a rule, at most: a list of a thousand countries or ids."""

MAX_TEXT = 256
"""Characters of a constant or the name of an attribute, at most."""

_TARGET = "INVALID_RULE"
_MOST_OF_VAR = 2


@dataclass(frozen=True, slots=True)
class TargetingRule:
    """A compiled rule; equal to another one if its author wrote the same.

    Attributes:
        source: As its author wrote it.
        outcome: Its value for a request; None if that depends on something missing.
    """

    source: Mapping[str, Any]
    outcome: Read = field(compare=False, repr=False)

    def matches(self, request: RequestAttributes) -> bool:
        """Return whether a request is one of those that the rule is for."""
        return bool(self.outcome(request))

    def __hash__(self) -> int:
        """Return the same for equal rules; their source is not hashable."""
        return hash(repr(self.source))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the rule as it was written; the process that reads it compiles it again."""
        return parse_rule, (self.source,)


def parse_rule(source: Any) -> TargetingRule:
    """Return a rule, compiled.

    Raises:
        PydanticCustomError: as `problem`, with the path of the part at fault: `INVALID_RULE`,
            `UNKNOWN_OPERATOR`, `UNKNOWN_ATTRIBUTE`, `TOO_DEEP` or `RULE_TOO_LARGE`.
    """
    if isinstance(source, TargetingRule):
        return source
    if not isinstance(source, Mapping):
        raise problem("WRONG_TYPE", "a rule is an object with one operator")
    return TargetingRule(source, _Parser().operation(source, "", 1).read)


Targeting = Annotated[
    TargetingRule,
    PlainValidator(parse_rule),
    PlainSerializer(lambda rule: rule.source, return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "minProperties": 1, "maxProperties": 1}),
]
"""A rule as a field of a model."""


class _Parser:
    """Compilation of one rule, with what it has used of the limits."""

    def __init__(self) -> None:
        self._operators = 0
        self._values = 0

    def operation(self, source: Mapping[str, Any], path: str, depth: int) -> Operand:
        """Compile `{operator: arguments}`."""
        if len(source) != 1:
            raise problem(_TARGET, f"{len(source)} members, must be 1, the operator", path)
        [(name, given)] = source.items()
        self._operators += 1
        if self._operators > MAX_OPERATORS:
            message = f"more than {MAX_OPERATORS} operators"
            raise problem("RULE_TOO_LARGE", message, path)
        if depth > MAX_DEPTH:
            raise problem("TOO_DEEP", f"nested deeper than {MAX_DEPTH} operators", path)
        if name == "var":
            return self._attribute(given, _below(path, name))
        if name == "missing":
            return _missing(_arguments(given), _below(path, name))
        operator = OPERATORS_BY_NAME.get(name)
        if operator is None:
            known = " ".join(("var", "missing", *OPERATORS_BY_NAME))
            message = f"{quoted(name)} is no operator; there are {known}"
            raise problem("UNKNOWN_OPERATOR", message, path)
        arguments = _arguments(given)
        path = _below(path, name)
        if not operator.least <= len(arguments) <= operator.most:
            wanted = f"{operator.least} to {operator.most}"
            wanted = str(operator.least) if operator.least == operator.most else wanted
            raise problem(_TARGET, f"{counted(len(arguments), 'argument')}, must be {wanted}", path)
        operands = [
            self.operand(argument, f"{path}[{index}]", depth + 1)
            for index, argument in enumerate(arguments)
        ]
        try:
            return Operand(operator.compile(operands))
        except ArgumentError as error:
            place = f"{path}[{error.index}]" if error.index < len(arguments) else path
            raise problem(_TARGET, str(error), place) from error

    def operand(self, source: Any, path: str, depth: int) -> Operand:
        """Compile an argument: an operation or a constant."""
        if isinstance(source, Mapping):
            return self.operation(source, path, depth)
        if isinstance(source, list):
            for index, each in enumerate(source):
                self._constant(each, f"{path}[{index}]")
        else:
            self._constant(source, path)
        return Operand(lambda _: source, source)

    def _constant(self, value: Any, path: str) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise problem("RULE_TOO_LARGE", f"more than {MAX_VALUES} constants", path)
        if value is None:
            message = (
                "null compares with nothing; {'missing': ['device']} says what a request lacks"
            )
            raise problem(_TARGET, message, path)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise problem("RULE_TOO_LARGE", f"a text of more than {MAX_TEXT} characters", path)
        if not isinstance(value, str | bool | int | float):
            raise problem(_TARGET, "a constant is a text, a number, a truth value or a list", path)

    def _attribute(self, given: Any, path: str) -> Operand:
        arguments = _arguments(given)
        if not 1 <= len(arguments) <= _MOST_OF_VAR:
            raise problem(
                _TARGET, "the name of an attribute, and what stands for a missing one", path
            )
        read = _reader(arguments[0], path)
        if len(arguments) == 1:
            return Operand(read)
        default = arguments[1]
        self._constant(default, f"{path}[1]")

        def read_or_default(request: RequestAttributes) -> Any:
            value = read(request)
            return default if value is None else value

        return Operand(read_or_default)


def _missing(names: Sequence[Any], path: str) -> Operand:
    """Compile `missing`: the names of those attributes that a request lacks."""
    reads = [(name, _reader(name, f"{path}[{index}]")) for index, name in enumerate(names)]
    if not 1 <= len(reads) <= MAX_OPERATORS:
        raise problem(_TARGET, f"{len(reads)} names, must be 1 to {MAX_OPERATORS}", path)

    def read(request: RequestAttributes) -> list[str]:
        return [name for name, each in reads if each(request) is None]

    return Operand(read)


def _reader(name: Any, path: str) -> Read:
    if not isinstance(name, str):
        raise problem(_TARGET, "the name of an attribute is a text", path)
    read = reader_of(name) if len(name) <= MAX_TEXT else None
    if read is None:
        message = f"{quoted(name)} is no attribute of a request; there are {', '.join(NAMES)}"
        raise problem("UNKNOWN_ATTRIBUTE", message, path)
    return read


def _arguments(given: Any) -> list[Any]:
    """Return the arguments of an operator: a single one needs no list around it."""
    return given if isinstance(given, list) else [given]


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
