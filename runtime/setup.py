"""All settings are in pyproject.toml; this file only refuses to build a distribution without the shared code."""

from pathlib import Path

from setuptools import setup

for name in ("common", "server"):
    if not (Path(__file__).parent / "antiphon_runtime" / name / "__init__.py").is_file():
        raise SystemExit(
            f"runtime/antiphon_runtime/{name}: is not a folder. It is a symbolic link to antiphon/{name}, and git "
            "checked it out as a text file. Allow symbolic links (on Windows: developer mode) and run: "
            "git config core.symlinks true && git checkout -- runtime"
        )

setup()
