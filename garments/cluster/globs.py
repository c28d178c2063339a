"""A glob: which names it matches, and which folders cannot hold any of them."""

from __future__ import annotations

import re

from garments.batch.errors import UsageError

WILD = re.compile(r"[*?\[]")
_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]/]*\])")
_KNOWN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_RANGES = re.compile("(.)-(.)|(.)", re.DOTALL)


class Glob:
    """`**/` is any number of folders; `*`, `?` and `[…]` stay within one. "" matches all."""

    def __init__(self, pattern: str) -> None:
        """Raises UsageError for a bracket that says nothing."""
        self._matches = re.compile(_regex(pattern or "**"))
        folders = (pattern or "**").split("/")
        deep = [place for place, name in enumerate(folders) if "**" in name]
        self._fixed = [re.compile(_regex(name)) for name in folders[: deep[0] if deep else -1]]
        self._deep = bool(deep)

    def matches(self, name: str) -> bool:
        """Whether the file of that name is meant, which has slashes for folders."""
        return bool(self._matches.fullmatch(name))

    def may_be_in(self, folder: str) -> bool:
        """Whether a file may be meant that is in that folder or below it."""
        names = folder.split("/")
        if len(names) > len(self._fixed) and not self._deep:
            return False
        return all(fixed.fullmatch(name) for fixed, name in zip(self._fixed, names, strict=False))


def _regex(pattern: str) -> str:
    parts = _TOKENS.split(pattern)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = map(_token, parts[1::2])
    return f"(?s:{''.join(parts)})"


def _token(token: str) -> str:
    if token in _KNOWN:
        return _KNOWN[token]
    body = token[1:-1]
    if body in ("", "!", "^"):
        return re.escape(token)
    negated = body[0] in "!^"
    chosen = "".join(_range(token, *found) for found in _RANGES.findall(body[negated:]))
    return f"(?!/)[{'^' * negated}{chosen}]"


def _range(bracket: str, first: str, last: str, alone: str) -> str:
    if alone:
        return re.escape(alone)
    if first > last:
        raise UsageError(
            f"{bracket} in the pattern stands for one of some characters, and {first}-{last} has "
            "none: write [[] for a bracket that is in a name"
        )
    return f"{re.escape(first)}-{re.escape(last)}"
