"""Readers of file formats: images, and those of TensorFlow without TensorFlow."""
