"""A table for terminals of any width: where its columns do not fit, each row is a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

LEAST_WIDTH = 8
"""Width down to which a column may wrap its cells."""

_INDENT = 2
_GAP = "  "


class FittingTable(Table):
    """A table that shows each row as its first cell and, below it, the others with their titles.

    It does so where the width is less than its columns need, since rich would cut numbers, and
    leave out columns whose cells may wrap.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or its rows as lists."""
        if self._least_width(console) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        titles = [_text(column.header) for column in self.columns]
        head = Text()
        for row in zip(*(column.cells for column in self.columns), strict=True):
            first, *rest = map(_text, row)
            head = first if first.plain else head  # a title that is not repeated in its group
            yield Text.assemble(head, style="bold")
            items = [_item(title, cell) for title, cell in zip(titles[1:], rest, strict=True)]
            for line in _lines([each for each in items if each.plain], options.max_width - _INDENT):
                yield Padding(line, (0, 0, 0, _INDENT))

    def _least_width(self, console: Console) -> int:
        return sum(_least_width(console, column) for column in self.columns)


def _least_width(console: Console, column: Column) -> int:
    """Return the width that a column needs, with the space behind it."""
    if not column.no_wrap or column.ratio is not None:
        return (column.min_width or LEAST_WIDTH) + 1
    cells = [column.header, *column.cells]
    return max(console.measure(each).maximum for each in cells) + 1


def _item(title: Text, cell: Text) -> Text:
    shown = cell.copy()
    shown.rstrip()
    if not shown.plain or not title.plain:
        return shown
    return Text.assemble((title.plain, "dim"), " ", shown)


def _lines(items: Sequence[Text], width: int) -> Iterator[Text]:
    """Yield as many items on each line as have room; one that is wider has its own lines."""
    line = Text()
    for item in items:
        if line.plain and line.cell_len + len(_GAP) + item.cell_len > width:
            yield line
            line = Text()
        line = Text.assemble(line, _GAP, item) if line.plain else item
    if line.plain:
        yield line


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))
