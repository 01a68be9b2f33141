"""Receipts, observations and groups of impressions for tests of folds, from a few fields."""

from streams.model.events import ImpressionGroup, Observation
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_weights
from streams.tallies.plan import Plan

KEYRING = Keyring({1: bytes(32)})
HALF, QUARTER = PROPENSITY_ONE // 2, PROPENSITY_ONE // 4
NOW_MS = 1_000_000

PACKED = pack_weights((32_768, 16_384, 16_384))
OF_TWO = Plan(declared=frozenset({"click"}), n_variants=2)
OF_THREE = Plan(declared=frozenset({"click"}), n_variants=3, weighted_covariates=3)


def plan_of(experiment):
    """Return the plan of an experiment: the first has two variants, all others three."""
    return OF_TWO if experiment == 1 else OF_THREE


def receipt(experiment=1, variant=0, propensity=HALF, assigned_at_ms=NOW_MS, unit=1, window_s=0):
    return Receipt(experiment, variant, propensity, 3, assigned_at_ms, unit, window_s)


def observation(value, event_id=None, metric="click", at_ms=None, **fields):
    return Observation(KEYRING.sign(receipt(**fields)), metric, value, event_id, at_ms)


def group(*rows, experiment=1, repeatable=False):
    """Make a group of rows (variant, propensity, time, unit), and what all or none has besides.

    That are features, and the weights of all variants.
    """
    variants, propensities, times, units, *rest = ([*column] for column in zip(*rows, strict=True))
    features, weights = (*rest, [], [])[:2]
    versions = [3] * len(rows)
    return ImpressionGroup(
        experiment,
        repeatable,
        variants,
        propensities,
        versions,
        times,
        units,
        (),
        features,
        weights,
    )


def codes(refusals):
    return [(refusal.index, refusal.error.code) for refusal in refusals]
