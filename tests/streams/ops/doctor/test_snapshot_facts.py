from dataclasses import replace

from streams.experiments.lifecycle import Status
from streams.ops.doctor.snapshot_facts import snapshot_facts
from tests.api.memory import snapshot_of
from tests.streams.analysis.test_decision import experiment

NOW_MS = 1_000_000


def facts_of(snapshot, versions=None, tallies=None):
    name = snapshot.experiment.id
    return snapshot_facts({name: snapshot}, versions or {}, tallies or {}, NOW_MS)


def test_facts_are_those_of_the_snapshot_of_redis_and_of_the_newest_cells():
    running = replace(experiment(), started_at_ms=NOW_MS - 1)
    name = running.id
    cells = {("observations", 0): 7}

    [found] = facts_of(snapshot_of(running, 9), {name: 8}, {name: cells})

    assert (found.experiment_id, found.version, found.redis_version) == (name, 9, 8)
    assert (found.cells, found.tallies) == ({}, cells)
    assert found.has_receipts
    assert (found.ahead_ms, found.overdue_ms, found.late_ms) == (0, 0, 0)
    assert found.overlaps is None


def test_an_archived_experiment_that_is_not_in_redis_has_ended():
    archived = experiment(status=Status.ARCHIVED)

    assert facts_of(snapshot_of(archived)) == ()
    assert len(facts_of(snapshot_of(archived), {archived.id: 3})) == 1


def test_a_start_in_the_future_is_ahead_until_the_conclusion():
    later = replace(experiment(), started_at_ms=NOW_MS + 60_000)
    concluded = replace(later, status=Status.CONCLUDED)

    assert [each.ahead_ms for each in facts_of(snapshot_of(later))] == [60_000]
    assert [each.ahead_ms for each in facts_of(snapshot_of(concluded))] == [0]


def test_assignments_without_an_exposure_are_counted_where_units_count_by_exposure():
    exposing = replace(experiment(exposure="event"), started_at_ms=1)
    snapshot = snapshot_of(exposing)
    a, b = snapshot.variants
    assigned = replace(snapshot, variants=(replace(a, assignments=3), replace(b, assignments=4)))
    exposed = replace(assigned, variants=(replace(a, exposures=1), b))

    assert [each.unexposed for each in facts_of(assigned)] == [7]
    assert [each.unexposed for each in facts_of(exposed)] == [0]
