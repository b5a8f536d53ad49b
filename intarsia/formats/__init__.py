"""Readers of TensorFlow's file formats that don't need TensorFlow."""
