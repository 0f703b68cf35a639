"""Models behind HTTP. A request's way: guard -> app -> schema -> batching -> the model, and back.

Both distributions contain this folder, each under its name (`runtime/antiphon_runtime/server` is a link to it), so
modules here import each other and `common` relatively, and nothing else of a distribution but its version. How a
distribution reads its folders comes in as a `Loader`. Without the packages of the extra `serve` only `options`,
`settings` and `errors` can be imported.
"""
