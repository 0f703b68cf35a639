"""Programs around a model: demo, benchmark, checks of a table, reports."""
