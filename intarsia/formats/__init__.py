"""Readers of TensorFlow's file formats, without TensorFlow."""
