# A thin face over the CMake presets and scripts/. `make help` lists what there is.

.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory
JOBS ?= $(shell nproc)
ARGS ?=
PREFIX ?= /usr/local

# build_preset PRESET [TARGETS]: configures once (ninja reconfigures by itself when a CMake file changes),
# then builds everything, or the targets named.
define build_preset
@test -f build/$(1)/build.ninja || cmake --preset $(1)
cmake --build build/$(1) -j $(JOBS) $(if $(2),--target $(2))
endef

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup:
	@scripts/setup.sh build

.PHONY: build
build: setup ## build/release/cairn, optimised
	$(call build_preset,release,cairn cairn-train)

.PHONY: dev
dev: setup ## build/dev: unit tests and fault injection
	$(call build_preset,dev)

.PHONY: run
run: build ## set up, build and start the server (ARGS="--listen 127.0.0.1:9000")
	@exec build/release/cairn serve $(ARGS)

.PHONY: test
test: ## set up, build and pass every test
	@scripts/setup.sh build test
	$(call build_preset,dev)
	$(call build_preset,release,cairn)
	@scripts/test.sh all

.PHONY: soak
soak: build ## the load tests at full length: 100,000 requests with RSS watched
	@scripts/setup.sh test
	@scripts/test.sh soak

.PHONY: check
check: ## format, lint, header and include-direction checks
	@scripts/setup.sh build check
	@scripts/check.sh

.PHONY: asan
asan: ## unit, client and crash tests under AddressSanitizer and UBSan
	@scripts/setup.sh build test
	$(call build_preset,asan)
	@scripts/test.sh sanitizer asan

.PHONY: tsan
tsan: ## unit, client and crash tests under ThreadSanitizer
	@scripts/setup.sh build test
	$(call build_preset,tsan)
	@scripts/test.sh sanitizer tsan

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZ_SECONDS (60) each
	@scripts/setup.sh build fuzz
	$(call build_preset,fuzz)
	@scripts/fuzz.sh

.PHONY: bench
bench: build ## speed as ratios: HTTP against nginx, streams, store, kernels, engine
	@scripts/setup.sh bench
	$(call build_preset,release,benches)
	@scripts/bench.sh

.PHONY: bench-batch
bench-batch: build ## a batch of 50,000 lines beside the bare engine on the same prompts
	$(call build_preset,release,benches)
	@python3 tests/bench/bench_batch.py $(ARGS)

.PHONY: bench-engine
bench-engine: build ## the engine beside llama.cpp (from npm) on the same files, and beside the machine's limits
	@scripts/setup.sh test
	$(call build_preset,release,benches)
	@python3 tests/bench/bench_engine.py $(ARGS)

.PHONY: train
train: build ## remake the built-in model: data, tokenizer, weights, report
	@models/train.sh

.PHONY: install
install: build ## into PREFIX (/usr/local), below DESTDIR when set
	DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

.PHONY: clean
clean: ## remove build/
	rm -rf build
