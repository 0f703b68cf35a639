"""Many trainings: a grid with seeds, their table, and the search for better settings."""
