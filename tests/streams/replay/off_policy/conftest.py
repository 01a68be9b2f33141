"""The library of the field as an oracle."""

from __future__ import annotations

import importlib.util
import sys
import types
import zipfile
from types import ModuleType

import pytest

from streams.cli.open_bandit.dataset import fetch_wheel


@pytest.fixture(scope="package")
def obp() -> ModuleType:
    """The estimators of obp 0.4.1 from its wheel, which wants PyTorch and is never installed."""
    torch, package = types.ModuleType("torch"), types.ModuleType("obp_oracle")
    utils, ope = types.ModuleType("obp_oracle.utils"), types.ModuleType("obp_oracle.ope")
    torch.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
    for name in (
        "estimate_confidence_interval_by_bootstrap",
        "check_ope_inputs",
        "check_ope_inputs_tensor",
    ):
        setattr(utils, name, lambda **_: None)
    stubs = {module.__name__: module for module in (torch, package, utils, ope)}
    with zipfile.ZipFile(fetch_wheel()) as wheel:
        source = wheel.read("obp/ope/estimators.py")
    spec = importlib.util.spec_from_loader("obp_oracle.ope.estimators", loader=None)
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stubs.items():
            patch.setitem(sys.modules, name, module)
        patch.setitem(sys.modules, spec.name, found)  # dataclasses look themselves up there
        exec(compile(source, "obp/ope/estimators.py", "exec"), found.__dict__)
    return found
