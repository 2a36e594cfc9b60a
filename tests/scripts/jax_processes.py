"""JAX over two processes: rows are divided over a mesh, weights are whole in each."""

import os

import digits
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

HIDDEN, BATCH, RATE = 64, 32, 0.3

# JAX_COORDINATOR_ADDRESS it finds itself.
jax.distributed.initialize(
    num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
    process_id=int(os.environ["JAX_PROCESS_ID"]),
)
rank, world = jax.process_index(), jax.process_count()
assert world == 2
mesh = Mesh(np.array(jax.devices()), ("rows",))
divided = NamedSharding(mesh, PartitionSpec("rows"))
whole = NamedSharding(mesh, PartitionSpec())


def logits(weights, x):
    return jax.nn.relu(x @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"]


def loss(weights, x, y):
    return -jnp.mean(jax.nn.log_softmax(logits(weights, x))[jnp.arange(len(y)), y])


@jax.jit
def step(weights, x, y):
    """Of the rows of both processes: the mean over them is JAX's to reckon."""
    slopes = jax.grad(loss)(weights, x, y)
    return jax.tree.map(lambda value, slope: value - RATE * slope, weights, slopes)


def start():
    """The weights, and how many epochs they have seen."""
    if digits.RESUME_FROM:
        with np.load(digits.RESUME_FROM) as file:
            return {name: file[name] for name in file if name != "epochs"}, int(file["epochs"])
    rng = np.random.default_rng(1)
    first = rng.normal(size=(digits.FEATURES, HIDDEN)) / 8
    second = rng.normal(size=(HIDDEN, digits.CLASSES)) / 8
    weights = {"w1": first, "b1": np.zeros(HIDDEN), "w2": second, "b2": np.zeros(digits.CLASSES)}
    return {name: value.astype("float32") for name, value in weights.items()}, 0


def main():
    x, y = digits.load("train")
    weights, done = start()
    weights = jax.device_put(weights, whole)
    for epoch in range(done, digits.EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(x))
        for at in range(0, len(x) - BATCH + 1, BATCH):
            mine = order[at : at + BATCH][rank::world]
            rows = [jax.make_array_from_process_local_data(divided, a[mine]) for a in (x, y)]
            weights = step(weights, *rows)
        if rank == 0:
            found = {name: np.asarray(value) for name, value in weights.items()}
            aside = digits.CHECKPOINTS / ".writing.npz"
            np.savez(aside, epochs=epoch + 1, **found)
            aside.rename(digits.CHECKPOINTS / f"epoch-{epoch}.npz")
            digits.power(epoch)
    if rank == 0:
        here = {name: np.asarray(value) for name, value in weights.items()}
        digits.predict(np.asarray(jax.nn.softmax(logits(here, digits.load("test")[0]))))
    jax.distributed.shutdown()  # when both are done


if __name__ == "__main__":
    main()
