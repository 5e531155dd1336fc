"""The embedded base model: an ordinary model folder, and the grammar and script that make it."""
