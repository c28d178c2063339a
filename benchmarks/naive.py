"""The service and client that a tutorial would end with, to hold ours against.

One process of Flask's own server, one picture a request, `predict` of Keras for each.
"""

import sys
from pathlib import Path

from benchmarks.service import session


def serve(model: Path, port: int) -> None:
    """Answer on loopback until the process is ended."""
    # The client is measured in a process that has no need of these.
    import keras
    import numpy as np
    from flask import Flask, Response, jsonify, request
    from PIL import Image

    network = keras.models.load_model(model)
    app = Flask(__name__)

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    @app.post("/predict")
    def predict() -> Response:
        picture = Image.open(request.files["image"].stream).convert("L").resize((28, 28))
        found = network.predict(np.asarray(picture).reshape(1, 28, 28, 1), verbose=0)[0]
        return jsonify(prediction=int(found.argmax()), confidence=float(found.max()))

    app.run("127.0.0.1", port, threaded=False)


def night(folder: Path, url: str, table: Path) -> None:
    """Post every picture of `folder` and write the table at the end."""
    lines = ["filename,prediction,confidence"]
    for path in sorted(folder.glob("*.png")):
        with path.open("rb") as file, session() as direct:
            answer = direct.post(f"{url}/predict", files={"image": file}, timeout=60).json()
        lines.append(f"{path.name},{answer['prediction']},{answer['confidence']}")
    table.write_text("\n".join(lines))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
