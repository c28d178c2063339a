"""How fast pictures are answered over HTTP; `make bench-http` and `make bench-peers` run it.

Contenders take turns on the same machine, each alone with the load generator: 16 kept-alive
connections, each with one request under way. Figures are medians over the rounds, and those of
ratios over the rounds' ratios.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from benchmarks import tables
from benchmarks.alone import AT_ONCE, alone
from benchmarks.contenders import Contender, ours, peers, servers
from benchmarks.counts import at_least_one
from benchmarks.ending import run
from benchmarks.load import generator
from benchmarks.service import CORES, beside, undisturbed
from benchmarks.turn import Turn, pictures, take_turn

OURS, REFERENCE = "Garments", "MLServer"


def take_turns(contenders: Sequence[Contender], seconds: float) -> dict[str, Turn]:
    """A turn of each, printed as it ends; one that others disturbed is taken again."""

    def once(contender: Contender) -> tuple[Turn, float]:
        turn = take_turn(contender, seconds)
        print(f"{contender.name:42} {turn}", flush=True)
        return turn, turn.others

    return {each.name: undisturbed(partial(once, each)) for each in contenders}


def measure_servers(rounds: int, seconds: float) -> dict[str, str]:
    """The table of our app on other servers."""
    found = [take_turns(servers(), seconds) for _ in range(rounds)]
    return {"servers": tables.compared(found, next(iter(found[0])))}


def measure_models(others: Sequence[Contender], rounds: int, seconds: float) -> dict[str, str]:
    """The tables of our service beside `others`, and of many pictures a request."""
    many = [
        ours(f"{AT_ONCE} pictures as {form}", form=form, pictures=AT_ONCE)
        for form in ("form", "JSON")
    ]
    single, grouped, rates = [], [], []
    for _ in range(rounds):
        single.append(take_turns([ours(OURS), *others], seconds))
        grouped.append(take_turns(many, seconds))
        rates.append(undisturbed(lambda: beside(lambda: alone(pictures() * 200, CORES))))
    return {
        "peers": tables.compared(single, REFERENCE if others else OURS),
        "many": tables.against_alone(grouped, rates),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--ours", action="store_true", help="our service without its peers")
    which.add_argument("--servers", action="store_true", help="our app on other servers")
    parser.add_argument("--rounds", type=at_least_one, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    print(f"load from {generator()}, beside the service on {CORES} cores")
    if given.servers:
        found = measure_servers(given.rounds, given.seconds)
    else:
        found = measure_models([] if given.ours else peers(), given.rounds, given.seconds)
    print("\n" + "\n".join(found.values()))
    if given.write:
        tables.write(found)


if __name__ == "__main__":
    run(main)
