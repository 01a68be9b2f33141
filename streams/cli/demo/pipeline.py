"""The demo's ads pipeline: visitors arrive at a rate, are assigned over HTTP, and react.

Half of the reactions go through the API, half to Kafka directly; some are sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

from experiment_streams_client import (
    ApiError,
    Assignment,
    AssignmentContext,
    AsyncExperimentClient,
    ErrorDetails,
    ObservationRequest,
)
from experiment_streams_client.publisher import ObservationPublisher
from streams.cli.demo.ledger import SentEvents
from streams.cli.demo.scenario import SHIPPED, TRIALS, Trial, Visit, response, visits

MAX_VISITS_AT_ONCE = 64
"""Visits in progress at most: on a slow machine the rate gives way, not the memory."""

REACTION_S = 0.05
"""Pause between an assignment and what the visitor does, in seconds."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An ads pipeline at work.

    Attributes:
        client: The API.
        publisher: The way to Kafka that does not lead through the API.
        trial_of: The trials by the id of their experiment.
        ledger: Written as things happen.
        seed: Decides who comes and what they do.
    """

    client: AsyncExperimentClient
    publisher: ObservationPublisher
    trial_of: Mapping[str, Trial]
    ledger: SentEvents
    seed: int

    async def run(self, seconds: float, rate: float) -> None:
        """Let `rate` visitors a second come for `seconds`, and return when all have reacted.

        Raises:
            ApiError, DeliveryError: what failed first; what was sent is not known then.
        """
        try:
            await self._serve_all(seconds, rate)
        except ExceptionGroup as failures:  # the rest was cancelled because of the first
            raise failures.exceptions[0] from failures
        await self.publisher.flush_async()

    async def _serve_all(self, seconds: float, rate: float) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        free = asyncio.Semaphore(MAX_VISITS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for visit in visits(self.seed):
                if loop.time() - begin >= seconds:
                    break
                await free.acquire()
                task = group.create_task(self._serve(visit))
                task.add_done_callback(lambda _: free.release())
                await asyncio.sleep(begin + (visit.index + 1) / rate - loop.time())

    async def _serve(self, visit: Visit) -> None:
        """Show one page: assign every experiment, then send what the visitor does."""
        assignments = await self._assign(visit)
        for assignment in assignments:
            self.ledger.assigned(assignment)
        await self._expose(visit, assignments)
        await asyncio.sleep(REACTION_S)
        through_api: list[ObservationRequest] = []
        for assignment in assignments:
            trial = self.trial_of[assignment.experiment_id]
            if assignment.id is not None and trial.is_shown(self.seed, visit):
                for event in response(self.seed, visit, trial, assignment.variant_name):
                    observation = ObservationRequest(
                        assignment_id=assignment.id,
                        metric=event.metric,
                        value=event.value,
                        event_id=event.event_id,
                    )
                    for _ in range(event.copies):
                        self.ledger.observed(assignment.variant_id, observation)
                        if event.is_direct:
                            await self.publisher.publish_async(
                                assignment.id, event.metric, event.value, event.event_id
                            )
                        else:
                            through_api.append(observation)
        if through_api:
            await self.client.record_observations(through_api)

    async def _expose(self, visit: Visit, assignments: Sequence[Assignment]) -> None:
        """Say what was shown: of every other visit through the API, else to Kafka directly."""
        for assignment in assignments:
            trial = self.trial_of[assignment.experiment_id]
            if not trial.is_by_exposure or assignment.id is None:
                continue
            if trial.is_shown(self.seed, visit):
                self.ledger.exposed(assignment)
                if visit.index % 2:
                    await self.client.record_exposure(assignment.id)
                else:
                    await self.publisher.publish_exposure_async(assignment.id)

    async def _assign(self, visit: Visit) -> tuple[Assignment, ...]:
        """Assign all experiments: in one call for every other visit, else in a call each."""
        eligible = {
            experiment_id: tuple(
                f"{experiment_id}_v{index}" for index in trial.eligible(self.seed, visit)
            )
            for experiment_id, trial in self.trial_of.items()
        }
        if visit.index % 2:
            context = _context(visit, tuple(chain.from_iterable(eligible.values())))
            [row] = await self.client.assign_variants(list(self.trial_of), [context])
            return tuple(_accepted(each) for each in row)
        calls = [
            self.client.assign_variant(
                experiment_id,
                _context(visit, eligible[experiment_id] if trial.has_sets else None),
            )
            for experiment_id, trial in self.trial_of.items()
        ]
        return tuple(await asyncio.gather(*calls))


async def create_experiments(client: AsyncExperimentClient) -> dict[str, Trial]:
    """Create and start the experiments of the scenario; return the trials by experiment id."""
    trial_of = {}
    for trial in TRIALS:
        experiment = await client.create_experiment(trial.config, trial.variants_json())
        await client.start_experiment(experiment.id)
        trial_of[experiment.id] = trial
    return trial_of


async def ship_best(client: AsyncExperimentClient, trial_of: Mapping[str, Trial]) -> bool:
    """Conclude an experiment with its best variant; return whether a new user gets that."""
    [(experiment_id, trial)] = [
        each for each in trial_of.items() if each[1].config["name"] == SHIPPED
    ]
    best = max(trial.variants, key=lambda each: each.mean(trial.primary_metric))
    winner = f"{experiment_id}_v{trial.variants.index(best)}"
    await client.conclude_experiment(experiment_id, winner)
    answer = await client.assign_variant(experiment_id, AssignmentContext(user_id="a new user"))
    return (answer.variant_id, answer.reason, answer.id) == (winner, "SHIPPED", None)


def _context(visit: Visit, eligible: tuple[str, ...] | None) -> AssignmentContext:
    return AssignmentContext(
        user_id=visit.user_id,
        session_id=visit.session_id,
        device=visit.device,
        location=visit.location,
        eligible=eligible,
    )


def _accepted(answer: Assignment | ErrorDetails) -> Assignment:
    if isinstance(answer, ErrorDetails):
        raise ApiError(answer.code, answer.message, answer.path, status=HTTPStatus.OK)
    return answer
