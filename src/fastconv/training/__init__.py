"""Training, evaluation, checkpoints, trained classifiers as files, and pictures of it all."""

from fastconv.training.classifier import ARCHITECTURES, Classifier, build_model
from fastconv.training.loop import Evaluation, confusion_matrix, evaluate, fit
from fastconv.training.recipes import Recipe
from fastconv.training.run import Run, train

__all__ = [
    "ARCHITECTURES",
    "Classifier",
    "Evaluation",
    "Recipe",
    "Run",
    "build_model",
    "confusion_matrix",
    "evaluate",
    "fit",
    "train",
]
