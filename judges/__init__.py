"""Judges: models that rate completions where no metric can. None is part of this version; metrics decide."""
