"""Frames between keys: one transformer for in-betweening, up-sampling and noisy keys."""
