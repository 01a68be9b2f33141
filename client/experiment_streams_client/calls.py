"""Every call of the API, described once: what is sent, and what comes back.

A description does nothing. `ExperimentClient` and `AsyncExperimentClient` have one method for each
function here, with the same parameters, and differ only in how they carry a description out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

from api.http.models.dry_run import DryRun
from api.http.models.history import HistoryItem
from api.http.models.operation import DeadLettersPage, Doctor, PlanAnswer, Resent
from api.http.models.requests import (
    AssignmentContext,
    ExposureRequest,
    ObservationRequest,
    VoidRequest,
)
from api.http.models.responses import (
    Accepted,
    Assignment,
    Caller,
    ErrorDetails,
    Experiment,
    Health,
    Holdout,
    Readiness,
)
from api.http.models.summaries import ListedExperiment
from api.http.models.webhooks import Webhook
from experiment_streams_client.errors import ApiError, ApiUnreachableError
from experiment_streams_client.results import (
    Experiments,
    History,
    assignments,
    experiments,
    history,
    holdouts,
    webhooks,
)
from streams.experiments.stats_response import Stats
from streams.experiments.timeseries_response import Timeseries
from streams.model.errors import InputError
from streams.model.validation import InputModel, parse

T = TypeVar("T")

PAGE_LIMIT = 200
"""Experiments of one page: as many as the API gives at most."""

MAX_WAIT_S = 5.0
"""Longest pause before a retry, whatever the API asks for, in seconds."""

OPERATION_S = 65.0
"""Longest wait for what the API computes beside itself, in seconds: it gives up after 60."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        method: HTTP method.
        path: Path and query below the address of the API.
        read: Turns the decoded JSON answer into the result.
        body: JSON-like body; None for none.
        headers: Headers besides the usual ones.
        is_repeatable: Whether sending it twice does no more than sending it once. Only then is it
            sent again after a failure that leaves open whether it arrived.
        accepts: Statuses besides 2xx whose body is a result and not an error.
        next_page: Returns the call for the rest of a list of which a result is the beginning, None
            if there is no rest. Absent for what is no list.
        is_command: Whether it changes an experiment, and so has an author.
        slowest_s: Seconds that its answer may take, where they are more than a client waits for.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    read: Callable[[Any], T]
    body: Any = None
    headers: Mapping[str, str] | None = None
    is_repeatable: bool = True
    accepts: frozenset[int] = frozenset()
    next_page: Callable[[Any], Call[T] | None] | None = None
    is_command: bool = False
    slowest_s: float = 0.0

    def with_parameters(self, **parameters: str) -> Call[T]:
        """Return the call with further parameters in its query."""
        separator = "&" if "?" in self.path else "?"
        return replace(self, path=f"{self.path}{separator}{urlencode(parameters)}")

    def by(self, author: str | None) -> Call[T]:
        """Return the call with a declared author, if it is a command."""
        return self.with_parameters(author=author) if self.is_command and author else self

    def is_worth_repeating(self, error: Exception) -> bool | float:
        """Return whether to send the call again after `error`, or after how many seconds to."""
        if isinstance(error, ApiUnreachableError):
            return self.is_repeatable or not error.was_sent
        if isinstance(error, ApiError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return True if error.retry_after_s is None else min(error.retry_after_s, MAX_WAIT_S)
        return False


def create_experiment(
    config: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    idempotency_key: str | None = None,
    *,
    reason: str | None = None,
) -> Call[Experiment]:
    """Create an experiment, as a draft.

    Args:
        config: Name, type, primary metric and the rest, with the JSON names of the HTTP API. With a
            `key`, every call that takes an experiment id takes the key too.
        variants: At least two; exactly one with `isControl`.
        idempotency_key: The same key gives the same experiment again, for a day at least. Without
            one the client draws a new key, so its own retries are safe too.
        reason: Why, for `get_experiment_history`: at most 500 characters. Every command takes one.

    Raises:
        ApiError: 422 with the code and the path of the first thing that is wrong; 409 `KEY_TAKEN`
            if another experiment has the key.

    Examples:
        ```
        experiment = client.create_experiment(
            {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"},
            [{"name": "A", "isControl": True}, {"name": "B", "config": {"adId": "ad_456"}}],
        )
        ```
    """
    body = {"config": dict(config), "variants": [dict(variant) for variant in variants]}
    return _command("POST", "/experiments", body, idempotency_key, reason)


def start_experiment(
    experiment_id: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Experiment]:
    """Start a draft: from now on it assigns.

    Raises:
        ApiError: 404 `EXPERIMENT_NOT_FOUND`, 409 `INVALID_TRANSITION`.
    """
    return _command("POST", _place(experiment_id, "/start"), {}, idempotency_key, reason)


def pause_experiment(
    experiment_id: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Experiment]:
    """Stop assigning; observations of earlier assignments still count."""
    return _command("POST", _place(experiment_id, "/pause"), {}, idempotency_key, reason)


def resume_experiment(
    experiment_id: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Experiment]:
    """Go on assigning after a pause."""
    return _command("POST", _place(experiment_id, "/resume"), {}, idempotency_key, reason)


def update_experiment(
    experiment_id: str,
    changes: Mapping[str, Any],
    idempotency_key: str | None = None,
    *,
    reason: str | None = None,
) -> Call[Experiment]:
    """Change `trafficAllocation` or the thresholds; what is left out stays.

    Args:
        experiment_id: A draft, a running or a paused experiment.
        changes: Changed fields of the configuration, with their JSON names.
        idempotency_key: As for `create_experiment`.
    """
    return _command("PATCH", _place(experiment_id), dict(changes), idempotency_key, reason)


def edit_experiment(
    experiment_id: str,
    config: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    idempotency_key: str | None = None,
    *,
    version: int | None = None,
    reason: str | None = None,
) -> Call[Experiment]:
    """Put another definition in the place of a draft's, as a whole.

    Args:
        experiment_id: A draft.
        config, variants: As for `create_experiment`.
        idempotency_key: As for `create_experiment`.
        version: `version` of the draft that this was made from; it is refused if the draft has
            changed since. None for whichever it has.

    Raises:
        ApiError: 409 `VERSION_CONFLICT`, 409 `INVALID_TRANSITION` if it is no draft any more, 422
            as for `create_experiment`, and `KEY_FIXED` if it has another key.
    """
    body: dict[str, Any] = {"config": dict(config), "variants": [dict(each) for each in variants]}
    if version is not None:
        body["version"] = version
    return _command("PUT", _place(experiment_id), body, idempotency_key, reason)


def add_variant(
    experiment_id: str,
    name: str,
    idempotency_key: str | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    weight: float | None = None,
    reason: str | None = None,
) -> Call[Experiment]:
    """Add a variant to a draft, a running or a paused experiment.

    It comes behind all others, and is compared by the units that were assigned since.

    Args:
        experiment_id: The experiment.
        name: Name of the variant, unique within the experiment.
        idempotency_key: As for `create_experiment`.
        config: Returned with an assignment to it.
        weight: Share of the traffic of the active variants that it gets under a fixed policy, in
            (0, 1); as much as the others have on average unless given.

    Raises:
        ApiError: 422 `TOO_MANY_VARIANTS` beyond 16 of a running experiment, `DUPLICATE_NAME`,
            `WEIGHTS_NOT_USED` under an adaptive policy; 409 `INVALID_TRANSITION`.
    """
    given = {"name": name, "config": None if config is None else dict(config), "weight": weight}
    body = {key: value for key, value in given.items() if value is not None}
    return _command("POST", _place(experiment_id, "/variants"), body, idempotency_key, reason)


def change_variant(
    experiment_id: str,
    variant_id: str,
    idempotency_key: str | None = None,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    is_active: bool | None = None,
    reason: str | None = None,
) -> Call[Experiment]:
    """Rename a variant, change its configuration, stop or reactivate it.

    A stopped variant is assigned to nobody, keeps its id and its tallies, and is compared with the
    control alone. A unit that had it is shown another variant (`REDRAWN`).

    Args:
        experiment_id: A draft, a running or a paused experiment.
        variant_id: Id or name of the variant.
        idempotency_key: As for `create_experiment`.
        name: Its new name; its id stays.
        config: Its new configuration, as a whole.
        is_active: False to stop it, True to reactivate it.

    Raises:
        ApiError: 404 `VARIANT_NOT_FOUND`; 422 `CONTROL_STOPPED`, `TOO_FEW_ACTIVE` if fewer than two
            were left, `DUPLICATE_NAME`; 409 `INVALID_TRANSITION`.
    """
    given = {
        "name": name,
        "config": None if config is None else dict(config),
        "isActive": is_active,
    }
    body = {key: value for key, value in given.items() if value is not None}
    place = _place(experiment_id, f"/variants/{quote(variant_id, safe='')}")
    return _command("PATCH", place, body, idempotency_key, reason)


def conclude_experiment(
    experiment_id: str,
    winner_variant_id: str | None = None,
    idempotency_key: str | None = None,
    *,
    control_share: float | None = None,
    serve: Literal["winner", "control", "none"] | None = None,
    reason: str | None = None,
) -> Call[Experiment]:
    """End an experiment.

    Until it is archived, everybody gets the winner (`SHIPPED`), or without one the control. One
    that has a control share goes on assigning its winner, and the control beside it.

    Args:
        experiment_id: A running or a paused experiment.
        winner_variant_id: Variant it is concluded with; None for no winner.
        idempotency_key: As for `create_experiment`.
        control_share: Share that the control keeps beside the winner, in [0, 0.5]; that of the
            experiment unless given.
        serve: What everybody gets until it is archived; `none` for nothing. The winner unless
            given, or without one the control.

    Raises:
        ApiError: 422 `UNKNOWN_VARIANT` if the winner is not a variant of the experiment,
            `WINNER_NOT_NAMED` if none is to be served, `CONTROL_SHARE_NOT_USED` if a share is kept
            beside a winner that is not served.
    """
    given = {
        "winnerVariantId": winner_variant_id,
        "controlShare": control_share,
        "serve": serve,
    }
    body = {name: value for name, value in given.items() if value is not None}
    return _command("POST", _place(experiment_id, "/conclude"), body, idempotency_key, reason)


def rollback_experiment(
    experiment_id: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Experiment]:
    """Take a promoted or shipped winner back: everybody gets the control until it is archived.

    Raises:
        ApiError: 409 `INVALID_TRANSITION` if no winner is promoted or shipped, or no longer.
    """
    return _command("POST", _place(experiment_id, "/rollback"), {}, idempotency_key, reason)


def archive_experiment(
    experiment_id: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Experiment]:
    """Put a draft or a concluded experiment away."""
    return _command("POST", _place(experiment_id, "/archive"), {}, idempotency_key, reason)


def dry_run(command: Call[Any]) -> Call[DryRun]:
    """Return what a command would do; everything is checked as for the command, nothing changes.

    Args:
        command: The command, as a method of the class describes it.

    Raises:
        ApiError: as the command itself.

    Examples:
        ```
        tried = client.dry_run(ExperimentClient.pause_experiment(experiment.id))
        for effect in tried.effects:
            print(effect.code, effect.units)
        ```
    """
    if not command.is_command:
        raise InputError("NOT_A_COMMAND", f"{command.path} changes nothing", "command")
    call = Call(command.method, command.path, DryRun.model_validate, command.body, is_command=True)
    return call.with_parameters(dryRun="true")


def get_experiment(experiment_id: str) -> Call[Experiment]:
    """Return an experiment: configuration, variants and status."""
    return Call("GET", _place(experiment_id), Experiment.model_validate)


def list_experiments(
    *statuses: str,
    types: Sequence[str] = (),
    owner: str | None = None,
    tags: Sequence[str] = (),
    search: str | None = None,
    actions: Sequence[str] = (),
    health: Sequence[str] = (),
    sort: Literal["newest", "attention"] | None = None,
) -> Call[tuple[ListedExperiment, ...]]:
    """Return all experiments that match; as many requests are sent as the list has pages.

    Args:
        *statuses: Only experiments with one of these: `draft`, `running`, `paused`, `concluded`,
            `archived`; all unless given.
        types: Only experiments with one of these policies.
        owner: Only experiments of this owner.
        tags: Only experiments with one of these tags.
        search: Only experiments whose name, key, id, description, owner or tag contains it.
        actions: Only experiments with one of these recommended actions.
        health: Only experiments whose statistics are one of `ok`, `warning`, `error`.
        sort: `attention` for what needs a decision first; newest first unless given.

    Examples:
        ```
        for each in client.list_experiments("running", sort="attention"):
            print(each.name, each.summary and each.summary.action)
        ```
    """
    parameters = {
        "status": ",".join(statuses) or None,
        "type": ",".join(types) or None,
        "owner": owner,
        "tag": ",".join(tags) or None,
        "search": search,
        "action": ",".join(actions) or None,
        "health": ",".join(health) or None,
        "sort": sort,
    }
    return _experiments_page(parameters, None)


def _experiments_page(
    parameters: Mapping[str, str | None], cursor: str | None
) -> Call[tuple[ListedExperiment, ...]]:
    query = _query(limit=PAGE_LIMIT, **parameters, cursor=cursor)

    def next_page(page: Experiments) -> Call[tuple[ListedExperiment, ...]] | None:
        return _experiments_page(parameters, page.next_cursor) if page.next_cursor else None

    return Call("GET", f"/experiments{query}", experiments, next_page=next_page)


def get_experiment_history(experiment_id: str, *kinds: str) -> Call[tuple[HistoryItem, ...]]:
    """Return what was done with an experiment, newest first: who, when, why, and how to undo it.

    Args:
        experiment_id: The experiment.
        *kinds: Only entries of these kinds, such as `conclude` or `recommendation`; all unless
            given.
    """
    return _history_page(experiment_id, kinds, None)


def _history_page(
    experiment_id: str, kinds: tuple[str, ...], cursor: str | None
) -> Call[tuple[HistoryItem, ...]]:
    query = _query(limit=PAGE_LIMIT, kind=",".join(kinds) or None, cursor=cursor)

    def next_page(page: History) -> Call[tuple[HistoryItem, ...]] | None:
        return _history_page(experiment_id, kinds, page.next_cursor) if page.next_cursor else None

    return Call("GET", _place(experiment_id, f"/history{query}"), history, next_page=next_page)


def _query(**parameters: Any) -> str:
    """Return a query string of the parameters that are given, with its question mark."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def get_experiment_stats(
    experiment_id: str,
    *,
    at: Literal["conclusion"] | None = None,
    dimension: str | None = None,
) -> Call[Stats]:
    """Return what is known of an experiment: counts, posteriors, allocation, recommendation.

    Args:
        experiment_id: The experiment.
        at: `conclusion` for what was known when it was concluded; None for what is known now.
        dimension: A dimension of the experiment, to have what is known by its values in
            `dimensions`; exploratory. None for none.

    Examples:
        ```
        stats = client.get_experiment_stats(experiment.id)
        if stats.recommended_action == "conclude_winner" and stats.winner:
            client.conclude_experiment(experiment.id, stats.winner.id)
        ```

    Raises:
        ApiError: 409 `NOT_CONCLUDED` or `REPORT_NOT_READY` if there is no conclusion yet; 422
            `UNKNOWN_DIMENSION` if it has no such dimension.
    """
    given = {"at": at, "dimension": dimension}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    path = f"/stats?{query}" if query else "/stats"
    return Call("GET", _place(experiment_id, path), Stats.from_json)


def get_experiment_timeseries(
    experiment_id: str,
    *,
    metric: str | None = None,
    begin_ms: int | None = None,
    end_ms: int | None = None,
    points: int | None = None,
) -> Call[Timeseries]:
    """Return what was known of an experiment over time, by one metric.

    Args:
        experiment_id: The experiment.
        metric: Name of a declared metric; None for the primary one.
        begin_ms: Points from this time on, in milliseconds since the epoch; None for all.
        end_ms: Points before this time; None for all.
        points: Points at most, 2 to 400, and the newest one; None for 400.

    Examples:
        ```
        series = client.get_experiment_timeseries(experiment.id, points=50)
        for point in series.points:
            print(point.at, [variant.mean for variant in point.variants])
        ```

    Raises:
        ApiError: 422 `UNKNOWN_METRIC` or `OUT_OF_RANGE`.
    """
    given = {"metric": metric, "from": begin_ms, "to": end_ms, "points": points}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    path = f"/timeseries?{query}" if query else "/timeseries"
    return Call("GET", _place(experiment_id, path), Timeseries.from_json)


def create_holdout(
    key: str,
    share: float,
    experiments: Sequence[str] = ("*",),
    *,
    unit: Literal["user", "session"] = "user",
    primary_metric: str | None = None,
    idempotency_key: str | None = None,
    reason: str | None = None,
) -> Call[Holdout]:
    """Hold a share of the units out of experiments, from now on.

    Args:
        key: Key of the holdout, taken for good.
        share: Share of the units that are held out, 0.0001 to 0.5.
        experiments: Keys and ids of the experiments, or `*` alone for all.
        unit: What is held out; of experiments that randomise by it.
        primary_metric: Metric that its recommendation goes by; all are compared.
        idempotency_key: Repeating a key gives the same holdout.
    """
    body: dict[str, Any] = {
        "key": key,
        "share": share,
        "experiments": list(experiments),
        "unit": unit,
    }
    if primary_metric is not None:
        body["primaryMetric"] = primary_metric
    return _asked("POST", "/holdouts", body, idempotency_key, Holdout.model_validate, reason)


def list_holdouts() -> Call[tuple[Holdout, ...]]:
    """Return all holdouts, newest first."""
    return Call("GET", "/holdouts", holdouts)


def get_holdout(key: str) -> Call[Holdout]:
    """Return a holdout."""
    return Call("GET", _holdout(key), Holdout.model_validate)


def get_holdout_stats(key: str, *, at: Literal["conclusion"] | None = None) -> Call[Stats]:
    """Return what the units held out did, and all others, by every metric.

    Args:
        key: The holdout.
        at: `conclusion` for what was known when it ended; None for what is known now.

    Raises:
        ApiError: 409 `NOT_CONCLUDED` or `REPORT_NOT_READY` if it has not ended.
    """
    query = "/stats" if at is None else f"/stats?{urlencode({'at': at})}"
    return Call("GET", _holdout(key, query), Stats.from_json)


def end_holdout(
    key: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Holdout]:
    """End a holdout: from now on it holds nobody out, and its report is kept."""
    return _asked("DELETE", _holdout(key), {}, idempotency_key, Holdout.model_validate, reason)


def archive_holdout(
    key: str, idempotency_key: str | None = None, *, reason: str | None = None
) -> Call[Holdout]:
    """Put a holdout away that has ended: what its units do is not counted any more."""
    return _asked(
        "POST", _holdout(key, "/archive"), {}, idempotency_key, Holdout.model_validate, reason
    )


def create_webhook(  # noqa: PLR0913 - each a field of the webhook
    url: str,
    *,
    secret: str | None = None,
    events: Sequence[str] = ("*",),
    experiments: Sequence[str] = (),
    tags: Sequence[str] = (),
    format: Literal["standard", "slack"] = "standard",  # noqa: A002 - the field's name
    description: str = "",
    since: int | None = None,
    idempotency_key: str | None = None,
) -> Call[Webhook]:
    """Have events sent to an address.

    Args:
        url: Where events are sent.
        secret: Secret that signs them, as `new_webhook_secret` returns; required unless the format
            is `slack`. It is never returned.
        events: Types of events, groups (`experiment.*`), or `*` for all.
        experiments: Ids and keys of experiments; none for all.
        tags: Tags of which an experiment has one or more when something happens to it; none for all
            experiments.
        format: Format of the bodies.
        description: Description for people.
        since: Time from which on events are sent, in milliseconds since the epoch; None for now.
        idempotency_key: Repeating a key gives the same webhook.

    Raises:
        ApiError: 422 if the address is refused (`HTTPS_REQUIRED`, `ADDRESS_NOT_ALLOWED`), 409
            `WEBHOOKS_NOT_CONFIGURED` if the API has no key to seal secrets with.
    """
    body: dict[str, Any] = {
        "url": url,
        "events": list(events),
        "experiments": list(experiments),
        "tags": list(tags),
        "format": format,
        "description": description,
    }
    given = {"secret": secret, "since": since}
    body |= {name: value for name, value in given.items() if value is not None}
    return _asked("POST", "/webhooks", body, idempotency_key, Webhook.model_validate, None)


def list_webhooks() -> Call[tuple[Webhook, ...]]:
    """Return all webhooks with their state, newest first."""
    return Call("GET", "/webhooks", webhooks)


def get_webhook(webhook_id: str) -> Call[Webhook]:
    """Return a webhook with its state."""
    return Call("GET", _webhook(webhook_id), Webhook.model_validate)


def update_webhook(webhook_id: str, changes: Mapping[str, Any]) -> Call[Webhook]:
    """Change a webhook; what is left out stays.

    Args:
        webhook_id: The webhook.
        changes: Any of `url`, `secret`, `secretOverlap`, `events`, `experiments`, `tags`, `format`,
            `description`, `isEnabled` and `since`. `{"isEnabled": True}` also enables one that was
            disabled because it did not answer.
    """
    return Call("PATCH", _webhook(webhook_id), Webhook.model_validate, dict(changes))


def delete_webhook(webhook_id: str) -> Call[Webhook]:
    """Delete a webhook: nothing is sent to it any more."""
    # Repeated, it would answer that there is none.
    return Call("DELETE", _webhook(webhook_id), Webhook.model_validate, is_repeatable=False)


def send_test_event(webhook_id: str) -> Call[str]:
    """Have a test event sent once, and return its id.

    `last_test` of the webhook has the same id once it was sent.
    """
    return Call("POST", _webhook(webhook_id, "/test"), lambda payload: str(payload["id"]))


def assign_variant(
    experiment_id: str, context: AssignmentContext | Mapping[str, Any] | None = None
) -> Call[Assignment]:
    """Choose the variant for one request.

    Args:
        experiment_id: Id or key of a running experiment, or a concluded one with a control share.
        context: Who asks: `AssignmentContext(user_id=…)`, or a mapping with the JSON names.

    Raises:
        ApiError: 404 `EXPERIMENT_NOT_FOUND`, 409 `EXPERIMENT_NOT_RUNNING`, 422 if the unit that the
            experiment randomises is missing.

    Examples:
        ```
        assignment = client.assign_variant(experiment.id, AssignmentContext(user_id="user_123"))
        ad_id = assignment.config["adId"]
        ```
    """
    # A second request of an impression-level experiment would be a second impression.
    return Call(
        "POST",
        _place(experiment_id, "/assign"),
        Assignment.model_validate,
        _context(context),
        is_repeatable=False,
    )


def assign_variants(
    experiment_ids: Sequence[str], contexts: Sequence[AssignmentContext | Mapping[str, Any]]
) -> Call[tuple[tuple[Assignment | ErrorDetails, ...], ...]]:
    """Choose the variants of several experiments for several units at once.

    Returns:
        One row per context, in it for each experiment, in the order given, an assignment or why
        there is none.
    """
    body = {
        "experimentIds": list(experiment_ids),
        "units": [_context(context) for context in contexts],
    }
    return Call("POST", "/assign", assignments, body, is_repeatable=False)


def record_observation(
    assignment_id: str,
    metric: str,
    value: float,
    event_id: str | None = None,
    timestamp: int | None = None,
) -> Call[Accepted]:
    """Record what a unit did after its assignment.

    Args:
        assignment_id: `Assignment.id`.
        metric: Name of the metric.
        value: In units of the metric; 1 for a click, 49.99 for a payment.
        event_id: The sender's name of the event. The same one for the same assignment and metric
            counts once. Without one every call counts, and is not repeated after a connection
            that broke off.
        timestamp: Time of the event, in milliseconds since the epoch; now unless given.

    Raises:
        InputError: a field is out of its bounds (`NOT_FINITE`, `OUT_OF_RANGE`); nothing was sent.
        ApiError: 422 if the assignment id is forged, truncated or expired.

    Examples:
        ```
        client.record_observation(assignment.id, "revenue", 49.99, event_id="order_1")
        ```
    """
    fields = {
        "assignment_id": assignment_id,
        "metric": metric,
        "value": value,
        "event_id": event_id,
        "timestamp": timestamp,
    }
    observation = parse(ObservationRequest, fields)
    return Call(
        "POST",
        "/observations",
        Accepted.model_validate,
        _body(observation),
        is_repeatable=event_id is not None,
    )


def record_unit_observation(
    metric: str,
    value: float,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    experiment: str | None = None,
    event_id: str | None = None,
    timestamp: int | None = None,
) -> Call[Accepted]:
    """Record what a user or a session did, without an assignment id.

    Args:
        metric: Name of the metric.
        value: In units of the metric.
        user_id: The user; or
        session_id: the session.
        experiment: Id or key of the experiment; every running one that declares the metric and in
            which the unit is, unless given.
        event_id, timestamp: As in `record_observation`.

    Raises:
        InputError: a field is out of its bounds, or not one of user and session is given; nothing
            was sent.
        ApiError: 422 if the unit is in no such experiment (`UNKNOWN_UNIT`).

    Examples:
        ```
        client.record_unit_observation("revenue", 49.99, user_id="user_1", event_id="order_1")
        ```
    """
    fields = {
        "user_id": user_id,
        "session_id": session_id,
        "experiment": experiment,
        "metric": metric,
        "value": value,
        "event_id": event_id,
        "timestamp": timestamp,
    }
    return Call(
        "POST",
        "/observations",
        Accepted.model_validate,
        _body(parse(ObservationRequest, fields)),
        is_repeatable=event_id is not None,
    )


def record_exposure(
    assignment_id: str, *, event_id: str | None = None, timestamp: int | None = None
) -> Call[Accepted]:
    """Record that an assigned variant was shown, of an experiment whose `exposure` is `event`.

    Its unit counts once, from the earliest of its exposures on, so a call may be repeated.

    Args:
        assignment_id: `Assignment.id`.
        event_id: The sender's name of the event, for its own use.
        timestamp: Time of the exposure, in milliseconds since the epoch; now unless given.

    Raises:
        InputError: a field is out of its bounds (`OUT_OF_RANGE`); nothing was sent.
        ApiError: 422 if the assignment id is forged, truncated or expired, or its experiment counts
            units from their assignment (`EXPOSURE_NOT_USED`).

    Examples:
        ```
        client.record_exposure(assignment.id)
        ```
    """
    fields = {"assignment_id": assignment_id, "event_id": event_id, "timestamp": timestamp}
    exposure = parse(ExposureRequest, fields)
    return Call("POST", "/exposures", Accepted.model_validate, _body(exposure), is_repeatable=True)


def record_exposures(exposures: Iterable[ExposureRequest]) -> Call[Accepted]:
    """Record several exposures in one request: the valid ones are accepted atomically.

    Returns:
        How many were taken, and in `rejected` which were not and why.

    Raises:
        ApiError: 422 if none can be taken, with the path of the first, as in `[0].assignmentId`.

    Examples:
        ```
        client.record_exposures(ExposureRequest(assignmentId=each.id) for each in assignments)
        ```
    """
    bodies = [_body(exposure) for exposure in exposures]
    return Call("POST", "/exposures", Accepted.model_validate, bodies, is_repeatable=True)


def record_observations(observations: Iterable[ObservationRequest]) -> Call[Accepted]:
    """Record several observations in one request: the valid ones are accepted atomically.

    Returns:
        How many were taken, and in `rejected` which were not and why.

    Raises:
        ApiError: 422 if none can be taken, with the path of the first, as in `[0].assignmentId`.

    Examples:
        ```
        taken = client.record_observations(observations)
        for each in taken.rejected:
            log.warning("observation %d: %s %s", each.index, each.code, each.path)
        ```
    """
    taken = tuple(observations)
    return Call(
        "POST",
        "/observations",
        Accepted.model_validate,
        [_body(observation) for observation in taken],
        is_repeatable=all(observation.event_id is not None for observation in taken),
    )


def void_assignments(voids: Iterable[VoidRequest]) -> Call[Accepted]:
    """Take units and all that was observed of them out again: bots, invalid traffic, deletions.

    Repetition changes nothing. Observations of these units that come later do not count either.

    Returns:
        How many were taken, and in `rejected` which were not and why.

    Raises:
        ApiError: 422 if none can be taken: the assignment ids are forged (`FORGED_RECEIPT`), or
            their attribution window has ended (`VOID_TOO_LATE`).

    Examples:
        ```
        client.void_assignments([VoidRequest(assignment_id=assignment.id, reason="ivt")])
        ```
    """
    return Call(
        "POST",
        "/assignments/void",
        Accepted.model_validate,
        [_body(void) for void in voids],
    )


def plan_experiment(
    baseline: float,
    lift: float,
    *,
    variants: int = 2,
    metric_kind: Literal["binary", "count", "continuous"] = "binary",
    deviation: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    daily_units: int | None = None,
) -> Call[PlanAnswer]:
    """Return the units and days that an experiment needs, by formulas.

    Args:
        baseline: Mean of the metric per unit under the control.
        lift: Lift to detect, relative to it.
        variants: Number of variants, including the control.
        metric_kind: Values of a unit: 0 or 1, a count, or any number.
        deviation: Standard deviation of a unit's value; of a continuous metric alone.
        alpha: Largest probability of a wrong winner.
        power: Probability of detecting the lift.
        daily_units: Units per day, to have days as well.

    Raises:
        ApiError: 422 if the numbers do not fit together, with the path of the first.
    """
    given = {
        "baseline": baseline,
        "lift": lift,
        "variants": variants,
        "metricKind": metric_kind,
        "deviation": deviation,
        "alpha": alpha,
        "power": power,
        "dailyUnits": daily_units,
    }
    body = {name: value for name, value in given.items() if value is not None}
    return Call("POST", "/plan", PlanAnswer.model_validate, body, slowest_s=OPERATION_S)


def get_doctor(hours: int | None = None) -> Call[Doctor]:
    """Return what is wrong with the installation, and what to do; takes some seconds.

    Args:
        hours: Age of the oldest dead letter that is counted; 24 unless given.
    """
    path = f"/doctor{_query(hours=hours)}"
    return Call("GET", path, Doctor.model_validate, slowest_s=OPERATION_S)


def list_dead_letters(
    *,
    code: str | None = None,
    topic: str | None = None,
    experiment: str | None = None,
    since: int | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[DeadLettersPage]:
    """Return a page of the dead letters, newest first, without the bytes of their records.

    Args:
        code, topic, experiment: Only letters with this code, of this topic, of this experiment.
        since: Only letters written since, in milliseconds since the epoch.
        limit: Letters of the page at most, 200 at most; 50 unless given.
        cursor: `next_cursor` of the page before.
    """
    query = _query(
        code=code, topic=topic, experiment=experiment, since=since, limit=limit, cursor=cursor
    )
    path = f"/dead-letters{query}"
    return Call("GET", path, DeadLettersPage.model_validate, slowest_s=OPERATION_S)


def resend_dead_letters(places: Iterable[str]) -> Call[Resent]:
    """Send the records of dead letters again, to the topic and partition they were read from.

    A call is not repeated after a connection that broke off: what had been sent would be sent
    twice.

    Args:
        places: `DeadLetterItem.place` of each, at most 100.

    Raises:
        ApiError: 404 `DEAD_LETTER_NOT_FOUND` if one is of no letter; then nothing is sent.
    """
    return Call(
        "POST",
        "/dead-letters/resend",
        Resent.model_validate,
        {"places": list(places)},
        is_repeatable=False,
        slowest_s=OPERATION_S,
    )


def health() -> Call[Health]:
    """Return that the API is alive."""
    return Call("GET", "/health", Health.model_validate)


def whoami() -> Call[Caller]:
    """Return the name and the scopes of the API key that is sent.

    Raises:
        ApiError: 401 `UNAUTHENTICATED` if the key is not known.
    """
    return Call("GET", "/whoami", Caller.model_validate)


def ready() -> Call[Readiness]:
    """Return whether the API can assign, and what is missing if it cannot. Never an error."""
    return Call("GET", "/ready", Readiness.model_validate, accepts=frozenset({503}))


def _command(
    method: Literal["POST", "PUT", "PATCH"],
    path: str,
    body: Any,
    idempotency_key: str | None,
    reason: str | None,
) -> Call[Experiment]:
    return _asked(method, path, body, idempotency_key, Experiment.model_validate, reason)


def _asked(
    method: Literal["POST", "PUT", "PATCH", "DELETE"],
    path: str,
    body: Any,
    idempotency_key: str | None,
    read: Callable[[Any], T],
    reason: str | None,
) -> Call[T]:
    """Return a command, which a worker carries out once for each key."""
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    call = Call(method, path, read, body, headers, is_command=True)
    return call if reason is None else call.with_parameters(reason=reason)


def _holdout(key: str, action: str = "") -> str:
    return f"/holdouts/{quote(key, safe='')}{action}"


def _webhook(webhook_id: str, action: str = "") -> str:
    return f"/webhooks/{quote(webhook_id, safe='')}{action}"


def _place(experiment_id: str, action: str = "") -> str:
    return f"/experiments/{quote(experiment_id, safe='')}{action}"


def _context(context: AssignmentContext | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(context, AssignmentContext):
        return _body(context)
    return dict(context or {})


def _body(request: InputModel) -> dict[str, Any]:
    """Return the JSON object of a request; what is not given is left out."""
    return request.model_dump(by_alias=True, exclude_none=True)
