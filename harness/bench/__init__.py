"""Several tasks, models and trainers side by side: the grid of runs, and how its competitors stand to each other."""
