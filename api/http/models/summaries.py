"""Responses about the experiments of a list."""

from __future__ import annotations

from api.http.models.responses import Experiment, ResponseModel


class Headline(ResponseModel):
    """Subject of a recommendation, by its reason code; fields that do not apply are None.

    Attributes:
        variant_id: Variant that it names: the harmful one, the one whose units deviate most from
            the split, the one with the fewest units, else the leader.
        metric: Metric that it names.
        value: Of a sample ratio units over the expected ones, of a guardrail the harm as a share of
            the control's mean, of a winner the smallest lead over another variant, of too few units
            their number, else the probability of the leader to be the best.
        limit: What the value is compared with.
    """

    variant_id: str | None = None
    metric: str | None = None
    value: float | None = None
    limit: float | None = None


class ExperimentSummary(ResponseModel):
    """Knowledge of an experiment in a list.

    Attributes:
        action: Recommended action.
        reason_code: Its reason.
        headline: What it is about.
        urgency: Rank in the order of `sort=attention`, as a name.
        lead_variant_id: Variant that is most probably the best; None before a unit came.
        probability_best: Probability that it is.
        units: Units that count, of all variants.
        planned_units: Units that are planned, of all active variants; None without a plan.
        progress: Share of the planned information, >= 0; None without a plan.
        health: `ok`, `warning` or `error`.
        health_codes: Why it is not `ok`.
        as_of: Time of the newest event in it, in milliseconds since the epoch; 0 without events.
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
        summary: What is known of it; None of an API that does not say.
    """

    summary: ExperimentSummary | None = None


class ExperimentsPage(ResponseModel):
    """A page of the experiments.

    Attributes:
        experiments: The experiments, in the order that was asked for.
        next_cursor: Leads to the next page; None on the last one.
        total: Number of experiments that match, on all pages; None of an API that does not say.
    """

    experiments: tuple[ListedExperiment, ...]
    next_cursor: str | None = None
    total: int | None = None
