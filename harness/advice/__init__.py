"""Advice before anything is spent: answers to a checklist become recommendations with their reasons and figures."""

from harness.advice.checklist import QUESTIONS, Answers, Question
from harness.advice.memory import Need, needs
from harness.advice.model import Advice, Line, advise_model

__all__ = ["QUESTIONS", "Advice", "Answers", "Line", "Need", "Question", "advise_model", "needs"]
