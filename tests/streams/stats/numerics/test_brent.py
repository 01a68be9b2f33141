from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.stats.numerics.brent import brent_root


@given(st.floats(0.01, 100.0))
def test_a_root_is_found_to_its_tolerance(wanted: float) -> None:
    assert brent_root(lambda value: value**3 - wanted**3, 0.0, 200.0) == pytest.approx(
        wanted, abs=1e-11
    )


def test_a_function_without_a_change_of_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="different signs"):
        brent_root(lambda value: value * value + 1.0, -1.0, 1.0)


def test_a_process_that_evaluates_imports_the_optimizers_only_when_it_needs_them() -> None:
    program = "import sys; import streams.analysis.evaluate; print(*sys.modules)"

    modules = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert "streams.analysis.evaluate" in modules
    assert {"scipy.optimize", "scipy.spatial", "scipy.sparse"}.isdisjoint(modules)
