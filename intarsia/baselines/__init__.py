"""Baselines: k-means, a normalised cut, Slot Attention, and a VAE of the whole image."""
