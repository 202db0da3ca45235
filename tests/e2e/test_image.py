"""The container image, built for real from the Dockerfile, and run with a root that is read only.

A machine that cannot build it fails these tests with the reason, it does not skip them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from filecmp import dircmp
from pathlib import Path
from typing import Any, Final, cast

import pytest
from _pytest.capture import CaptureManager

from proxy import __version__
from tests.support import mint
from tests.support.fifo import wait_for_reader
from tests.support.gateway import ROOT
from tests.support.image import Container, Image, Pod, Sandbox, base_image

SECRET: Final = "4d8e1c6fb2a05937e6d4c8b1f0a29357c1e8d6b4a2f09375"
HOME: Final = "opt/gatelodge"
MEBIBYTE: Final = 1 << 20

# Reads a request as JSON, prints the answer as JSON. Runs on this machine's Python, in the pod's
# network.
CLIENT: Final = """
import http.client, json, sys
given = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", given["port"], timeout=20)
connection.request(given["method"], given["path"], headers=given["headers"])
answer = connection.getresponse()
body = answer.read().decode()
json.dump({"status": answer.status, "headers": dict(answer.headers), "body": body}, sys.stdout)
"""


WAITING: Final = "import signal; print('waiting', flush=True); signal.pause()"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("image"))
    yield sandbox
    sandbox.remove()


@pytest.fixture(scope="module")
def image(sandbox: Sandbox, request: pytest.FixtureRequest) -> Image:
    built = Image(sandbox)
    capture = cast("CaptureManager", request.config.pluginmanager.getplugin("capturemanager"))
    with capture.global_and_fixture_disabled():
        took = [f"{what} {seconds:.0f} s" for what, seconds in sandbox.times.items()]
        print("\nimage:", ", ".join(took))
    return built


@pytest.fixture
def pod(image: Image, tmp_path: Path) -> Iterator[Pod]:
    with Pod(image, tmp_path) as pod:
        yield pod


@pytest.fixture
def mounts(tmp_path: Path) -> dict[str, Path]:
    """What deploy/compose.yaml mounts into its containers, with a name for the API."""
    hosts, secret, password = (tmp_path / name for name in ("hosts", "secret", "password"))
    hosts.write_text("127.0.0.1 localhost api database\n", encoding="utf-8")
    secret.write_text(SECRET, encoding="utf-8")
    password.write_text("not asked for: there is no database here", encoding="utf-8")
    return {
        "/etc/hosts": hosts,
        "/etc/gatelodge/gatelodge.yaml": ROOT / "deploy" / "gatelodge.yaml",
        "/run/secrets/auth_secret": secret,
        "/run/secrets/gatelodge_password": password,
        "/srv/api.py": ROOT / "deploy" / "api" / "api.py",
    }


@pytest.fixture
def api(pod: Pod, mounts: Mapping[str, Path]) -> Container:
    return pod.start("python3", "/srv/api.py", mounts=mounts)


@pytest.fixture
def gateway(pod: Pod, api: Container, mounts: Mapping[str, Path]) -> Container:
    container = pod.start(mounts=mounts)
    for listener in ("admin", "main"):
        container.wait_for_log(f'"listener": "{listener}"')
    assert api.running
    return container


def send(
    pod: Pod, path: str, headers: Mapping[str, str], *, method: str = "GET", port: int = 8080
) -> dict[str, Any]:
    given = {"port": port, "method": method, "path": path, "headers": dict(headers)}
    done = pod.inside(sys.executable, "-c", CLIENT, given=json.dumps(given))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def cookie(**claims: Any) -> dict[str, str]:
    return {"Cookie": f"{mint.V5_COOKIE}={mint.v5(mint.claims('u-42', **claims), SECRET)}"}


def only_in(left: Path, right: Path) -> list[str]:
    """Return what is in `left` and not, or otherwise, in `right`: topmost names, below `left`."""
    found: list[str] = []
    todo = [dircmp(right, left, ignore=[], hide=[])]
    while todo:
        compared = todo.pop()
        changed = [*compared.right_only, *compared.diff_files]
        found += [os.path.relpath(os.path.join(compared.right, name), left) for name in changed]
        todo += [
            below
            for name, below in compared.subdirs.items()
            if not Path(compared.right, name).is_symlink()
        ]
    return sorted(found)


def test_the_stand_in_has_the_python_of_the_base_image(sandbox: Sandbox) -> None:
    said = sandbox.buildah("run", sandbox.container(base_image()), "--", "python3", "--version")
    version = re.match(r"Python (\d+\.\d+)\.", said)
    assert version is not None
    assert base_image() == f"docker.io/library/python:{version[1]}-slim-trixie"


def test_it_says_what_it_is(image: Image) -> None:
    config = image.config
    assert (config["User"], config["StopSignal"]) == ("65532:65532", "SIGTERM")
    assert (config["Entrypoint"], config["Cmd"]) == (["gatelodge"], ["run"])
    assert config["WorkingDir"] == "/etc/gatelodge"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", "gatelodge", "healthcheck"]
    assert not [each for each in image.environment if each.startswith("GATELODGE_")]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in config["Labels"].items()
    }
    assert labels["title"] == "Gatelodge"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == __version__
    assert labels["created"] == "2023-11-14T22:13:20Z"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert "sidecar" in labels["description"]


def test_it_adds_its_environment_and_nothing_else(image: Image) -> None:
    assert only_in(image.root, image.base) == ["etc/gatelodge", "opt/gatelodge"]


def test_the_comparison_of_trees_sees_what_was_added_and_changed(tmp_path: Path) -> None:
    for name, text in {"base": "1", "image": "22"}.items():
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / "same").touch()
        (tmp_path / name / "etc" / "passwd").write_text(text, encoding="utf-8")
    (tmp_path / "image" / "tests").mkdir()
    (tmp_path / "image" / "etc" / ".git").mkdir()
    found = only_in(tmp_path / "image", tmp_path / "base")
    assert found == ["etc/.git", "etc/passwd", "tests"]


def test_its_packages_are_the_locked_ones(image: Image) -> None:
    locked = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
    pins = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version, marker in re.findall(
            r"^([A-Za-z0-9._-]+)==([^ \\;]+)([^\\\n]*)", locked, re.MULTILINE
        )
        if "version < '3.1" not in marker
    }
    listing = (
        "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    )
    lines = image.run("python3", "-I", "-c", listing).splitlines()
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (line.split() for line in lines)
    }
    assert installed.pop("gatelodge") == __version__
    assert installed == pins


def test_its_code_is_ours_and_compiled(image: Image) -> None:
    [site] = (image.root / HOME / "lib").glob("python3.*/site-packages")
    packed = {path.relative_to(site): path for path in (site / "proxy").rglob("*.*")}
    source = {path.relative_to(ROOT): path for path in (ROOT / "proxy").rglob("*.*")}
    compiled = {path for path in packed if "__pycache__" in path.parts}
    plain = {path for path in source if "__pycache__" not in path.parts}
    assert packed.keys() - compiled == plain
    assert [path for path in plain if packed[path].read_bytes() != source[path].read_bytes()] == []
    modules = {path for path in plain if path.suffix == ".py"}
    assert {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in compiled} == modules


def test_it_stays_small(image: Image) -> None:
    """Beside a base image of about 120 MiB this keeps the whole near 200 MiB."""
    size = sum(path.lstat().st_size for path in (image.root / HOME).rglob("*"))
    assert 20 * MEBIBYTE < size < 90 * MEBIBYTE, f"{size / MEBIBYTE:.0f} MiB"


def test_its_user_can_write_nowhere_but_where_everybody_can(image: Image) -> None:
    assert image.run("id", "-u").strip() == "65532"
    find = "find / -xdev -writable ! -type l ! -path '/dev/*' 2>/dev/null || true"
    found = image.run("sh", "-c", find).splitlines()
    assert sorted(found) == ["/run/lock", "/tmp", "/var/tmp"]  # noqa: S108 - names, not used


def test_it_tells_its_version(image: Image) -> None:
    words = image.run("gatelodge", "version").split()
    assert words[:2] == ["gatelodge", __version__]
    assert "3.13." in words[3]
    assert "(C parser)" in image.run("gatelodge", "version")


def test_it_checks_the_configuration_of_the_deployment(
    pod: Pod, mounts: Mapping[str, Path]
) -> None:
    container = pod.start("gatelodge", "check", mounts=mounts)
    assert container.wait() == 0, container.log_text()


def test_it_refuses_to_run_without_a_configuration(pod: Pod) -> None:
    container = pod.start(mounts={})
    assert container.wait() == 2
    assert "there is no configuration" in container.log_text()


def test_it_runs_without_a_file_from_variables(pod: Pod) -> None:
    variables = [f"AUTH_SECRET={SECRET}", "GATELODGE_UPSTREAM=http://127.0.0.1:8000"]
    container = pod.start(mounts={}, environment=variables)
    container.wait_for_log('"listener": "main"')
    assert send(pod, "/", {})["status"] == 401
    assert container.terminate() == 0


def test_a_session_opens_the_api(pod: Pod, gateway: Container) -> None:
    answer = send(pod, "/me?x=1", cookie(name="Zoë", role="admin"))
    assert answer["status"] == 200
    assert json.loads(answer["body"]) == {
        "request": "GET /me?x=1",
        "id": "u-42",
        "name": "Zoë",
        "email": None,
        "roles": ["admin"],
    }
    assert send(pod, "/admin/x", cookie(role="user"))["status"] == 403
    minted = gateway.exec("gatelodge", "token", "mint", "--sub=u1", "--role=admin", "--header")
    name, _, value = minted.stdout.strip().partition(": ")
    assert send(pod, "/admin/x", {name: value})["status"] == 200
    assert SECRET not in gateway.log_text()


def test_without_a_session_there_is_no_way_to_the_api(pod: Pod, gateway: Container) -> None:
    answer = send(pod, "/me", {"X-User-Id": "u-1", "Origin": "http://localhost:3000"})
    assert answer["status"] == 401
    assert json.loads(answer["body"])["code"] == "session_missing"
    assert answer["headers"]["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert gateway.running


def test_its_healthcheck_tells_how_the_gateway_is(
    pod: Pod, image: Image, mounts: Mapping[str, Path]
) -> None:
    words = image.config["Healthcheck"]["Test"][1:]
    other = pod.start("python3", "-c", WAITING, mounts=mounts)
    other.wait_for_log("waiting")
    before = other.exec(*words)
    assert (before.returncode, before.stdout) == (1, "")
    assert "127.0.0.1:9090 cannot be asked" in before.stderr
    gateway = pod.start(mounts=mounts)
    gateway.wait_for_log('"listener": "main"')
    healthy = gateway.exec(*words)
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")


def test_it_is_the_first_process_has_no_other_and_drains(pod: Pod, gateway: Container) -> None:
    assert gateway.exec("cat", "/proc/1/cmdline").stdout.endswith("/gatelodge\0run\0")
    status = gateway.exec("cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:(\t65532){4}$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    touched = gateway.exec("touch", "/tmp/x")  # noqa: S108 - which must not be possible
    assert "Read-only file system" in touched.stderr
    assert gateway.children() == []
    assert send(pod, "/me", cookie())["status"] == 200
    assert gateway.terminate() == 0


async def test_as_first_process_it_ends_by_a_signal_that_comes_while_it_starts(
    pod: Pod, tmp_path: Path
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    fifo = folder / "config"
    os.mkfifo(fifo)
    fifo.chmod(0o644)
    mounts = {"/etc/gatelodge": folder}
    container = pod.start("gatelodge", "run", "-c", "config", mounts=mounts)
    writer = await wait_for_reader(fifo, lambda: container.running)
    try:
        assert container.terminate() == 143
    finally:
        os.close(writer)
