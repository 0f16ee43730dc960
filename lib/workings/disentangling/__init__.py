"""Disentangling: beta-VAEs, capacity, and the data and measures they need."""
