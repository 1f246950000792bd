# Everything a user or developer types. Each target works from a fresh clone: it installs what is missing first.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
TEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
STUDY_ARGS ?=
RIVALS_ARGS ?=
PYTHON := .venv/bin/python

.PHONY: build demo study rivals test bench format lint tidy asan setup clean

build: build/build.ninja
	cmake --build build -j $(JOBS)

build/build.ninja: setup
	@test -f $@ || cmake --preset release

setup:
	@tools/setup.sh

demo: build/build.ninja  # the program alone: the tests need not be built for it
	cmake --build build -j $(JOBS) --target lrqat
	$(PYTHON) -m tools.demo $(DEMO_ARGS)

# Every method of docs/results.md, planned for under three hours on two quiet cores; goes on where it was stopped.
study: build/build.ninja
	@tools/setup.sh --demo --study
	cmake --build build -j $(JOBS) --target lrqat
	$(PYTHON) -m tools.study --report build/study/report $(STUDY_ARGS)

# AutoRound, llama.cpp's quantizer, GPTQ, AWQ and lrqat on the same model, text and threads: some hours on two quiet cores, row by
# row (RIVALS_ARGS="--rows w4-g32-*"); goes on where it was stopped.
rivals: build/build.ninja
	@tools/setup.sh --demo --tests --study --rivals
	cmake --build build -j $(JOBS) --target lrqat
	$(PYTHON) -m tools.rivals $(RIVALS_ARGS)

test: build
	@tools/setup.sh --tests --demo
	cd build && ctest --output-on-failure -j $(JOBS) $(TEST_ARGS)

bench: build/build.ninja
	@tools/setup.sh --tests
	cmake -B build -DLRQAT_BENCH=ON > build/bench-configure.log
	cmake --build build -j $(JOBS) --target kernels_bench linear_bench step_bench tokenizer_bench
	@mkdir -p build/bench
	.venv/bin/python bench/report.py $(BENCH_ARGS)

# The parts without torch under AddressSanitizer and UndefinedBehaviorSanitizer.
asan: setup
	cmake --preset asan
	cmake --build build-asan -j $(JOBS) --target base_tests formats_tests text_tests chat_tests corpus_tests kernels_tests
	cd build-asan && ctest --output-on-failure -j $(JOBS) -L 'formats|text|kernels' $(TEST_ARGS)

format:
	@tools/setup.sh --lint
	git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format -i

lint:
	@tools/setup.sh --lint
	git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format --dry-run --Werror

tidy: setup  # slow: clang-tidy over every file, without precompiled headers
	@tools/setup.sh --lint
	cmake --preset tidy && cmake --build build-tidy -j $(JOBS)

clean:
	rm -rf build build-dev build-asan build-tidy
