"""One definition of the statistics, and its two forms."""

import json
from dataclasses import dataclass

from hypothesis import given

from streams.experiments.statistics.evidence import Evidence
from streams.experiments.statistics.feature_use import FeatureUse
from streams.experiments.statistics.recommendation import ReasonCode
from streams.experiments.statistics.variant_report import MetricReport
from streams.experiments.stats_response import Stats
from streams.model.published import (
    PerVariant,
    Published,
    VariantIndex,
    avro_record,
    from_avro,
    from_json,
    json_bytes,
    json_value,
)
from streams.stats.kinds import Contradiction, ContradictionCode, MetricKind
from tests.streams.model.values import values_of

IDS = [f"exp_7_v{index}" for index in range(256)]


@dataclass(frozen=True, slots=True)
class Example(Published):
    leader: VariantIndex
    variant: VariantIndex
    units_with_value: PerVariant[int]


def test_variants_are_indices_in_avro_and_ids_in_json():
    example = Example(leader=1, variant=0, units_with_value=(5, 7))

    assert avro_record(example) == {"leader": 1, "variant": 0, "units_with_value": (5, 7)}
    found = json_value(example, ["a", "b"])
    assert found == {"leader": "b", "variantId": "a", "unitsWithValue": {"a": 5, "b": 7}}
    assert from_json(Example, found, ["a", "b"]) == example


def test_integers_of_any_size_are_bytes_in_avro_and_numbers_in_json():
    report = MetricReport(MetricKind.COUNT, 1, 1, 2**80, 1.0, 0.5, 1.5)

    assert avro_record(report)["sum_micro"] == (2**80).to_bytes(11, "big")
    assert json.loads(json_bytes(report, ()))["sumMicro"] == 2**80


def test_sentences_are_answered_and_not_stored():
    found = Contradiction(ContradictionCode.NOT_BINARY, 1)

    assert "message" in json_value(found, IDS)
    assert "message" not in json_value(found, IDS, is_stored=True)
    assert avro_record(found) == {"code": "NOT_BINARY", "variant": 1}


@given(evidence=values_of(Evidence))
def test_evidence_returns_from_avro(evidence):
    assert from_avro(Evidence, avro_record(evidence)) == evidence


def test_what_a_newer_engine_adds_does_not_stop_a_client():
    payload = {
        "version": 1, "asOf": 2, "duplicates": 0, "confidence": 0.5,
        "recommendedAction": "ask_the_oracle", "reasonCode": "WINNER", "reason": "So it is.",
        "experimentId": "exp_7", "name": "Hero", "type": "ucb", "unit": "user",
        "status": "running", "primaryMetric": "click", "totalAssignments": 0,
        "totalObservations": 0, "variants": [], "winner": None, "prophecy": {"a": 1},
    }  # fmt: skip

    found = Stats.from_json(payload)

    assert found.recommended_action == "ask_the_oracle"
    assert found.reason_code is ReasonCode.WINNER


def test_derived_values_are_answered():
    assert json_value(FeatureUse("device", 8, 2), ()) == {
        "name": "device", "units": 8, "unknownUnits": 2, "unknownShare": 0.25
    }  # fmt: skip
