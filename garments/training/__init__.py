"""Fit a network, calibrate it, choose its threshold, and write its model folder."""

from garments.training.fit import RECIPES
from garments.training.run import TrainingError, train

__all__ = ["RECIPES", "TrainingError", "train"]
