"""Models, as structures put them together from parts."""
