"""A process that assigns locally answers as the API does: random experiments and requests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from experiment_streams_client.errors import ApiError
from experiment_streams_client.local import LocalRequest
from streams.model.errors import EngineError, InputError
from tests.api.http_server import served
from tests.api.memory import NOW_MS, Api, definition
from tests.client.test_local_assigner import FIXED, as_json, assigning

DEFINITIONS, REQUESTS = 12, 25
DRAWN = ("ASSIGNED", "NOT_ENROLLED", "REDRAWN")

IDS = (
    "", "null", " Null ", "0", "0000-0000", "-1", "\u00e9", "e\u0301", "\U0001f600",
    "x" * 256, "x" * 257, "a b", "\x00", "\u0130", "{user_1}", "USER_1", "\u200b",
)  # fmt: skip
RULES = (
    {"==": [{"var": "device"}, "mobile"]},
    {"!=": [{"var": "device"}, "mobile"]},
    {"in": [{"var": "location"}, ["DE", "US"]]},
    {">=": [{"var": "features.age"}, 18]},
    {"sem_ver": [{"var": "features.app"}, "^", "1.2.0"]},
    {"or": [{"starts_with": [{"var": "userId"}, "u"]}, {"missing": ["device"]}]},
    {"and": [{"<": [0, {"var": "features.age"}, 50]}, {"!": [{"in": ["x", {"var": "userId"}]}]}]},
    {"==": [{"var": ["features.plan", "free"]}, "free"]},
    {">": [{"%": [{"var": "features.age"}, 7]}, 2]},
)
FEATURES: tuple[dict[str, Any], ...] = (
    {}, {"age": 17}, {"age": 18}, {"age": "18"}, {"age": None}, {"age": True}, {"age": [1]},
    {"age": {"b": 1}}, {"age": 1e308}, {"age": 2**60}, {"app": "1.2.3"}, {"app": "v1.3"},
    {"app": 5}, {"plan": "paid"}, {"a" * 5_000: 1}, {"z": "z" * 20_000},
)  # fmt: skip
ENDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("pause", {}),
    ("conclude", {}),
    ("conclude", {"serve": "none"}),
    ("conclude", {"winnerVariantId": "_v1"}),
    ("conclude", {"winnerVariantId": "_v1", "controlShare": 0.2}),
)


class Chooser:
    """Definitions and requests by random choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def happens(self, probability: float) -> bool:
        return self._random.random() < probability

    def one_of(self, options: Any) -> Any:
        return options[self._random.randrange(len(options))]

    def variants(self) -> list[dict[str, Any]]:
        count = self.one_of([2, 2, 3, 5, 17])
        found: list[dict[str, Any]] = [
            {"name": f"V{n}", "isControl": n == 0, "config": {"n": n}} for n in range(count)
        ]
        if self.happens(0.4):
            parts = [self._random.random() + 0.01 for _ in found]
            for variant, part in zip(found, parts, strict=True):
                variant["weight"] = part / sum(parts)
        for variant in found[2:]:
            variant["isActive"] = self.happens(0.8)
        return found

    def config(self, key: str, names: list[str]) -> dict[str, Any]:
        unit = self.one_of(["user", "user", "session", "impression"])
        begin = self._random.random() / 2
        users = {user: self.one_of(names) for user in ("user_1", "s_1", "null", "\u00e9")}
        fields = {
            "trafficAllocation": (0.4, self.one_of([0, 1e-9, 0.3, 0.999999])),
            "layer": (0.3, {"key": key, "range": [begin, begin + 0.5]}),
            "targeting": (0.5, self.one_of(RULES)),
            "overrides": (0.5, users),
            "ignoredUnits": (0.4, self.one_of([[], ["user_5"], ["$default", " USER_7 "]])),
            "exposure": (0.15, "event"),
            "attributionWindow": (0.15, 86_400),
            "dimensions": (0.1, [{"name": "device", "values": ["mobile", "tv"]}]),
        }
        chosen = {name: value for name, (share, value) in fields.items() if self.happens(share)}
        return {"type": "bayesian_ab", "unit": unit, "key": key, **chosen}

    def unit(self, kind: str) -> str:
        return self.one_of(IDS) if self.happens(0.2) else f"{kind}_{self._random.randrange(50)}"

    def request(self, names: list[str], experiment: str) -> dict[str, Any]:
        wanted = [*names, *(f"{experiment}_v{n}" for n in range(len(names))), "none", "x" * 300]
        fields = {
            "userId": (0.75, self.unit("user")),
            "sessionId": (0.5, self.unit("s")),
            "fallbackUnitId": (0.1, self.unit("user")),
            "device": (0.5, self.one_of(["mobile", "tv", "", "\u00e9", "x" * 257])),
            "location": (0.4, self.one_of(["DE", "US", "", "de"])),
            "features": (0.5, self.one_of(FEATURES)),
            "timestamp": (0.05, NOW_MS + self.one_of([0, -400_000, 299_000, 301_000, -NOW_MS - 1])),
            "eligible": (0.25, self._random.choices(wanted, k=self._random.randrange(4))),
        }
        return {name: value for name, (share, value) in fields.items() if self.happens(share)}


async def made(api: Api, chooser: Chooser, key: str) -> tuple[str, list[str], bool]:
    """Make an experiment; return its id, the names of its variants and whether it draws."""
    variants = chooser.variants()
    names = [str(each["name"]) for each in variants]
    config = chooser.config(key, names)
    if config["unit"] == "impression":
        config.pop("dimensions", None)
    answer = await api.http.post("/experiments", json=definition(config, variants))
    assert answer.status_code == 201, answer.text
    name = str(answer.json()["id"])
    await api.http.post(f"/experiments/{name}/start")
    if chooser.happens(0.25):
        command, body = chooser.one_of(ENDS)
        body = {field: value.replace("_v", f"{name}_v") if field == "winnerVariantId" else value
                for field, value in body.items()}  # fmt: skip
        answer = await api.http.post(f"/experiments/{name}/{command}", json=body)
        assert answer.status_code == 200, answer.text
    return name, names, config["unit"] == "impression"


def comparable(answer: dict[str, Any], is_drawn: bool) -> dict[str, Any]:
    """Return what does not depend on which of the two was asked first, or on a draw.

    Of impressions it is drawn, too, whether one takes part.
    """
    reason = "ASSIGNED" if answer["reason"] == "STICKY" else answer["reason"]
    if is_drawn and reason in DRAWN:
        return {"experimentId": answer["experimentId"]}
    return {**answer, "reason": reason}


@pytest.mark.parametrize("seed", range(3))
async def test_a_process_decides_and_refuses_as_the_api(tmp_path: Path, seed: int) -> None:
    chooser = Chooser(seed)
    async with served(tmp_path / "api") as server:
        found = [await made(server.api, chooser, f"k{n}") for n in range(DEFINITIONS)]
        async with assigning(server, tmp_path / "local", timeout_s=30.0) as call:
            for n, (name, names, is_drawn) in enumerate(found):
                for _ in range(REQUESTS):
                    asked = chooser.request(names, name)
                    theirs = await server.api.http.post(f"/experiments/{name}/assign", json=asked)
                    mine = await answered(call.assigner, f"k{n}", asked)
                    if theirs.is_success:
                        assert not isinstance(mine, tuple), (mine, asked)
                        assert comparable(mine, is_drawn) == comparable(theirs.json(), is_drawn)
                        continue
                    error = theirs.json()["error"]
                    assert isinstance(mine, tuple), (error, mine, asked)
                    if error["code"] == "EXPERIMENT_NOT_RUNNING":  # here it has no status
                        error["path"] = "experimentId"
                    assert mine == (error["code"], error["path"])
            assert call.assigner.decided > DEFINITIONS * REQUESTS / 5


async def answered(
    assigner: Any, key: str, asked: dict[str, Any]
) -> dict[str, Any] | tuple[str, str]:
    """Return the answer, or code and path of the error."""
    names = {"userId": "user_id", "sessionId": "session_id", "fallbackUnitId": "fallback_unit_id"}
    request = LocalRequest(**{names.get(name, name): value for name, value in asked.items()})
    try:
        return as_json(await assigner.assign_async(key, request))
    except (EngineError, ApiError) as error:
        return error.code, error.path


@pytest.mark.parametrize(
    ("features", "code", "path"),
    [
        ({"a": [1, {"b": float("nan")}]}, "NOT_FINITE", "features.a[1].b"),
        ({"a": float("-inf")}, "NOT_FINITE", "features.a"),
        ({"a": "\ud800"}, "INVALID_JSON", "features"),
        ({"a": {1, 2}}, "INVALID_JSON", "features"),
        ({"a": 2**70}, "INVALID_JSON", "features"),
        ({1: 1}, "WRONG_TYPE", "features[1]"),
    ],
)
async def test_features_that_are_no_json_are_refused(
    tmp_path: Path, features: Any, code: str, path: str
) -> None:
    """A NaN is neither below nor above a number, so it would match `>=`, and be logged as null."""
    async with served(tmp_path / "api") as server:
        rule = {">=": [{"var": "features.a"}, 18]}
        await server.api.run({"type": "bayesian_ab", "unit": "user", "key": "k", "targeting": rule})
        async with assigning(server, tmp_path / "local") as call:
            with pytest.raises(InputError) as caught:
                await call("assign", "k", "u", features=features)

    assert (caught.value.code, caught.value.path) == (code, path)


async def test_a_tuple_among_the_features_is_a_list(tmp_path: Path) -> None:
    rule = {"in": ["b", {"var": "features.a"}]}
    async with served(tmp_path / "api") as server:
        await server.api.run({"type": "bayesian_ab", "unit": "user", "key": "k", "targeting": rule})
        async with assigning(server, tmp_path / "local") as call:
            found = await call("assign", "k", "u", features={"a": ("a", "b")})

    assert found.reason == "ASSIGNED"


async def test_what_is_refused_does_not_depend_on_what_the_answer_would_be(tmp_path: Path) -> None:
    """Of an override after the conclusion, and of a unit that is known here."""
    twice: dict[str, Any] = {"userId": "u", "eligible": ["A", "A"]}
    large: dict[str, Any] = {"userId": "u", "features": {"a": "a" * 20_000}}
    early: dict[str, Any] = {"userId": "u", "timestamp": 1_000}
    late: dict[str, Any] = {"userId": "u", "timestamp": NOW_MS + 3_600_000}
    wrong: dict[str, Any] = {"userId": "u", "features": {"spend": "much"}}
    spend = {"name": "spend", "minimum": 0, "maximum": 10}
    async with served(tmp_path / "api") as server:
        fields = {"type": "bayesian_ab", "unit": "user", "overrides": {"u": "B"}}
        name = await server.api.run({**fields, "key": "over"})
        await server.api.http.post(f"/experiments/{name}/conclude", json={})
        await server.api.run({"type": "thompson_sampling", "unit": "user", "key": "kept"})
        covariates = {"key": "covariate", "primaryMetric": "spend", "covariates": [spend]}
        await server.api.run(FIXED | covariates | {"metrics": {"spend": {"kind": "continuous"}}})
        async with assigning(server, tmp_path / "local") as call:
            await call("assign", "kept", "u")
            await call("assign", "covariate", "u")
            for key, asked in (
                ("over", twice),
                ("kept", large),
                ("kept", early),
                ("kept", late),
                ("covariate", wrong),
            ):
                theirs = await server.api.http.post(f"/experiments/{key}/assign", json=asked)
                error = theirs.json()["error"]
                mine = await answered(call.assigner, key, asked)
                assert mine == (error["code"], error["path"])


async def test_the_time_of_a_request_that_is_held_out_and_not_logged_is_not_looked_at(
    tmp_path: Path,
) -> None:
    async with served(tmp_path / "api") as server:
        await server.api.run({"type": "thompson_sampling", "key": "k"})
        await server.api.run({"type": "thompson_sampling", "unit": "user", "key": "counted"})
        await server.api.http.post("/holdouts", json={"key": "h", "share": 0.5})
        async with assigning(server, tmp_path / "local") as call:
            reasons = set()
            for n in range(12):
                asked = {"userId": f"u{n}", "timestamp": NOW_MS + 3_600_000}
                theirs = await server.api.http.post("/experiments/k/assign", json=asked)
                mine = await answered(call.assigner, "k", asked)
                if theirs.is_success:
                    reasons.add(theirs.json()["reason"])
                    assert mine == theirs.json()
                else:
                    assert mine == ("OUT_OF_RANGE", "timestamp")
                counted = await server.api.http.post("/experiments/counted/assign", json=asked)
                assert counted.json()["error"]["path"] == "timestamp"
            assert reasons == {"HOLDOUT"}
