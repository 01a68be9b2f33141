"""The file of API keys: hashes and scopes, so that reading it gives no access.

{"keys": [{"name": "ads", "blake2b": "<64 hex digits>", "scopes": ["assign", "observe"]}]}
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import AfterValidator, Field, StringConstraints

from streams.model.authors import MAX_KEY_NAME
from streams.model.errors import ConfigurationError, InputError
from streams.model.text import has_controls
from streams.model.validation import InputModel, JsonList, parse, problem
from streams.process.whole_files import MIB, read_rest, read_whole
from streams.settings import ENVIRONMENT_PREFIX

DIGEST_BYTES = 32
KEY_BYTES = 32

VARIABLE = f"{ENVIRONMENT_PREFIX}API_KEYS_FILE"

MAX_BYTES = 16 * MIB
"""Largest file of keys."""

MODE = 0o644
"""Permissions of a new file: the API often runs as another user, and hashes open nothing."""


class Scope(StrEnum):
    """A right of an API key."""

    ASSIGN = "assign"
    OBSERVE = "observe"
    MANAGE = "manage"
    READ = "read"
    METRICS = "metrics"
    ASSIGNER = "assigner"
    """Of processes that assign by themselves: all snapshots, and batches of impressions."""


def _shown(text: str) -> str:
    if has_controls(text):
        raise problem("INVALID_NAME", "has control characters")
    return text


class ApiKey(InputModel):
    """An entry of the file of keys.

    Attributes:
        name: Name of the caller, at most 100 characters; the author of its commands. Keys of one
            name are one caller, as while one replaces the other.
        blake2b: BLAKE2b-256 of the key, hexadecimal. A fast hash is enough: keys are random and
            256 bits long, so there is nothing to guess.
        scopes: Rights of the key.
    """

    name: Annotated[str, StringConstraints(max_length=MAX_KEY_NAME), AfterValidator(_shown)]
    blake2b: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Annotated[Scope, Field(strict=False)]], Field(strict=False)]


class ApiKeyFile(InputModel):
    """The file of keys."""

    keys: Annotated[tuple[ApiKey, ...], JsonList(min_length=1)]


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: it cannot be read, or does not hold keys.
    """
    try:
        return _parsed(read_whole(file, MAX_BYTES), file)
    except PermissionError as error:
        raise ConfigurationError(
            f"the API keys in {file}: user id {os.geteuid()}, as which this process runs, may not "
            f"read the file; let it by `chown {os.geteuid()} FILE`, or by `chmod a+r FILE`, since "
            "the file holds only hashes",
            VARIABLE,
        ) from error
    except OSError as error:
        raise ConfigurationError(f"the API keys in {file}: {error}", VARIABLE) from error


def add_key(file: Path, name: str, scopes: Iterable[Scope]) -> str:
    """Draw a key, add it to a file, which is created if missing, and return the key.

    The file is changed in place: a container that mounts this single file only sees the inode that
    existed at its start. Two additions at the same time exclude each other.

    Raises:
        ConfigurationError: the file holds something else than keys, or cannot be written.
    """
    key, entry = new_key(name, scopes)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, MODE)
        with os.fdopen(descriptor, "r+b") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            present = read_rest(opened, str(file), MAX_BYTES)
            kept = _parsed(present, file) if present.strip() else ()
            content = ApiKeyFile(keys=(*kept, entry)).model_dump_json(indent=2)
            opened.seek(0)
            opened.write(f"{content}\n".encode())
            opened.truncate()
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:
        raise ConfigurationError(f"the API keys in {file}: {error}", VARIABLE) from error
    return key


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, ApiKey]:
    """Return a fresh key, and what the file is to hold of it."""
    key = secrets.token_urlsafe(KEY_BYTES)
    found = {"name": name, "blake2b": digest(key.encode()).hex(), "scopes": sorted(set(scopes))}
    return key, parse(ApiKey, found)


def digest(key: bytes) -> bytes:
    """Return the hash of a key."""
    return blake2b(key, digest_size=DIGEST_BYTES).digest()


def _parsed(content: bytes, file: Path) -> tuple[ApiKey, ...]:
    try:
        return parse(ApiKeyFile, orjson.loads(content)).keys
    except (ValueError, InputError) as error:
        raise ConfigurationError(f"the API keys in {file}: {error}", VARIABLE) from error
