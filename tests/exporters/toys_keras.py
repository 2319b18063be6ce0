"""Toy Keras models. `python -m tests.exporters.toys_keras FOLDER` saves them with samples and their outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported

import keras
import numpy as np
import tensorflow


def pictures() -> Any:
    """A small network with common layers. Dropout shows whether it is exported in inference mode."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="picture"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def both() -> Any:
    """Two inputs and two named outputs."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a, b])
    return keras.Model([a, b], {"sum": keras.layers.Dense(1)(joined), "twice": keras.layers.Rescaling(2.0)(a)})


class Counter(tensorflow.Module):  # type: ignore[misc]  # TensorFlow has no types
    """TensorFlow without Keras: a function with a signature."""

    @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 2], tensorflow.float32, name="x")])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return {"total": tensorflow.reduce_sum(x, axis=1), "positive": tensorflow.math.count_nonzero(x > 0, axis=1)}


def nothing() -> Any:
    return 5


def main(folder: Path) -> None:
    """Write samples, outputs and model files."""
    random = np.random.default_rng(0)
    rows = random.random((5, 8, 8, 3), np.float32)
    model = pictures()
    np.savez(folder / "pictures.npz", picture=rows)
    np.savez(folder / "answers.npz", probabilities=model(rows).numpy())
    model.save(folder / "pictures.keras")
    model.export(folder / "pictures_saved", verbose=False)
    a, b = random.random((5, 4), np.float32), random.random((5, 2), np.float32)
    np.savez(folder / "both.npz", a=a, b=b)
    np.savez(folder / "both_answers.npz", **{name: one.numpy() for name, one in both()([a, b]).items()})
    counter, x = Counter(), random.random((5, 2), np.float32) - 0.5
    tensorflow.saved_model.save(counter, str(folder / "counter"))
    np.savez(folder / "counter.npz", x=x)
    np.savez(folder / "counter_answers.npz", **{name: one.numpy() for name, one in counter(x).items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
