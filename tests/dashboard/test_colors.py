"""Contrast of the tokens of colors, which axe cannot judge in SVG and of borders."""

from __future__ import annotations

import re

import pytest

from dashboard.static_files import DIRECTORY

CSS = (DIRECTORY / "dashboard.css").read_text()
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in CSS.split("@media")[:2]
)

TEXT = 4.5  # WCAG 2.2, 1.4.3
GRAPHICS = 3.0  # 1.4.11


def luminance(color: str) -> float:
    channels = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Relative contrast of WCAG 2: (L1 + 0.05) / (L2 + 0.05)."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_the_contrast_of_black_and_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "card"])
class TestTokens:
    @pytest.mark.parametrize("name", ["text", "soft", "accent", "danger", "good", "warn"])
    def test_text_can_be_read(self, tokens, ground, name):
        assert contrast(tokens[name], tokens[ground]) >= TEXT

    @pytest.mark.parametrize("name", ["input", *(f"v{each}" for each in (*range(8), "x"))])
    def test_borders_of_fields_and_variants_can_be_seen(self, tokens, ground, name):
        assert contrast(tokens[name], tokens[ground]) >= GRAPHICS


@pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])
def test_buttons_can_be_read(tokens):
    assert contrast(tokens["on-accent"], tokens["accent"]) >= TEXT
    assert contrast(tokens["on-danger"], tokens["danger"]) >= TEXT
