"""Every endpoint of the API, declared once: routing, keys and documentation use this table."""

from __future__ import annotations

from api.http.handlers.commands import (
    add_variant,
    bare_command,
    change_variant,
    conclude_experiment,
    create_experiment,
    edit_experiment,
    update_experiment,
)
from api.http.handlers.experiments import (
    get_experiment,
    get_experiment_stats,
    get_snapshots,
    list_experiments,
    stream_experiment_stats,
)
from api.http.handlers.flags import EVENTS_PATH, evaluate_flag, evaluate_flags, flag_events
from api.http.handlers.operation import health, metrics, ready
from api.http.handlers.traffic import (
    assign_variant,
    assign_variants,
    record_exposures,
    record_impressions,
    record_observations,
    void_assignments,
)
from api.http.models.ofrep import (
    EvaluationFault,
    FlagEvaluation,
    FlagEvaluationRequest,
    FlagEvaluations,
    FlagFailure,
    FlagNotFound,
    FlagsFailure,
)
from api.http.models.queries import ExperimentsQuery, SnapshotsQuery, StatsQuery
from api.http.models.requests import (
    AssignmentContext,
    AssignmentsRequest,
    ConcludeRequest,
    ExposureRequest,
    ImpressionsRequest,
    ObservationRequest,
    VoidRequest,
)
from api.http.models.responses import (
    Accepted,
    Assignment,
    AssignmentsPage,
    Experiment,
    ExperimentsPage,
    Health,
    Readiness,
    Snapshots,
)
from api.http.routing import Body, Endpoint
from streams.api_keys import Scope
from streams.experiments.definition import ExperimentDefinition
from streams.experiments.stats_response import Stats
from streams.experiments.update import ExperimentUpdate
from streams.experiments.variant_changes import AddedVariant, DraftEdit, VariantUpdate
from streams.model.events import CommandKind

_EXPERIMENT = "/experiments/{experiment_id}"

_BARE_COMMANDS = {
    CommandKind.START: "Start a draft: from now on it assigns.",
    CommandKind.PAUSE: "Stop assigning; observations of earlier assignments still count.",
    CommandKind.RESUME: "Go on assigning after a pause.",
    CommandKind.ROLLBACK: "Take a promoted or shipped winner back: all units get the control until "
    "the experiment is archived.",
    CommandKind.ARCHIVE: "Put a draft or a concluded experiment away.",
}

_OFREP_ERRORS = ((401, None), (403, None), (429, EvaluationFault), (500, EvaluationFault))

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/experiments",
        handler=create_experiment,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(ExperimentDefinition),
        response=Experiment,
        status=201,
    ),
    Endpoint(
        method="PUT",
        path=_EXPERIMENT,
        handler=edit_experiment,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(DraftEdit),
        response=Experiment,
    ),
    Endpoint(
        method="POST",
        path=f"{_EXPERIMENT}/variants",
        handler=add_variant,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(AddedVariant),
        response=Experiment,
        status=201,
    ),
    Endpoint(
        method="PATCH",
        path=f"{_EXPERIMENT}/variants/{{variant_id}}",
        handler=change_variant,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(VariantUpdate, is_required=False),
        response=Experiment,
    ),
    Endpoint(
        method="PATCH",
        path=_EXPERIMENT,
        handler=update_experiment,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(ExperimentUpdate, is_required=False),
        response=Experiment,
    ),
    Endpoint(
        method="POST",
        path=f"{_EXPERIMENT}/conclude",
        handler=conclude_experiment,
        tag="experiments",
        scopes=(Scope.MANAGE,),
        body=Body(ConcludeRequest, is_required=False),
        response=Experiment,
    ),
    *(
        Endpoint(
            method="POST",
            path=f"{_EXPERIMENT}/{kind}",
            handler=bare_command(kind, description),
            tag="experiments",
            scopes=(Scope.MANAGE,),
            response=Experiment,
        )
        for kind, description in _BARE_COMMANDS.items()
    ),
    Endpoint(
        method="GET",
        path="/experiments",
        handler=list_experiments,
        tag="experiments",
        scopes=(Scope.READ,),
        query=ExperimentsQuery,
        response=ExperimentsPage,
    ),
    Endpoint(
        method="GET",
        path=_EXPERIMENT,
        handler=get_experiment,
        tag="experiments",
        scopes=(Scope.READ,),
        response=Experiment,
    ),
    Endpoint(
        method="GET",
        path=f"{_EXPERIMENT}/stats",
        handler=get_experiment_stats,
        tag="experiments",
        scopes=(Scope.READ,),
        query=StatsQuery,
        response=Stats,
    ),
    Endpoint(
        method="GET",
        path=f"{_EXPERIMENT}/stream",
        handler=stream_experiment_stats,
        tag="experiments",
        scopes=(Scope.READ,),
    ),
    Endpoint(
        method="POST",
        path=f"{_EXPERIMENT}/assign",
        handler=assign_variant,
        tag="traffic",
        scopes=(Scope.ASSIGN,),
        body=Body(AssignmentContext, is_required=False),
        response=Assignment,
        traffic="assign",
    ),
    Endpoint(
        method="POST",
        path="/assign",
        handler=assign_variants,
        tag="traffic",
        scopes=(Scope.ASSIGN,),
        body=Body(AssignmentsRequest),
        response=AssignmentsPage,
        traffic="assign",
    ),
    Endpoint(
        method="POST",
        path="/exposures",
        handler=record_exposures,
        tag="traffic",
        scopes=(Scope.OBSERVE,),
        body=Body(ExposureRequest, is_list_too=True),
        response=Accepted,
        status=202,
        traffic="observe",
    ),
    Endpoint(
        method="POST",
        path="/observations",
        handler=record_observations,
        tag="traffic",
        scopes=(Scope.OBSERVE,),
        body=Body(ObservationRequest, is_list_too=True),
        response=Accepted,
        status=202,
        traffic="observe",
    ),
    Endpoint(
        method="POST",
        path="/assignments/void",
        handler=void_assignments,
        tag="traffic",
        scopes=(Scope.OBSERVE,),
        body=Body(VoidRequest, is_list_too=True),
        response=Accepted,
        status=202,
        traffic="observe",
    ),
    Endpoint(
        method="GET",
        path="/snapshots",
        handler=get_snapshots,
        tag="traffic",
        scopes=(Scope.ASSIGNER,),
        query=SnapshotsQuery,
        response=Snapshots,
    ),
    Endpoint(
        method="POST",
        path="/impressions",
        handler=record_impressions,
        tag="traffic",
        scopes=(Scope.ASSIGNER,),
        body=Body(ImpressionsRequest),
        response=Accepted,
        status=202,
        traffic="observe",
    ),
    Endpoint(
        method="POST",
        path="/ofrep/v1/evaluate/flags/{key}",
        handler=evaluate_flag,
        tag="flags",
        scopes=(Scope.ASSIGN,),
        body=Body(FlagEvaluationRequest, is_required=False),
        response=FlagEvaluation,
        errors=((400, FlagFailure), (404, FlagNotFound), *_OFREP_ERRORS),
        is_ofrep=True,
        traffic="assign",
    ),
    Endpoint(
        method="POST",
        path="/ofrep/v1/evaluate/flags",
        handler=evaluate_flags,
        tag="flags",
        scopes=(Scope.ASSIGN,),
        body=Body(FlagEvaluationRequest, is_required=False),
        response=FlagEvaluations,
        errors=((304, None), (400, FlagsFailure), *_OFREP_ERRORS),
        is_ofrep=True,
    ),
    Endpoint(
        method="GET",
        path=EVENTS_PATH,
        handler=flag_events,
        tag="flags",
        errors=_OFREP_ERRORS,
        is_ofrep=True,
    ),
    Endpoint(method="GET", path="/health", handler=health, tag="operation", response=Health),
    Endpoint(
        method="GET",
        path="/ready",
        handler=ready,
        tag="operation",
        response=Readiness,
        errors=((503, Readiness),),
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        tag="operation",
        scopes=(Scope.METRICS, Scope.READ),
    ),
)
