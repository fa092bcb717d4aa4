"""The greeter's image without a container engine: the steps of its Dockerfile, taken in a folder.

The base image is this machine with its compiler, and dependencies are those of the tests; everything else is as the
Dockerfile says. What it leaves unproven is the base image.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .built import ROOT, PeerUnavailable, run
from .kubernetes import MANIFESTS, command

DOCKERFILE = MANIFESTS / "Dockerfile"
RUN_SECONDS = 300.0


@dataclass
class Image:
    """What a stage of the Dockerfile makes.

    :param app: the folder that is /app in the image.
    """

    app: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.app / "bin" / "python"


@functools.cache
def described() -> dict[str, Any]:
    """The Dockerfile as Docker's own parser reads it."""
    done = command("dockerfile", DOCKERFILE, ROOT)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stage(name: str) -> dict[str, Any]:
    """One of its stages."""
    return next(each for each in described()["stages"] if each["name"] == name)


def build(folder: Path) -> Path:
    """Take the steps of the stage ``build``; the folder that is /app in it.

    :raises PeerUnavailable: one of them failed.
    """
    source, wheels, app = folder / "src", folder / "wheels", folder / "app"
    here = folder
    # Nothing is downloaded: pip builds with what is installed here, and installs the wheel alone.
    offline = {"PIP_NO_BUILD_ISOLATION": "false", "PIP_NO_DEPS": "true", "PIP_NO_INDEX": "true"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for step in stage("build")["steps"]:
        line = " ".join(step["words"] or ())
        if step["name"] == "WORKDIR":
            assert line == "/src"
            here = source
            here.mkdir()
        elif step["name"] == "COPY":
            assert step["words"] == [".", "."]
            for name in described()["context"]:
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, here / name)
        elif "apt-get" not in line:
            assert step["name"] == "RUN", step
            for inside, outside in (("/src", source), ("/wheels", wheels), ("/app", app)):
                line = line.replace(f" {inside}", f" {outside}")
            run(["sh", "-c", line], here, RUN_SECONDS, {**offline, "PATH": path})
    packages = subprocess.run(
        [app / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    Path(packages.stdout.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return app


def image(target: str, app: Path) -> Image:
    """The image of a stage, given the /app that :func:`build` has made."""
    found = stage(target)
    made = image(found["base"], app) if not found["base"].startswith("python:") else Image(app)
    for step in found["steps"]:
        words = tuple(step["words"] or ())
        if step["name"] == "ENV":
            made.environment |= dict(word.split("=", 1) for word in words)
        elif step["name"] == "USER":
            made.user = words[0]
        elif step["name"] == "ENTRYPOINT":
            made.entrypoint = words
        elif step["name"] == "CMD":
            made.command = words
        elif step["name"] == "COPY":
            assert (words, step["from"]) == (("/app", "/app"), "build")
        elif step["name"] != "EXPOSE":
            raise PeerUnavailable(f"{DOCKERFILE}: {step['name']} is not known here")
    return made
