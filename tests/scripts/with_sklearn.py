"""scikit-learn, left as ONNX. It fits in one go: there is nothing to go on from."""

import digits
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

X, y = digits.load("train")
model = RandomForestClassifier(100, random_state=1).fit(X, y)
onnx = to_onnx(model, X[:1].astype("float32"), options={"zipmap": False})
(digits.MODEL / "model.onnx").write_bytes(onnx.SerializeToString())
