"""Responses about the experiments of a list."""

from __future__ import annotations

from api.http.models.responses import Experiment, ResponseModel


class Headline(ResponseModel):
    """Subject of a recommendation, by its reason code; fields that do not apply are None.

    Attributes:
        variant_id: Variant concerned: the harmful one, the one whose units deviate most from the
            split, the one with the fewest units, else the leader.
        metric: Metric concerned.
        value: Of a sample ratio units over the expected ones, of a guardrail the harm as a share of
            the control's mean, of a winner the smallest lead over another variant, of too few units
            their number, else the probability of the leader to be the best.
        limit: Threshold for the value.
    """

    variant_id: str | None = None
    metric: str | None = None
    value: float | None = None
    limit: float | None = None


class ExperimentSummary(ResponseModel):
    """Summary of an experiment in a list.

    Attributes:
        action: Recommended action.
        reason_code: Its reason.
        headline: Its subject.
        urgency: Rank in the order of `sort=attention`, as a name.
        lead_variant_id: Variant that is most probably the best; None before the first unit.
        probability_best: Probability that it is the best.
        units: Units that count, of all variants.
        planned_units: Planned units of all active variants; None without a plan.
        progress: Share of the planned information, >= 0; None without a plan.
        health: `ok`, `warning` or `error`.
        health_codes: Codes of the problems if it is not `ok`.
        as_of: Time of the newest included event, in milliseconds since the epoch; 0 without events.
        version: Version of the statistics.
    """

    action: str
    reason_code: str
    headline: Headline
    urgency: str
    lead_variant_id: str | None
    probability_best: float | None
    units: int
    planned_units: int | None
    progress: float | None
    health: str
    health_codes: tuple[str, ...]
    as_of: int
    version: int


class ListedExperiment(Experiment):
    """An experiment of a list.

    Attributes:
        summary: Its summary; None from an older API.
    """

    summary: ExperimentSummary | None = None


class ExperimentsPage(ResponseModel):
    """A page of the experiments.

    Attributes:
        experiments: The experiments, in the order that was asked for.
        next_cursor: Leads to the next page; None on the last one.
        total: Number of matching experiments on all pages; None from an older API.
    """

    experiments: tuple[ListedExperiment, ...]
    next_cursor: str | None = None
    total: int | None = None
