"""One input's run through a model, seen from inside, as a `Trace`.

States and gates are those of the cells' equations, step by step; everything else comes from the functions that predict
and score.
"""
