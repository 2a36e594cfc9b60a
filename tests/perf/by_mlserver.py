"""The model of ``by_hand`` as a runtime of MLServer's, which decodes the protocol's tensors itself.

``mlserver start FOLDER`` with a ``model-settings.json`` that names it; it needs mlserver.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from .prepared import Prepared


class Model(MLModel):
    """By ``parameters.uri``, the folder of ``tests.unit.serve.build.made``."""

    async def load(self) -> bool:
        self._model = Prepared(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = PandasCodec.decode_request(payload)
        classes, scores = self._model.predict(rows)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("prediction", classes),
                NumpyCodec.encode_output("probabilities", np.asarray(scores)),
            ],
        )
