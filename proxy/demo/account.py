"""As whom PostgreSQL runs: it refuses root, and a user whom the system does not know by name.

Law of the file: no user is added and no folder's mode is changed. Root's server runs as nobody, who
has no rights and gets the folder. Where that is not possible, and for a user without a name (as in
containers with a made-up number), it runs in a user namespace, as the same user by nobody's name;
only Linux has those.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from proxy.demo.programs import PostgresError

_X_FOR_OTHERS: Final = 0o001
_RX_FOR_OTHERS: Final = 0o005


@dataclass(frozen=True)
class Account:
    """How the server's processes get their user; the keeper carries it out."""

    way: Literal["same", "setuid", "namespace"]
    uid: int
    gid: int


def choose_account(folder: Path) -> Account:
    """Return as whom to run a server in `folder`, which is theirs from then on.

    Raises PostgresError where there is no way.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _has_name(uid):
        return Account("same", uid, gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise PostgresError(
            f"PostgreSQL does not run as the user {uid} here, and there is no user nobody."
        ) from None
    if uid == 0 and _give_to(nobody, folder):
        return Account("setuid", nobody.pw_uid, nobody.pw_gid)
    if sys.platform == "linux":
        return Account("namespace", nobody.pw_uid, nobody.pw_gid)
    raise PostgresError(f"PostgreSQL does not run as the user {uid} here.")


def others_reach(path: Path) -> bool:
    """Say whether a user without rights can get to `path` and read it."""
    path = path.absolute()
    way = all(folder.stat().st_mode & _X_FOR_OTHERS for folder in path.parents)
    return way and path.stat().st_mode & _RX_FOR_OTHERS == _RX_FOR_OTHERS


def _give_to(nobody: pwd.struct_passwd, folder: Path) -> bool:
    """Give them the folder, if we may become them; root in name only may not (capabilities(7))."""
    try:
        subprocess.run(
            ["/bin/sh", "-c", ":"],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            check=True,
        )
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    except (OSError, ValueError):
        return False
    else:
        return True


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
