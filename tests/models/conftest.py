"""The tiny models, for every test in this folder."""

from tests.models.fixtures import zoo

__all__ = ["zoo"]
