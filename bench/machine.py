"""The machine that the numbers belong to."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_model(cpuinfo: str) -> str:
    """Return the first model name in /proc/cpuinfo; not every architecture gives one."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def facts() -> dict[str, str]:
    """Return what a reader needs to know of the machine in order to compare numbers."""
    model = cpu_model(Path("/proc/cpuinfo").read_text())
    return {
        "CPU": f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f} at the start",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
