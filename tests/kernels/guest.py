"""What is done inside a guest: builds, doctor, a subset of the tests. Started by init.sh.

checks, two at a time --> Results, one JSON line each, on the second serial port;  what they print --> the console
                      --> each minute, what is under way --> the second serial port
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree as ET

from ebpflb.core.abi import Family
from ebpflb.datapath.build import BuildSpec, build_programs, remove_build
from ebpflb.datapath.clock import measure_hz
from ebpflb.datapath.kernel_sockets import socket_bits
from ebpflb.datapath.pins import Pins
from ebpflb.host.netns_cookie import netns_cookie
from tests.kernels import patience
from tests.kernels.building import can_set_retval
from tests.kernels.result import CHECKS, EVERYTHING, Result
from tests.kernels.speaker import Speaker
from tests.kernels.suites import Suite, suites

Check = Callable[[], list[Result]]

_COMPILER = "ebpflb.datapath.compiler"
_OBSERVED_COMPILER = "tests.kernels.verifier"
_BPFFS = Path("/sys/fs/bpf")
_ENDED = re.compile(r".*::(?P<test>.*) (?P<outcome>[A-Z]+) .*\[ *(?P<share>\d+%)\]$")
"""A line of ``pytest -v``."""

_thread = threading.local()


def main() -> int:
    """Run the checks; an exception of a check is its result."""
    sysconfig.get_config_vars()  # two threads that ask first would be told half (mended in Python 3.12)
    with (
        Path("/dev/ttyS1").open("w", encoding="ascii") as port,
        Speaker(port) as speaker,
        patience.compiling(),
        mock.patch("subprocess.run", _observing(subprocess.run)),
        ThreadPoolExecutor(max_workers=2) as pool,
    ):
        chosen = re.compile(os.environ.get(CHECKS, ""))
        checks = [(name, check) for name, check in _checks(speaker) if chosen.search(name)]
        if not checks:
            speaker.tell(Result(f"checks like {chosen.pattern}", ok=False, detail="there are none"))
        for done in as_completed([pool.submit(_timed, name, check, speaker) for name, check in checks]):
            for result in done.result():
                speaker.tell(result)
    return 0


def _timed(name: str, check: Check, speaker: Speaker) -> list[Result]:
    began = time.monotonic()
    try:
        with speaker.at_work(name):
            results = check()
    except Exception as error:  # noqa: BLE001 - the next check may still tell something
        traceback.print_exc()
        results = [Result(name, ok=False, detail=str(error)[-500:])]
    spent = round(time.monotonic() - began, 1)
    return [replace(result, seconds=result.seconds or spent) for result in results]


def _checks(speaker: Speaker) -> Iterator[tuple[str, Check]]:
    for have_set_retval in sorted({False, can_set_retval()}):
        for family in Family:
            name = f"build {family.name} {'with' if have_set_retval else 'without'} set_retval"
            yield name, partial(_build, name, family, have_set_retval=have_set_retval)
    yield "doctor", _doctor
    for suite in suites(everything=EVERYTHING in os.environ):
        yield suite.name, partial(_tests, suite, partial(speaker.step, suite.name))


def _build(name: str, family: Family, *, have_set_retval: bool) -> list[Result]:
    """Build with full-size maps; tell how large the programs are, and how far the verifier went through them."""
    pins = Pins(_BPFFS, f"kernels-{family.value}-{int(have_set_retval)}")
    pins.create_folders(family)
    spec = BuildSpec(
        family,
        pins.maps(family),
        pins.progs(family),
        hz=measure_hz(),
        host_netns_cookie=netns_cookie(),
        hairpin_address=bytes(family.address_bytes),
        have_set_retval=have_set_retval,
        socket_bits=socket_bits(),
    )
    try:
        built = build_programs(spec)
    finally:
        remove_build(pins.progs(family))
        pins.remove()
    sizes = {pin.name: built.instructions[stem] for stem, pin in built.pins.items()}
    programs = {program: (count, _thread.verified[program]) for program, count in sizes.items()}
    return [Result(name, ok=True, programs=programs)]


def _observing(run: Callable[..., "subprocess.CompletedProcess[str]"]) -> Callable[..., Any]:
    """Return a ``subprocess.run`` that puts ``verifier`` in the compile child's place, and keeps what it tells."""

    def observed(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        if _COMPILER not in command:
            return run(command, **options)
        command = [_OBSERVED_COMPILER if word == _COMPILER else word for word in command]
        done = run(command, **options)
        if done.returncode == 0:
            _thread.verified = json.loads(done.stderr.splitlines()[-1])
        return done

    return observed


def _doctor() -> list[Result]:
    command = [sys.executable, "-m", patience.__name__, "doctor", "-o", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)  # noqa: T201 - the console
    findings = json.loads(done.stdout)["findings"]
    notes = "; ".join(f"{row['name']}: {row['detail']}" for row in findings if row["level"] != "ok")
    return [Result("doctor", ok=done.returncode == 0, detail=notes)]


def _tests(suite: Suite, say: Callable[[str], None]) -> list[Result]:
    """Run tests; ``say`` is given each one that ended, and how many of all have."""
    report = Path(f"/run/{suite.name.replace(' ', '-')}.xml")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", patience.__name__]
    command += ["-k", suite.chosen, f"--junitxml={report}", *suite.files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as done:
        assert done.stdout is not None
        for line in done.stdout:
            print(line, end="", flush=True)  # noqa: T201 - the console
            if ended := _ENDED.match(line):
                say(f"{ended['share']}, {ended['test']} {ended['outcome']}")
    cases = list(ET.fromstring(report.read_text()).iterfind(".//testcase"))
    return [_summary(suite.name, cases, done.returncode)]


def _summary(name: str, cases: list[ET.Element], code: int) -> Result:
    """Return how a session went that ended with a code."""
    bad = [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    words = [f"{len(cases)} tests", f"{skipped} skipped"] + ([f"failed: {'; '.join(bad)}"] if bad else [])
    if code and not bad:
        words.append(f"pytest ended with {code}")
    has_run = len(cases) > skipped
    return Result(name, ok=has_run and not code, detail=", ".join(words), tests=len(cases) - skipped)


if __name__ == "__main__":
    sys.exit(main())
