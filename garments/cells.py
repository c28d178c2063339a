"""How a table names a file, so that no spreadsheet runs it, and how a page shows the name."""

from __future__ import annotations

import os
import re
import unicodedata
from urllib.parse import quote_from_bytes, unquote_to_bytes

# What a spreadsheet takes for the start of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# At which spreadsheets may part cells too, or end a row, where they take the quotes of a cell for a
# part of it.
_OTHER_ENDS = re.compile("[;\t|\r\n]")
_ESCAPED = "file:"
# Control characters, what turns the direction of a line, and bytes that are no UTF-8.
_UNSHOWABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def cell_of(filename: str, *, first: bool = True) -> str:
    """How a table names a file: so that no spreadsheet runs it, and that `name_of` gives it back.

    `./=1+1.png` for `=1+1.png`, and `file:caf%E9.png` where bytes of the name are not UTF-8,
    which they are read as whatever the locale. `first` is as for `as_cell`.
    """
    if not filename.isascii():
        try:
            filename = os.fsencode(filename).decode()
        except UnicodeDecodeError:
            return _ESCAPED + quote_from_bytes(os.fsencode(filename))
    return as_cell(filename, first=first)


def as_cell(text: str, *, first: bool) -> str:
    """Any text as a cell that no spreadsheet runs, and nobody takes for an escaped name.

    Where the cell is not the `first` of its row, `file:a%3B%3D1.png` for `a;=1.png` too: quotes
    keep a cell whole that begins the row, and others only where cells are parted at commas.
    """
    if not first and _OTHER_ENDS.search(text):
        return _ESCAPED + quote_from_bytes(text.encode())
    return f"./{text}" if text.startswith((*_FORMULA_STARTS, _ESCAPED)) else text


def name_of(cell: str) -> str:
    """The file that `cell_of` named so."""
    if cell.startswith(_ESCAPED):
        return os.fsdecode(unquote_to_bytes(cell.removeprefix(_ESCAPED)))
    name = cell.removeprefix("./")
    return name if name.isascii() else os.fsdecode(name.encode())


def alike(name: str) -> str:
    """What names have in common that differ by blanks at the ends and the Unicode form alone."""
    return unicodedata.normalize("NFC", name).strip()


def readable(text: str) -> str:
    r"""The text on one line, with escapes such as `\n` and `\udcff` for what cannot be shown."""
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
