"""Which photos of a night a person should look at, and in which order."""

from __future__ import annotations

from garments.store import Outcome
from garments.store.queue import rank

_BYTES = 8  # of a digest: enough to tell any share
_LOTS = 1 << 64


def is_sampled(digest: bytes, share: float) -> bool:
    """Whether a content is of the random sample of that share of all; always the same ones."""
    return _drawn_lot(digest) < share


def rank_of(outcome: Outcome, share: float) -> float | None:
    """Where a photo stands in the queue; None for one that nobody needs to look at.

    Of what was accepted, only what has a thumbnail: there would be nothing to look at. One that has
    been answered for keeps its rank until that is settled; the queue passes over it.
    """
    if outcome.settled or outcome.confidence is None or outcome.digest is None:
        return None
    if outcome.decision == "review":
        return rank("doubtful", outcome.confidence)
    if outcome.decision != "accept" or not outcome.drawn:
        return None
    # First, whatever the slip says: what is of the sample must tell of all that was accepted. One
    # that has a thumbnail only since it contradicts its slip, or was in doubt before, would tell of
    # those alone.
    if is_sampled(outcome.digest, share) and not outcome.drawn_for_slip:
        return rank("sample", _drawn_lot(outcome.digest))
    if outcome.expected not in (None, outcome.prediction):
        return rank_of_wrong(outcome.confidence)
    return None


def rank_of_wrong(confidence: float) -> float:
    """Where a photo stands that is not what its slip says: those that are surely not first."""
    return rank("wrong", 1 - confidence)


def _drawn_lot(digest: bytes) -> float:
    return int.from_bytes(digest[:_BYTES], "big") / _LOTS
