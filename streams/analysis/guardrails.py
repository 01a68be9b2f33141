"""Guardrail metrics: tests of harm beyond tolerance, and of non-inferiority.

Both compare a variant with a line: the control made worse by a share of its mean. A guardrail trips
once the variant is certainly below the line at the tolerated harm, and is proven once it is
certainly above the line at the margin. In between, it is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streams.analysis.group import Group
from streams.analysis.metric_analysis import MetricAnalysis
from streams.experiments.config import ExperimentConfig
from streams.experiments.statistics.evidence import Guardrail
from streams.stats.sequential.contrasts import Contrast
from streams.stats.sequential.multiplicity import Tried, holm, holm_by_column
from streams.stats.sequential.one_sided import one_sided_p_values


def find_harm(
    config: ExperimentConfig,
    group: Group | None,
    metrics: Mapping[str, MetricAnalysis],
    error: float,
    tried: Tried,
    *,
    is_trial: bool,
) -> tuple[Guardrail, ...]:
    """Return every guardrail of every variant but the control, with corrected p-values.

    P-values of harm are corrected for all guardrails and variants. Those of the margins are
    corrected for all variants of one guardrail: a promotion needs all guardrails of its winner, so
    an error requires one in the harmed guardrail (intersection-union test).

    Args:
        config: The guardrail metrics, their tolerated harm and margins.
        group: The variants; None for no findings.
        metrics: Analysis of these metrics.
        error: Probability of ever finding harm that does not exist, and of ever ruling out harm
            that does, in (0, 1) each.
        is_trial: Whether a promotion is still possible, so that margins are tested.

    Source: Berger (1982), "Multiparameter hypothesis testing and acceptance sampling", theorem 1.
    """
    if group is None:
        return ()
    found = [
        _Lines(metrics[name], group.control, group.others) for name in config.guardrail_metrics
    ]
    specs = [config.spec(each.metric.name) for each in found]
    tolerated = [spec.tolerated_harm or 0.0 for spec in specs]
    margins = [
        spec.promotion_margin(is_automatic=config.auto_promote_winner) if is_trial else None
        for spec in specs
    ]
    of_harm = holm_by_column(
        [each.p_values_of_more(share) for each, share in zip(found, tolerated, strict=True)], tried
    )
    of_margin = [
        None
        if margin is None
        else holm(each.p_values_of_less(margin), among=tried.so_far, share=tried.share).tolist()
        for each, margin in zip(found, margins, strict=True)
    ]
    return tuple(
        Guardrail(
            metric=each.metric.name,
            variant=variant,
            tolerated_harm=share,
            harm=_harm(each.metric, variant, group.control),
            p_value=harm[place],
            is_tripped=harm[place] <= error,
            margin=margin,
            margin_p_value=None if proof is None else proof[place],
            is_proven=None if proof is None else proof[place] <= error,
        )
        for each, share, margin, harm, proof in zip(
            found, tolerated, margins, of_harm, of_margin, strict=True
        )
        for place, variant in enumerate(group.others)
    )


class _Lines:
    """Comparison of variants with the control made worse by a share of its mean."""

    def __init__(self, metric: MetricAnalysis, control: int, others: Sequence[int]) -> None:
        self.metric = metric
        self._control = control
        self._others = others

    def p_values_of_more(self, share: float) -> list[float]:
        """Return the p-values of "the harm is at most this share"."""
        return self._p_values(self._advantage(share).reversed())

    def p_values_of_less(self, share: float) -> list[float]:
        """Return the p-values of "the harm is at least this share"."""
        return self._p_values(self._advantage(share))

    def _advantage(self, share: float) -> Contrast:
        """Return the contrasts of the variants with the line, positive if better."""
        sign = self.metric.model.direction.sign
        is_below_zero = self.metric.samples[self._control].total < 0.0
        times = 1.0 + sign * share if is_below_zero else 1.0 - sign * share
        contrast = self.metric.contrasts.contrast(self._others, [self._control], times)
        return contrast if sign > 0 else contrast.reversed()

    def _p_values(self, contrast: Contrast) -> list[float]:
        found: list[float] = one_sided_p_values(contrast).tolist()
        return found


def _harm(guardrail: MetricAnalysis, variant: int, control: int) -> float | None:
    """Return the harm of a variant, as a share of the control's observed mean."""
    mean = guardrail.reported[control].mean
    if not mean or not guardrail.is_defined[variant]:
        return None
    better = guardrail.model.direction.sign * (guardrail.reported[variant].mean - mean)
    return -better / abs(mean)
