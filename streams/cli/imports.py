"""`experiment import`: traffic logged by another system, as impressions and observations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from experiment_streams_client import ExperimentClient, Stats
from experiment_streams_client.impressions import ImpressionPublisher
from experiment_streams_client.publisher import ObservationPublisher
from schemas.catalogue import IMPRESSIONS, OBSERVATIONS
from streams.cli import terminal
from streams.cli.open_bandit.dataset import (
    EVENTS,
    Campaign,
    LoggedEvent,
    LoggedSample,
    LoggingPolicy,
    declared_features,
    fetch_wheel,
    read_sample,
)
from streams.cli.progress import bars
from streams.cli.terminal import API_DEFAULT, Api, ApiKey, AsJson
from streams.model.errors import DependencyError
from streams.model.receipts import Keyring
from streams.policies.contextual.encoding import FeatureSpace
from streams.policies.contextual.features import Feature
from streams.policies.contextual.lin_ts import LinTS
from streams.settings import Settings

CLICK = "click"
ATTRIBUTION_WINDOW_S = 86_400
"""A click of the log carries the time of its impression, so any window holds it."""

COUNT_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2

_TYPE_OF_POLICY = {
    LoggingPolicy.RANDOM: "bayesian_ab",
    LoggingPolicy.BTS: "thompson_sampling",
}


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = terminal.group(app, "import", "Import traffic logged by another system.")
    group.command("open-bandit")(open_bandit)


def open_bandit(
    policy: Annotated[
        LoggingPolicy, typer.Option(help="Policy that chose the items.")
    ] = LoggingPolicy.RANDOM,
    campaign: Annotated[Campaign, typer.Option(help="Campaign they were shown in.")] = Campaign.ALL,
    limit: Annotated[
        int, typer.Option(min=1, max=EVENTS, help="First events of the log.")
    ] = EVENTS,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="With position and user features of every impression, so that contextual "
            "policies can be evaluated.",
        ),
    ] = False,
    as_json: AsJson = False,
    api: Api = API_DEFAULT,
    api_key: ApiKey = None,
) -> None:
    """Import the sample of the Open Bandit Dataset: real impressions and clicks of a fashion shop.

    One variant an item, with the propensities and times that were logged. Needs the Kafka and the
    receipt key of the installation: they come from the EXPERIMENT_ variables where these name a
    Kafka or a Redis; else those of an embedded stack on this machine are found by the port of its
    API.
    """
    settings = terminal.settings_of(api)
    with terminal.connected(api, api_key) as client:
        sample = read_sample(fetch_wheel(), policy, campaign, limit)
        declared = declared_features(sample) if features else ()
        experiment = client.create_experiment(*definition(sample, declared))
        client.start_experiment(experiment.id)
        with bars(MofNCompleteColumn(), TimeElapsedColumn(), transient=False) as progress:
            publish(sample, experiment.id, settings, progress, declared)
        totals = Totals(experiment.id, len(sample.events), sum(e.is_clicked for e in sample.events))
        wait_until_counted(client, totals)
        if as_json:
            terminal.print_json(totals.to_json())
        else:
            terminal.err.print(
                f"{totals.impressions:,} impressions and {totals.clicks:,} clicks of "
                f"{sample.n_items} items counted; see: experiment stats {experiment.id}"
            )
            terminal.echo(experiment.id)


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of an import, and its experiment."""

    experiment_id: str
    impressions: int
    clicks: int

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "experimentId": self.experiment_id,
            "impressions": self.impressions,
            "clicks": self.clicks,
        }


def definition(
    sample: LoggedSample, features: Sequence[Feature] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return configuration and variants of the experiment that the log is of.

    Args:
        sample: The log.
        features: Features with which its impressions are published; the experiment is contextual
            if there are any.
    """
    config: dict[str, Any] = {
        "name": f"Open Bandit {sample.policy}/{sample.campaign}",
        "description": "ZOZOTOWN, 24 to 30 November 2019; Open Bandit Dataset, CC BY 4.0.",
        "type": _TYPE_OF_POLICY[sample.policy],
        "primaryMetric": CLICK,
        "unit": "impression",
        "attributionWindow": ATTRIBUTION_WINDOW_S,
    }
    if features:
        declared = [feature.model_dump(by_alias=True, exclude_none=True) for feature in features]
        config |= {"type": LinTS.type, "parameters": {"features": declared}}
    variants = [
        {"name": f"item {item}", "isControl": item == 0, "config": {"itemId": item}}
        for item in range(sample.n_items)
    ]
    return config, variants


def publish(
    sample: LoggedSample,
    experiment_id: str,
    settings: Settings,
    progress: Progress,
    features: Sequence[Feature] = (),
) -> None:
    """Publish every event of `sample`: the impressions first, then the clicks.

    Args:
        sample: The log.
        experiment_id: The experiment of its `definition`.
        settings: Kafka and receipt keys.
        progress: Where it is shown.
        features: Features of the experiment.

    Raises:
        DependencyError: Kafka does not take them.
        ConfigurationError: there is no receipt key.
    """
    keyring = Keyring.parse(settings.signing_keys)
    kafka = settings.confluent_config()
    clicks: list[tuple[str, LoggedEvent]] = []
    space = FeatureSpace(features)
    topic = IMPRESSIONS.full_name(settings.topic_prefix)
    with ImpressionPublisher(kafka, keyring, topic=topic) as impressions:
        for event in progress.track(sample.events, description="impressions"):
            assignment_id = impressions.publish(
                experiment_id,
                event.item,
                event.propensity,
                assigned_at_ms=event.shown_at_ms,
                attribution_window_s=ATTRIBUTION_WINDOW_S,
                context={"position": event.position, "userFeatures": event.user_features},
                features=space.encode(event.features),
            )
            if event.is_clicked:
                clicks.append((assignment_id, event))
    topic = OBSERVATIONS.full_name(settings.topic_prefix)
    with ObservationPublisher(kafka, topic=topic, keyring=keyring) as observations:
        for assignment_id, event in progress.track(clicks, description="clicks"):
            observations.publish(
                assignment_id,
                CLICK,
                1,
                event_id=f"row-{event.row}",
                observed_at_ms=event.shown_at_ms,
            )


def wait_until_counted(client: ExperimentClient, totals: Totals) -> Stats:
    """Return the statistics once they hold everything that was imported.

    Raises:
        DependencyError: they do not within `COUNT_TIMEOUT_S`.
    """
    deadline = time.monotonic() + COUNT_TIMEOUT_S
    while True:
        stats = client.get_experiment_stats(totals.experiment_id)
        if (stats.total_assignments, stats.total_observations) == (
            totals.impressions,
            totals.clicks,
        ):
            return stats
        if time.monotonic() > deadline:
            raise DependencyError(
                "worker",
                f"{stats.total_assignments} of {totals.impressions} impressions and "
                f"{stats.total_observations} of {totals.clicks} clicks counted after "
                f"{COUNT_TIMEOUT_S:g} s; is a worker running?",
                code="NOT_COUNTED",
            )
        time.sleep(LOOK_EVERY_S)
