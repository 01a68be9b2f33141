"""Operators of rules: each compiles its arguments into one function of a request.

The logic has three values. A missing attribute (None) makes what is computed from it missing, too,
and a rule whose outcome is missing does not match. `or` and `and` decide without what is missing
where the rest is enough (Kleene 1952, section 64).

No operator iterates over values of a request, and no regular expressions exist: a rule takes time
proportional to its size and the length of the request, even with hostile input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

from streams.targeting.attributes import Read, RequestAttributes
from streams.targeting.values import is_equal, is_same, number_of, order
from streams.targeting.versions import OPERATORS, matches, version_of


class Operand(NamedTuple):
    """A compiled argument.

    Attributes:
        read: Its value in a request.
        constant: Its value if that is the same in every request; None if it is not.
    """

    read: Read
    constant: Any = None


class ArgumentError(Exception):
    """An argument that no request could make meaningful.

    Attributes:
        index: Its place.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator.

    Attributes:
        least, most: Number of its arguments.
        compile: Returns the function of its compiled arguments; raises `ArgumentError`.
    """

    least: int
    most: int
    compile: Callable[[Sequence[Operand]], Read]


def _and(operands: Sequence[Operand]) -> Read:
    reads = tuple(operand.read for operand in operands)

    def read(request: RequestAttributes) -> Any:
        value, is_missing = None, False
        for each in reads:
            value = each(request)
            if value is None:
                is_missing = True
            elif not value:
                return value
        return None if is_missing else value

    return read


def _or(operands: Sequence[Operand]) -> Read:
    reads = tuple(operand.read for operand in operands)

    def read(request: RequestAttributes) -> Any:
        value, is_missing = None, False
        for each in reads:
            value = each(request)
            if value:
                return value
            is_missing = is_missing or value is None
        return None if is_missing else value

    return read


def _not(operands: Sequence[Operand]) -> Read:
    inner = operands[0].read

    def read(request: RequestAttributes) -> Any:
        value = inner(request)
        return None if value is None else not value

    return read


def _truth(operands: Sequence[Operand]) -> Read:
    inner = operands[0].read

    def read(request: RequestAttributes) -> Any:
        value = inner(request)
        return None if value is None else bool(value)

    return read


def _if(operands: Sequence[Operand]) -> Read:
    if len(operands) % 2 == 0:
        raise ArgumentError(len(operands), "has no last argument, the value if no condition holds")
    reads = [operand.read for operand in operands]
    cases = tuple(zip(reads[:-1:2], reads[1::2], strict=True))
    otherwise = reads[-1]

    def read(request: RequestAttributes) -> Any:
        for condition, value in cases:
            holds = condition(request)
            if holds is None:
                return None
            if holds:
                return value(request)
        return otherwise(request)

    return read


def _compared(
    are_alike: Callable[[Any, Any], bool], *, wanted: bool
) -> Callable[[Sequence[Operand]], Read]:
    def compile_(operands: Sequence[Operand]) -> Read:
        (left, _), (right, constant) = operands

        def read_text(request: RequestAttributes) -> Any:
            value = left(request)
            if type(value) is str:  # by far the most frequent, and needs no look at its type
                return (value == constant) is wanted
            return None if value is None else are_alike(value, constant) is wanted

        def read(request: RequestAttributes) -> Any:
            first, second = left(request), right(request)
            if first is None or second is None:
                return None
            return are_alike(first, second) is wanted

        return read_text if isinstance(constant, str) else read

    return compile_


def _ordered(holds: Callable[[int, int], bool]) -> Callable[[Sequence[Operand]], Read]:
    def compile_(operands: Sequence[Operand]) -> Read:
        reads = tuple(operand.read for operand in operands)

        def read_two(request: RequestAttributes) -> Any:
            found = order(first(request), second(request))
            return None if found is None else holds(found, 0)

        def read_between(request: RequestAttributes) -> Any:
            low, value, high = (each(request) for each in reads)
            below, above = order(low, value), order(value, high)
            if below is None or above is None:
                return None
            return holds(below, 0) and holds(above, 0)

        first, second = reads[:2]
        return read_two if len(reads) == 2 else read_between  # noqa: PLR2004 - or three

    return compile_


def _in(operands: Sequence[Operand]) -> Read:
    (value, _), (whole, constant) = operands
    if constant is not None and not isinstance(constant, list | str):
        raise ArgumentError(1, "is neither a list nor a text")
    if isinstance(constant, list) and all(isinstance(each, str) for each in constant):
        texts = frozenset(constant)

        def read_among_texts(request: RequestAttributes) -> Any:
            found = value(request)
            return None if found is None else type(found) is str and found in texts

        return read_among_texts

    def read(request: RequestAttributes) -> Any:
        found, within = value(request), whole(request)
        if found is None or within is None:
            return None
        if isinstance(within, str):
            return isinstance(found, str) and found in within
        if isinstance(within, list):
            return any(is_same(found, each) for each in within)
        return None

    return read


def _text(holds: Callable[[str, str], bool]) -> Callable[[Sequence[Operand]], Read]:
    def compile_(operands: Sequence[Operand]) -> Read:
        for index, operand in enumerate(operands):
            if operand.constant is not None and not isinstance(operand.constant, str):
                raise ArgumentError(index, "is no text")
        whole, part = (operand.read for operand in operands)

        def read(request: RequestAttributes) -> Any:
            text, affix = whole(request), part(request)
            if not isinstance(text, str) or not isinstance(affix, str):
                return None
            return holds(text, affix)

        return read

    return compile_


def _version(operands: Sequence[Operand]) -> Read:
    (left, first), (_, operator), (right, second) = operands
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ArgumentError(1, f"must be one of {' '.join(sorted(OPERATORS))}")
    for index, constant in ((0, first), (2, second)):
        if constant is not None and version_of(constant) is None:
            raise ArgumentError(index, "is no semantic version")
    known = None if second is None else version_of(second)

    def read(request: RequestAttributes) -> Any:
        ours, theirs = version_of(left(request)), known or version_of(right(request))
        return None if ours is None or theirs is None else matches(operator, ours, theirs)

    return read


def _arithmetic(
    compute: Callable[..., float],
) -> Callable[[Sequence[Operand]], Read]:
    def compile_(operands: Sequence[Operand]) -> Read:
        for index, operand in enumerate(operands):
            if operand.constant is not None and number_of(operand.constant) is None:
                raise ArgumentError(index, "is no number")
        reads = tuple(operand.read for operand in operands)

        def read(request: RequestAttributes) -> Any:
            numbers = [number_of(each(request)) for each in reads]
            if None in numbers:
                return None
            try:
                result = compute(*numbers)
            except (ArithmeticError, ValueError):  # by 0, or beyond the floats
                return None
            return result if math.isfinite(result) else None

        return read

    return compile_


_MANY = 64

OPERATORS_BY_NAME: Mapping[str, Operator] = {
    "and": Operator(1, _MANY, _and),
    "or": Operator(1, _MANY, _or),
    "!": Operator(1, 1, _not),
    "!!": Operator(1, 1, _truth),
    "if": Operator(3, _MANY, _if),
    "==": Operator(2, 2, _compared(is_equal, wanted=True)),
    "!=": Operator(2, 2, _compared(is_equal, wanted=False)),
    "===": Operator(2, 2, _compared(is_same, wanted=True)),
    "!==": Operator(2, 2, _compared(is_same, wanted=False)),
    "<": Operator(2, 3, _ordered(lt)),
    "<=": Operator(2, 3, _ordered(le)),
    ">": Operator(2, 2, _ordered(gt)),
    ">=": Operator(2, 2, _ordered(ge)),
    "in": Operator(2, 2, _in),
    "starts_with": Operator(2, 2, _text(str.startswith)),
    "ends_with": Operator(2, 2, _text(str.endswith)),
    "sem_ver": Operator(3, 3, _version),
    "+": Operator(1, _MANY, _arithmetic(lambda *numbers: math.fsum(numbers))),
    "-": Operator(
        1, 2, _arithmetic(lambda *numbers: numbers[0] - numbers[1] if numbers[1:] else -numbers[0])
    ),
    "*": Operator(2, _MANY, _arithmetic(lambda *numbers: math.prod(numbers))),
    "/": Operator(2, 2, _arithmetic(lambda left, right: left / right)),
    "%": Operator(2, 2, _arithmetic(math.fmod)),
    "min": Operator(1, _MANY, _arithmetic(lambda *numbers: min(numbers))),
    "max": Operator(1, _MANY, _arithmetic(lambda *numbers: max(numbers))),
}
"""Operators by name; `var` and `missing` read attributes and are part of the parser."""
