"""The nightly table of very many photos, made by the machines of a Ray cluster."""

from garments.cluster.job import Counts, run

__all__ = ["Counts", "run"]
