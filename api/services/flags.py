"""Feature flags: experiments with a key, evaluated for a context as OpenFeature has it.

An evaluation of one flag is an assignment, logged as any other. An evaluation of all flags, which
clients ask for when they start and again after every change, says what each flag would be: most of
them will not be used. Where an assignment counts, nothing is logged of it, and its answers carry no
receipt, since observations of an assignment that is not in the log could not be counted. Where only
an exposure counts, it is an assignment like any other, with its receipt.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from api.http.models.requests import AssignmentContext
from api.outbox import ImpressionRow
from api.services.assign import AssignmentService
from api.snapshots.cache import ExperimentCache
from api.strict_json import decode_json
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.exposure import Exposure
from streams.experiments.lifecycle import Status
from streams.experiments.snapshot import Snapshot
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import (
    DependencyError,
    EngineError,
    ExperimentNotFoundError,
    ExperimentNotRunningError,
    InputError,
)
from streams.model.events import Observation
from streams.model.validation import parse

FLAGS_AT_ONCE = 64
"""Flags that are evaluated between two pauses, in which assignments are answered."""

_ID_FIELDS = ("userId", "sessionId", "fallbackUnitId")
_TEXT_FIELDS = ("device", "location")
_TEXT_CHARACTERS = 256
_ETAG_BYTES = 12

_SPLIT, _STATIC, _DISABLED = "SPLIT", "STATIC", "DISABLED"

_PARSE_ERRORS = frozenset(
    {
        "INVALID_JSON",
        "NOT_FINITE",
        "MALFORMED_REQUEST",
        "INVALID_ENCODING",
        "UNSUPPORTED_MEDIA_TYPE",
        "UNSUPPORTED_ENCODING",
    }
)
_GENERAL = frozenset(
    {"BODY_TOO_LARGE", "UNKNOWN_PARAMETER", "DUPLICATE_PARAMETER", "INVALID_QUERY"}
)


class UnloggedImpressions:
    """A log of impressions that keeps none."""

    def add_impression(self, row: ImpressionRow) -> None:
        """Drop an impression."""

    def add_observations(self, observations: Iterable[Observation]) -> None:
        """Drop exposures."""

    def written(self) -> Awaitable[None]:
        """Return what is done at once."""
        return asyncio.sleep(0)


class Evaluations(NamedTuple):
    """The answer to a request for all flags.

    Attributes:
        flags: JSON list of the flags, in the order of their keys.
        decided: The same without the receipts: the same flags may come with another receipt, and
            the one that a client has is still valid. With the ids of the context where there are
            receipts, which are not those of another unit.
    """

    flags: bytes
    decided: bytes

    def etag(self, *others: str) -> str:
        """Return the validator of the flags, and of what else is answered with them."""
        digest = blake2b(self.decided, digest_size=_ETAG_BYTES)
        for other in others:
            digest.update(other.encode())
        return f'"{base64.urlsafe_b64encode(digest.digest()).decode()}"'


class FlagService:
    """Evaluation of flags.

    Args:
        experiments: The experiments.
        logged: Assigns units and logs it.
        unlogged: Assigns units, remembers their first receipts, and logs nothing.
    """

    def __init__(
        self, experiments: ExperimentCache, logged: AssignmentService, unlogged: AssignmentService
    ) -> None:
        self._experiments = experiments
        self._logged = logged
        self._unlogged = unlogged

    async def evaluate(self, key: str, body: bytes) -> bytes:
        """Return the JSON of one flag.

        Args:
            key: Key or id of an experiment.
            body: JSON with the `context`.

        Raises:
            EngineError: it cannot be evaluated; nothing was logged.
        """
        context = assignment_context(body)
        evaluation = await self._evaluate(key, context, self._logged.assign)
        return orjson.dumps(evaluation)

    async def evaluate_all(self, body: bytes) -> Evaluations:
        """Return all flags. Nothing that counts is logged of it.

        A flag that cannot be evaluated for this context, or not ahead of its use, is listed with
        its error. One that is archived meanwhile is not listed, as one that was before.

        Raises:
            EngineError: the request cannot be used, or something the API needs does not answer.
        """
        context = assignment_context(body)
        if context.get("userId") is None and context.get("sessionId") is None:
            raise InputError("MISSING_UNIT", "the context has no targetingKey", "targetingKey")
        keys = sorted(
            found.experiment.key
            for found in self._experiments.all()
            if found.experiment.key is not None and found.experiment.status is not Status.ARCHIVED
        )
        if not keys and not self._experiments.is_complete:
            raise DependencyError("redis", "the experiments have not been read from Redis yet")
        flags: list[dict[str, Any]] = []
        for start in range(0, len(keys), FLAGS_AT_ONCE):
            # Concurrently, so that what must be asked of Redis is asked at once.
            part = keys[start : start + FLAGS_AT_ONCE]
            found = await asyncio.gather(*(self._listed(key, context) for key in part))
            flags += [flag for flag in found if flag is not None]
        receipts = [flag.get("metadata", {}).pop("assignmentId", None) for flag in flags]
        decided = orjson.dumps(flags)
        if not any(receipts):
            return Evaluations(decided, decided)
        ids = orjson.dumps({name: context[name] for name in _ID_FIELDS if name in context})
        for flag, receipt in zip(flags, receipts, strict=True):
            if receipt is not None:
                flag["metadata"] = {"assignmentId": receipt, **flag["metadata"]}
        return Evaluations(orjson.dumps(flags), ids + decided)

    async def _listed(self, key: str, context: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a flag or its error; None if it is archived now."""
        try:
            return await self._evaluated(key, context)
        except ExperimentNotFoundError:
            return None
        except DependencyError:
            raise
        except EngineError as error:
            return failure_of(key, error_code_of(error), details_of(error))

    async def _evaluated(self, key: str, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return a flag, or the error of one that is not evaluated ahead of its use."""
        snapshot = self._experiments.snapshot(key)
        config = snapshot.experiment.definition.config
        counts_exposures = config.exposure is Exposure.EVENT
        is_of_use = config.unit is UnitKind.IMPRESSION and not counts_exposures
        if is_of_use and snapshot.experiment.is_assigning:
            message = "decided for each impression; ask for this flag alone when it is used"
            return failure_of(key, "GENERAL", message)
        service = self._logged if counts_exposures else self._unlogged
        evaluation = await self._evaluate(key, context, service.assign)
        if not counts_exposures:
            evaluation["metadata"].pop("assignmentId", None)
        return evaluation

    async def _evaluate(
        self,
        key: str,
        context: Mapping[str, Any],
        assign: Callable[[str, dict[str, Any]], Awaitable[bytes]],
    ) -> dict[str, Any]:
        try:
            answer = orjson.loads(await assign(key, dict(context)))
        except ExperimentNotRunningError:
            return _disabled(key, self._experiments.snapshot(key))
        definition = self._experiments.snapshot(key).experiment.definition
        return _evaluation(key, answer, definition)


def assignment_context(body: bytes) -> dict[str, Any]:
    """Return the context of an evaluation as that of an assignment.

    `targetingKey` is the id of the unit, whatever the unit is; `userId` and `sessionId` beside it
    are more specific. `device` and `location` stand for themselves where they are short texts, and
    everything else is a feature.

    Raises:
        InputError: the body is no JSON object (`INVALID_JSON`), or the context is no object or has
            an id that is no text of at most 256 characters (`INVALID_CONTEXT`).
    """
    request = decode_json(body) if body else {}
    if not isinstance(request, dict):
        raise InputError("INVALID_JSON", "the body must be a JSON object")
    context = request.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise InputError("INVALID_CONTEXT", "the context must be an object", "context")
    features = dict(context)
    nested = features.pop("features", {})
    if isinstance(nested, dict):
        features |= nested
    else:
        features["features"] = nested
    unit = features.pop("targetingKey", None)
    found = {name: features.pop(name) for name in _ID_FIELDS if features.get(name) is not None}
    if unit is not None:
        found = {"userId": unit, "sessionId": unit, **found}
    for name in _TEXT_FIELDS:
        text = features.get(name)
        if isinstance(text, str) and len(text) <= _TEXT_CHARACTERS:
            found[name] = features.pop(name)
    if features:
        found["features"] = features
    try:
        parse(AssignmentContext, found)
    except InputError as error:
        path = error.path if error.path in context else "targetingKey"
        raise InputError("INVALID_CONTEXT", error.message, f"context.{path}") from error
    return found


def error_code_of(error: EngineError) -> str:
    """Return the code that OFREP has for an error."""
    if isinstance(error, ExperimentNotFoundError):
        return "FLAG_NOT_FOUND"
    if error.code in _PARSE_ERRORS:
        return "PARSE_ERROR"
    if error.code == "MISSING_UNIT":
        return "TARGETING_KEY_MISSING"
    is_of_context = isinstance(error, InputError) and error.code not in _GENERAL
    return "INVALID_CONTEXT" if is_of_context else "GENERAL"


def details_of(error: EngineError) -> str:
    """Return what OFREP is to say of an error."""
    return f"{error.path}: {error.message}" if error.path else error.message


def failure_of(key: str, code: str, details: str) -> dict[str, Any]:
    """Return a flag that was not evaluated."""
    return {"key": key, "errorCode": code, "errorDetails": details}


def _evaluation(
    key: str, answer: Mapping[str, Any], definition: ExperimentDefinition
) -> dict[str, Any]:
    """Return a flag as the answer to an assignment has it."""
    metadata = {
        "assignmentId": answer["id"],
        "experimentId": answer["experimentId"],
        "variantId": answer["variantId"],
        "propensity": answer["propensity"],
        "enrolled": answer["enrolled"],
    }
    return {
        "key": key,
        "value": _value(answer["config"], definition),
        # All that does not take part gets the same: nothing was drawn for it.
        "reason": _SPLIT if answer["enrolled"] else _STATIC,
        "variant": answer["variantName"],
        "metadata": {name: value for name, value in metadata.items() if value is not None},
    }


def _disabled(key: str, snapshot: Snapshot) -> dict[str, Any]:
    """Return a flag of an experiment that assigns nothing now: the caller has a default."""
    experiment = snapshot.experiment
    if experiment.status is Status.ARCHIVED:
        raise ExperimentNotFoundError(key)
    return {
        "key": key,
        "reason": _DISABLED,
        "variant": "",
        "metadata": {"experimentId": experiment.id, "enrolled": False},
    }


def _value(config: Mapping[str, Any], definition: ExperimentDefinition) -> Any:
    """Return the value of a variant: its configuration, or the field that is stated.

    A whole number is written as 3.0 where another variant has a fraction: to a client with types
    the flag is a number with a fraction, and 3 would be none.
    """
    field = definition.config.value_field
    if field is None:
        return config
    value = config[field]
    if type(value) is int and any(
        type(variant.config[field]) is float for variant in definition.variants
    ):
        return float(value)
    return value
