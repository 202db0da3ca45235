"""The container image, built for real, and containers of it: namespaces, a root that is read only,
the image's own user, environment and command. There is no engine; see scripts/image-sandbox.sh.
"""

from __future__ import annotations

import configparser
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.gateway import ROOT

NAME: Final = "gatelodge-under-test"
_POLL: Final = 0.02
"""Seconds between two looks at a file or at a process."""
DEADLINE: Final = 60.0
"""Seconds for whatever a container does, on a machine with better things to do."""

# The files of pip's configuration, those that win last (pip's documentation, "Configuration").
_PIP_FILES: Final = (
    "/etc/xdg/pip/pip.conf",
    "/etc/pip.conf",
    "~/.pip/pip.conf",
    "~/.config/pip/pip.conf",
)
_CERTIFICATES: Final = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")

# Argument 1 is the root, then pairs of a source and a target below it up to "--", then the command.
# Docker's read_only: true, cap_drop: [ALL], no-new-privileges and --user in the words of Linux.
_ENTER: Final = """\
set -eu
root=$1 user=$2 folder=$3; shift 3
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mount --bind -o ro "$1" "$root$2"
    shift 2
done
shift
mount -t proc -o ro,nosuid,nodev,noexec proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
    --inh-caps=-all --bounding-set=-all --no-new-privs env -i --chdir="$folder" "$@"
"""


class Sandbox:
    """Where images are built: buildah with a store of its own, which holds the stand-in for the
    base image. `times` is what each step took, in seconds.
    """

    def __init__(self, store: Path) -> None:
        self.times: dict[str, float] = {}
        self._environment = os.environ | {
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_STORAGE_CONF": str(store / "storage.conf"),
            "ENGINE": "buildah",
            "IMAGE": NAME,
            "SOURCE_DATE_EPOCH": "1700000000",
        }
        self._environment |= _way_to_packages(store)
        self.step("the stand-in for the base image", "scripts/image-sandbox.sh", str(store))

    def step(self, what: str, *command: str) -> None:
        """Run a script of the project and note what it took."""
        begin = time.monotonic()
        print(_run(command, self._environment))
        self.times[what] = time.monotonic() - begin

    def buildah(self, *words: str) -> str:
        """Return what buildah says."""
        return _run(["buildah", *words], self._environment)

    def container(self, image: str) -> str:
        """Return the name of a new container of `image`."""
        return self.buildah("from", "--pull-never", image).strip()

    def root_of(self, container: str) -> Path:
        """Return where its files are."""
        return Path(self.buildah("mount", container).strip())

    def remove(self) -> None:
        """Forget everything."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")


class Image:
    """The image, built from the Dockerfile and unpacked beside its base."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        sandbox.step("the build", "scripts/build-image.sh", "--pull-never")
        self._container = sandbox.container(NAME)
        self.root = sandbox.root_of(self._container)
        self.base = sandbox.root_of(sandbox.container(base_image()))
        inspected = json.loads(sandbox.buildah("inspect", "--type=image", NAME))
        self.config: dict[str, Any] = inspected["Docker"]["config"]

    @property
    def environment(self) -> list[str]:
        """What the image sets, as NAME=VALUE."""
        return list(self.config["Env"])

    @property
    def as_user(self) -> list[str]:
        """Its user, as setpriv(1) takes it."""
        user, _, group = str(self.config["User"]).partition(":")
        return [f"--reuid={user}", f"--regid={group}"]

    def run(self, *words: str) -> str:
        """Run a command in the image, whose root can be written where its rights allow it."""
        return self._sandbox.buildah("run", self._container, "--", *words)

    @property
    def command(self) -> list[str]:
        """What it runs."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    def add_mount_point(self, target: str, *, is_folder: bool) -> list[Path]:
        """Make what a container engine makes before it mounts something there; return what was not
        there before, the innermost last.
        """
        path = self.root / target.removeprefix("/")
        missing = [each for each in (*reversed(path.parents), path) if not each.exists()]
        for each in missing:
            if each == path and not is_folder:
                each.touch()
            else:
                each.mkdir()
        return missing


class Pod:
    """A network that several containers share, with a loopback interface and nothing else."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._image = image
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]
        self._holder = self._stack.enter_context(
            # It lives as long as its input is open.
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def inside(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the pod's network."""
        return subprocess.run(
            [*self._nsenter(), *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def start(
        self, *words: str, mounts: Mapping[str, Path], environment: Sequence[str] = ()
    ) -> Container:
        """Start a container: the image's command, or `words` in its place. `mounts` holds what is
        seen where, read only.
        """
        pairs: list[str] = []
        for target, source in mounts.items():
            for made in self._image.add_mount_point(target, is_folder=source.is_dir()):
                self._stack.callback(made.rmdir if made.is_dir() else made.unlink)
            pairs += [str(source), target]
        config = self._image.config
        command = [*self._nsenter(), "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command += ["sh", "-c", _ENTER, "sh", str(self._image.root)]
        command += [config["User"], config["WorkingDir"], *pairs, "--"]
        command += [*self._image.environment, *environment, *(words or self._image.command)]
        container = Container(command, self._image, self._folder)
        self._stack.callback(container.kill)
        return container

    def _nsenter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]


class Container:
    """A process that is process 1 of its container."""

    _count = 0

    def __init__(self, command: Sequence[str], image: Image, folder: Path) -> None:
        Container._count += 1
        self._image = image
        self._log_file = folder / f"container-{Container._count}.log"
        with self._log_file.open("wb") as log:
            self._unshare = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._unshare.poll() is None

    def log_text(self) -> str:
        """Return what it has written."""
        return self._log_file.read_text(encoding="utf-8", errors="backslashreplace")

    def wait_for_log(self, text: str) -> None:
        """Wait until it has written `text`."""
        end = time.monotonic() + DEADLINE
        while text not in self.log_text():
            assert self.running, f"ended with {self._unshare.returncode}:\n{self.log_text()}"
            assert time.monotonic() < end, f"never said {text!r}:\n{self.log_text()}"
            time.sleep(_POLL)

    @property
    def pid(self) -> int:
        """Process 1 as this machine counts."""
        [child] = _children(self._unshare.pid)
        return child

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        return _children(self.pid)

    def exec(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as `docker exec` and a HEALTHCHECK do."""
        command = ["nsenter", f"--target={self.pid}", "--net", "--pid", "--mount", "--root"]
        command += ["--wd", "setpriv", *self._image.as_user, "--clear-groups"]
        command += ["env", "-i", *self._image.environment, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    def terminate(self) -> int:
        """Send the image's stop signal and return the exit code."""
        os.kill(self.pid, signal.Signals[self._image.config["StopSignal"]])
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self._unshare.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.log_text()}") from None

    def kill(self) -> None:
        """End it at once, if it runs; with process 1 goes all that it has started.

        --kill-child alone does not reach who has changed the user (prctl(2), PR_SET_PDEATHSIG).
        """
        for process in _children(self._unshare.pid) if self.running else []:
            os.kill(process, signal.SIGKILL)
        self._unshare.kill()
        self._unshare.wait()


def base_image() -> str:
    """Return the name of the image that ours stands on."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    [name] = [line.partition("=")[2] for line in lines if line.startswith("ARG PYTHON_IMAGE=")]
    return name


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(each) for each in listed.split()]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    said = f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout


def _way_to_packages(folder: Path) -> dict[str, str]:
    """Return the variables for scripts/build-image.sh with which the build gets packages where this
    machine gets them.
    """
    parser = configparser.ConfigParser(interpolation=None)
    given = os.environ.get("PIP_CONFIG_FILE")
    parser.read([os.path.expanduser(each) for each in (*_PIP_FILES, *([given] if given else []))])
    found = dict(parser["global"]) if parser.has_section("global") else {}
    settings = {
        "index-url": os.environ.get("PIP_INDEX_URL")
        or os.environ.get("UV_DEFAULT_INDEX")
        or found.get("index-url"),
        "trusted-host": os.environ.get("PIP_TRUSTED_HOST") or found.get("trusted-host"),
    }
    variables = {"PIP_CONFIG_FILE": str(folder / "pip.conf")}
    files = [os.environ.get(name, "") for name in _CERTIFICATES]
    for file in [*files, "/etc/ssl/certs/ca-certificates.crt"]:
        if file and Path(file).is_file():
            settings["cert"] = "/run/secrets/ca"
            variables["CA_FILE"] = file
            break
    lines = [f"{key} = {value}\n" for key, value in settings.items() if value]
    (folder / "pip.conf").write_text("".join(["[global]\n", *lines]), encoding="utf-8")
    return variables
