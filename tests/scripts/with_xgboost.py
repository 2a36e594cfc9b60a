"""XGBoost's own callbacks and checkpoints, left as ONNX. An epoch is ten trees a class."""

import digits
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

ROUNDS = 10


class Power(xgboost.callback.TrainingCallback):
    """A checkpoint at the end of each epoch."""

    def after_iteration(self, model, epoch, evals_log):
        rounds = model.num_boosted_rounds()
        if rounds % ROUNDS == 0:
            model.save_model(digits.CHECKPOINTS / f"{rounds}.ubj")
            digits.power(rounds // ROUNDS - 1)
        return False


X, y = digits.load("train")
begin = xgboost.Booster(model_file=digits.RESUME_FROM) if digits.RESUME_FROM else None
model = xgboost.train(
    {"objective": "multi:softprob", "num_class": digits.CLASSES, "max_depth": 3, "nthread": 1},
    xgboost.DMatrix(X, y),
    num_boost_round=digits.EPOCHS * ROUNDS - (begin.num_boosted_rounds() if begin else 0),
    xgb_model=begin,
    callbacks=[Power()],
)
onnx = onnxmltools.convert_xgboost(model, initial_types=[("x", FloatTensorType([None, 64]))])
(digits.MODEL / "model.onnx").write_bytes(onnx.SerializeToString())
