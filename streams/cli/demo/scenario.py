"""Scenario of the demo: experiments with known rates, and visitors. Pure, seeded.

What a unit does follows from (seed, unit, trial, variant) alone: it does not depend on the order in
which answers come back, and a user or session that comes again does the same again, under the same
event id. So the mean per unit is the stated one, however often units return.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import Any

from streams.experiments.unit_kind import UnitKind

RETURNING_VISITORS = 400
"""Size of the pool that visitors are drawn from: small enough that many come again."""

SESSIONS_EACH = 3
ORDER_SPREAD = 0.4
"""Standard deviation of the logarithm of an order's value."""

SHARE_SHOWN = 0.7
"""Share of the units of a trial by exposure that see what they were assigned."""

SHARE_SENT_TWICE = 0.1
SHARE_DIRECT = 0.5

_PLACES = ("US", "DE", "JP", "BR")
_DEVICES = ("mobile", "desktop", "tablet")


@dataclass(frozen=True, slots=True)
class TrueVariant:
    """A variant and what visitors really do with it.

    Attributes:
        rate: Probability that a unit does what the primary metric counts.
        conversion_rate: Probability of an order once that has happened.
        order_value: Median value of an order, in units of money.
    """

    name: str
    rate: float
    conversion_rate: float = 0.3
    order_value: float = 40.0
    weight: float | None = None

    def mean(self, metric: str) -> float:
        """Return the expected value per unit of a primary metric."""
        if metric != "revenue":
            return self.rate
        # The mean of a log-normal value is its median times exp(spread**2 / 2).
        return self.rate * self.conversion_rate * self.order_value * exp(ORDER_SPREAD**2 / 2)


@dataclass(frozen=True, slots=True)
class Trial:
    """An experiment of the demo.

    Attributes:
        config: What `create` takes.
        variants: The first one is the control.
        has_sets: Whether a visit can show only some of the variants.
    """

    config: dict[str, Any]
    variants: tuple[TrueVariant, ...]
    has_sets: bool = False

    @property
    def primary_metric(self) -> str:
        """Metric that decides."""
        return str(self.config["primaryMetric"])

    @property
    def is_by_exposure(self) -> bool:
        """Whether a unit counts from its first exposure on."""
        return self.config.get("exposure") == "event"

    def eligible(self, seed: int, visit: Visit) -> tuple[int, ...]:
        """Return the indices of the variants that a visit can show: two at least."""
        everything = range(len(self.variants))
        if not self.has_sets:
            return tuple(everything)
        draw = random.Random(f"eligible/{seed}/{visit.index}/{self.config['name']}")
        return tuple(sorted(draw.sample(everything, draw.randint(2, len(everything)))))

    def is_shown(self, seed: int, visit: Visit) -> bool:
        """Return whether the unit of a visit sees what it was assigned: always, or never."""
        draw = random.Random(f"shown/{seed}/{self.unit(visit)}/{self.config['name']}")
        return not self.is_by_exposure or draw.random() < SHARE_SHOWN

    def unit(self, visit: Visit) -> str:
        """Return who is randomised, and acts, in a visit."""
        match UnitKind(self.config["unit"]):
            case UnitKind.USER:
                return visit.user_id
            case UnitKind.SESSION:
                return visit.session_id
            case UnitKind.IMPRESSION:
                return f"visit_{visit.index}"

    def variants_json(self) -> list[dict[str, Any]]:
        """Return the variants as `create` takes them."""
        return [
            {
                "name": variant.name,
                "isControl": index == 0,
                "config": {"creativeId": f"creative_{index}"},
            }
            | ({} if variant.weight is None else {"weight": variant.weight})
            for index, variant in enumerate(self.variants)
        ]


@dataclass(frozen=True, slots=True)
class Visit:
    """One page view. `index` counts from 0."""

    index: int
    user_id: str
    session_id: str
    device: str
    location: str


@dataclass(frozen=True, slots=True)
class ScenarioEvent:
    """Event of a visitor after an assignment.

    Attributes:
        value: In units of the metric.
        event_id: The pipeline's name of it.
        copies: How often the pipeline sends it: twice, now and then, as after a lost answer.
        is_direct: Whether it goes to Kafka directly, and not through the API.
    """

    metric: str
    value: float
    event_id: str
    copies: int
    is_direct: bool


TRIALS = (
    Trial(
        {
            "name": "Ad creative",
            "type": "thompson_sampling",
            "primaryMetric": "click",
            "secondaryMetrics": ["conversion", "revenue"],
            "unit": "impression",
        },
        (
            TrueVariant("Creative A", 0.10),
            TrueVariant("Creative B", 0.13),
            TrueVariant("Creative C", 0.20),
        ),
        has_sets=True,
    ),
    Trial(
        {
            "name": "Pricing page",
            "type": "ucb",
            "primaryMetric": "conversion",
            "secondaryMetrics": ["revenue"],
            "unit": "session",
            "parameters": {"c": 2},
        },
        (
            TrueVariant("Monthly first", 0.15, 0.9, 12.0),
            TrueVariant("Yearly first", 0.25, 0.9, 99.0),
        ),
    ),
    Trial(
        {
            "name": "Call to action",
            "type": "epsilon_greedy",
            "primaryMetric": "click",
            "secondaryMetrics": ["conversion", "revenue"],
            "unit": "user",
            "exposure": "event",
            "trafficAllocation": 0.5,
            "parameters": {"epsilon": 0.2, "decay": True},
        },
        (
            TrueVariant("Buy now", 0.20),
            TrueVariant("Learn more", 0.30),
            TrueVariant("Try it", 0.25),
        ),
    ),
    Trial(
        {
            "name": "Checkout flow",
            "type": "bayesian_ab",
            "primaryMetric": "purchase",
            "secondaryMetrics": ["conversion", "revenue"],
            "unit": "user",
        },
        (
            TrueVariant("Control", 0.30, 1.0, 45.0, weight=0.5),
            TrueVariant("Simplified", 0.40, 1.0, 45.0, weight=0.5),
        ),
    ),
    Trial(
        {
            "name": "Order reminder",
            "type": "bayesian_ab",
            "primaryMetric": "revenue",
            "secondaryMetrics": ["conversion"],
            "unit": "impression",
            "attributionWindow": 3600,
        },
        (
            TrueVariant("No reminder", 0.10, 1.0, 30.0, weight=0.25),
            TrueVariant("Reminder", 0.15, 1.0, 30.0, weight=0.75),
        ),
    ),
)
"""Every policy, every unit, binary and continuous primary metrics, partial enrolment, eligible
variants, and units that count from their exposure on."""

SHIPPED = "Checkout flow"
"""Experiment that is concluded at the end: all users get its best variant."""


def visits(seed: int) -> Iterator[Visit]:
    """Yield visits forever."""
    draw = random.Random(f"visits/{seed}")
    index = 0
    while True:
        user = draw.randrange(RETURNING_VISITORS)
        yield Visit(
            index=index,
            user_id=f"user_{user}",
            session_id=f"session_{user}_{draw.randrange(SESSIONS_EACH)}",
            device=draw.choice(_DEVICES),
            location=draw.choice(_PLACES),
        )
        index += 1


def response(seed: int, visit: Visit, trial: Trial, variant_name: str) -> tuple[ScenarioEvent, ...]:
    """Return what the unit of `visit` does after being assigned the variant."""
    variant = next(each for each in trial.variants if each.name == variant_name)
    unit = trial.unit(visit)
    draw = random.Random(f"{seed}/{unit}/{trial.config['name']}/{variant_name}")
    if draw.random() >= variant.rate:
        return ()
    happened: list[tuple[str, float]] = []
    if trial.primary_metric != "revenue":
        happened.append((trial.primary_metric, 1))
    if draw.random() < variant.conversion_rate:
        if trial.primary_metric != "conversion":
            happened.append(("conversion", 1))
        # Two decimals, as money has; rounding to micro-units is then exact.
        value = variant.order_value * draw.lognormvariate(0.0, ORDER_SPREAD)
        happened.append(("revenue", round(value, 2)))
    return tuple(
        ScenarioEvent(
            metric=metric,
            value=value,
            event_id=unit,
            copies=2 if draw.random() < SHARE_SENT_TWICE else 1,
            is_direct=draw.random() < SHARE_DIRECT,
        )
        for metric, value in happened
    )
