"""Changes of the variants of an experiment, and of a draft as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from streams.experiments.config_fields import VariantName
from streams.experiments.definition import ExperimentDefinition, parse_definition
from streams.experiments.measurement_plan import plan_of
from streams.model.errors import EngineError, InputError, quoted
from streams.model.ids import variant_id
from streams.model.validation import InputModel, problem
from streams.model.variant_weights import MAX_WEIGHED

MAX_REFERENCE = 256
"""Characters of a reference to a variant: its id or name."""


class DraftEdit(ExperimentDefinition):
    """A replacement of the whole definition of a draft.

    Attributes:
        version: Version of the draft that was edited; None for any version.
    """

    version: int | None = Field(default=None, ge=1)


class AddedVariant(InputModel):
    """A variant to add.

    Attributes:
        name: Name for people, unique within the experiment.
        weight: Share of the traffic of the active variants that it gets under a fixed policy, in
            (0, 1); the others keep their proportions. By default the average of the others.
        config: As in `VariantSpec`.
    """

    name: VariantName
    weight: float | None = Field(default=None, gt=0.0, lt=1.0)
    config: dict[str, Any] = Field(default_factory=dict)


class VariantUpdate(InputModel):
    """Fields of a variant that may change; omitted ones stay.

    Attributes:
        name: New name; the id stays.
        config: New configuration, replaced as a whole.
        is_active: False to stop it, True to reactivate it.
    """

    name: VariantName | None = None
    config: dict[str, Any] | None = None
    is_active: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_fixed(cls, data: Any) -> Any:
        for name in ("weight", "isControl"):
            if isinstance(data, Mapping) and name in data:
                message = "is fixed when the variant is made; stop it and add another one"
                raise problem("VARIANT_FIXED", message, name)
        return data


class VariantChange(VariantUpdate):
    """Payload of `change_variant`: an update, and which variant it is of.

    Attributes:
        variant: Id or name of the variant.
    """

    variant: str = Field(min_length=1, max_length=MAX_REFERENCE)


class VariantNotFoundError(EngineError):
    """No variant of the experiment has this id or name."""

    def __init__(self, reference: str, experiment_id: str) -> None:
        super().__init__(
            "VARIANT_NOT_FOUND",
            f"{quoted(reference)} is neither id nor name of a variant of {experiment_id}",
            "variantId",
        )


def edited(before: ExperimentDefinition, edit: DraftEdit) -> ExperimentDefinition:
    """Return the definition of a draft after an edit.

    Raises:
        InputError: the edit changes or removes the key (`KEY_FIXED`).
    """
    if edit.config.key != before.config.key:
        message = f"the key of the experiment is {quoted(before.config.key)}, and stays"
        raise InputError("KEY_FIXED", message, "config.key")
    return ExperimentDefinition.model_construct(config=edit.config, variants=edit.variants)


def with_variant(definition: ExperimentDefinition, added: AddedVariant) -> ExperimentDefinition:
    """Return a definition with one more variant, after all others.

    Raises:
        InputError: as when it is created; the path is that within the variant, or else within the
            definition.
    """
    variants = [each.model_dump(by_alias=True, mode="json") for each in definition.variants]
    own = added.model_dump(by_alias=True, mode="json")
    if not definition.config.parameters.adaptive:
        weights = _weights_with(definition, added.weight)
        for each, weight in zip([*variants, own], weights, strict=True):
            each["weight"] = weight
    return _parsed(definition, [*variants, own], len(variants))


def _weights_with(definition: ExperimentDefinition, share: float | None) -> list[float | None]:
    """Return the weights of all variants and of one that gets a share of the active ones'."""
    known = [variant.weight for variant in definition.variants]
    if share is None and None in known:  # all are equal
        return [*known, None]
    shares = [1.0 / len(known) if weight is None else weight for weight in known]
    active = math.fsum(shares[index] for index in definition.active)
    if share is None:
        share = 1.0 / (len(definition.active) + 1)
    own = active * share / (1.0 - share)
    total = math.fsum([*shares, own])
    return [weight / total for weight in (*shares, own)]


def variant_of(experiment_id: str, definition: ExperimentDefinition, reference: str) -> int:
    """Return the index of the variant with an id or, if none has, a name.

    Raises:
        VariantNotFoundError: no variant matches.
    """
    names = [variant.name for variant in definition.variants]
    ids = [variant_id(experiment_id, index) for index in range(len(names))]
    for known in (ids, names):
        if reference in known:
            return known.index(reference)
    raise VariantNotFoundError(reference, experiment_id)


def with_change(
    definition: ExperimentDefinition, index: int, change: VariantUpdate
) -> ExperimentDefinition:
    """Return a definition with a variant that has changed; overrides follow its name.

    Raises:
        InputError: as when it is created; the path is that within the variant, or else within the
            definition.
    """
    variants = [each.model_dump(by_alias=True, mode="json") for each in definition.variants]
    own, before = variants[index], definition.variants[index]
    for name, value in (
        ("name", change.name),
        ("config", change.config),
        ("isActive", change.is_active),
    ):
        if value is not None:
            own[name] = value
    config = definition.config
    if change.name is not None and change.name != before.name:
        overrides = {
            unit: change.name if name == before.name else name
            for unit, name in config.overrides.items()
        }
        config = config.model_copy(update={"overrides": overrides})
    return _parsed(definition.model_copy(update={"config": config}), variants, index)


def _parsed(
    definition: ExperimentDefinition, variants: list[Any], changed: int
) -> ExperimentDefinition:
    """Return the checked definition; what is wrong with the changed variant has its own path."""
    config = definition.config.model_dump(by_alias=True, mode="json")
    try:
        return parse_definition(config, variants)
    except InputError as error:
        path = error.path.removeprefix(f"variants[{changed}].")
        raise InputError(error.code, error.message, path) from error


def check_room(definition: ExperimentDefinition) -> None:
    """Refuse a variant added to a running experiment if it could not be compared.

    Variants that did not all run all of the time are compared by the weights in the receipts, of
    which those have `MAX_WEIGHED` at most, and by sums by pair.

    Raises:
        InputError: there would be more, or their sums by pair would not fit a cell
            (`TOO_MANY_VARIANTS`).
    """
    n_variants = len(definition.variants)
    if n_variants > MAX_WEIGHED:
        message = f"{n_variants} variants, must be <= {MAX_WEIGHED} of an experiment that runs: "
        message += "receipts carry the weights of so many"
        raise InputError("TOO_MANY_VARIANTS", message, "variants")
    plan = plan_of(definition)
    has_room = (plan.n_binned or not plan.bins) and (
        plan.n_adjusted or not plan.weighted_covariates
    )
    if not plan.n_compared or not has_room:
        message = f"the sums by pair of {n_variants} variants and these metrics do not fit a cell"
        raise InputError("TOO_MANY_VARIANTS", message, "variants")
