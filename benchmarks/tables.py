"""The tables of docs/benchmarks.md from what was measured in several rounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.alone import AT_ONCE
from benchmarks.turn import Turn
from garments.report import fill, table
from garments.settings import PROJECT

PAGE = PROJECT / "docs" / "benchmarks.md"

Round = Mapping[str, Turn]  # a turn of each contender, by its name


def compared(rounds: Sequence[Round], reference: str) -> str:
    """Contenders that got one picture a request, and their ratio to one of them."""
    rows = []
    for name in rounds[0]:
        turns = [found[name] for found in rounds]
        ratios = [found[name].load.rate / found[reference].load.rate for found in rounds]
        rows.append(
            [
                name,
                f"{median(turn.load.rate for turn in turns):,.0f}",
                "–" if _failed(rounds, reference) else f"{median(ratios):.2f}",
                f"{median(turn.load.p50 for turn in turns):.1f} ms",
                f"{median(turn.load.p99 for turn in turns):.1f} ms",
                f"{median(turn.memory for turn in turns):.0f} MiB",
                f"{median(turn.ready for turn in turns):.1f} s",
            ]
        )
    header = ["", "requests/s", f"× {reference}", "p50", "p99", "memory", "ready after"]
    return table(header, [_void_if_failed(row, rounds) for row in rows])


def against_alone(rounds: Sequence[Round], alone: Sequence[float]) -> str:
    """Requests of many pictures against decoding and the model `alone`, in pictures a second."""
    rows = []
    for name in rounds[0]:
        loads = [found[name].load for found in rounds]
        shares = [AT_ONCE * load.rate / rate for load, rate in zip(loads, alone, strict=True)]
        rows.append(
            [
                name,
                f"{median(AT_ONCE * load.rate for load in loads):,.0f}",
                f"{100 * median(shares):.0f} %",
                f"{median(load.p50 for load in loads):.0f} ms",
                f"{median(load.p99 for load in loads):.0f} ms",
            ]
        )
    shown = [_void_if_failed(row, rounds) for row in rows]
    shown.append(["decoding and the model alone", f"{median(alone):,.0f}", "100 %", "–", "–"])
    return table(["", "pictures/s", "of alone", "p50", "p99"], shown)


def write(tables: Mapping[str, str], page: Path = PAGE) -> None:
    """Put the tables in their places on the page. Raises ValueError where it lacks one."""
    page.write_text(fill(page.read_text("utf-8"), tables), "utf-8")


def _failed(rounds: Sequence[Round], name: str) -> int:
    return sum(found[name].load.failed for found in rounds)


def _void_if_failed(row: Sequence[str], rounds: Sequence[Round]) -> list[str]:
    """A row without its figures where any answer failed: errors come faster than answers."""
    name, *figures = row
    if failed := _failed(rounds, name):
        figures = [f"void: {failed} failed", *["–"] * (len(figures) - 1)]
    return [name, *figures]
