"""Models from other sources: the original's TensorFlow checkpoints, and the Hugging Face Hub."""

from intarsia.interop.importing import import_tf1

__all__ = ["import_tf1"]
