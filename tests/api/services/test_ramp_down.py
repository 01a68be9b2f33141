"""A lowered share of the units: those that are in stay in, and fewer new ones come."""

from __future__ import annotations

import pytest

from streams.model.receipt_layout import raw_of
from streams.projection.receipts import ReceiptPlace
from tests.api.memory import KEYRING, Api

KINDS = [{"type": "bayesian_ab"}, {"type": "thompson_sampling", "unit": "user"}]


async def assigned(api: Api, name: str, prefix: str, n: int = 150):
    body = {"experimentIds": [name], "units": [{"userId": f"{prefix}{i}"} for i in range(n)]}
    answer = await api.http.post("/assign", json=body)
    assert answer.status_code == 200, answer.text
    return [row[0] for row in answer.json()["assignments"]]


async def lower(api: Api, name: str, share: float) -> None:
    answer = await api.http.patch(f"/experiments/{name}", json={"trafficAllocation": share})
    assert answer.status_code == 200, answer.text


def variants(answers) -> list[str | None]:
    return [each["variantId"] if each["enrolled"] else None for each in answers]


async def test_remembered_units_keep_their_receipts_and_a_fifth_of_the_new_ones_comes(
    api: Api,
) -> None:
    name = await api.run(KINDS[1])
    before = await assigned(api, name, "old")
    await lower(api, name, 0.2)

    after, new = await assigned(api, name, "old"), await assigned(api, name, "new")

    assert [each["id"] for each in after] == [each["id"] for each in before]
    assert {each["reason"] for each in after} == {"STICKY"}
    assert 10 < sum(each["enrolled"] for each in new) < 60
    assert {each["reason"] for each in new} == {"ASSIGNED", "NOT_ENROLLED"}
    assert await assigned(api, name, "new") != new  # those that came are STICKY now
    assert variants(await assigned(api, name, "new")) == variants(new)


async def test_units_of_fixed_weights_stay_in_while_the_log_is_read_and_after(api: Api) -> None:
    name = await api.run(KINDS[0])
    before = await assigned(api, name, "old")
    await lower(api, name, 0.2)

    during = await assigned(api, name, "old")
    assert variants(during) == variants(before)
    assert {each["reason"] for each in during} == {"ASSIGNED", "STICKY_UNAVAILABLE"}

    # What a worker does: it keeps the receipts of the log, and says so.
    for each in before:
        unit = KEYRING.verify(each["id"]).unit
        api.receipts.receipts.setdefault(ReceiptPlace(name, 0, unit), raw_of(each["id"]))
    await api.receipts.note_rebuilt([name])
    api.sticky.rebuilt = await api.receipts.rebuilt()
    after, new = await assigned(api, name, "old"), await assigned(api, name, "new")

    assert variants(after) == variants(before)
    assert {each["reason"] for each in after} == {"STICKY"}
    assert 10 < sum(each["enrolled"] for each in new) < 60


@pytest.mark.parametrize("kind", KINDS)
async def test_up_and_down_and_up_loses_no_unit(api: Api, kind) -> None:
    name = await api.run({**kind, "trafficAllocation": 0.3})
    seen: dict[int, str] = {}
    for share in (0.6, 0.1, 0.4, 0.0, 1.0, 0.05):
        await lower(api, name, share)
        found = variants(await assigned(api, name, "u"))
        for number, variant in seen.items():
            assert found[number] == variant
        seen |= {number: variant for number, variant in enumerate(found) if variant}

    assert len(seen) == 150


async def test_an_experiment_whose_share_only_grew_reads_no_receipt(api: Api) -> None:
    name = await api.run({**KINDS[0], "trafficAllocation": 0.3})
    await lower(api, name, 0.6)
    await assigned(api, name, "u")

    assert api.receipts.calls == []
