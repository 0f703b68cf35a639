"""Traces as files and pictures: fonts, the views of a trace, and what is written of them."""
