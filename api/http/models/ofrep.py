"""Requests and responses of OFREP, the OpenFeature Remote Evaluation Protocol, version 0.3.0.

They follow https://github.com/open-feature/protocol, and differ in form from the rest of the API.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

ErrorCode = Literal["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"]


class OfrepModel(BaseModel):
    """Base of requests and responses of OFREP."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class FlagEvaluationRequest(OfrepModel):
    """A request for one flag, or for all.

    Attributes:
        context: Evaluation context: `targetingKey` and further attributes.
    """

    context: dict[str, Any] | None = None


class FlagEvaluation(OfrepModel):
    """The evaluation of a flag.

    Attributes:
        key: The flag's key, as it was asked for.
        value: Of any JSON type; absent where the caller's default applies.
        reason: `SPLIT`, `STATIC` or `DISABLED`.
        variant: Name of the variant; empty for none.
        metadata: `experimentId`, `enrolled`, and where it has them `assignmentId`, `variantId` and
            `propensity`.
    """

    key: str
    value: Any = None
    reason: str
    variant: str
    metadata: dict[str, str | bool | float]


class FlagFailure(OfrepModel):
    """A flag that was not evaluated."""

    key: str
    error_code: ErrorCode
    error_details: str


class FlagNotFound(OfrepModel):
    """A flag that does not exist."""

    key: str
    error_code: Literal["FLAG_NOT_FOUND"]
    error_details: str


class FlagsFailure(OfrepModel):
    """A request for all flags that cannot be used."""

    error_code: ErrorCode
    error_details: str


class EvaluationFault(OfrepModel):
    """A failure of the API or of a dependency."""

    error_details: str


class EventStream(OfrepModel):
    """A stream of events that announce changes of flags.

    Attributes:
        type: `sse`, server-sent events.
        url: Its address, with a token that authorizes the reader.
    """

    type: Literal["sse"]
    url: str


class FlagEvaluations(OfrepModel):
    """All flags for one unit."""

    flags: tuple[FlagEvaluation | FlagFailure, ...]
    event_streams: tuple[EventStream, ...] = ()
