"""Render the test vectors in schemas/vectors/ from the code.

Usage: python -m scripts.render_vectors
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from streams.experiments.holdouts import Holdout, HoldoutSpec
from streams.experiments.shared_units import LayerSpec
from streams.experiments.unit_kind import UnitKind
from streams.model.errors import ReceiptError
from streams.model.experiment_keys import key_number
from streams.model.ids import experiment_id
from streams.model.quantities import PROPENSITY_ONE
from streams.model.receipt_layout import raw_of, text_of
from streams.model.receipts import Keyring, Receipt
from streams.model.variant_weights import pack_propensities
from streams.model.vectors import pack
from streams.policies.bucketing import (
    draws,
    is_enrolled,
    lasting_unit,
    promoted_draw,
    shared_draw,
)
from streams.policies.draw_tables import draw_table

FOLDER = Path(__file__).parents[1] / "schemas" / "vectors"

SECRETS = {1: bytes(range(32)), 7: bytes(range(255, 191, -1))}
"""Published keys, so that receipts can be compared. They protect nothing."""

EXPERIMENT = 0x0123456789ABCDEF
UNITS = ("user_123", "", " ", "ünïcødé-😀", "a" * 127, "a" * 128, "a" * 129, "0" * 256)
KEYS = ("homepage-hero", "a", "0.9_x-" + "z" * 94)
EDGES = (0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1)
TRAFFIC = (0.0, 2.0**-33, 3 * 2.0**-33, 1e-9, 0.1, 1 / 3, 0.5, 0.999, 1.0)
WEIGHTS: Sequence[tuple[tuple[int, ...], tuple[int, ...] | None]] = (
    ((32768, 32768), None),
    ((32768, 32768), (1,)),
    ((32768, 16384, 16384), None),
    ((32768, 16384, 16384), (1, 2)),
    ((32768, 16384, 16384), (2,)),
    ((65535, 1, 0), None),
    ((65535, 1, 0), (1, 2)),
    ((65536, 0, 0), (1, 2)),
    ((21846, 21845, 21845), (0, 2)),
    ((655, 655, 655, 655, 655, 62261), (0, 1, 3)),
    ((7, 65515, 7, 7), (0, 2, 3)),
    ((4096,) * 16, (0, 5, 15)),
    ((3856,) * 16 + (3840,), None),
    ((3856,) * 16 + (3840,), (0, 8, 16)),
)


def hashes() -> Mapping[str, Any]:
    """Return hashes of units, keys of experiments, and draws that experiments share."""
    units = [
        {"experiment": _hex(number), "unit": unit, **_draws(number, unit)}
        for number in (EXPERIMENT, 0, 2**64 - 1)
        for unit in UNITS
    ]
    impression = bytes(range(16))
    of_bytes = {"experiment": _hex(EXPERIMENT), "unitHex": impression.hex()}
    units.append({**of_bytes, **_draws(EXPERIMENT, impression)})
    return {
        "units": units,
        "experimentKeys": [
            {"key": key, "experiment": _hex(key_number(key)), "id": experiment_id(key_number(key))}
            for key in KEYS
        ],
        "experimentIds": [
            {"experiment": _hex(number), "id": experiment_id(number)}
            for number in (0, EXPERIMENT, 2**64 - 1)
        ],
        "shared": [
            {"purpose": purpose, "key": key, "unit": unit, "draw": _hex(draw, 4)}
            for purpose in ("layer", "other")
            for key in KEYS
            for unit in UNITS
            for draw in [shared_draw(purpose.encode(), key, unit)]
        ],
    }


def enrolment() -> Mapping[str, Any]:
    """Return which draws take part at which traffic allocation, on both sides of each boundary."""
    cases = []
    for traffic in TRAFFIC:
        boundary = round(traffic * PROPENSITY_ONE) << 32
        for draw in sorted({0, boundary - 1, boundary, 2**64 - 1}):
            if 0 <= draw < 2**64:
                enrolled = is_enrolled(draw, traffic)
                cases.append(
                    {"enrolment": _hex(draw), "trafficAllocation": traffic, "enrolled": enrolled}
                )
    return {"cases": cases}


def allocations() -> Mapping[str, Any]:
    """Return what integer weights become with and without an eligible set, and draws from it."""
    cases = []
    for weights, eligible in WEIGHTS:
        bits = None if eligible is None else sum(1 << variant for variant in eligible)
        table = draw_table(weights, bits)
        ends = [end << 32 for end in table.ends]
        chosen = sorted({*EDGES, *_within(ends), *_within([end - 1 for end in ends])})
        cases.append(
            {
                "weights": weights,
                "eligible": eligible,
                "propensities": table.propensities,
                "parts": [
                    {"end": end, "variant": variant}
                    for end, variant in zip(table.ends, table.owners, strict=True)
                ],
                "packed": table.packed.hex(),
                "draws": [
                    {
                        "draw": _hex(draw),
                        "variant": table.choose(draw),
                        "again": table.choose_again(draw),
                    }
                    for draw in chosen
                ],
            }
        )
    return {"cases": cases}


def layers() -> Mapping[str, Any]:
    """Return which units are in parts of layers and holdouts."""
    ranges = ((0.0, 0.5), (0.5, 1.0), (1 / 3, 2 / 3), (0.0, 1.0), (0.9087796, 0.9087798))
    return {
        "layers": [
            {"key": key, "range": part, "unit": unit, "in": spec.has(unit)}
            for key in KEYS
            for part in ranges
            for spec in [LayerSpec.model_validate({"key": key, "range": part})]
            for unit in UNITS
        ],
        "holdouts": [
            {
                "key": key,
                "experiment": _hex(spec.number),
                "share": share,
                "unit": unit,
                "in": Holdout(spec.number, spec, 1, 0, UnitKind.USER).holds(lasting_unit(unit)),
            }
            for key in KEYS
            for share in (0.01, 0.1, 0.5)
            for spec in [HoldoutSpec.model_validate({"key": key, "share": share})]
            for unit in UNITS
        ],
    }


def receipts() -> Mapping[str, Any]:
    """Return receipts, and invalid texts with the code of the refusal."""
    valid = [_receipt(key_id, receipt) for key_id in SECRETS for receipt in _receipts()]
    return {
        "keys": [{"id": key_id, "secret": secret.hex()} for key_id, secret in SECRETS.items()],
        "valid": valid,
        "refused": [
            {"text": text, "code": _code(text)}
            for text in dict.fromkeys(_near(valid[0]["text"], valid[3]["text"]))
        ],
    }


def render() -> Mapping[str, str]:
    """Return the text of every file, by its name."""
    makers = (hashes, enrolment, allocations, layers, receipts)
    return {
        f"{make.__name__}.json": json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
        for make in makers
    }


def _receipts() -> Iterator[Receipt]:
    plain = Receipt(
        EXPERIMENT, 2, 2**30, 7, 1_700_000_000_123, 0xFEDCBA9876543210, 86_400, b"", b""
    )
    weights = pack_propensities((2**31, 2**30, 2**30))
    features = pack(((0, 1024), (3, 1024), (5, -307)))
    yield plain
    yield Receipt(0, 0, 1, 0, 0, 0, 0)
    yield Receipt(2**64 - 1, 2**16 - 1, 2**32, 2**48 - 1, 2**48 - 1, 2**64 - 1, 2**32 - 1)
    yield plain._replace(weights=weights)
    yield plain._replace(features=features)
    yield plain._replace(weights=weights, features=features)
    yield plain._replace(weights=draw_table((4096,) * 16, 0x8021).packed)
    yield plain._replace(weights=draw_table((3856,) * 16 + (3840,), 0x10101).packed)
    yield plain._replace(dimensions=bytes((2, 0)))
    yield plain._replace(dimensions=bytes((1, 20, 0, 3)), weights=weights, features=features)


def _receipt(key_id: int, receipt: Receipt) -> dict[str, Any]:
    return {
        "key": key_id,
        "experiment": _hex(receipt.experiment),
        "variant": receipt.variant,
        "propensity": receipt.propensity,
        "allocationVersion": receipt.allocation_version,
        "assignedAtMs": receipt.assigned_at_ms,
        "unit": _hex(receipt.unit),
        "attributionWindowS": receipt.attribution_window_s,
        "weights": receipt.weights.hex(),
        "features": receipt.features.hex(),
        "dimensions": receipt.dimensions.hex(),
        "text": Keyring({key_id: SECRETS[key_id]}).sign(receipt),
    }


def _near(plain: str, extended: str) -> Iterator[str]:
    """Yield texts that differ a little from two receipts."""
    for text in (plain, extended):
        yield text + "="
        yield text[:-1]
        yield text[:-4]
        yield text[:-1] + chr(ord(text[-1]) + 1)
        yield text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
        yield text.replace("_", "/").replace("-", "+")
        yield text[:1] + " " + text[2:]
        yield "BAE" + text[3:]  # version 4
        yield "AwE" + text[3:]  # version 3
        yield text[:1] + "Q" + "I" + text[3:]  # another key
    raw = raw_of(extended)
    for n in (0, 1, 2, 4, 33):  # other numbers of weights than what follows, or none at all
        yield text_of(raw[:40] + bytes([n]) + raw[41:])
    yield text_of(raw[:40] + b"\0" + raw[-16:])
    yield ""
    yield "exp_0000000000000"
    yield "é" * 75


def _code(text: str) -> str:
    try:
        Keyring(SECRETS).verify(text)
    except ReceiptError as error:
        return error.code
    raise AssertionError(text)


def _draws(number: int, unit: str | bytes) -> dict[str, str]:
    found = draws(number, unit)
    return {
        "hash": _hex(found.unit),
        "enrolment": _hex(found.enrolment),
        "variant": _hex(found.variant),
        "promoted": _hex(promoted_draw(number, unit)),
    }


def _within(numbers: Sequence[int]) -> Iterator[int]:
    return (number for number in numbers if 0 <= number < 2**64)


def _hex(number: int, size: int = 8) -> str:
    return number.to_bytes(size).hex()


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in render().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
