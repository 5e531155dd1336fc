"""The zoo of small models and chat templates."""

from tests.models.fixtures import zoo

__all__ = ["zoo"]
