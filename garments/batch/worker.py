"""What a thread of the night does: read some photos, and have them answered."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace

from garments.batch import photo
from garments.batch.answers import as_answer, is_of_a_limit, told_by
from garments.batch.client import Client
from garments.batch.review_order import is_sampled
from garments.batch.state import Night
from garments.batch.walk import Found
from garments.store import Answer, Photo
from garments.thumbnail import thumbnail


@dataclass
class Batch:
    """What became of some photos."""

    photos: list[Photo] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    left: list[Found] = field(default_factory=list)
    posted: Counter[str] = field(default_factory=Counter)
    """How many were sent, by the models that the service is known to have chosen from."""
    models: set[str] = field(default_factory=set)
    """What the service said that it chose from."""
    error: Exception | None = None
    """What ended it before it was whole."""


class Worker:
    """What all threads share, which nothing changes; `night.model` may change any time."""

    def __init__(self, night: Night, client: Client) -> None:
        self._store = night.store
        self._settings = night.settings
        self._directory = night.directory
        self._fresh = night.fresh
        self._client = client

    def work_on(self, group: list[Found], model: str, *, settled: bool) -> Batch:
        """Read photos and have those answered that `model` has no answer for.

        Whatever it raises is in the batch, beside what came before it. Of a file that has `settled`
        it does not matter how lately it was changed.
        """
        batch = Batch()
        try:
            self._read_and_classify(batch, group, model, settled)
        except Exception as error:  # noqa: BLE001 (raised where the batch is waited for)
            batch.error = error
            answered = {answer.digest for answer in batch.answers}
            batch.photos = [
                seen for seen in batch.photos if seen.problem or seen.digest in answered
            ]
        return batch

    def _read_and_classify(
        self, batch: Batch, group: list[Found], model: str, settled: bool
    ) -> None:
        contents: dict[bytes, bytes] = {}
        size = 0
        for found in group:
            try:
                content = self._read(found, settled)
            except photo.StillWritten as error:
                batch.left.append(Found(found.name, error.stamp))
                continue
            except OSError as error:
                problem = f"the file cannot be read: {error.strerror}"
                batch.photos.append(Photo(found.name, found.stamp, None, problem))
                continue
            size += len(content)
            if contents and size > self._settings.batch_bytes:
                self._add_answers(batch, contents, model)
                contents, size = {}, len(content)
            digest = hashlib.sha256(content).digest()
            batch.photos.append(Photo(found.name, found.stamp, digest))
            contents[digest] = content
        self._add_answers(batch, contents, model)

    def _read(self, found: Found, settled: bool) -> bytes:
        if found.stamp.size > self._settings.max_request_bytes:
            raise OSError(
                errno.EFBIG, f"it has more than {self._settings.max_request_bytes:,} bytes"
            )
        settle_seconds = 0 if settled else self._settings.settle_seconds
        return photo.read(os.path.join(self._directory, found.name), found.stamp, settle_seconds)

    def _add_answers(self, batch: Batch, contents: dict[bytes, bytes], model: str) -> None:
        """Add the answers for `contents`, by digest, that the store does not have."""
        known = set() if self._fresh or not contents else self._store.answered([*contents], model)
        asked = [digest for digest in contents if digest not in known]
        if not asked:
            return
        problems: dict[bytes, str] = {}
        try:
            entries = self._client.classify([contents[digest] for digest in asked])
            for digest, entry in zip(asked, entries, strict=True):
                told = told_by(entry, model)
                if told:
                    batch.models.add(told)
                batch.posted[told or model] += 1
                if entry.get("failed") or is_of_a_limit(entry):
                    # Not kept as an answer: the service may do better next night.
                    problems[digest] = entry["error"]["detail"]
                    continue
                answer = as_answer(digest, entry, told or model)
                if self._is_for_people(answer):
                    answer = replace(answer, thumbnail=thumbnail(contents[digest]))
                batch.answers.append(answer)
        finally:
            batch.photos = [
                replace(seen, problem=problems[seen.digest]) if seen.digest in problems else seen
                for seen in batch.photos
            ]

    def _is_for_people(self, answer: Answer) -> bool:
        return answer.decision == "review" or (
            answer.decision == "accept" and is_sampled(answer.digest, self._settings.review_sample)
        )
