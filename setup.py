"""Build of the compiled modules.

``ext/`` holds one source per module: plain Python (the reference, which also runs uncompiled) and a ``.pxd``
beside it that gives the C types. They are staged as ``pyrpc_xds/_NAME.py`` so that Cython sees the package
layout that the modules are imported by.

``PYRPC_XDS_NO_EXTENSIONS=1`` leaves them uncompiled; ``PYRPC_XDS_SANITIZE=1`` adds ASan and UBSan.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError

ROOT = Path(__file__).parent
STAGE = Path("build", "cython")
MODULES = sorted(path.stem for path in (ROOT / "ext").glob("_*.py"))
SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]


def stage(target: Path, suffixes: tuple[str, ...]) -> None:
    """Copy the sources of every module into ``target``, touching only what changed."""
    target.mkdir(parents=True, exist_ok=True)
    for source in (ROOT / "ext" / (name + suffix) for name in MODULES for suffix in suffixes):
        copy = target / source.name
        if source.exists() and (not copy.exists() or copy.read_bytes() != source.read_bytes()):
            shutil.copyfile(source, copy)


def extensions() -> list[Extension]:
    """The compiled modules, or none where the caller or the machine forbids it."""
    if os.environ.get("PYRPC_XDS_NO_EXTENSIONS"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    os.chdir(ROOT)
    stage(STAGE / "pyrpc_xds", (".py", ".pxd"))
    flags = SANITIZE if os.environ.get("PYRPC_XDS_SANITIZE") else ["-O3"]
    return list(
        cythonize(
            [
                Extension(
                    f"pyrpc_xds.{name}",
                    [str(STAGE / "pyrpc_xds" / f"{name}.py")],
                    extra_compile_args=flags,
                    extra_link_args=SANITIZE if flags is SANITIZE else [],
                    optional=True,
                )
                for name in MODULES
            ],
            include_path=[str(STAGE)],
            compiler_directives={
                "language_level": 3,
                "annotation_typing": False,  # the .pxd is the only place of C types
                "boundscheck": True,  # peer bytes pass through _scan
                "embedsignature": True,
            },
            quiet=True,
        )
    )


class BuildWithFallback(build_ext):
    """Compile; where that fails, install the same sources uncompiled and say so once."""

    def run(self) -> None:
        problem = "PYRPC_XDS_NO_EXTENSIONS is set" if not self.extensions else ""
        try:
            super().run()
        except (BaseError, OSError) as error:
            problem = str(error)
        target = Path("pyrpc_xds") if self.inplace else Path(self.build_lib, "pyrpc_xds")
        missing = [name for name in MODULES if not any(target.glob(f"{name}.*.so")) and not any(target.glob(f"{name}.*.pyd"))]
        if missing:
            stage(target, (".py",))
            reason = problem or "no working C compiler"
            print(
                f"WARNING: pyrpc-xds runs uncompiled, several times slower per call: {', '.join(missing)} ({reason}).",
                file=sys.stderr,
            )
        else:
            for name in MODULES:
                (target / f"{name}.py").unlink(missing_ok=True)


class DistributionWithSources(Distribution):
    """Runs build_ext even where nothing is compiled, so that the sources are still staged."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    packages=[
        path.parent.as_posix().replace("/", ".") for path in Path("pyrpc_xds").rglob("__init__.py")
    ],
    package_data={"pyrpc_xds": ["py.typed", "*.pyi", "**/*.json", "**/*.yaml"]},
    ext_modules=extensions(),
    distclass=DistributionWithSources,
    cmdclass={"build_ext": BuildWithFallback},
)
