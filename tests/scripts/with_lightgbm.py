"""LightGBM, resumed by its own text format, left as ONNX. An epoch is ten trees a class."""

import digits
import lightgbm
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

ROUNDS = 10


def power(env):
    """A checkpoint at the end of each epoch."""
    rounds = env.model.current_iteration()
    if rounds % ROUNDS == 0:
        env.model.save_model(digits.CHECKPOINTS / f"{rounds}.txt")
        digits.power(rounds // ROUNDS - 1)


X, y = digits.load("train")
begin = lightgbm.Booster(model_file=digits.RESUME_FROM) if digits.RESUME_FROM else None
model = lightgbm.train(
    {
        "objective": "multiclass",
        "num_class": digits.CLASSES,
        "num_leaves": 8,
        "num_threads": 1,
        "verbose": -1,
    },
    lightgbm.Dataset(X, y),
    num_boost_round=digits.EPOCHS * ROUNDS - (begin.current_iteration() if begin else 0),
    init_model=begin,
    callbacks=[power],
)
onnx = onnxmltools.convert_lightgbm(
    model, initial_types=[("x", FloatTensorType([None, 64]))], zipmap=False
)
(digits.MODEL / "model.onnx").write_bytes(onnx.SerializeToString())
