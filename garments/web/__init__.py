"""The Flask service: app factory, request forms, answers, errors and the processes that serve."""

from garments.web.factory import create_app
from garments.web.server import main

__all__ = ["create_app", "main"]
