"""Numbers of query strings are read in the notation of JSON alone, for every endpoint."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from api.http.endpoints import ENDPOINTS
from api.http.models.text_query import TextQuery, is_number
from tests.api.memory import Api
from tests.lax_numbers import LAX_NUMBERS

NUMERIC = [
    (endpoint.method, endpoint.path, field.alias or name)
    for endpoint in ENDPOINTS
    if endpoint.query is not None
    for name, field in endpoint.query.model_fields.items()
    if is_number(field.annotation)
]


def test_every_query_is_read_so():
    models = {endpoint.query for endpoint in ENDPOINTS if endpoint.query is not None}

    assert all(issubclass(each, TextQuery) for each in models)
    assert {name for _, _, name in NUMERIC} == {
        *("limit", "from", "to", "points", "wait", "expectedVersion", "hours", "since"),
    }


@pytest.mark.parametrize("text", LAX_NUMBERS)
async def test_what_python_reads_besides_is_refused(api: Api, text: str) -> None:
    experiment = await api.run()
    for method, path, name in NUMERIC:
        place = path.format(
            experiment_id=experiment, variant_id=f"{experiment}_v0", holdout_key="all"
        )
        answer = await api.http.request(method, f"{place}?{urlencode({name: text})}")

        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, "WRONG_TYPE"), (path, name)
        assert error["path"] == f"query.{name}"


@pytest.mark.parametrize("text", ["1e1", "10.0", "0x10", "true", "9" * 5_000])
async def test_a_whole_number_is_written_in_digits(api: Api, text: str) -> None:
    error = (await api.http.get(f"/experiments?limit={text}")).json()["error"]

    assert (error["code"], error["path"]) == ("WRONG_TYPE", "query.limit")
    assert error["message"] == "must be a whole number in digits, as 10"


async def test_other_numbers_may_have_an_exponent(api: Api) -> None:
    assert (await api.http.get("/snapshots?wait=1e-3")).status_code == 200
    assert (await api.http.get("/snapshots?wait=31")).json()["error"]["code"] == "OUT_OF_RANGE"
    assert (await api.http.get("/snapshots?wait=1e999")).json()["error"]["code"] == "WRONG_TYPE"
