"""The network of every Keras tutorial, resumed by BackupAndRestore, left as ONNX."""

import digits
import keras
from keras import layers


class Power(keras.callbacks.Callback):
    """After BackupAndRestore has written."""

    def on_epoch_end(self, epoch, logs=None):
        digits.power(epoch)


keras.utils.set_random_seed(1)
model = keras.Sequential(
    [
        keras.Input((digits.FEATURES,)),
        layers.Dense(64, activation="relu"),
        layers.Dense(64, activation="relu"),
        layers.Dense(digits.CLASSES, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
backup = keras.callbacks.BackupAndRestore(digits.CHECKPOINTS)
model.fit(*digits.load("train"), epochs=digits.EPOCHS, verbose=2, callbacks=[backup, Power()])
model.export(digits.MODEL / "model.onnx", format="onnx")
