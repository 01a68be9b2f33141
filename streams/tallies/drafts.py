"""Instances of frozen dataclasses, made at the price of ones that are not frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar

InstanceT = TypeVar("InstanceT")


def maker_of(cls: type[InstanceT]) -> Callable[..., InstanceT]:
    """Return a function that makes an instance of a frozen dataclass with slots from all fields.

    The constructor of a frozen dataclass assigns every field by `object.__setattr__`: for the 19
    fields of a `MetricTally` that takes 3.2 us instead of 0.7, and folding makes one for every
    metric of a batch.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int
    >>> maker_of(Point)(1, 2)
    Point(x=1, y=2)
    """
    draft: Any = make_dataclass(
        f"{cls.__name__}Draft",
        [(each.name, each.type) for each in fields(cls)],  # type: ignore[arg-type]
        slots=True,
        eq=False,
        repr=False,
    )

    def make(*values: object) -> InstanceT:
        made = draft(*values)
        made.__class__ = cls  # of the same slots, so it is one
        instance: InstanceT = made
        return instance

    return make
