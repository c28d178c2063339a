"""Counts that a benchmark is given on its command line."""

import argparse


def at_least_one(text: str) -> int:
    """A count. Raises ArgumentTypeError for what is none, or below 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: write 1 or more")
    return int(text)
