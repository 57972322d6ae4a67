"""ich_tf.metrics as another project uses it: known answers, and compile(metrics=[...]).

  python check_metrics.py numpy|torch|keras2|keras3

Run by .ci/metrics in one environment after the other, where nothing else of ich_tf may be needed.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy as np

from ich_tf import metrics
from ich_tf.labels import CLASSES, WEIGHTS

PUBLISHED = ("any", *CLASSES[:-1])
ORDER = [PUBLISHED.index(name) for name in CLASSES]
Y = np.array([[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])[:, ORDER]
P = np.array([[0.9, 0.01, 0.8, 0.05, 0.02, 0.1], [0.05, 0.001, 0.01, 0.01, 0.02, 0.03]])[:, ORDER]


class Tensor:
    """What another library's tensor is to NumPy."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.values


def check_numpy() -> None:
    """The published answers, of arrays, lists and tensors."""
    for y, p in ((Y, P), (Y.tolist(), P.tolist()), (Tensor(Y), Tensor(P))):
        assert abs(metrics.weighted_log_loss(y, p) - 0.056794) < 1e-6
    assert abs(metrics.weighted_log_loss(Y, np.full(Y.shape, 0.5)) - np.log(2)) < 1e-12
    assert metrics.roc_auc([0, 0, 1], [0.1, 0.3, 0.2]) == 0.5
    mask = np.eye(4)[None]
    assert metrics.dice(mask, mask) == 1 and metrics.volume_ml(mask, (5, 10, 10)) == 2
    assert sum(WEIGHTS) == 7


def check_torch(torch: object) -> None:
    """What a PyTorch project scores after an epoch: a network's probabilities, of any dtype."""
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 6)
    x = torch.randn(23, 4)
    y = torch.randint(0, 2, (23, 6))
    weight = torch.tensor(WEIGHTS) / sum(WEIGHTS)
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            logits = network(x).to(dtype)
            found = metrics.weighted_log_loss(y, torch.sigmoid(logits))
            each = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, y.to(dtype), reduction="none"
            )
            expected = float((each * weight).sum(1).mean())
            assert abs(found - expected) < 1e-6, (found, expected)
        interval = metrics.bootstrap_interval(
            lambda w: metrics.roc_auc(y[:, 5], torch.sigmoid(logits)[:, 5], w), np.arange(23)
        )
    assert interval.low < interval.high


def check_keras(keras: object) -> None:
    """Class and function in `compile`, over uneven batches; saved and loaded."""
    module = importlib.import_module(metrics.WeightedLogLoss.__module__)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 4)).astype(np.float32)
    y = rng.integers(0, 2, (23, 6)).astype(np.float32)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(6, "sigmoid")])
    for metric in (metrics.WeightedLogLoss(), module.weighted_log_loss):
        model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=[metric])
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
        assert "weighted_log_loss" in history, history
        found = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        expected = metrics.weighted_log_loss(y, model.predict(x, verbose=0))
        assert abs(found["weighted_log_loss"] - expected) < 1e-5, (found, expected)
    streaming = metrics.WeightedLogLoss(from_logits=True)
    streaming.update_state(Y, metrics.logit(P).astype(np.float32))
    assert abs(float(streaming.result()) - 0.056794) < 1e-5
    model.compile(optimizer="sgd", loss="binary_crossentropy", metrics=[metrics.WeightedLogLoss()])
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        again = keras.models.load_model(Path(folder) / "model.keras")
    found = again.evaluate(x, y, verbose=0, return_dict=True)
    assert abs(found["weighted_log_loss"] - expected) < 1e-5, (found, expected)


def main() -> None:
    """Checks, and says what with."""
    kind = sys.argv[1]
    check_numpy()
    assert not {"keras", "scipy", "tensorflow"} & set(sys.modules)
    said = f"numpy {np.__version__}"
    if kind == "numpy":
        assert importlib.util.find_spec("tensorflow") is None, "this environment has TensorFlow"
    elif kind == "torch":
        import torch

        assert importlib.util.find_spec("tensorflow") is None, "this environment has TensorFlow"
        check_torch(torch)
        assert "keras" not in sys.modules
        said += f", PyTorch {torch.__version__}"
    elif kind == "keras2":
        from ich_tf.runtime.keras2 import keras

        assert metrics.WeightedLogLoss.__module__ == "ich_tf.metrics.keras2"
        check_keras(keras)
        import tensorflow as tf

        said += f", {keras.Model.__module__.split('.')[0]} of TensorFlow {tf.__version__}"
    else:
        import keras

        assert metrics.WeightedLogLoss.__module__ == "ich_tf.metrics.keras3"
        check_keras(keras)
        said += f", Keras {keras.__version__} on {keras.backend.backend()}"
    print(f"ich_tf.metrics holds with {said}")


if __name__ == "__main__":
    main()
