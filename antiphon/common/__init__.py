"""What the package and the runtime share: how inputs are read, and what answers are.

Both distributions hold this folder, each under its name (`runtime/antiphon_runtime/common` is a link to it), so modules
here import each other relatively, and numpy and the standard library alone; pillow and tokenizers only where a model
needs them. A `ValueError` says what is wrong with an input, as the end of a sentence that begins with its name: "is
empty".
"""
