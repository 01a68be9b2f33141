"""State of a promoted winner: nearly all units get it, and the control keeps a small share.

Assignments after the conclusion are counted separately from those of the trial. In receipts and
tallies, variant v has the index 256 + v while the winner is promoted, and 512 + v after a roll-back
(`MAX_VARIANTS`), however many variants there are. So the statistics of the trial stay unchanged,
late values count in the phase of their unit, and the counts since the conclusion are exact, in
whatever order units and values arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from streams.model.published import Int32, Published, VariantIndex
from streams.model.quantities import ALLOCATION_TOTAL

DEFAULT_CONTROL_SHARE = 0.05
"""Share that the control keeps after an automatic promotion: one unit in twenty is the price of
monitoring the winner for harm."""

MAX_CONTROL_SHARE = 0.5


class Phase(IntEnum):
    """Phase of an experiment; 256 times its value is the offset of variant indices."""

    TRIAL = 0
    """Its variants are compared."""
    PROMOTED = 1
    """Concluded with a winner, beside which the control keeps a share."""
    ROLLED_BACK = 2
    """The winner was rolled back: all units get the control."""


@dataclass(frozen=True, slots=True)
class Promotion(Published):
    """Assignment of a concluded experiment until it is archived.

    Attributes:
        variant: Index of the variant it was concluded with; not the control.
        control_weight: Weight of the control before a roll-back, out of 65,536; in 1..32,768.
        is_automatic: Whether the promotion was automatic, and its roll-back may be.
        is_rolled_back: Whether it was rolled back.
        began_at_ms: Time of the command that set the current weights: the conclusion or the
            roll-back.
        version: Version of the experiment right after that command. Its receipts carry it.
    """

    variant: VariantIndex
    control_weight: Int32
    is_automatic: bool
    is_rolled_back: bool
    began_at_ms: int
    version: int

    @property
    def phase(self) -> Phase:
        """Phase of the experiment."""
        return Phase.ROLLED_BACK if self.is_rolled_back else Phase.PROMOTED

    def weights(self, n_variants: int, control: int) -> tuple[int, ...]:
        """Return the integer weights of the variants, which sum to 65,536.

        Args:
            n_variants: Variants of the experiment.
            control: Index of the control.
        """
        weights = [0] * n_variants
        weights[control] = ALLOCATION_TOTAL if self.is_rolled_back else self.control_weight
        weights[self.variant] += ALLOCATION_TOTAL - weights[control]
        return tuple(weights)


def weight_of_share(share: float) -> int:
    """Return the weight out of 65,536 of a share in (0, 0.5], at least 1.

    Examples:
        >>> weight_of_share(0.05), weight_of_share(1e-9)
        (3277, 1)
    """
    return max(1, round(share * ALLOCATION_TOTAL))
