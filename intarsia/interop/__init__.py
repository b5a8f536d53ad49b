"""Models from elsewhere: TensorFlow checkpoints of the original."""
