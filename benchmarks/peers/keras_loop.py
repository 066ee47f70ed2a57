"""The comparison's training as Keras' documentation would have it written: layers, compile, fit; on JAX."""

import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import keras
from common import BATCH_SIZE, LR, NUM_TRAIN, arguments, read_images, report
from keras import layers


def lenet() -> keras.Model:
    """Return LeNet for 28×28 images."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="sigmoid"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="sigmoid"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120),
            layers.Dense(84),
            layers.Dense(10, activation="softmax"),
        ]
    )


def alexnet() -> keras.Model:
    """Return AlexNet for 28×28 images, which it enlarges to 227×227 itself, so that memory holds the small ones."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Resizing(227, 227),
            layers.Conv2D(96, 11, strides=4, activation="relu"),
            layers.MaxPooling2D(3, 2),
            layers.Conv2D(256, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(3, 2),
            layers.Conv2D(384, 3, padding="same", activation="relu"),
            layers.Conv2D(384, 3, padding="same", activation="relu"),
            layers.Conv2D(256, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(4096, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


class Clock(keras.callbacks.Callback):
    """Times each epoch's training and validation."""

    def on_train_begin(self, logs: object = None) -> None:  # noqa: D102
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: D102
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: D102
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    """Train, validate and test."""
    asked = arguments()
    images, labels = read_images(asked.data, "train")
    test_images, test_labels = read_images(asked.data, "t10k")
    images, test_images = (array[..., None].astype("float32") / 255 for array in (images, test_images))
    train = slice(asked.limit_train)
    val = slice(NUM_TRAIN, NUM_TRAIN + asked.limit_val)
    test = slice(asked.limit_test)

    model = {"lenet": lenet, "alexnet": alexnet}[asked.model]()
    model.compile(keras.optimizers.Adam(LR), "sparse_categorical_crossentropy", metrics=["accuracy"])
    clock = Clock()
    history = model.fit(
        images[train],
        labels[train],
        batch_size=BATCH_SIZE,
        epochs=asked.epochs,
        validation_data=(images[val], labels[val]),
        callbacks=[clock],
    )
    until_trained = time.time() - asked.started

    # Twice: a last batch of another size than before makes JAX compile anew, which is no part of the test's speed.
    for _ in range(2):
        started = time.perf_counter()
        _, test_acc = model.evaluate(test_images[test], test_labels[test], batch_size=BATCH_SIZE)
    report(
        epoch_seconds=clock.seconds,
        until_trained=until_trained,
        val_acc=history.history["val_accuracy"][-1],
        test_acc=test_acc,
        test_rate=asked.limit_test / (time.perf_counter() - started),
    )


if __name__ == "__main__":
    main()
