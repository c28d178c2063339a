"""What every peer does with a picture: our decoding, our model file, the likeliest class."""

from garments.engine import Engine
from garments.preprocess import Limits, to_array
from garments.settings import PROJECT

Answer = dict[str, int | str | float]


class Classifier:
    """The model in this process, on one thread of ONNX Runtime."""

    def __init__(self) -> None:
        self._engine = Engine(PROJECT / "model" / "fashion-mnist")

    def __call__(self, picture: bytes) -> Answer:
        """The likeliest class of the file of one picture. Raises BadImage."""
        card = self._engine.card
        array = to_array(picture, card.height, card.width, card.preprocessing, limits=Limits())
        (answer,) = self._engine.predict(array[None], top=1)
        (best,) = answer.top
        return {
            "prediction": best.prediction,
            "label": best.label,
            "confidence": best.told,
        }
