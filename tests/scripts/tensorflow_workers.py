"""MultiWorkerMirroredStrategy by TF_CONFIG, resumed by BackupAndRestore, left as ONNX."""

import json
import os

import digits
import tensorflow as tf
import tf2onnx

strategy = tf.distribute.MultiWorkerMirroredStrategy()
worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
assert strategy.num_replicas_in_sync == 2


class Power(tf.keras.callbacks.Callback):
    """After BackupAndRestore has written."""

    def on_epoch_end(self, epoch, logs=None):
        if worker == 0:
            digits.power(epoch)


def make():
    """The network of every tutorial."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Dense(64, activation="relu", input_shape=(digits.FEATURES,)),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(digits.CLASSES, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(0.005),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


tf.keras.utils.set_random_seed(1)
with strategy.scope():
    model = make()
data = tf.data.Dataset.from_tensor_slices(digits.load("train")).repeat().batch(32)
model.fit(
    data,
    epochs=digits.EPOCHS,
    steps_per_epoch=40,
    verbose=2,
    callbacks=[tf.keras.callbacks.BackupAndRestore(str(digits.CHECKPOINTS)), Power()],
)
if worker == 0:
    alone = make()  # of no strategy: saving that one would take both workers
    alone.set_weights(model.get_weights())
    tf2onnx.convert.from_keras(alone, output_path=str(digits.MODEL / "model.onnx"))
