# What sees to the kernels' memory, threads, environments and exponentials; docs/reliability.md has the figures.
# A -quick form is CI's: fewer lengths (`few`), less time, and under the sanitizers baseline alone: the vector code of
# the other targets, of the same body, takes them minutes to compile.

.PHONY: sanitize sanitize-quick ctest-sanitize ctest-threads ctest-threads-quick valgrind valgrind-quick \
        clang clang-quick fuzz fuzz-quick fuzz-build exp exp-all exp-quick kernel-tools

# $(call need,program,packages): for a recipe that wants more than pip and gcc
need = command -v $(1) >/dev/null || { apt-get -qq update && \
    apt-get -qq install -y --no-install-recommends $(2) >/dev/null; }

BASELINE_ALONE = FASTSOFTMAX_TARGETS=none
SANITIZERS = FASTSOFTMAX_DEBUG=1 FASTSOFTMAX_SANITIZE=address$(comma)undefined
# An interpreter keeps memory to its end on purpose, so leaks are not reported. A report goes past pytest, which would
# not live to show it. Some tests ask for more memory than there is, and some expect a guard page to be fatal.
SANITIZED = ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_segv=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# libstdc++ comes with it for the exceptions of other packages, Arrow's for one, which it has to know of from the start.
LIBASAN = "$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)"

# $(call ctest-sanitized,folder,environment of setup.py,arguments of the tests)
define ctest-sanitized
$(call kernel-tests,$(1),$(2) $(SANITIZERS),$(CC) -fsanitize=address$(comma)undefined)
export $(SANITIZED); build/$(1)/test_kernels $(3) && build/$(1)/test_backward $(3) && build/$(1)/test_losses $(3)
endef

# $(call pytest-sanitized,folder,environment of setup.py,tests): with the libraries that ctest-sanitized has built
define pytest-sanitized
CFLAGS= $(2) $(SANITIZERS) $(PYTHON) setup.py -q build --build-lib build/$(1)/package --build-temp build/$(1)
$(SANITIZED) LD_PRELOAD=$(LIBASAN) PYTHONPATH=$(CURDIR)/build/$(1)/package $(PYTEST) -p no:cacheprovider --capture=sys $(3)
endef

ctest-sanitize: ## the kernels without Python, every target, under the address and undefined-behaviour sanitizers
	$(call ctest-sanitized,sanitize,,all)

# test_huge reads 2**31 elements, hours at this speed. The others limit or measure memory, of which a sanitizer takes
# its own share and keeps what was freed.
sanitize: ctest-sanitize ## the same, and the test suite by FASTSOFTMAX_ISA
	$(call pytest-sanitized,sanitize,,tests --ignore=tests/test_huge.py --ignore=tests/test_dask_cluster.py \
	    --ignore=tests/test_memory.py --deselect=tests/test_files.py::test_memory_is_bounded \
	    --deselect=tests/test_loss_layouts.py::test_peak_memory \
	    --deselect=tests/test_arrow.py::test_memory_does_not_grow_with_the_file --deselect=tests/test_leaks.py::test_short \
	    --deselect=tests/test_cython.py::test_columns_without_memory_return_minus_one_and_write_nothing)

sanitize-quick: ## the same on baseline, few lengths and two files of the tests
	$(call ctest-sanitized,sanitize-quick,$(BASELINE_ALONE),all few)
	$(call pytest-sanitized,sanitize-quick,$(BASELINE_ALONE),tests/test_out.py tests/test_losses.py)

ctest-threads: ## every kernel of every target in several threads at once, under ThreadSanitizer
	$(call kernel-program,threads,FASTSOFTMAX_DEBUG=1 FASTSOFTMAX_SANITIZE=thread,$(CC) -O1 -fsanitize=thread,test_threads)
	TSAN_OPTIONS=halt_on_error=1 build/threads/test_threads

ctest-threads-quick: ## the same on baseline
	mkdir -p build/threads-quick
	$(CC) -O1 -g -std=c11 -ffp-contract=off -Wall -Wextra -fsanitize=thread -Ifastsoftmax/kernels tests/c/test_threads.c \
	    fastsoftmax/kernels/dispatch.c fastsoftmax/kernels/targets/baseline.c -lm -o build/threads-quick/test_threads
	TSAN_OPTIONS=halt_on_error=1 build/threads-quick/test_threads

# $(call valgrind,arguments of the tests): two at a time. valgrind knows no AVX-512; its CPU has avx2 and baseline
define valgrind
@$(call need,valgrind,valgrind)
$(call kernel-tests,ctest,,$(CC))
check="valgrind -q --error-exitcode=9"; \
$$check build/ctest/test_backward $(1) & backward=$$!; \
$$check build/ctest/test_kernels $(1) && $$check build/ctest/test_losses $(1) && wait $$backward
endef

valgrind: ## the kernels under valgrind's memcheck, scratch memory unwritten before each call: hours
	$(call valgrind,all)

valgrind-quick: ## the same of its best target alone, on few lengths
	$(call valgrind,$$($$check build/ctest/test_kernels targets | head -1) few)

clang: ## the kernels as clang builds them, without a warning, on every target of this CPU
	$(call clang,)

clang-quick: ## the same on few lengths
	$(call clang,all few)

define clang
@$(call need,clang-14,clang-14 libclang-rt-14-dev)
$(call kernel-tests,clang,CC=clang-14 CFLAGS=-Werror,clang-14 -Wno-unused-function)
$(call run-kernel-tests,clang,$(1))
endef

# baseline, sanitized, tells the fuzzers by clang's counters which way a kernel went; all targets are judged, the others
# as setup.py builds them.
FUZZED = clang-14 -g -std=c11 -ffp-contract=off -Wall -Wextra -Ifastsoftmax/kernels
FUZZERS = kernels backward losses
fuzz-build:
	@$(call need,clang-14,clang-14 libclang-rt-14-dev)
	$(call kernel-libraries,ctest,)
	mkdir -p $(FUZZERS:%=build/fuzz/%)
	$(FUZZED) -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	    -c fastsoftmax/kernels/targets/baseline.c -o build/fuzz/baseline.o
	for name in $(FUZZERS); do \
	    $(FUZZED) -O2 -Wno-unused-function -c tests/c/fuzz_$$name.c -o build/fuzz/$$name.o && \
	    clang-14 -fsanitize=fuzzer,address,undefined build/fuzz/$$name.o build/fuzz/baseline.o build/ctest/libfs_d*.a \
	        $$(ls build/ctest/libfs_[!d]*.a | grep -v baseline) -lm -o build/fuzz/fuzz_$$name || exit 1; done

# $(call fuzz,seconds): all fuzzers at once; what they find worth keeping is in build/fuzz
define fuzz
cd build/fuzz && for name in $(FUZZERS); do { ./fuzz_$$name -max_total_time=$(1) -max_len=2048 -len_control=0 \
    -timeout=60 -print_final_stats=1 $$name >$$name.log 2>&1; echo $$? >$$name.status; } & done; wait; \
for name in $(FUZZERS); do echo "fuzz_$$name:"; \
    grep -E '^FAILED|^==|ERROR|executed_units|Test unit' $$name.log || true; \
    test "$$(cat $$name.status)" = 0 || exit 1; done
endef

FUZZ_SECONDS = 900
fuzz: fuzz-build ## libFuzzer on the kernels of all targets, judged: FUZZ_SECONDS of each of three fuzzers
	$(call fuzz,$(FUZZ_SECONDS))

fuzz-quick: fuzz-build ## the same for some seconds
	$(call fuzz,15)

# As setup.py has them.
FLAGS_baseline =
FLAGS_avx2 = -mavx2 -mfma -mf16c
FLAGS_avx512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512
# -march is of the judge
exp:
	@mkdir -p build/exp
	$(foreach isa,baseline avx2 avx512,$(CC) -std=c11 -O3 -ffp-contract=off -Wall -Wextra $(FLAGS_$(isa)) \
	    -Ifastsoftmax/kernels -DVECTORS='"targets/vec_$(isa).h"' -DTABLE=exp_of_$(isa) -c tests/c/exp_target.c \
	    -o build/exp/$(isa).o &&) true
	$(call kernel-program,ctest,,$(CC) -O3 -march=native -fopenmp build/exp/*.o,exp_all,-lquadmath)

EXP_COUNT = 1000000000
exp-all: exp ## x86-64: exp of all 2**32 float32 inputs, and of EXP_COUNT float64 ones and the hardest to round
	build/ctest/exp_all 1 $(EXP_COUNT)

exp-quick: exp ## the same for one float32 input in 256, and fewer float64 ones
	build/ctest/exp_all 256 5000000

kernel-tools: neon-tools ## what the recipes above want beside pip and gcc, from Debian
	@$(call need,valgrind,valgrind)
	@$(call need,clang-14,clang-14 libclang-rt-14-dev)
