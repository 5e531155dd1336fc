"""The embedded base models: ordinary model folders, and the grammar and script that make them."""
