"""Images that no package registry has, made of Debian's packages and given the real names.

So the Dockerfile and the Compose file are run as they are. A stand-in has nothing that the real image lacks, and of
what the real one has, what we use: the programs, their users' folders, `apt-get` and `venv` in Python's. They are kept
in a cache outside the project, because making one takes 15 to 40 seconds; a changed recipe is made anew.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from tests.containers.engine import Engine

SUITE: Final = "trixie"
MAKE_S: Final = 240.0
SOURCES: Final = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
PATH: Final = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SLIM: Final = tuple(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man"))
"""What Debian's slim images leave out."""


class Recipe(NamedTuple):
    """How one stand-in is made.

    Attributes:
        packages: of Debian.
        folder: that the real image has for its data, and its owner.
        changes: to the image's configuration.
    """

    packages: tuple[str, ...]
    folder: tuple[str, int] | None
    changes: tuple[str, ...]

    def options(self) -> list[str]:
        """Of mmdebstrap."""
        words = ["--quiet", "--variant=minbase", *SLIM, f"--include={','.join(self.packages)}"]
        if self.folder is not None:
            name, owner = self.folder
            words.append(f'--customize-hook=mkdir "$1{name}" && chown {owner}:{owner} "$1{name}"')
        return words


RECIPES: Final = {
    "python": Recipe(("ca-certificates", "python3", "python3-venv", "python-is-python3"), None, ('CMD ["python3"]',)),
    "valkey/valkey": Recipe(("valkey-server", "valkey-tools"), ("/data", 999), ("VOLUME /data", "WORKDIR /data")),
    "haproxy": Recipe(("haproxy",), None, ("USER 99:99",)),
    "prom/prometheus": Recipe(
        ("prometheus",), ("/prometheus", 65534), ("USER 65534:65534", 'ENTRYPOINT ["/bin/prometheus"]')
    ),
}
"""Real image -> how ours is made. Grafana is not in Debian, nor in any other package registry."""


class NotMadeError(Exception):
    """A stand-in could not be made; says why."""


def import_stand_ins(engine: Engine, images: Iterable[str]) -> None:
    """Give an engine images of these names and tags.

    Raises:
        NotMadeError: mmdebstrap failed, or there is no recipe.
    """
    recipes = {image: RECIPES[image.partition(":")[0]] for image in images}
    with ThreadPoolExecutor(max_workers=2) as makers:
        archives = list(makers.map(_archive, recipes.values()))
    for (image, recipe), archive in zip(recipes.items(), archives, strict=True):
        changes = [word for change in (PATH, *recipe.changes) for word in ("--change", change)]
        engine.docker("import", *changes, str(archive), image)


def _archive(recipe: Recipe) -> Path:
    """A file system, from the cache or made."""
    options = recipe.options()
    recipe_hash = hashlib.sha256("\n".join([SUITE, *options]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tickwire" / "stand-ins"
    archive = cache / f"{recipe.packages[-1]}-{recipe_hash}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_name(f"{archive.stem}.{os.getpid()}.tar")
        try:
            _make(options, unfinished)
            unfinished.rename(archive)
        finally:
            unfinished.unlink(missing_ok=True)
    return archive


def _make(options: Sequence[str], target: Path) -> None:
    """Run mmdebstrap with the machine's own sources, where it is a Debian, else with Debian's mirror."""
    sources = next((text for path in SOURCES if path.exists() and (text := _of_suite(path.read_text()))), None)
    command = ["nice", "mmdebstrap", *options, SUITE, str(target), *(["-"] if sources else [])]
    try:
        subprocess.run(command, input=sources, capture_output=True, text=True, timeout=MAKE_S, check=True)
    except subprocess.CalledProcessError as error:
        raise NotMadeError(f"mmdebstrap: {error.stderr.strip().splitlines()[-1:]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotMadeError(f"mmdebstrap took longer than {MAKE_S:g} s") from error


def _of_suite(sources: str) -> str:
    """Debian's sources of this machine, for our suite; empty where the machine is no Debian that we know."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    if release.get("ID") != "debian" or not codename or codename not in sources:
        return ""
    return sources.replace(codename, SUITE)
