"""Fit a network, calibrate it, choose its threshold, and write its model folder."""

from garments.training.errors import TrainingError
from garments.training.fit import BACKENDS
from garments.training.recipe import RECIPES
from garments.training.run import train

__all__ = ["BACKENDS", "RECIPES", "TrainingError", "train"]
