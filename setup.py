"""Ships `sql/`, `docs/`, README and `workspace.yaml` inside the package; the rest is in pyproject.toml.

`<package>/../sql` in a checkout is `<package>/sql` in a wheel. An editable install is a checkout,
so it copies nothing and an edit counts at once.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("sql", "docs", "README.md", "workspace.yaml")


class BuildWithShippedFiles(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib, "cops_dagster")
        for name in SHIPPED:
            source, target = Path(name), package / name
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)  # a stale build/ must not resurrect a file
                left_out = shutil.ignore_patterns("__pycache__", ".*", "images")
                shutil.copytree(source, target, ignore=left_out)
            else:
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithShippedFiles})
