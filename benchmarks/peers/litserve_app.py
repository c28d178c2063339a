"""The model behind LitServe: `python -m benchmarks.peers.litserve_app PORT`."""

import os
import sys
from typing import Annotated

import litserve
from fastapi import Body

from benchmarks.peers.classifier import Answer, Classifier


class Garments(litserve.LitAPI):
    """The file of a picture in, its answer out."""

    def setup(self, device: str) -> None:
        self._classify = Classifier()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/png")]) -> bytes:
        return request

    def predict(self, picture: bytes) -> Answer:
        return self._classify(picture)

    def encode_response(self, answer: Answer) -> Answer:
        return answer


if __name__ == "__main__":
    # As many processes for HTTP as for the model, which is its default and fastest here.
    cores = len(os.sched_getaffinity(0))
    litserve.LitServer(Garments(), accelerator="cpu", workers_per_device=cores).run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
