"""One method per call, for both clients: the description is bound to whatever carries it out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from experiment_streams_client import calls
from experiment_streams_client.calls import Call

P = ParamSpec("P")
T = TypeVar("T")


class Carrier(Protocol):
    """Carries a described call out and returns its result."""

    def send(self, call: Call[T], /) -> T:
        """Send `call`, wait for the answer, and return what it says."""


class AsyncCarrier(Protocol):
    """Carries a described call out and returns its result once awaited."""

    async def send(self, call: Call[T], /) -> T:
        """Send `call`, and return what its answer says."""


class Method(Generic[P, T]):
    """A client's method with the parameters of the function that describes the call.

    On a `Carrier` it returns the result, on an `AsyncCarrier` a coroutine of it.
    """

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...
    @overload
    def __get__(self, client: AsyncCarrier, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Carrier, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Carrier | AsyncCarrier | None, owner: type) -> Any:
        """Return this method bound to `client`; on a class, the description and its help."""
        if client is None:
            return self._describe

        @functools.wraps(self._describe)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._describe(*args, **kwargs))

        return bound


class Methods:
    """Methods of both clients. Each method is documented at the function it is made from."""

    create_experiment = Method(calls.create_experiment)
    start_experiment = Method(calls.start_experiment)
    pause_experiment = Method(calls.pause_experiment)
    resume_experiment = Method(calls.resume_experiment)
    update_experiment = Method(calls.update_experiment)
    edit_experiment = Method(calls.edit_experiment)
    add_variant = Method(calls.add_variant)
    change_variant = Method(calls.change_variant)
    conclude_experiment = Method(calls.conclude_experiment)
    rollback_experiment = Method(calls.rollback_experiment)
    archive_experiment = Method(calls.archive_experiment)
    dry_run = Method(calls.dry_run)
    get_experiment = Method(calls.get_experiment)
    list_experiments = Method(calls.list_experiments)
    get_experiment_stats = Method(calls.get_experiment_stats)
    get_experiment_history = Method(calls.get_experiment_history)
    get_experiment_timeseries = Method(calls.get_experiment_timeseries)
    create_holdout = Method(calls.create_holdout)
    list_holdouts = Method(calls.list_holdouts)
    get_holdout = Method(calls.get_holdout)
    get_holdout_stats = Method(calls.get_holdout_stats)
    end_holdout = Method(calls.end_holdout)
    archive_holdout = Method(calls.archive_holdout)
    create_webhook = Method(calls.create_webhook)
    list_webhooks = Method(calls.list_webhooks)
    get_webhook = Method(calls.get_webhook)
    update_webhook = Method(calls.update_webhook)
    delete_webhook = Method(calls.delete_webhook)
    send_test_event = Method(calls.send_test_event)
    assign_variant = Method(calls.assign_variant)
    assign_variants = Method(calls.assign_variants)
    record_exposure = Method(calls.record_exposure)
    record_exposures = Method(calls.record_exposures)
    record_observation = Method(calls.record_observation)
    record_unit_observation = Method(calls.record_unit_observation)
    record_observations = Method(calls.record_observations)
    void_assignments = Method(calls.void_assignments)
    plan_experiment = Method(calls.plan_experiment)
    get_doctor = Method(calls.get_doctor)
    list_dead_letters = Method(calls.list_dead_letters)
    resend_dead_letters = Method(calls.resend_dead_letters)
    health = Method(calls.health)
    ready = Method(calls.ready)
    whoami = Method(calls.whoami)
