"""Models from elsewhere: TensorFlow checkpoints of the original."""

from intarsia.interop.importing import import_tf1

__all__ = ["import_tf1"]
