"""What the method is compared with: k-means over colours (`colour_kmeans`) and Slot Attention (`slot_attention`)."""
