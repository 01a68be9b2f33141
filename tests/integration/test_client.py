"""Both clients against the whole stack: what the server says is what they understand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from experiment_streams_client import (
    ApiError,
    Assignment,
    AssignmentContext,
    AsyncExperimentClient,
    ErrorDetails,
    Experiment,
    ExperimentClient,
    ExposureRequest,
    ObservationRequest,
    Stats,
)
from tests.integration.up_process import up
from tests.patience import PATIENCE_S

CONFIG: dict[str, Any] = {
    "name": "Hero",
    "type": "bayesian_ab",
    "primaryMetric": "click",
    "secondaryMetrics": ["revenue"],
}
VARIANTS: list[dict[str, Any]] = [
    {"name": "A", "isControl": True, "weight": 0.5, "config": {"adId": "ad_1"}},
    {"name": "B", "weight": 0.5, "config": {"adId": "ad_2"}},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with up(tmp_path_factory.mktemp("stack")) as stack:
        yield stack.url


@pytest.fixture
def client(url: str) -> Iterator[ExperimentClient]:
    with ExperimentClient(url) as opened:
        yield opened


@pytest.fixture
def running(client: ExperimentClient) -> Experiment:
    return client.start_experiment(client.create_experiment(CONFIG, VARIANTS).id)


def until(client: ExperimentClient, experiment_id: str, counted: Callable[[Stats], bool]) -> Stats:
    """Return the statistics once they are as expected."""
    deadline = time.monotonic() + PATIENCE_S
    while not counted(stats := client.get_experiment_stats(experiment_id)):
        assert time.monotonic() < deadline, stats
        time.sleep(0.05)
    return stats


def refusal(call: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.status, caught.value.code, caught.value.path


def test_units_that_were_not_exposed_count_for_nothing(client: ExperimentClient) -> None:
    """Of ten users three are exposed, two of them twice and one after its click was logged."""
    config = CONFIG | {"exposure": "event"}
    running = client.start_experiment(client.create_experiment(config, VARIANTS).id)
    ids = []
    for number in range(10):
        assigned = client.assign_variant(running.id, AssignmentContext(user_id=f"u{number}"))
        ids.append(str(assigned.id))
    now_ms = int(time.time() * 1000)

    client.record_exposures(
        ExposureRequest(assignment_id=each, timestamp=now_ms) for each in ids[:2]
    )
    for each in ids:
        client.record_observation(each, "click", 1, event_id="c", timestamp=now_ms + 1)
        client.record_observation(each, "click", 1, event_id="early", timestamp=now_ms - 1)
    for each in ids[1:3]:
        client.record_exposure(each, timestamp=now_ms)

    def counts(stats: Stats) -> tuple[int, int | None, int, int | None]:
        unexposed = None if stats.evidence is None else stats.evidence.unexposed
        return stats.total_assignments, stats.total_exposures, stats.total_observations, unexposed

    expected = 10, 3, 3, 3 + 2 * 7
    stats = until(client, running.id, lambda found: counts(found) == expected)
    assert sum(each.stats.exposures or 0 for each in stats.variants) == 3
    assert stats.evidence is not None
    assert sum(stats.evidence.units) == 3


def test_an_exposure_of_an_experiment_without_them_is_refused(
    client: ExperimentClient, running: Experiment
) -> None:
    assigned = client.assign_variant(running.id, AssignmentContext(user_id="user_123"))

    found = refusal(lambda: client.record_exposure(str(assigned.id)))

    assert found == (422, "EXPOSURE_NOT_USED", "assignmentId")


def test_the_six_calls_of_an_ads_server(client: ExperimentClient, running: Experiment) -> None:
    assignment = client.assign_variant(
        running.id, AssignmentContext(user_id="user_123", device="mobile", features={"age": 35})
    )
    assert assignment.id is not None
    assert assignment.config["adId"] in {"ad_1", "ad_2"}
    assert assignment.propensity == 0.5

    taken = client.record_observation(assignment.id, "click", 1, event_id="c1")
    client.record_observation(assignment.id, "click", 1, event_id="c1")
    client.record_observations(
        [
            ObservationRequest(
                assignment_id=assignment.id, metric="revenue", value=49.99, event_id="o1"
            )
        ]
    )

    assert taken.accepted == 1
    # Three topics bring them, in any order.
    stats = until(
        client,
        running.id,
        lambda found: (
            (found.total_assignments, found.total_observations, found.duplicates) == (1, 2, 1)
        ),
    )
    [variant] = [each for each in stats.variants if each.id == assignment.variant_id]
    assert variant.stats.metrics["revenue"].sum_micro == 49_990_000
    assert variant.stats.metrics["click"].observations == 1
    newest = client.get_experiment_timeseries(running.id).points[-1]
    assert (newest.version, sum(each.assignments for each in newest.variants)) == (stats.version, 1)

    concluded = client.conclude_experiment(running.id, assignment.variant_id)
    assert (concluded.status, concluded.winner_variant_id) == (
        "concluded",
        assignment.variant_id,
    )
    assert client.archive_experiment(running.id).status == "archived"


def test_commands_change_what_they_name(client: ExperimentClient, running: Experiment) -> None:
    assert running.status == "running"
    assert running.started_at is not None
    assert client.pause_experiment(running.id).status == "paused"
    assert client.resume_experiment(running.id).status == "running"

    updated = client.update_experiment(running.id, {"trafficAllocation": 0.25})

    assert updated.config["trafficAllocation"] == 0.25
    assert client.get_experiment(running.id) == updated
    listed = {each.id: each for each in client.list_experiments()}[updated.id]
    assert (listed.version, listed.config) == (updated.version, updated.config)


def test_a_repeated_key_creates_one_experiment(client: ExperimentClient) -> None:
    first = client.create_experiment(CONFIG, VARIANTS, idempotency_key="create hero")
    again = client.create_experiment(CONFIG, VARIANTS, idempotency_key="create hero")

    assert again.id == first.id
    assert client.create_experiment(CONFIG, VARIANTS).id != first.id


def test_refusals_name_the_code_and_the_field(client: ExperimentClient) -> None:
    draft = client.create_experiment(CONFIG, VARIANTS)
    unknown = "exp_0000000000000"

    assert refusal(lambda: client.get_experiment(unknown))[:2] == (404, "EXPERIMENT_NOT_FOUND")
    assert refusal(lambda: client.assign_variant(draft.id, {"userId": "u"}))[:2] == (
        409,
        "EXPERIMENT_NOT_RUNNING",
    )
    assert refusal(lambda: client.resume_experiment(draft.id))[:2] == (409, "INVALID_TRANSITION")
    assert refusal(lambda: client.create_experiment(CONFIG | {"type": "magic"}, VARIANTS))[:2] == (
        422,
        "UNKNOWN_TYPE",
    )
    assert refusal(
        lambda: client.create_experiment(CONFIG | {"trafficAllocation": 2}, VARIANTS)
    ) == (422, "OUT_OF_RANGE", "config.trafficAllocation")
    assert refusal(lambda: client.record_observation("forged", "click", 1))[0] == 422


async def test_the_asynchronous_client_assigns_many_at_once(
    url: str, running: Experiment, client: ExperimentClient
) -> None:
    other = client.start_experiment(client.create_experiment(CONFIG, VARIANTS).id)
    ids = [running.id, other.id]
    contexts = [AssignmentContext(user_id=f"user_{number}") for number in range(20)]

    async with AsyncExperimentClient(url) as opened:
        rows = await opened.assign_variants(ids, contexts)
        single = await opened.assign_variant(other.id, contexts[7])
        [[assigned, refused]] = await opened.assign_variants(
            [other.id, "exp_0000000000000"], contexts[:1]
        )
        assert (await opened.ready()).ready
        assert (await opened.health()).status

    given = [[isinstance(each, Assignment) and each.experiment_id for each in row] for row in rows]
    assert given == [ids] * len(contexts)
    assert rows[7][1] == single  # a user is assigned once, however often it is asked
    assert assigned == rows[0][1]
    assert isinstance(refused, ErrorDetails)
    assert refused.code == "EXPERIMENT_NOT_FOUND"
    until(client, other.id, lambda found: found.total_assignments == len(contexts))


async def test_units_are_assigned_among_what_their_requests_can_show(
    url: str, client: ExperimentClient
) -> None:
    """Every unit counts once, for its first variant, and for the set that it was drawn from."""
    variants = [{"name": name, "isControl": name == "A"} for name in "ABCD"]
    experiment = client.create_experiment({**CONFIG, "name": "Sets"}, variants)
    client.start_experiment(experiment.id)
    ids = [variant.id for variant in experiment.variants]
    sets = [("A", "B"), (ids[1], "C", "D"), ("D",), ("A", "B", "C", "D")]
    first: dict[str, Assignment] = {}
    for number in range(40):
        user = f"user_{number}"
        context = AssignmentContext(user_id=user, eligible=sets[number % 4])
        first[user] = client.assign_variant(experiment.id, context)
    async with AsyncExperimentClient(url) as asynchronous:
        for user, known in first.items():
            others = tuple(name for name in "ABCD" if name != known.variant_name)
            again = await asynchronous.assign_variant(
                experiment.id, AssignmentContext(user_id=user, eligible=others)
            )
            assert (again.reason, again.id) == ("REDRAWN", known.id)
            assert again.variant_name in others
            assert again.id is not None
            await asynchronous.record_observation(again.id, "click", 1.0)
    with pytest.raises(ApiError) as caught:
        client.assign_variant(experiment.id, AssignmentContext(user_id="u", eligible=("E",)))

    stats = until(
        client, experiment.id, lambda s: s.total_observations == s.total_assignments == 40
    )

    assert (caught.value.code, caught.value.path) == ("UNKNOWN_VARIANT", "eligible[0]")
    assert stats.total_assignments == len(first)
    counted = {each.id: each.stats.assignments for each in stats.variants}
    assert counted == {
        name: sum(each.variant_id == name for each in first.values()) for name in ids
    }
    assert stats.evidence is not None
    assert stats.evidence.excluded_units == (20, 10, 20, 10)
    assert stats.evidence.weighting == "overlap"
