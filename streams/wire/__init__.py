"""Codecs between bytes and typed events, one module for each record.

Every decoding error is an `EventError` with a stable code. Equal values give equal bytes.

`streams.wire.snapshots` is not imported here, because it needs the policies and with them scipy,
which a client that only publishes does not load.
"""

from streams.wire.cells import decode_cell, encode_cell
from streams.wire.commands import decode_command, encode_command
from streams.wire.dead_letters import decode_dead_letter, encode_dead_letter
from streams.wire.decisions import decode_decision, encode_decision
from streams.wire.impressions import decode_impression_batch, encode_impression_batch
from streams.wire.json_observations import decode_json_observations
from streams.wire.observations import (
    decode_observations,
    encode_observation,
    encode_observation_batch,
)

__all__ = [
    "decode_cell",
    "decode_command",
    "decode_dead_letter",
    "decode_decision",
    "decode_impression_batch",
    "decode_json_observations",
    "decode_observations",
    "encode_cell",
    "encode_command",
    "encode_dead_letter",
    "encode_decision",
    "encode_impression_batch",
    "encode_observation",
    "encode_observation_batch",
]
