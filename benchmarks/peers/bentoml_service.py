"""The model behind BentoML: `bentoml serve benchmarks.peers.bentoml_service:Garments`."""

import base64
import os

import bentoml

from benchmarks.peers.classifier import Classifier


@bentoml.service(
    workers=len(os.sched_getaffinity(0)),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Garments:
    """A picture's base64 in, its answer out."""

    def __init__(self) -> None:
        self._classify = Classifier()

    # A plain method would be sent to a thread and be a fifth slower.
    @bentoml.api
    async def predict(self, image: str) -> dict:
        return self._classify(base64.b64decode(image))
