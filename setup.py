"""Build of the compiled modules; everything else is in pyproject.toml.

``ext/`` holds one source per module: plain Python (the reference, which also runs uncompiled) and a ``.pxd``
beside it that gives the C types. They are staged under ``build/`` as ``pyrpc_xds/_NAME.py``, the package that
they are imported from, and compiled there. What cannot be compiled is installed as the same plain Python.
``_h2.pyx`` calls a C library, so it has no such form: uncompiled, what needs it is not there and says so.

``PYRPC_XDS_NO_EXTENSIONS=1`` leaves them uncompiled; ``PYRPC_XDS_SANITIZE=1`` adds ASan and UBSan.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

STAGE = Path("build", "cython")
SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the .pxd is the only place of C types
    "boundscheck": True,  # bytes of a peer pass through here
    "embedsignature": True,
}


def copy(source: Path, target: Path) -> Path:
    """Copy a file, leaving the target's time alone where nothing changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)
    return target


class BuildOrStage(build_ext):
    """Compiles each module; where that fails, stages its source instead and says so once, with the reason."""

    def run(self) -> None:
        self.failed: dict[str, str] = {}
        if os.environ.get("PYRPC_XDS_NO_EXTENSIONS"):
            self.failed = {extension.name: "PYRPC_XDS_NO_EXTENSIONS is set" for extension in self.extensions}
        else:
            self.translate()
            super().run()
        root = Path() if self.inplace else Path(self.build_lib)
        for extension in self.extensions:
            compiled = root / self.get_ext_filename(extension.name)
            plain = root.joinpath(*extension.name.split(".")).with_suffix(".py")
            if extension.name in self.failed:
                compiled.unlink(missing_ok=True)  # of an earlier build: it would win over the source
                if Path("ext", plain.name).exists():
                    copy(Path("ext", plain.name), plain)
            else:
                plain.unlink(missing_ok=True)
        if self.failed:
            reasons = "; ".join(sorted(set(self.failed.values())))
            print(
                f"WARNING: pyrpc-xds runs uncompiled and several times slower per call: "
                f"{', '.join(sorted(self.failed))} ({reasons}).",
                file=sys.stderr,
            )

    def translate(self) -> None:
        """Replace the Python source of every extension by the C that Cython makes of it."""
        try:
            from Cython.Build import cythonize
        except ImportError:
            self.failed = {extension.name: "Cython is not installed" for extension in self.extensions}
            return
        for extension in self.extensions:
            for name in [*extension.sources, *extension.depends]:
                copy(Path(name), STAGE / "pyrpc_xds" / Path(name).name)
        for extension in self.extensions:
            staged = STAGE / "pyrpc_xds" / Path(extension.sources[0]).name
            [translated] = cythonize(
                [Extension(extension.name, [str(staged)])],
                include_path=[str(STAGE)],
                compiler_directives=DIRECTIVES,
                quiet=True,
            )
            extension.sources = translated.sources

    def build_extension(self, extension: Extension) -> None:
        if extension.name in self.failed:
            return
        try:
            super().build_extension(extension)
        except (BaseError, CCompilerError, OSError):
            command = getattr(self.compiler, "compiler", None) or ["cc"]
            self.failed[extension.name] = f"no working C compiler: {command[0]} failed"


def declarations(source: Path) -> list[Path]:
    """The ``.pxd`` files of a source."""
    names = ["_nghttp2.pxd"] if source.suffix == ".pyx" else [source.with_suffix(".pxd").name]
    return [path for path in map(source.with_name, names) if path.exists()]


def declared(source: Path) -> Extension:
    """The extension of one source as a source distribution carries it: not translated yet."""
    flags = SANITIZE if os.environ.get("PYRPC_XDS_SANITIZE") else []
    return Extension(
        f"pyrpc_xds.{source.stem}",
        [source.as_posix()],
        depends=[path.as_posix() for path in declarations(source)],
        libraries=["dl"] if source.suffix == ".pyx" and sys.platform == "linux" else [],
        # Cython compares a container's length with an unsigned loop variable of its own.
        extra_compile_args=[*flags, "-O3", "-Wno-sign-compare"],
        extra_link_args=flags,
        optional=True,
    )


# Folders of the repository that the installed package carries along, for `pyrpc-xds demo`.
SHIPPED = {
    "pyrpc_xds.examples": "examples",
    "pyrpc_xds.examples.bookinfo": "examples/bookinfo",
    "pyrpc_xds.examples.greeter": "examples/greeter",
    "pyrpc_xds.idl": "idl",
}

setup(
    packages=[*find_packages(include=["pyrpc_xds", "pyrpc_xds.*"]), *SHIPPED],
    package_dir=SHIPPED,
    ext_modules=[
        declared(source) for source in sorted(Path("ext").glob("_*.py*")) if source.suffix != ".pxd"
    ],
    cmdclass={"build_ext": BuildOrStage},
)
