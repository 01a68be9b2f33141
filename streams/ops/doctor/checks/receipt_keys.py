"""Findings about the keys of receipts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from streams.ops.doctor.facts import Facts
from streams.ops.doctor.finding import Finding, Severity, shortened


def _receipt_keys(facts: Facts) -> Iterator[Finding]:
    if facts.receipt_keys_error is not None:
        yield Finding(
            "RECEIPT_KEYS",
            Severity.ERROR,
            facts.receipt_keys_error,
            "Set EXPERIMENT_RECEIPT_KEYS to the same keys for API and workers.",
        )


def _keys_in_use(facts: Facts) -> Iterator[Finding]:
    unlimited = [key for key in facts.receipt_keys if key not in facts.limited_receipt_keys]
    if not unlimited:
        return
    signs, *retiring = unlimited
    used: defaultdict[int, list[str]] = defaultdict(list)
    for each in facts.snapshots:
        if each.has_receipts:
            # Where the key is not noted, it may be any.
            for key_id in retiring if each.receipt_key is None else (each.receipt_key,):
                used[key_id].append(each.experiment_id)
    for key_id, names in sorted(used.items()):
        if key_id not in facts.receipt_keys:
            yield Finding(
                "RECEIPT_KEY_MISSING",
                Severity.ERROR,
                f"receipt key {key_id} signed the receipts of {shortened(names)}, and is not among "
                "the keys",
                "Their observations are refused (UNKNOWN_RECEIPT_KEY). Put the key behind the "
                "first one, for API and workers.",
            )
    for key_id in retiring:
        if used[key_id]:
            yield Finding(
                "RECEIPT_KEY_IN_USE",
                Severity.NOTE,
                f"receipt key {key_id} no longer signs for new experiments, and still does for "
                f"{shortened(used[key_id])}",
                "Keep it until they are archived.",
            )
        elif facts.kafka.is_whole and facts.redis.error is None:
            yield Finding(
                "RECEIPT_KEY_UNUSED",
                Severity.NOTE,
                f"receipt key {key_id} does not sign, and no experiment has receipts of it",
                f"If it is to replace key {signs}, put it first now; if it was replaced, it can be "
                "removed. Keep it where you keep secrets: a replay needs it.",
            )


RECEIPT_KEY_CHECKS = (
    _receipt_keys,
    _keys_in_use,
)
