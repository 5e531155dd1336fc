"""From a sample to token ids: one renderer for training and for every evaluation."""

from harness.prompting.chat import Renderer
from harness.prompting.shots import ShotPool
from harness.prompting.wordings import Renderers

__all__ = ["Renderer", "Renderers", "ShotPool"]
