"""What the package and the runtime share: how inputs are read, and the classes of predictions.

Both distributions contain this folder, each under its name (`runtime/antiphon_runtime/common` is a link to it), so
modules here import each other relatively, and else only numpy and the standard library; pillow and tokenizers only
where a model needs them, pydantic only in `options`. A `ValueError` says what is wrong with an input, as the end of a
sentence that begins with its name: "is empty".
"""
