"""Units that this process has assigned: the newest, in the order in which they came first."""

from api.receipts.recent import RecentUnits


def test_a_unit_has_its_first_place_until_it_is_forgotten() -> None:
    recent = RecentUnits(2)
    for unit in (10, 11, 10, 12):
        recent.note(unit)
    assert [recent.order(unit) for unit in (10, 11, 12, 13)] == [0, 1, 2, None]

    recent.note(13)
    recent.note(14)  # the older half is 12 and 13 now

    assert [recent.order(unit) for unit in (10, 12, 13, 14)] == [None, 2, 3, 4]
