"""Checks: pure functions from facts to findings, a module for each subject."""

from __future__ import annotations

from streams.ops.doctor.checks.clocks import CLOCK_CHECKS
from streams.ops.doctor.checks.cluster import CLUSTER_CHECKS
from streams.ops.doctor.checks.experiments import EXPERIMENT_CHECKS
from streams.ops.doctor.checks.log import LOG_CHECKS
from streams.ops.doctor.checks.processes import PROCESS_CHECKS
from streams.ops.doctor.checks.receipt_keys import RECEIPT_KEY_CHECKS
from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity

_CHECKS = (
    *PROCESS_CHECKS,
    *CLUSTER_CHECKS,
    *RECEIPT_KEY_CHECKS,
    *LOG_CHECKS,
    *EXPERIMENT_CHECKS,
    *CLOCK_CHECKS,
)


def findings(facts: Facts) -> list[Finding]:
    """Return everything that is wrong, errors first; empty when all is well."""
    found = [finding for check in _CHECKS for finding in check(facts)]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))
