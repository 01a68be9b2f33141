"""Operation of the installation: diagnosis, dead letters and plans."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from streams.model.errors import InputError, quoted
from streams.ops.dead_letters.again import resend
from streams.ops.dead_letters.listing import letters_page
from streams.ops.dead_letters.place import EventPlace
from streams.ops.dead_letters.reading import Selection
from streams.ops.doctor.facts import ApiFacts
from streams.ops.doctor.report import doctor_report
from streams.planning.planned import PlanQuestion, formula_plan
from streams.settings import Settings

T = TypeVar("T")

_CURSOR = re.compile(r"([0-9]{1,15})/([^/\s]{1,300})")

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """Runs functions that take seconds."""

    def run(self, function: Callable[..., T], *arguments: Any) -> Coroutine[Any, Any, T]:
        """Run a function of a module, and return its result."""


class OperationsService:
    """Diagnosis, dead letters and plans, each computed in a process beside the API.

    Args:
        settings: Where Kafka and Redis are.
        apart: Runs what reads from Kafka, which can take seconds.
        computing: Runs plans, which use the processor alone and do not wait for Kafka.
        api_facts: Returns what the API says of itself.
    """

    def __init__(
        self,
        settings: Settings,
        apart: Runner,
        computing: Runner,
        api_facts: Callable[[], ApiFacts],
    ) -> None:
        self._settings = settings
        self._apart = apart
        self._computing = computing
        self._api_facts = api_facts
        self._reports: dict[int, asyncio.Task[dict[str, Any]]] = {}

    async def doctor(self, hours: int) -> dict[str, Any]:
        """Return the report of `doctor`; who asks while one is made gets that one.

        Raises:
            DependencyError: as `IsolatedProcess.run`. What does not answer is a finding.
        """
        report = self._reports.get(hours)
        if report is None:
            made = self._apart.run(doctor_report, self._settings, self._api_facts(), hours)
            report = self._reports[hours] = asyncio.create_task(made)
            report.add_done_callback(lambda _: self._reports.pop(hours))
        return await asyncio.shield(report)

    async def letters(
        self, selection: Selection, experiment: str | None, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Return a page of dead letters.

        Raises:
            InputError: the cursor is invalid (`INVALID_CURSOR`).
            DependencyError: Kafka does not answer, or as `IsolatedProcess.run`.
        """
        after = None if cursor is None else _after(cursor)
        return await self._apart.run(
            letters_page, self._settings, selection, experiment, limit, after
        )

    async def resend(self, places: Sequence[str], caller: str) -> dict[str, Any]:
        """Send the records of dead letters again, once for each place.

        Raises:
            InputError: a text is no place (`INVALID_PLACE`), or no letter is of it
                (`DEAD_LETTER_NOT_FOUND`); then nothing is sent.
            DependencyError: Kafka does not answer or did not take all, or as `IsolatedProcess.run`.
        """
        found = [_place(text, index) for index, text in enumerate(places)]
        sent = await self._apart.run(resend, self._settings, found)
        _log.info("dead letters of %d places sent again by %r", len(found), caller)
        return sent

    async def plan(self, question: PlanQuestion) -> dict[str, Any]:
        """Return a plan by formulas.

        Raises:
            InputError: as `planned`.
            DependencyError: as `IsolatedProcess.run`.
        """
        return await self._computing.run(formula_plan, question)


def _place(text: str, index: int) -> EventPlace:
    try:
        return EventPlace.parse(text)
    except InputError as error:
        raise InputError(error.code, error.message, f"places[{index}]") from error


def _after(cursor: str) -> tuple[int, str]:
    found = _CURSOR.fullmatch(cursor)
    try:
        if found is not None and str(EventPlace.parse(found[2])) == found[2]:
            return int(found[1]), found[2]
    except InputError:
        pass
    message = f"{quoted(cursor)} is not the nextCursor of an earlier answer"
    raise InputError("INVALID_CURSOR", message, "query.cursor")
