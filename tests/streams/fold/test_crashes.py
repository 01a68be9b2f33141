"""Any log through crashes at any point: the same state and refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fold import counting, metric_slots
from streams.fold import deduplication as window
from streams.fold.observations import ObservationFold
from streams.model.events import ObservationBatch
from streams.model.quantities import MICRO
from streams.tallies.plan import AcceptedValues, Plan
from tests.streams.fold.builders import KEYRING, NOW_MS, observation
from tests.streams.fold.crashes import PLANS, run_through_crashes
from tests.streams.fold.logs import KINDS, run, state

pytestmark = pytest.mark.usefixtures("small_bounds")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), plan=PLANS)
@settings(max_examples=200)
def test_crashes_do_not_change_the_result(kind, data, plan):
    strategy, make = KINDS[kind]
    records = data.draw(strategy)
    whole, refused = run(make, records)

    fold, store, answers = run_through_crashes(make, records, plan)

    expected = state(whole)
    assert state(fold) == expected
    assert [answers[offset] for offset in range(len(records))] == refused
    if records:
        assert state(store.start(make)) == expected


@given(
    records=st.lists(
        st.builds(
            lambda unit, metric, value, event: (
                ObservationBatch([observation(value, event, metric, unit=unit)]),
                NOW_MS,
            ),
            st.integers(1, 3),
            st.sampled_from(["a", "b", "c", "d", "e", "f"]),
            st.integers(0, 2).map(lambda value: value * MICRO),
            st.none() | st.sampled_from("uvwxyz"),
        ),
        max_size=24,
    ),
    plan=PLANS,
)
@settings(max_examples=200)
def test_crashes_do_not_change_what_a_sender_is_refused(records, plan):
    """Places for metrics and events of a unit, where cells are ahead of what is remembered."""

    def make():
        declared = Plan(declared=frozenset({"a"}), accepted={"a": AcceptedValues(0, MICRO)})
        return ObservationFold(0, KEYRING, plan_of=lambda _: declared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metric_slots, "MAX_METRICS", 4)
        patch.setattr(metric_slots, "MAX_OPENED", 2)
        patch.setattr(counting, "MAX_EVENTS", 2)
        patch.setattr(window, "MAX_EVENTS", 2)
        whole, refused = run(make, records)

        fold, store, answers = run_through_crashes(make, records, plan)

        expected = state(whole)
        assert state(fold) == expected
        assert [answers[offset] for offset in range(len(records))] == refused
        if records:
            assert state(store.start(make)) == expected
