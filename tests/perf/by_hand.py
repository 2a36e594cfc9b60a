"""A server as people write it by hand: FastAPI before the model of ``prepared``.

``python -m tests.perf.by_hand FOLDER PORT``; it needs fastapi and uvicorn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import uvicorn
from fastapi import FastAPI

from .prepared import Prepared


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    model = Prepared(folder)
    app = FastAPI()

    def predict(asked: dict[str, Any]) -> dict[str, Any]:
        classes, scores = model.predict(pd.DataFrame(asked["rows"]))
        return {"prediction": classes, "probabilities": scores.tolist()}

    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
