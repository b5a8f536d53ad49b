"""Squares on a plain ground: a dataset, a segmenter and a recipe for Intarsia."""
