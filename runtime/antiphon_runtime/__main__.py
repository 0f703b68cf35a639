"""`python -m antiphon_runtime`: the command `antiphon-runtime`."""

from antiphon_runtime.cli import main

if __name__ == "__main__":
    main()
