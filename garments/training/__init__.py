"""Fit a network, calibrate it, choose its threshold, and write its model folder."""

from garments.training.command import carry_out
from garments.training.photo_run import train_on_photos
from garments.training.recipe import RECIPES
from garments.training.run import train
from garments.training_request import BACKENDS, TrainingError

__all__ = ["BACKENDS", "RECIPES", "TrainingError", "carry_out", "train", "train_on_photos"]
