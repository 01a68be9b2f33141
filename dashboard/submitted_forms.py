"""Dead letters that are sent again, once for each form, however often it is sent.

The call has no idempotency key, and an event without an event id counts each time it is sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from api.http.models.operation import Resent

KEPT = 256
"""Forms whose answer is kept: far more than are sent while a user waits for one."""


class SubmittedForms:
    """The forms submitted to this process, with the answer to each."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[tuple[str, str], asyncio.Task[Resent]] = OrderedDict()

    async def once(
        self, session_id: str, key: str, send: Callable[[], Coroutine[Any, Any, Resent]]
    ) -> Resent:
        """Return the answer to a form, whose call is made at the first time alone.

        A call continues when the browser does not wait for it.

        Args:
            session_id: Session of the form.
            key: Key of the form.
            send: Makes the call.

        Raises:
            ApiError: as the call.
        """
        task = self._tasks.get((session_id, key))
        if task is None:
            task = self._tasks[session_id, key] = asyncio.create_task(send())
            if len(self._tasks) > KEPT:
                self._tasks.popitem(last=False)
        return await asyncio.shield(task)
