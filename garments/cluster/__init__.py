"""The nightly table of very many photos, made by the machines of a Ray cluster."""

from garments.cluster.job import run

__all__ = ["run"]
