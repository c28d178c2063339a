"""What an entry of the service's answer means for the night."""

from __future__ import annotations

from garments.batch.replies import Entry
from garments.routing import together
from garments.store import Answer


def is_of_a_limit(entry: Entry) -> bool:
    """Whether a picture was refused for a limit, which the service may not have any more."""
    return str(entry.get("error", {}).get("code", "")).startswith("too_many_")


def told_by(entry: Entry, model: str) -> str | None:
    """The models that the service chose from; None where nothing answered.

    Where it does not say, those of `model`, with the version of the one that answered.
    """
    if "models" in entry:
        return str(entry["models"])
    return updated(model, entry["model"]) if "model" in entry else None


def as_answer(digest: bytes, entry: Entry, model: str) -> Answer:
    """The answer of `model` for a content, as it is kept."""
    if "error" in entry:
        problem = str(entry["error"]["detail"])
        return Answer(digest, model, "unreadable", problem=problem)
    return Answer(
        digest=digest,
        model=model,
        decision=entry["decision"],
        prediction=entry["prediction"],
        label=entry["label"],
        confidence=float(entry["confidence"]),
        top=[[choice["label"], choice["confidence"]] for choice in entry["top"]],
        answered_by=None if entry["model"] == model else entry["model"],
    )


def updated(model: str, answered_by: str) -> str:
    """The models that a service chooses from, once one of them has `answered_by` a version."""
    versions = dict(one.split("@", 1) for one in [*model.split("+"), answered_by])
    return together(f"{name}@{version}" for name, version in versions.items())
