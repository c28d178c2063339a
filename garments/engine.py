"""A model folder, loaded and proven: uint8 pictures in, probabilities and decisions out."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from garments.card import ACCEPTS_NOTHING, ONNX_NAME, Card, read_model
from garments.settings import tell_library

# It would report to its makers, of every process that imports it, as soon as it is imported.
tell_library("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime  # noqa: E402

# Kernels differ in the last bits between processors; a wrong model differs in the first.
_GOLDEN_TOLERANCE = 1e-3
# In steps of 255; every picture of Fashion-MNIST has 254 or 255.
_LEAST_CONTRAST = 32
# Bytes of input in one run. Activations take many times as much, and ONNX Runtime keeps that
# memory; larger batches are no faster.
_BYTES_AT_ONCE = 2**20


class EngineError(Exception):
    """The model cannot be run or does not give its golden answer; the text says which."""


class Choice(NamedTuple):
    """One class and its calibrated probability."""

    prediction: int
    label: str
    confidence: float

    @property
    def told(self) -> float:
        """The confidence in as many digits as anybody is told."""
        return round(self.confidence, 6)


class Answer(NamedTuple):
    """What the model says of one picture: the likeliest classes, best first."""

    top: tuple[Choice, ...]
    decision: Literal["accept", "review"]


class Graph:
    """The network of a model folder on ONNX Runtime; safe to use from several threads."""

    def __init__(self, path: Path, onnx: bytes | None = None) -> None:
        """Load `path`, a `model.onnx`, or its content `onnx`. Raises EngineError."""
        options = onnxruntime.SessionOptions()
        # One process serves per core, so more threads would only get in each other's way.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                onnx or str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class of their own
            raise EngineError(f"{path} cannot be loaded: {error}") from error
        self._input = self._session.get_inputs()[0].name

    def probabilities(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Calibrated probabilities (n, classes) of uint8 `pictures` (n, h, w, channels)."""
        at_once = max(1, _BYTES_AT_ONCE // max(1, pictures[:1].nbytes))
        if len(pictures) <= at_once:
            (found,) = self._session.run(None, {self._input: pictures})
            return np.asarray(found, dtype=np.float32)
        starts = range(0, len(pictures), at_once)
        return np.concatenate([self.probabilities(pictures[n : n + at_once]) for n in starts])


class Engine:
    """One model folder, ready to answer; safe to use from several threads."""

    def __init__(self, folder: Path, model: tuple[Card, bytes] | None = None) -> None:
        """Load the model and check its golden answer. Raises CardError and EngineError.

        `model` is what `read_model` made of the folder before, if somebody keeps it.
        """
        self.card, onnx = model or read_model(folder)
        self.probabilities = Graph(folder / ONNX_NAME, onnx).probabilities
        """As `Graph.probabilities`: (n, classes) of `pictures` (n, height, width, channels)."""
        self._check_golden_answer(folder)

    def _check_golden_answer(self, folder: Path) -> None:
        try:
            shape = (self.card.height, self.card.width, self.card.channels)
            if min(shape) < 1:
                raise ValueError(f"its input has the shape {shape}")
            golden = np.frombuffer(base64.b64decode(self.card.golden_input), np.uint8)
            picture = golden.reshape(1, *shape)
            (answer,) = self.predict(picture, top=len(self.card.labels))
            found = {choice.prediction: choice.confidence for choice in answer.top}
            expected = self.card.golden_probabilities
            # NumPy's maximum is NaN where any of them is.
            strayed = np.max([abs(found[index] - share) for index, share in enumerate(expected)])
            if not len(found) == len(expected) == len(self.card.labels):
                raise ValueError("labels and probabilities are not of one number")
            if not 0 <= self.card.accept_threshold <= ACCEPTS_NOTHING:
                raise ValueError(f"it accepts from {self.card.accept_threshold} on")
        except Exception as error:  # a card or graph of another shape fails in many ways
            raise EngineError(f"{folder} cannot answer its golden input: {error}") from error
        if not strayed <= _GOLDEN_TOLERANCE:
            raise EngineError(
                f"{folder} does not give its golden answer (off by {strayed:.3g}): "
                "restore the folder, or train the model again on this machine"
            )

    def predict(self, pictures: npt.NDArray[np.uint8], top: int = 3) -> list[Answer]:
        """Answer for each of `pictures` (n, height, width, channels), with its `top` classes."""
        found = self.probabilities(pictures)
        order = (-found).argsort(axis=1, kind="stable")[:, :top]
        accepted = self.accepted(pictures, found).tolist()
        labels = self.card.labels
        # Lists of Python's own numbers are quicker to walk than arrays.
        return [
            Answer(
                top=tuple([Choice(index, labels[index], row[index]) for index in indices]),
                decision="accept" if accept else "review",
            )
            for row, indices, accept in zip(found.tolist(), order.tolist(), accepted, strict=True)
        ]

    def accepted(
        self, pictures: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Which answers (n,) need no look: those from the card's threshold on.

        Takes `pictures` (n, height, width, channels) and their `probabilities` (n, classes).
        """
        # A picture of next to one colour shows no item, whatever the model makes of it.
        # Each colour in one piece of memory, which NumPy goes through thirty times as fast.
        planes = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
        contrast = (planes.max(axis=(2, 3)) - planes.min(axis=(2, 3))).max(axis=1)
        sure = probabilities.max(axis=1) >= self.card.accept_threshold
        return np.asarray(sure & (contrast >= _LEAST_CONTRAST))
