"""Judges: models that rate completions where no metric can, and the controls that they have to beat."""
