"""Assignments under a contextual policy: what is seen is signed, logged and kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from streams.experiments.snapshot import Allocation, PublishedModel
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipt_layout import RECEIPT_LENGTH
from streams.model.vectors import unpack
from tests.api.memory import KEYRING, Api

FEATURES = [
    {"name": "device", "type": "category", "values": ["mobile", "desktop"]},
    {"name": "age", "type": "number", "minimum": 0, "maximum": 100},
]
# Over intercept, mobile, desktop, age: the first is good on a phone, the second on a desk.
MODEL = PublishedModel(
    noise=0.1,
    units=10_000,
    coefficients=((0.1, 0.2, -0.2, 0.0), (0.1, -0.2, 0.2, 0.0)),
    triangles=((1e-4, 0.0, 1e-4, 0.0, 0.0, 1e-4, 0.0, 0.0, 0.0, 1e-4),) * 2,
)


async def run_contextual(api: Api, **config: object) -> str:
    name = await api.run({"type": "lin_ucb", "parameters": {"features": FEATURES}, **config})
    api.publish(name, allocation=Allocation(9, (32_768, 32_768)), model=MODEL)
    return name


async def assign(api: Api, name: str, **context: object) -> dict[str, Any]:
    answer = await api.http.post(f"/experiments/{name}/assign", json=context)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_context_has_its_weights_and_the_receipt_says_both(api: Api) -> None:
    name = await run_contextual(api)

    for device, best in (("mobile", 0), ("desktop", 1)):
        for _ in range(20):
            found = await assign(api, name, device=device, features={"age": 75})
            receipt = KEYRING.verify(found["id"])
            is_best = receipt.variant == best
            # The floor of 1 % has fallen to a tenth of it, for each of two.
            assert found["propensity"] == (65_536 - 66 if is_best else 66) / 65_536
            assert receipt.propensity == found["propensity"] * PROPENSITY_ONE
            seen = unpack(KEYRING.verify(found["id"]).features)
            assert seen == ((0, 1024), (1 + best, 1024), (3, 512))

    groups = [group for batch in api.topics.impressions() for group in batch.groups]
    logged = {packed for group in groups for packed in group.features}
    assert {unpack(packed) for packed in logged} == {
        ((0, 1024), (1, 1024), (3, 512)),
        ((0, 1024), (2, 1024), (3, 512)),
    }
    assert orjson.loads(groups[0].contexts[0]) == {"device": "mobile", "features": {"age": 75}}


async def test_a_request_of_which_nothing_is_known_has_the_published_weights(api: Api) -> None:
    name = await run_contextual(api)

    found = await assign(api, name, device="watch")

    assert found["propensity"] == 0.5
    assert len(found["id"]) == RECEIPT_LENGTH
    assert [list(batch.groups[0].features) for batch in api.topics.impressions()] == [[]]


async def test_a_user_keeps_variant_receipt_and_features_of_the_first_time(api: Api) -> None:
    name = await run_contextual(api, unit="user")
    first = await assign(api, name, userId="u", device="mobile")

    again = await assign(api, name, userId="u", device="desktop")

    assert again == {**first, "reason": "STICKY"}
    packed = [batch.groups[0].features[0] for batch in api.topics.impressions()]
    assert packed == [KEYRING.verify(first["id"]).features] * 2


async def test_several_experiments_see_the_features_that_each_declares(api: Api) -> None:
    contextual, plain = await run_contextual(api), await api.run()

    body = {"experimentIds": [contextual, plain], "units": [{"device": "mobile"}]}
    answer = (await api.http.post("/assign", json=body)).json()

    [[first, second]] = answer["assignments"]
    assert KEYRING.verify(first["id"]).features
    assert not KEYRING.verify(second["id"]).features
    by_experiment = {
        group.experiment: list(group.features)
        for batch in api.topics.impressions()
        for group in batch.groups
    }
    assert sorted(map(len, by_experiment.values())) == [0, 1]


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({"features": {"age": "old"}}, "WRONG_TYPE", "features.age"),
        ({"features": {"age": True}}, "WRONG_TYPE", "features.age"),
        ({"features": {"device": [1]}}, "WRONG_TYPE", "features.device"),
        ({"features": {"device": 1.5}}, "WRONG_TYPE", "features.device"),
    ],
)
async def test_a_feature_that_cannot_be_used_is_422_and_nothing_is_logged(
    api: Api, body: dict[str, object], code: str, path: str
) -> None:
    name = await run_contextual(api)

    refused = await api.http.post(f"/experiments/{name}/assign", json=body)
    rows = await api.http.post("/assign", json={"experimentIds": [name], "units": [body]})

    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["code"], error["path"]) == (code, path)
    assert rows.json()["assignments"][0][0]["error"]["path"] == f"units[0].{path}"
    assert api.topics.records == []
