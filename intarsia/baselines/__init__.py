"""Baselines: k-means over colours, Slot Attention, and a VAE of the whole image."""
