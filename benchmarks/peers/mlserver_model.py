"""The model as MLServer wants it; `mlserver start benchmarks/peers/mlserver` serves it."""

import json
from typing import Annotated

from fastapi import Body
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.classifier import Answer, Classifier


class Garments(MLModel):
    """Pictures in and answers out, by the Open Inference Protocol and by a route of its own."""

    async def load(self) -> bool:
        self._classify = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        pictures = Base64Codec.decode_input(payload.inputs[0])
        answers = [json.dumps(self._classify(picture)) for picture in pictures]
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("answer", answers)]
        )

    @custom_handler(rest_path="/predict")
    async def predict_file(self, picture: Annotated[bytes, Body(media_type="image/png")]) -> Answer:
        return self._classify(picture)
