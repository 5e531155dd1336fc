"""Scores by mood, with a library that nobody has."""

import no_such_mood_library

create = no_such_mood_library.create
