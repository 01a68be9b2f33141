"""Coverage of the intervals of off-policy evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.calibration.results import Claim, Mean, Result
from benchmarks.calibration.row import Progress, Row, Section, Size
from benchmarks.simulation.proportion import Proportion
from streams.model.quantities import MICRO, PROPENSITY_ONE
from streams.replay.off_policy import estimators
from streams.replay.off_policy.intervals import ValueEstimate
from streams.replay.off_policy.logged import IntArray, UnitLog
from streams.replay.off_policy.report import Evaluation, evaluate_target
from streams.replay.off_policy.rules import fixed
from streams.replay.off_policy.target import Target, replayed
from streams.stats.arrays import FloatArray

_SEED = 2026_12
_BATCH = 500
_COVERED = 0.93
_MISSED = 0.05
_MEASURES = {
    "dr": "doubly robust covers",
    "snipw": "self-normalised covers",
    "ipw": "inverse propensity covers",
    "gain": "gain covers",
    "normal": "normal interval of snipw would cover",
    "dr_misled": "doubly robust reliable and misses",
    "gain_misled": "gain reliable and misses",
    "reliable": "doubly robust reliable",
    "warned": "warned",
    "units": "effective units",
}


@dataclass(frozen=True, slots=True)
class Environment:
    """A log and a policy that is asked about; both split the units by fixed shares.

    Attributes:
        n_arms: Variants. The log gives most to the first, the target to the second.
        logged: Share of the log for each of the others.
        n_units: Units of the log.
        mean: Mean value of a unit; that of a variant is up to half as much more or less.
        spread: Deviation of the logarithm of a value; 0 for values 0 and 1.
        converting: Share of the units that have a value, if it is not 0 or 1.
        cap: Largest value of a unit, in means; None without one.
    """

    n_arms: int
    logged: float
    n_units: int
    mean: float
    spread: float = 0.0
    converting: float = 1.0
    cap: float | None = None

    @property
    def name(self) -> str:
        """Name of the row."""
        kind = "binary" if not self.spread else f"amounts-{self.spread:g}-{self.converting:g}"
        capped = "" if self.cap is None else "-capped"
        return f"{self.n_arms}-{kind}-{self.mean:g}-{self.logged:g}-{self.n_units}{capped}"

    @property
    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Shares of the log and of the target; shape (n_arms,) each."""
        logged = np.full(self.n_arms, self.logged)
        logged[0] = 1.0 - self.logged * (self.n_arms - 1)
        target = np.full(self.n_arms, 0.3 / (self.n_arms - 1))
        target[1] = 1.0 - target[0] * (self.n_arms - 1)
        return logged, target

    @property
    def means(self) -> FloatArray:
        """Mean value of each variant; shape (n_arms,)."""
        return self.mean * np.linspace(0.5, 1.5, self.n_arms)

    def draw(self, variants: IntArray, random: np.random.Generator) -> FloatArray:
        """Draw the values of units; shape (n_units,)."""
        means = self.means[variants]
        if not self.spread:
            return (random.random(len(variants)) < means).astype(float)
        converts = random.random(len(variants)) < self.converting
        scale = means / self.converting * np.exp(-self.spread * self.spread / 2.0)
        values: FloatArray = converts * scale * random.lognormal(0.0, self.spread, len(variants))
        return values if self.cap is None else np.minimum(values, self.cap * self.mean)


_BINARY = (
    Environment(3, 0.02, 2_000, 0.01),
    Environment(3, 0.02, 2_000, 0.3),
    Environment(10, 0.03, 300, 0.05),
    Environment(10, 0.006, 2_000, 0.05),
    Environment(10, 0.006, 20_000, 0.01),
    Environment(3, 0.1, 2_000, 0.05),
    Environment(3, 0.02, 2_000, 0.6),
)
_AMOUNTS = (
    Environment(3, 0.1, 2_000, 1.0, 0.5),
    Environment(3, 0.1, 2_000, 1.0, 1.0),
    Environment(3, 0.1, 2_000, 1.0, 1.5),
    Environment(10, 0.03, 5_000, 1.0, 1.5, 0.05),
    Environment(3, 0.05, 20_000, 1.0, 1.5),
)
_CAPPED = (
    Environment(3, 0.1, 2_000, 1.0, 1.5, 1.0, 10.0),
    Environment(10, 0.03, 5_000, 1.0, 1.5, 0.05, 60.0),
)


def off_policy() -> Section:
    """Return logs of one policy that are asked about another."""
    covers = tuple(Claim(name, at_least=_COVERED) for name in ("dr", "snipw", "gain"))
    misled = tuple(Claim(name, at_most=_MISSED) for name in ("dr_misled", "gain_misled"))
    return Section(
        "off-policy",
        "Intervals of off-policy evaluation",
        "Logs that give most to the first variant, asked about shares that give most to the "
        "second. Intervals are 95 % intervals, for one look. Of values with a bound at least "
        "93 % must cover; of amounts without one, at most 5 % of the logs may have an interval "
        "that is called reliable and misses. In the last rows a fiftieth of the requests convert "
        "at 60 % and not 5 % under the variant that is asked about, which a contextual policy gave "
        "them rarely: some half a unit of theirs is in the log, two, or ten. Without any, no "
        "estimate knows of them, and most often the mean weight is below 1 beyond doubt "
        "(*warned*): there is no claim.",
        _MEASURES,
        tuple(_row(environment, covers, 1) for environment in (*_BINARY, *_CAPPED))
        + tuple(_row(environment, misled, 4) for environment in _AMOUNTS)
        + tuple(map(_row_of_rare, _RARE)),
    )


def _row(environment: Environment, claims: tuple[Claim, ...], times: int) -> Row:
    values = (
        "0 and 1"
        if not environment.spread
        else f"log-normal {environment.spread:g}, {environment.converting:.0%} of the units"
    )
    return Row(
        environment.name,
        {
            "variants": str(environment.n_arms),
            "values": values if environment.cap is None else f"{values}, cap {environment.cap:g}",
            "mean": f"{environment.mean:g}",
            "logged share": f"{environment.logged:.1%}",
            "units": f"{environment.n_units:,}",
        },
        partial(_run, environment),
        times * (1_000 if environment.n_units <= 5_000 else 400),  # noqa: PLR2004
        claims=claims,
    )


_RARE = (0.005, 0.02, 0.1)
_RARE_UNITS, _RARE_SHARE = 5_000, 0.02
_RARE_RATE, _USUAL_RATE, _USUAL_PROPENSITY = 0.6, 0.05, 0.9


def _row_of_rare(propensity: float) -> Row:
    return Row(
        f"rare-requests-{propensity:g}",
        {
            "variants": "2",
            "values": "0 and 1, by request",
            "mean": "0.061",
            "logged share": f"{propensity:.1%}",
            "units": f"{_RARE_UNITS:,}",
        },
        partial(_run_rare, propensity),
        1_000,
    )


def _run_rare(propensity: float, size: Size, progress: Progress) -> Result:
    """Measure what a target that always gives one variant is said to earn, without a model."""
    random = np.random.default_rng((_SEED, _RARE_UNITS))
    truth = _RARE_SHARE * _RARE_RATE + (1.0 - _RARE_SHARE) * _USUAL_RATE
    counts = dict.fromkeys(("dr", "snipw", "ipw", "warned"), 0)
    for _ in progress(range(size.repetitions)):
        is_rare = random.random(_RARE_UNITS) < _RARE_SHARE
        probabilities = np.where(is_rare, propensity, _USUAL_PROPENSITY)
        weights = (random.random(_RARE_UNITS) < probabilities) / probabilities
        rates = np.where(is_rare, _RARE_RATE, _USUAL_RATE)
        values = (random.random(_RARE_UNITS) < rates).astype(float)
        model = np.full(_RARE_UNITS, values[weights > 0.0].mean())
        found = {
            "dr": estimators.dr(weights, values, model, model, largest=1.0),
            "snipw": estimators.snipw(weights, values, largest=1.0),
            "ipw": estimators.ipw(weights, values, largest=1.0),
        }
        for name, each in found.items():
            counts[name] += each.lower <= truth <= each.upper
        counts["warned"] += estimators.diagnose(weights).mean_weight.upper < 1.0
    n = size.repetitions
    return Result(n, {name: Proportion(count, n) for name, count in counts.items()})


def _run(environment: Environment, size: Size, progress: Progress) -> Result:
    random = np.random.default_rng((_SEED, environment.n_units, environment.n_arms))
    logged, target = environment.shares
    if environment.spread and environment.cap is not None:
        draws = [
            environment.draw(np.full(10**6, arm), random).mean()
            for arm in range(environment.n_arms)
        ]
        means = np.array(draws)
    else:
        means = environment.means
    truth, earned = float(target @ means), float(logged @ means)
    covers: dict[str, Callable[[Evaluation], bool]] = {
        "dr": lambda found: found.dr.lower <= truth <= found.dr.upper,
        "snipw": lambda found: found.snipw.lower <= truth <= found.snipw.upper,
        "ipw": lambda found: found.ipw.lower <= truth <= found.ipw.upper,
        "gain": lambda found: found.gain.lower <= truth - earned <= found.gain.upper,
    }
    counts = dict.fromkeys((*covers, "normal", "dr_misled", "gain_misled", "reliable"), 0)
    units = 0.0
    for _ in progress(range(size.repetitions)):
        log, replay = _asked(environment, logged, target, random)
        found = evaluate_target(log, replay)
        normal = _normal(target[log.variants] / log.probabilities, log.values)
        counts["normal"] += normal.lower <= truth <= normal.upper
        holds = {name: cover(found) for name, cover in covers.items()}
        for name, is_there in holds.items():
            counts[name] += is_there
        counts["dr_misled"] += found.dr.is_reliable and not holds["dr"]
        counts["gain_misled"] += found.gain.is_reliable and not holds["gain"]
        counts["reliable"] += found.dr.is_reliable
        units += found.diagnostics.effective_units
    return Result(
        size.repetitions,
        {
            **{name: Proportion(count, size.repetitions) for name, count in counts.items()},
            "units": Mean(units / size.repetitions),
        },
    )


def _normal(weights: FloatArray, values: FloatArray) -> ValueEstimate:
    """Return the self-normalised estimate with the interval of the central limit theorem."""
    total = float(weights.sum())
    value = float((weights * values).sum()) / total
    error = float(np.square(weights * (values - value)).sum()) ** 0.5 / total
    return ValueEstimate.of(value, error)


def _asked(
    environment: Environment, logged: FloatArray, target: FloatArray, random: np.random.Generator
) -> tuple[UnitLog, Target]:
    n_units = environment.n_units
    variants = random.choice(environment.n_arms, n_units, p=logged)
    values = np.rint(environment.draw(variants, random) * MICRO).astype(np.int64)
    observed = np.flatnonzero(values)
    cap = None if environment.cap is None else round(environment.cap * environment.mean * MICRO)
    log = UnitLog(
        "value",
        environment.n_arms,
        variants,
        np.rint(logged[variants] * PROPENSITY_ONE).astype(np.int64),
        np.arange(n_units),
        observed,
        values[observed],
        observed,
        cap=cap if environment.spread else MICRO,
    )
    return log, replayed(log, fixed(target.tolist()), _BATCH)
