"""Labels of the charts over time, drawn by a real browser: each mark has a distinct one."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

STATIC = Path(__file__).parents[2] / "dashboard" / "static"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="needs chromium, as Debian has it"
    ),
]

BODY = """
<div id="plot-difference"></div><p id="read-difference"></p>
<div id="plot-traffic"></div><p id="read-traffic"></p>
<pre id="series-data" hidden></pre>
"""

WATCH = """
window.drawn = [];
const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const { width } = this.measureText(text);
  window.drawn.push([this.canvas.closest("[id]")?.id, text, x, y, width]);
  return fill.apply(this, arguments);
};
"""

BEGIN = datetime(2026, 12, 31, 23, 59, 30, 124_000, UTC)
PHONE = 390
"""Pixels of a narrow window, in which a chart of some milliseconds has room for one label."""

SPANS = {
    "3 ms": timedelta(milliseconds=3),
    "40 ms": timedelta(milliseconds=40),
    "0.4 s": timedelta(seconds=0.4),
    "1 s": timedelta(seconds=1),
    "2.5 s": timedelta(seconds=2.5),
    "7 s": timedelta(seconds=7),
    "50 s": timedelta(seconds=50),
    "9 min": timedelta(minutes=9),
    "5 h": timedelta(hours=5),
    "3 d": timedelta(days=3),
    "50 d": timedelta(days=50),
    "3 years": timedelta(days=1100),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    assert CHROMIUM is not None, "CI has chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser.new_page(timezone_id="America/New_York")
        browser.close()


def draw(page: Page, times: list[float]) -> None:
    """Load a page with a series of these times, in seconds."""
    series = {
        "times": times,
        "difference": [1.0] * len(times),
        "lower": [-1.0] * len(times),
        "upper": [2.0] * len(times),
        "range": [-2.0, 3.0],
        "unit": "points",
        "isMirrored": False,
        "variant": "B",
        "color": 1,
        "colors": ["v0", "v1", "v2"],
        "shares": [[0.5] * len(times)] * 2,
        "names": ["A", "B"],
        "planned": None,
        "marks": [],
    }
    page.goto("about:blank")  # a window without listeners and records of another chart
    page.set_content(BODY)
    page.evaluate(
        "(text) => document.getElementById('series-data').textContent = text", json.dumps(series)
    )
    page.add_script_tag(content=WATCH)
    page.add_script_tag(path=STATIC / "vendor" / "uplot.js")
    page.add_script_tag(path=STATIC / "timecharts.js")
    page.evaluate("document.dispatchEvent(new Event('DOMContentLoaded'))")
    page.wait_for_function("window.drawn.length > 0")


def drawn_of(page: Page) -> list[tuple[str, float, float, float]]:
    """Return text, place and width of everything written below the chart of traffic."""
    drawn = page.evaluate("window.drawn.filter(([id]) => id === 'plot-traffic')")
    return [(text, x, y, width) for _, text, x, y, width in drawn if "%" not in text]


def labels_of(page: Page) -> list[tuple[str, str]]:
    """Return the labels of the time axis from left to right: the first line, and the second."""
    rows: dict[float, list[tuple[float, str]]] = {}
    for text, x, y, _ in drawn_of(page):
        rows.setdefault(x, []).append((y, text))
    return [
        (texts[0], texts[1] if len(texts) > 1 else "")
        for texts in ([text for _, text in sorted(found)] for _, found in sorted(rows.items()))
    ]


@pytest.mark.parametrize("width", [PHONE, 1280])
@pytest.mark.parametrize("span", SPANS)
def test_no_two_marks_have_one_label_and_none_covers_the_next(page, span, width):
    page.set_viewport_size({"width": width, "height": 700})
    begin, end = BEGIN.timestamp(), (BEGIN + SPANS[span]).timestamp()
    draw(page, [begin, (begin + end) / 2, end])

    by_line = sorted(drawn_of(page), key=lambda each: (each[2], each[1]))
    for (_, x, y, own), (_, following, line, other) in itertools.pairwise(by_line):
        assert line > y or x + own / 2 < following - other / 2
    labels = labels_of(page)
    assert len(labels) >= (1 if width == PHONE else 2)
    assert labels[0][1]  # the day or year where the axis begins
    shown = itertools.accumulate(labels, lambda before, own: (own[0], own[1] or before[1]))
    assert len(set(shown)) == len(labels), labels


def test_labels_are_utc_and_say_the_day_where_it_changes(page):
    begin = BEGIN.timestamp()
    draw(page, [begin, begin + 60])

    labels = labels_of(page)
    assert labels[0] == ("23:59:35", "31 Dec")
    assert ("00:00:00", "1 Jan") in labels


def test_two_points_within_a_second_are_read_as_different_times(page):
    begin = BEGIN.timestamp()
    draw(page, [begin, begin + 0.25])

    read = []
    for key in ("Home", "End"):
        page.locator("#plot-traffic").dispatch_event("keydown", {"key": key})
        read.append(page.locator("#read-traffic").inner_text().partition(" UTC")[0])
    assert read == ["2026-12-31 23:59:30.12", "2026-12-31 23:59:30.37"]
