"""Units whose conversion window is over, by which a metric is compared."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import computed_field

from streams.model.published import PerVariant, Published


@dataclass(frozen=True, slots=True)
class Caution(Published):
    """A condition under which the evidence does not hold.

    Attributes:
        code: Stable code.
        message: One sentence for a person.
    """

    code: str
    message: str


_NO_WINDOW = Caution(
    "NO_CONVERSION_WINDOW",
    "the primary metric has no conversionWindow that comparisons wait for: if users of one variant "
    "convert sooner than those of another, that passes for a difference",
)


@dataclass(frozen=True, slots=True)
class Maturity(Published):
    """Units whose conversion window is over, by the newest event.

    Attributes:
        window: Conversion window of the primary metric, in seconds; 0 for none, or if all units
            are compared (`onlyMature`). Then a variant whose users convert earlier temporarily
            looks better.
        units: Units of every variant whose window is over; all units without a window.
        units_with_value: Those with a value of the primary metric.
        late: Observations of any metric after its window, which do not count.
        early: Observations of any metric before its delay, which do not count.
    """

    window: int
    units: PerVariant[int]
    units_with_value: PerVariant[int]
    late: int
    early: int = 0

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorator above a property
    @property
    def warning(self) -> Caution | None:
        """Warning that unequal delays may look like a difference.

        None where a window is set, and while no unit is compared, as in a draft.
        """
        return _NO_WINDOW if any(self.units) and not self.window else None
