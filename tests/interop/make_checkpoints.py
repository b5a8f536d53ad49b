"""Writes the checkpoints beside this file with TensorFlow itself, which the tests do not need: they only read them.

In an environment of its own: `pip install tensorflow-cpu==2.21`, then `python tests/interop/make_checkpoints.py`.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent / "checkpoints"
v1 = tf.compat.v1


def values() -> dict[str, np.ndarray]:
    """The variables: what `test_checkpoint.py` expects to read."""
    count = np.arange(2 * 3 * 4, dtype=np.float32)
    return {
        "Scope//conv1/weights": (count / 7 - 1).reshape(2, 3, 1, 4),
        "Scope//conv1/weights/Adam": np.zeros((2, 3, 1, 4), np.float32),
        "Scope//conv1/biases": np.array([1e-30, -1.5, np.inf], np.float32),
        "Scope//double": np.array([[0.1, -1e300]]),
        "train_op/global_step": np.array(-3, np.int64),
        "train_op/small": np.array([7, -(2**31), 2**31 - 1], np.int32),
        "train_op/beta1_power": np.array(0.9, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    v1.disable_eager_execution()
    v1.disable_resource_variables()
    settings = v1.ConfigProto(device_count={"CPU": 2})
    with v1.Session(config=settings) as session:
        made = []
        for number, (name, value) in enumerate(values().items()):
            with tf.device(f"/cpu:{number % 2}"):
                made.append(v1.Variable(value, name=name, dtype=value.dtype))
        session.run(v1.global_variables_initializer())
        for name, options in {
            "one": {"write_version": v1.train.SaverDef.V2},
            "two-files": {"write_version": v1.train.SaverDef.V2, "sharded": True},
            "single-file": {"write_version": v1.train.SaverDef.V1},
        }.items():
            saver = v1.train.Saver({each.op.name: each for each in made}, **options)
            saver.save(session, str(FOLDER / name), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    sys.exit(main())
