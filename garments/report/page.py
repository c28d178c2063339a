"""Tables of Markdown, and their places on a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows below a header, in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(page: str, found: Mapping[str, str]) -> str:
    """Put each table between `<!-- name -->` and `<!-- /name -->`; ValueError if there is none."""
    for name, text in found.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin not in page or end not in page:
            raise ValueError(f"the page lacks {begin.strip()} … {end}, where a table belongs")
        before, _, rest = page.partition(begin)
        page = before + begin + text + end + rest.partition(end)[2]
    return page
