"""Experiments in the memory of an assigner, followed at the API."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

from api.snapshots.feed import FORMAT, PROOF
from api.snapshots.running import AnsweringExperiment, compiled
from experiment_streams_client.calls.base import Call
from experiment_streams_client.clients import ExperimentClient
from streams.experiments.holdouts import Holdout
from streams.experiments.snapshot import Snapshot
from streams.experiments.unit_kind import UnitKind
from streams.model.attribution import CLOCK_SKEW_MS, SKEW_LIMIT_MS
from streams.model.errors import ConfigurationError, EngineError
from streams.model.receipts import Keyring
from streams.process.outages import OutageFilter, outage
from streams.wire.snapshots import read_serving_state

WAIT_S = 20.0
"""Longest wait of a call for a change, in seconds."""

PAUSE_S = 1.0
"""Pause after a failure, in seconds."""

GATHER_S = 0.2
"""Least seconds between two calls: busy experiments change many times a second."""

_log = logging.getLogger(__name__)
_log.addFilter(OutageFilter())  # the log is the caller's, so its handlers have none


class LocalExperiment:
    """An experiment, compiled.

    Attributes:
        id: Its id.
        version: Number of commands applied to it.
        answering: What decides; None where the API has to, and of a holdout.
        experiment: The experiment.
        holdout: The holdout that it is; None for every other experiment.
        is_asked_for: Whether all its users and sessions have to be asked for.
        is_covered: Whether its units count for a holdout, which the API logs.
        is_signed_here: Whether its receipts are signed by the key of this process, which the API
            has.
        number, receipt_key, unit: Of the experiment.
        variants: Id of the experiment, id, name and configuration of each variant.
    """

    __slots__ = (
        "_compiled",
        "answering",
        "experiment",
        "holdout",
        "id",
        "is_asked_for",
        "is_covered",
        "is_signed_here",
        "number",
        "receipt_key",
        "unit",
        "variants",
        "version",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        """Compile a snapshot.

        Raises:
            ValueError: its weights are not those of its variants.
        """
        experiment = snapshot.experiment
        self.id = experiment.id
        self.version = experiment.version
        self._compiled = compiled(snapshot)
        self.answering: AnsweringExperiment | None = self._compiled
        self.experiment = experiment
        self.holdout = experiment.holdout
        self.number = experiment.number
        self.unit = experiment.definition.config.unit
        self.is_asked_for = False
        self.is_covered = False
        self.is_signed_here = False
        self.receipt_key = experiment.definition.config.receipt_key
        self.variants = [
            (experiment.id, experiment.variant_id(index), variant.name, variant.config)
            for index, variant in enumerate(experiment.definition.variants)
        ]

    def cover(self, holdouts: tuple[Holdout, ...], *, is_refused: bool) -> None:
        """Note what other experiments do with its units, which its snapshot does not say.

        Args:
            holdouts: Those that cover it.
            is_refused: Whether another experiment of its layer has its units: the API says which.
        """
        # Impressions never count for a holdout, so holding out is decided here.
        self.is_covered = bool(holdouts) and self.unit is not UnitKind.IMPRESSION
        if self._compiled is not None:
            self._compiled.holdouts = holdouts
        self.answering = None if is_refused else self._compiled

    def index_of(self, variant_id: str) -> int | None:
        """Return the index of a variant; None if it is not known here."""
        found = (n for n, each in enumerate(self.variants) if each[1] == variant_id)
        return next(found, None)


class LocalExperiments:
    """The experiments that assign or serve a variant, by id and by key.

    Attributes:
        by_name: The experiments; replaced as a whole.
        unreadable: Ids of those that this release cannot decide, with the reason.
        partitions: Partitions of the topic of impressions; 0 before the first reading.
        clock_skew_ms: This machine's clock minus the API's, when it last answered; None if the API
            does not send its own. The time that the answer took is in it.

    Args:
        client: A client whose key has the scope `assigner`.
        keyring: Signs the receipts of this process.
        now_ms: Returns the time, in milliseconds since the epoch.
    """

    def __init__(
        self, client: ExperimentClient, keyring: Keyring, now_ms: Callable[[], int]
    ) -> None:
        self.by_name: Mapping[str, LocalExperiment] = {}
        self.unreadable: dict[str, str] = {}
        self.partitions = 0
        self.clock_skew_ms: int | None = None
        self._client = client
        self._keyring = keyring
        self._key_id = keyring.ids[0]
        self._now_ms = now_ms
        self._position = ""
        self._heard_at_s = 0.0
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="snapshots", daemon=True)

    @property
    def age_s(self) -> float:
        """Seconds since the API last said that nothing else has changed."""
        return time.monotonic() - self._heard_at_s

    def start(self) -> None:
        """Read everything once, and follow the changes.

        Raises:
            ApiError: the API does not answer.
            ConfigurationError: it does not have the key of this process, or is of another release.
        """
        self.read(0.0)
        self._thread.start()

    def stop(self) -> None:
        """Follow no more; a call that waits is left behind."""
        self._stopping.set()

    def read(self, wait_s: float) -> None:
        """Read what has changed, as soon as something has.

        Raises:
            ApiError, ConfigurationError: as `start`.
        """
        query = urlencode({"after": self._position, "wait": wait_s})
        call: Call[Any] = Call("GET", f"/snapshots?{query}", dict, is_repeatable=True)
        answer = self._client.send(call)
        self._compare_clocks(answer.get("nowMs"))
        self._take(answer)
        self._heard_at_s = time.monotonic()

    def _run(self) -> None:
        pause_s = GATHER_S
        while not self._stopping.wait(pause_s):
            try:
                self.read(WAIT_S)
            except Exception as error:  # noqa: BLE001 - decisions continue by what is known
                _log.warning("the experiments are not followed: %s", error, extra=outage("api"))
                pause_s = PAUSE_S
            else:
                pause_s = GATHER_S

    def _compare_clocks(self, api_ms: int | None) -> None:
        """Log that the clock of this machine has begun to differ from that of the API.

        Receipts carry the time of this machine, and observations that of another one.
        """
        was_right = _is_right(self.clock_skew_ms)
        skew_ms = None if api_ms is None else self._now_ms() - api_ms
        self.clock_skew_ms = skew_ms
        if skew_ms is None or _is_right(skew_ms) or not was_right:
            return
        _log.warning(
            "the clock of this machine is %s s %s the API's, keep it on NTP: observations more than"
            " %d minutes before their assignment are refused, and attribution windows end earlier"
            " or later by the difference",
            f"{abs(skew_ms) / 1000:,.0f}",
            "ahead of" if skew_ms > 0 else "behind",
            CLOCK_SKEW_MS // 60_000,
        )

    def _take(self, answer: Mapping[str, Any]) -> None:
        if answer["format"] != FORMAT:
            raise ConfigurationError(
                f"the API sends snapshots of format {answer['format']}, must be {FORMAT}", "url"
            )
        self._check_key(answer["keys"], answer["position"])
        by_id = {} if answer["isWhole"] else {each.id: each for each in self.by_name.values()}
        keys = {} if answer["isWhole"] else dict(self._keys())
        for name in answer["gone"]:
            by_id.pop(name, None)
        for state in answer["states"]:
            name = state["experiment"]["experiment_id"]
            self.unreadable.pop(name, None)
            try:
                snapshot = read_serving_state(state)
                by_id[name] = LocalExperiment(snapshot)
            except (EngineError, ValueError) as error:
                self.unreadable[name] = str(error)
                by_id.pop(name, None)
            else:
                keys[name] = snapshot.experiment.key
        asked_for = set(answer["askedFor"])
        holdouts = [each.holdout for each in by_id.values() if each.holdout is not None]
        refused = set(answer["refused"])
        by_name: dict[str, LocalExperiment] = {}
        for name, experiment in by_id.items():
            experiment.is_asked_for = name in asked_for
            experiment.is_signed_here = experiment.receipt_key == self._key_id
            covering = tuple(
                each for each in holdouts if each.holds_out_of(experiment.number, experiment.unit)
            )
            experiment.cover(covering, is_refused=name in refused)
            by_name[name] = experiment
            if (key := keys[name]) is not None:
                by_name[key] = experiment
        self.by_name = by_name
        self.partitions = answer["partitions"]
        self._position = answer["position"]

    def _keys(self) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {each.id: None for each in self.by_name.values()}
        found.update((each.id, name) for name, each in self.by_name.items() if name != each.id)
        return found

    def _check_key(self, tags: list[str], position: str) -> None:
        place = PROOF + position.encode()
        if not any(_has_made(self._keyring, tag, place) for tag in tags):
            for each in self.by_name.values():  # nothing accepts receipts by this key any more
                each.is_signed_here = False
            raise ConfigurationError(
                f"the API does not have receipt key {self._key_id}, or has another secret for it",
                "keyring",
            )


def _is_right(skew_ms: int | None) -> bool:
    return skew_ms is None or abs(skew_ms) <= SKEW_LIMIT_MS


def _has_made(keyring: Keyring, tag: str, place: bytes) -> bool:
    return keyring.has_tagged(bytes.fromhex(tag), place, may_be_limited=True)
