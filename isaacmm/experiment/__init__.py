"""Experiments: many trainings that differ in named ways, compared with error bars."""
