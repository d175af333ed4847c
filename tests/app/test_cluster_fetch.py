"""What services are run from: asked for by ordinary clients, whole or not at all, and missing ones told with the fix."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

from millstream.base.errors import EngineMissing
from millstream.cluster.fetch import Debian, Jars, Java, java, program

MVN = """#!/bin/sh
# Counts its calls, and copies what it was told to have.
echo call >> "$STANDIN/calls"
for word in "$@"; do case "$word" in -DoutputDirectory=*) out="${word#*=}";; esac; done
echo half > "$out/half.jar"
[ -e "$STANDIN/broken" ] && { echo "could not resolve org.example:thing"; exit 1; }
cp "$STANDIN"/jars/* "$out"
"""


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that fetches from a folder; and a cache of our own."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "thing-1.jar").write_text("classes")
    (tmp_path / "bin").mkdir()
    mvn = tmp_path / "bin" / "mvn"
    mvn.write_text(MVN)
    mvn.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("STANDIN", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def calls(standin: Path) -> int:
    return (standin / "calls").read_text().count("call")


def test_jars_are_fetched_once_a_user(standin: Path) -> None:
    jars, said = Jars("thing", ("org.example:thing:1",)), list[str]()
    for _ in range(2):
        jars.fetch(lambda text: said.append(text))
    assert calls(standin) == 1 and said == ["fetching thing with Maven"]
    assert (jars.folder / "thing-1.jar").read_text() == "classes"
    assert jars.folder.is_relative_to(standin / "cache" / "millstream")
    assert Jars("thing", ("org.example:thing:2",)).folder != jars.folder


def test_what_was_fetched_half_is_fetched_again(standin: Path) -> None:
    jars = Jars("thing", ("org.example:thing:1",))
    (standin / "broken").touch()
    with pytest.raises(EngineMissing, match=r"Maven could not fetch thing \(exit code 1\):\ncould not resolve org.example:thing"):
        jars.fetch(lambda text: None)
    assert not jars.folder.exists()
    (standin / "broken").unlink()
    jars.fetch(lambda text: None)
    assert (jars.folder / "thing-1.jar").exists()


def test_only_the_wanted_part_of_an_archive_is_unpacked(standin: Path) -> None:
    with zipfile.ZipFile(standin / "jars" / "pages-1-tests.jar", "w") as archive:
        archive.writestr("webapps/hdfs/index.html", "page")
        archive.writestr("org/Test.class", "no")
    jars = Jars("pages", ("!org.example:pages:1:jar:tests",), unpack=("pages-1-tests.jar", "webapps/"))
    jars.fetch(lambda text: None)
    assert (jars.folder / "webapps" / "hdfs" / "index.html").read_text() == "page"
    assert not (jars.folder / "org").exists() and not (jars.folder / "pages-1-tests.jar").exists()


def test_the_pom_says_versions_and_what_to_leave_out() -> None:
    pom = Jars("set", ("!g:alone:1:tar.gz:all", "g:whole:2"), exclude=("jdk.tools:jdk.tools", "org.apache.hadoop:*")).pom()
    ns = {"m": "http://maven.apache.org/POM/4.0.0"}
    alone, whole = ElementTree.fromstring(pom).findall("m:dependencies/m:dependency", ns)
    assert {child.tag.rpartition("}")[2]: child.text for child in alone if child.text} == {
        "groupId": "g", "artifactId": "alone", "version": "1", "type": "tar.gz", "classifier": "all"
    }  # fmt: skip
    assert ("*", "*") in [(e[0].text, e[1].text) for e in alone.iterfind("m:exclusions/m:exclusion", ns)]
    assert [(e[0].text, e[1].text) for e in whole.iterfind("m:exclusions/m:exclusion", ns)] == [("jdk.tools", "jdk.tools"), ("org.apache.hadoop", "*")]


def test_no_maven_is_told_with_the_fix(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(standin / "jars"))
    with pytest.raises(EngineMissing, match="no `mvn` on the path; on Debian: apt-get install --no-install-recommends maven"):
        Jars("thing", ("org.example:thing:1",)).fetch(lambda text: None)


def test_no_java_is_told_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match=r"no `java` on the path; on Debian: apt-get install .*openjdk"):
        java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineMissing, match=r"JAVA_HOME is .* no bin/java in it"):
        java()


def test_a_java_of_another_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "java"
    fake.write_text("#!/bin/sh\necho '    java.specification.version = 1.8' >&2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineMissing, match=r"Java 8 is there .*17 to 21 is wanted; set JAVA_HOME"):
        Java(17, 21).fetch(lambda text: None)


def test_a_package_that_is_not_there_is_told_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineMissing, match="redis-server is not installed; on Debian: apt-get install --no-install-recommends redis-server"):
        Debian("redis-server", lambda: None).fetch(lambda text: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissing, match="no `psql` on the path"):
        program("psql", "postgresql-client")
