"""bench/machine.py: the CPU's name."""

from __future__ import annotations

import platform

from bench.machine import cpu_model


def test_the_first_model_name_counts() -> None:
    text = "processor\t: 0\nmodel name\t: AMD EPYC 7B13: x\nprocessor\t: 1\nmodel name\t: other\n"

    assert cpu_model(text) == "AMD EPYC 7B13: x"


def test_an_architecture_without_model_names_gives_its_own() -> None:
    assert cpu_model("processor\t: 0\nCPU part\t: 0xd0c\n") == platform.machine()
