"""Calls that define experiments, and find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api.http.models.history import HistoryItem, HistoryPage
from api.http.models.responses import Experiment
from api.http.models.summaries import ExperimentsPage, ListedExperiment
from experiment_streams_client.calls.base import Call, Method
from experiment_streams_client.calls.requests import Page, experiment_command, given, paged, path


class ExperimentCalls:
    """Create, edit, update, get and list experiments, and their history."""

    @Method
    @staticmethod
    def create_experiment(
        config: Mapping[str, Any],
        variants: Sequence[Mapping[str, Any]],
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
    ) -> Call[Experiment]:
        """Create an experiment, as a draft.

        Args:
            config: Name, type, primary metric and the rest, with the JSON names of the HTTP API.
                With a `key`, every call that takes an experiment id takes the key too.
            variants: At least two; exactly one with `isControl`.
            idempotency_key: The same key gives the same experiment at any later time. Without
                one the client draws a new key, so its own retries are safe too.
            reason: Why, for `get_experiment_history`: at most 500 characters. Every command takes
                one.

        Raises:
            ApiError: 422 with the code and the path of the first thing that is wrong; 409
                `KEY_TAKEN` if another experiment has the key.

        Examples:
            ```
            experiment = client.create_experiment(
                {"name": "Hero", "type": "thompson_sampling", "primaryMetric": "click"},
                [{"name": "A", "isControl": True}, {"name": "B", "config": {"adId": "ad_456"}}],
            )
            ```
        """
        body = {"config": dict(config), "variants": [dict(variant) for variant in variants]}
        return experiment_command("POST", "/experiments", body, idempotency_key, reason)

    @Method
    @staticmethod
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
            ApiError: 409 `VERSION_CONFLICT`, 409 `INVALID_TRANSITION` if it is no draft any more,
                422 as for `create_experiment`, and `KEY_FIXED` if it has another key.
        """
        definitions = [dict(variant) for variant in variants]
        body = given(config=dict(config), variants=definitions, version=version)
        return experiment_command(
            "PUT", path("experiments", experiment_id), body, idempotency_key, reason
        )

    @Method
    @staticmethod
    def update_experiment(
        experiment_id: str,
        changes: Mapping[str, Any],
        idempotency_key: str | None = None,
        *,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> Call[Experiment]:
        """Change `trafficAllocation` or the thresholds; what is left out stays.

        Args:
            experiment_id: A draft, a running or a paused experiment.
            changes: Changed fields of the configuration, with their JSON names.
            idempotency_key: As for `create_experiment`.
            expected_version: As for `start_experiment`.
        """
        place = path("experiments", experiment_id)
        return experiment_command(
            "PATCH", place, dict(changes), idempotency_key, reason, expected_version
        )

    @Method
    @staticmethod
    def get_experiment(experiment_id: str) -> Call[Experiment]:
        """Return an experiment: configuration, variants and status."""
        return Call("GET", path("experiments", experiment_id), Experiment.model_validate)

    @Method
    @staticmethod
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
            *statuses: Only experiments with one of these: `draft`, `running`, `paused`,
                `concluded`, `archived`; all unless given.
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
        return paged(
            "experiments",
            read=_experiments,
            status=",".join(statuses) or None,
            type=",".join(types) or None,
            owner=owner,
            tag=",".join(tags) or None,
            search=search,
            action=",".join(actions) or None,
            health=",".join(health) or None,
            sort=sort,
        )

    @Method
    @staticmethod
    def get_experiment_history(experiment_id: str, *kinds: str) -> Call[tuple[HistoryItem, ...]]:
        """Return what was done with an experiment, newest first: who, when, why and how to undo it.

        Args:
            experiment_id: The experiment.
            *kinds: Only entries of these kinds, such as `conclude` or `recommendation`; all unless
                given.
        """
        of_kinds = ",".join(kinds) or None
        return paged("experiments", experiment_id, "history", read=_history, kind=of_kinds)


def _experiments(payload: Any) -> Page[ListedExperiment]:
    page = ExperimentsPage.model_validate(payload)
    return Page(page.experiments, page.next_cursor)


def _history(payload: Any) -> Page[HistoryItem]:
    page = HistoryPage.model_validate(payload)
    return Page(page.entries, page.next_cursor)
