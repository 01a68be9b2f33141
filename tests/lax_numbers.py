"""Texts that Python's `int` or `float`, and so pydantic, read as a number, and JSON does not.

Each is at most 10 where it is a number at all, and so within the bounds of most parameters.
"""

LAX_NUMBERS = (
    "1_0",
    " 10",
    "10 ",
    "10\n",
    "\u00a010",
    "+10",
    "010",
    "00",
    "\u0661\u0660",  # Arabic-Indic digits
    "\uff11\uff10",  # full-width digits
    ".5",
    "5.",
    "1_0.0",
    "nan",
    "NaN",
    "-nan",
    "inf",
    "-Infinity",
)
