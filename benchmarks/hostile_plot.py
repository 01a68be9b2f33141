"""Plot docs/reference/hostile-requests.svg from the result of `benchmarks.hostile_requests`.

python -m benchmarks.hostile_plot
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_HERE = Path(__file__).parent


def draw(result: Mapping[str, Any], file: Path) -> None:
    """Draw resident memory over time."""
    mpl.rcParams["svg.hashsalt"] = "hostile"  # the same file for the same figures
    minutes = [sample["s"] / 60 for sample in result["samples"]]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(minutes, [sample["rssMib"] for sample in result["samples"]], linewidth=1.2)
    axes.set_ylim(0, 1.25 * result["rssMibMost"])
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory of the API, MiB")
    axes.set_title(
        f"{result['requests']:,} requests, {result['rate']:g} hostile ones a second", fontsize=10
    )
    axes.grid(visible=True, alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    draw(
        json.loads((_HERE / "results" / "hostile_requests.json").read_text()),
        _HERE.parent / "docs" / "reference" / "hostile-requests.svg",
    )
