"""The Open Bandit Dataset's sample: 10,000 logged events for each policy and campaign.

Fashion items that ZOZOTOWN showed on 24 to 30 November 2019 in three positions, with the
probability its policy chose each item with, and whether it was clicked. Licence: CC BY 4.0.

Source: Saito, Aihara, Matsutani, Narita (2021), Open Bandit Dataset and Pipeline,
https://arxiv.org/abs/2008.07146. The files are those in the PyPI wheel `obp` 0.4.1.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from platformdirs import user_cache_path

from schemas.catalogue import APP
from streams.model.errors import DependencyError, InputError
from streams.model.vectors import MAX_DIMENSION
from streams.policies.contextual.features import MAX_COEFFICIENTS, Feature, FeatureType

REQUIREMENT = "obp==0.4.1"
WHEEL = "obp-0.4.1-py3-none-any.whl"
SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"
DOWNLOAD_TIMEOUT_S = 300
EVENTS = 10_000
"""Events of each file."""

POSITIONS = ("1", "2", "3")
USER_FEATURES = 4
MOST_BUCKETS = 12
"""Entries of a feature of the user at most: more would be empty."""

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class LoggingPolicy(StrEnum):
    """The policy that chose the items: uniformly at random, or Bernoulli Thompson sampling."""

    RANDOM = "random"
    BTS = "bts"


class Campaign(StrEnum):
    """The campaign the items were shown in."""

    ALL = "all"
    MEN = "men"
    WOMEN = "women"


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One item, shown once.

    Attributes:
        row: Its row in the file, from 0.
        shown_at_ms: Milliseconds since the epoch.
        item: The item shown, from 0.
        position: Place on the page: 1, 2 or 3.
        is_clicked: Whether it was clicked.
        propensity: Probability with which the policy chose the item for the position, in (0, 1].
        user_features: Four hashed features of the user.
    """

    row: int
    shown_at_ms: int
    item: int
    position: int
    is_clicked: bool
    propensity: float
    user_features: tuple[str, str, str, str]

    @property
    def features(self) -> dict[str, str]:
        """Features that a policy may know when it chooses, by the names of `declared_features`."""
        named = {f"user_{place}": value for place, value in enumerate(self.user_features)}
        return {"position": str(self.position), **named}


@dataclass(frozen=True, slots=True)
class LoggedSample:
    """The events of one policy and campaign, in order of time.

    Attributes:
        n_items: Items of the campaign; every one of them may be shown.
    """

    policy: LoggingPolicy
    campaign: Campaign
    n_items: int
    events: tuple[LoggedEvent, ...]


def fetch_wheel() -> Path:
    """Return the wheel with the data, from the user's cache or else from the package index.

    It is never installed. pip fetches it, so its configuration says from where.

    Raises:
        DependencyError: the index does not give it.
        InputError: what came is not the pinned file.
    """
    cached = user_cache_path(APP) / WHEEL
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        # Beside the cache, so that the file appears there whole and at once.
        with tempfile.TemporaryDirectory(dir=cached.parent) as directory:
            _download(Path(directory))
            (Path(directory) / WHEEL).replace(cached)
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()
    if digest != SHA256:
        cached.unlink()
        raise InputError("WRONG_CHECKSUM", f"sha256 == {digest}, must be {SHA256}", WHEEL)
    return cached


def read_sample(
    wheel: Path, policy: LoggingPolicy, campaign: Campaign, limit: int | None = None
) -> LoggedSample:
    """Return the first `limit` events of a policy and campaign; all when it is None."""
    folder = f"obp/dataset/obd/{policy}/{campaign}"
    with zipfile.ZipFile(wheel) as archive:
        n_items = sum(1 for _ in _rows(archive, f"{folder}/item_context.csv"))
        events = []
        for index, row in enumerate(_rows(archive, f"{folder}/{campaign}.csv")):
            if index == limit:
                break
            events.append(_event(index, row))
    return LoggedSample(policy, campaign, n_items, tuple(events))


def declared_features(sample: LoggedSample) -> tuple[Feature, ...]:
    """Return the position and the four features of the user, as an experiment declares them.

    The more items, the fewer entries a model of each may have. The features of the user are hashes
    of unknown values: 3 to 9 different ones each, which share the entries that are left.
    """
    position = Feature(name="position", type=FeatureType.CATEGORY, values=POSITIONS)
    entries = min(MAX_COEFFICIENTS // sample.n_items, MAX_DIMENSION) - 1 - position.width
    buckets = min(entries // USER_FEATURES, MOST_BUCKETS)
    users = (
        Feature(name=f"user_{place}", type=FeatureType.HASHED, buckets=buckets)
        for place in range(USER_FEATURES)
    )
    return (position, *users)


def _download(directory: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(directory), REQUIREMENT),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise DependencyError("package index", f"no {WHEEL} in {DOWNLOAD_TIMEOUT_S} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"pip ended with {done.returncode}"]
        raise DependencyError("package index", f"{REQUIREMENT} cannot be fetched: {reason[0]}")


def _rows(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    with archive.open(name) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"))


def _event(index: int, row: dict[str, str]) -> LoggedEvent:
    return LoggedEvent(
        row=index,
        shown_at_ms=(datetime.fromisoformat(row["timestamp"]) - _EPOCH)
        // timedelta(milliseconds=1),
        item=int(row["item_id"]),
        position=int(row["position"]),
        is_clicked=row["click"] == "1",
        propensity=float(row["propensity_score"]),
        user_features=(
            row["user_feature_0"],
            row["user_feature_1"],
            row["user_feature_2"],
            row["user_feature_3"],
        ),
    )
