"""The former place of :mod:`workings.disentangling.ensembles`, for imports that still name it."""

from workings.disentangling.ensembles import Job, train_many

__all__ = ["Job", "train_many"]
