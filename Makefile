# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`. Both set the machine up first
# (apt packages, then .venv), are quick when repeated, and never ask.

PYTHON  := .venv/bin/python
# bcc is a Debian package for Debian's python3: another python3 first on PATH does not see it.
SYSTEM_PYTHON := /usr/bin/python3
PACKAGES := python3 python3-venv python3-bpfcc linux-libc-dev libbpf1 bpftool iproute2 iptables nftables \
	clang-format ca-certificates git make procps ethtool gcc libc6-dev
# Of `make kernels` alone: the kernels to try (tests/kernels/images.py knows which), and what boots them.
KERNELS := 5.10 6.12
# Of `make fuzz`: for each program, in each family.
PACKETS := 5000000
# Of `make bench` alone: a start is compared with bcc compiling over a kernel's full headers.
BENCH_PACKAGES := linux-headers-amd64
KERNEL_PACKAGES := qemu-system-x86 busybox-static kmod
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Root's files in the working tree would be in the way of whoever works there without root.
AS_ROOT := $(SUDO) env PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/dev/null
C_FILES := $(wildcard bpf/*.c bpf/lb/*.h bpf/shim/include/*/*.h bpf/shim/include/*/*/*.h)

# $(call install,packages): apt-get installs those that are missing.
install = missing=$$(for p in $(1); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "setup: apt-get install" $$missing; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

.PHONY: help setup check format test kernels bench flood fuzz demo clean

help:
	@echo "make demo    three nodes, pods and a client as namespaces; real connections through our programs"
	@echo "make test    make check, then the tests that need root"
	@echo "make kernels builds and tests on Linux $(KERNELS) in emulated machines (KERNELS=\"6.1\": others)"
	@echo "make bench   every figure beside iptables, nftables and bare connections (BENCH=\"--quick --report out\")"
	@echo "make flood   ten million forged senders against established flows and new clients"
	@echo "make fuzz    PACKETS=$(PACKETS) mutated packets through each program and a Python reference"
	@echo "make check   format, lint, types, layers, unit and property tests, sizes of the programs (root)"
	@echo "make setup   apt packages and .venv (the others do this by themselves)"
	@echo "make format  rewrite Python and C in the project's format"
	@echo "make clean   remove .venv and caches"

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml Makefile
	@$(call install,$(PACKAGES))
	@echo "setup: .venv"
	@$(SYSTEM_PYTHON) -m venv --clear --system-site-packages .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	clang-format --dry-run -Werror $(C_FILES)
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m pytest tests -m "not root" -q --cov --cov-report=term:skip-covered
	$(AS_ROOT) $(PYTHON) -m tests.prog.budgets

# Packets keep a processor busy, namespaces wait most of the time: two sessions at once, each of which looks for what it
# has left behind.
ROOT_TESTS = $(AS_ROOT) $(PYTHON) -m pytest -m root -q -p no:cacheprovider

test: check
	@packets=$$(mktemp); \
	$(ROOT_TESTS) tests --ignore=tests/netns >$$packets 2>&1 & \
	$(ROOT_TESTS) tests/netns; netns=$$?; \
	wait $$!; code=$$?; \
	cat $$packets; rm -f $$packets; \
	exit $$((netns ? netns : code))

kernels: setup
	@$(call install,$(KERNEL_PACKAGES))
	@$(PYTHON) -m tests.kernels.run $(KERNELS)

bench: setup
	@$(call install,$(BENCH_PACKAGES))
	@$(AS_ROOT) .venv/bin/ebpflb bench $(BENCH)

flood: setup
	@$(AS_ROOT) $(PYTHON) -m ebpflb.bench.flood $(FLOOD)

fuzz: setup
	@$(AS_ROOT) $(PYTHON) -m tests.fuzz.run --packets $(PACKETS)

demo: setup
	@$(AS_ROOT) $(PYTHON) -m ebpflb.bench.demo $(DEMO)

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .
	clang-format -i $(C_FILES)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
