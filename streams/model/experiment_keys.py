"""Keys: names of experiments that their authors choose, and the number that each stands for.

The number of an experiment with a key is a hash of the key. So a key identifies its experiment
without a look-up; and two experiments cannot have the same key, since they would be the same
experiment, whose commands have one order and one writer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from streams.model.errors import InputError, quoted
from streams.model.ids import ExperimentNumber, experiment_number, is_experiment_id

KEY_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"

_KEY = re.compile(KEY_PATTERN[1:-1])
_PURPOSE = b"experiment key"
_HOLDOUT_PURPOSE = b"holdout key"
_NUMBER_BYTES = 8


def is_key(name: str) -> bool:
    """Return whether a text can be the key of an experiment; an experiment id cannot.

    >>> is_key("homepage-hero"), is_key("Homepage"), is_key("exp_0000000000000")
    (True, False, False)
    """
    return _KEY.fullmatch(name) is not None and not is_experiment_id(name)


@lru_cache(maxsize=4096)  # asked for with every request that names an experiment that has ended
def key_number(key: str) -> ExperimentNumber:
    """Return the number of the experiment with this key: 64 bits of its BLAKE2b hash.

    >>> key_number("homepage-hero") == key_number("homepage-hero.")
    False
    """
    digest = blake2b(key.encode(), digest_size=_NUMBER_BYTES, person=_PURPOSE).digest()
    return ExperimentNumber(int.from_bytes(digest))


@lru_cache(maxsize=4096)
def holdout_number(key: str) -> ExperimentNumber:
    """Return the number of the experiment that the holdout with this key is.

    >>> holdout_number("all") == key_number("all")
    False
    """
    digest = blake2b(key.encode(), digest_size=_NUMBER_BYTES, person=_HOLDOUT_PURPOSE).digest()
    return ExperimentNumber(int.from_bytes(digest))


def named_experiment(name: str) -> ExperimentNumber:
    """Return the number of the experiment that an id or a key names.

    Raises:
        InputError: `name` is neither (`INVALID_EXPERIMENT_ID`).
    """
    if is_key(name):
        return key_number(name)
    if is_experiment_id(name):
        return experiment_number(name)
    raise InputError(
        "INVALID_EXPERIMENT_ID",
        f"{quoted(name)} is neither an experiment id nor a key",
        "experimentId",
    )
