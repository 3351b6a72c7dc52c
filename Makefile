# Everything a person or a build machine does with this project. `make` alone lists it.

CARGO ?= cargo
TOOLS := .tools
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CRD := crds/errorbudgetpolicies.yaml
CHART := charts/error-budget-gatekeeper
SCRIPTS := .ci/run $(wildcard tests/testbed/src/real/*.sh)

VERSION := 0.1.0
REVISION := $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
# The time of the image and of every file in it: that of the commit, and not that of the build.
SOURCE_DATE_EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))
STATIC := $(shell uname -m)-unknown-linux-musl
IMAGES := target/image
# The operator as it is in the image.
PROGRAM := $(IMAGES)/$(STATIC)/release/error-budget-gatekeeper
IMAGE_NAME ?= localhost/error-budget-gatekeeper:$(VERSION)
HASH_KEYS := $(IMAGES)/hash_keys.so
# Builds statically, in the given folder. ring's few C files need nothing of a C library, so that the machine's own compiler does.
# No path of the builder gets into a program, and no order that a build script's hash map has by chance.
static_build = CC_$(subst -,_,$(STATIC))="$${CC:-cc}" CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$(1) \
	LD_PRELOAD="$(abspath $(HASH_KEYS))$${LD_PRELOAD:+:$$LD_PRELOAD}" \
	RUSTFLAGS="--remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(abspath $(1))=target \
	  --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=cargo" \
	$(CARGO) build --locked --release --target $(STATIC)
# Makes the operator's image of the program in the first folder, as the second.
operator_image = $(CARGO) run --locked --quiet --package packaging -- image \
	  --program $(1)/$(STATIC)/release/error-budget-gatekeeper --name $(IMAGE_NAME) \
	  --version $(VERSION) --revision $(REVISION) --time $(SOURCE_DATE_EPOCH) --output $(2)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@echo "Targets:"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

.PHONY: lint
lint: lint-format lint-shell lint-clippy lint-deny lint-chart ## Check format, shell, clippy, licences, banned crates, sources, chart

.PHONY: lint-format
lint-format:
	$(CARGO) fmt --all --check

# "All targets" are without those that `cargo test` leaves out unless they are named.
.PHONY: lint-clippy
lint-clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --test '*' -- -D warnings

# It looks at the crates of every platform, so those are fetched first. The advisory database is a Git repository outside of every package registry. The check is left out so that
# lint needs nothing but registries; run `cargo deny check advisories` where the network allows it.
.PHONY: lint-deny
lint-deny: $(CARGO_DENY)
	$(CARGO) fetch --locked
	$(CARGO_DENY) --locked --offline --workspace --log-level error check licenses bans sources
	@echo "note: known vulnerabilities were not checked: that database is not on a package registry"

.PHONY: lint-shell
lint-shell:
	@if command -v shellcheck >/dev/null; then echo "shellcheck $(SCRIPTS)"; shellcheck $(SCRIPTS); \
	else echo "note: shellcheck is not installed; $(SCRIPTS) checked for syntax only"; bash -n $(SCRIPTS); fi

# helm lint and helm template, with the Helm that the testbed builds.
.PHONY: lint-chart
lint-chart: tools
	$(CARGO) test --locked --test chart

$(CARGO_DENY):
	@echo "building cargo-deny $(CARGO_DENY_VERSION) into $(TOOLS): once, a few minutes"
	$(CARGO) install --locked --version $(CARGO_DENY_VERSION) --root $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION) cargo-deny

.PHONY: tools
tools: ## Build the control plane, Prometheus and Helm that the tests run on (minutes once, then cached)
	$(CARGO) run --locked --quiet --package testbed -- build

# What real nodes and the build of runc need of the machine, by Debian's names.
PACKAGES := gcc iproute2 libseccomp-dev mount nftables pkg-config util-linux

.PHONY: packages
packages: ## Install what real nodes need of Debian's packages; says so where it cannot
	@if dpkg --status $(PACKAGES) >/dev/null 2>&1; then echo "packages: all are installed"; \
	elif [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "packages: only root with apt-get can install them; needed are: $(PACKAGES)"; \
	elif ! { apt-get update --quiet=2 && apt-get install --quiet=2 --yes --no-install-recommends $(PACKAGES); }; then \
	  echo "packages: apt-get could not install them; needed are: $(PACKAGES)"; fi

.PHONY: test-nodes
test-nodes: tools ## Test the real nodes: needs root, Linux namespaces and cgroups v1; says why where it cannot
	$(CARGO) test --locked --package testbed --test real_machine --test real_node

.PHONY: test
test: tools ## Run every test, the scenarios on a real control plane among them
	$(CARGO) test --locked --workspace

.PHONY: image
image: static-target ## Make the operator's image, without an engine, and the list of what is in it
	$(call static_build,$(IMAGES)) --package error-budget-gatekeeper --bin error-budget-gatekeeper
	$(call operator_image,$(IMAGES),$(IMAGES)/error-budget-gatekeeper.tar)
	$(CARGO) run --locked --quiet --package packaging -- contents --target $(STATIC) --time $(SOURCE_DATE_EPOCH) \
	  > $(IMAGES)/error-budget-gatekeeper.cdx.json
	@echo "contents  $(IMAGES)/error-budget-gatekeeper.cdx.json"

.PHONY: image-check
image-check: image ## Compile the operator a second time, elsewhere, and compare the two images (as long as the first time)
	rm -rf $(IMAGES)/again
	$(call static_build,$(IMAGES)/again) --package error-budget-gatekeeper --bin error-budget-gatekeeper
	$(call operator_image,$(IMAGES)/again,$(IMAGES)/again.tar)
	cmp $(IMAGES)/error-budget-gatekeeper.tar $(IMAGES)/again.tar
	rm -rf $(IMAGES)/again $(IMAGES)/again.tar
	@echo "the same  two builds in two folders gave the same image"

# Scenarios start what OPERATOR_PROGRAM names.
.PHONY: image-test
image-test: export OPERATOR_PROGRAM := $(CURDIR)/$(PROGRAM)
image-test: image test ## Run every test, and the scenarios with the very program that is in the image

.PHONY: workload-image
workload-image: static-target ## Make the image of the service that the end-to-end tests, and people, try the operator with
	$(call static_build,$(IMAGES)) --package workload
	$(CARGO) run --locked --quiet --package packaging -- program --program $(IMAGES)/$(STATIC)/release/workload \
	  --name registry.example.com/platform/workload:v1 --output $(IMAGES)/workload.tar

# As root, on Linux: elsewhere every scenario is skipped, with why. E2E=WORD runs those whose names have it.
.PHONY: e2e
e2e: test-nodes image workload-image ## Run the operator from its image, in a real node with real traffic (needs root)
	$(CARGO) test --locked --test e2e -- $(E2E)

.PHONY: static-target
static-target: $(HASH_KEYS)
	@rustup target list --installed | grep -qx $(STATIC) || rustup target add $(STATIC)

$(HASH_KEYS): packaging/hash_keys.c
	mkdir -p $(@D)
	$${CC:-cc} -shared -fPIC -O1 -o $@ $<

.PHONY: demo
demo: tools ## Tell a bad release, its rollback and its fix on a real control plane (minutes once, then about two)
	$(CARGO) build --locked --bin error-budget-gatekeeper --example demo
	$(CARGO) run --locked --quiet --example demo

# What a running operator costs is measured with the program of the image, which is what people run.
.PHONY: bench
bench: tools image ## Measure, and print the numbers (an hour; BENCH_MINUTES=10 watches healthy releases for longer)
	OPERATOR_PROGRAM=$(CURDIR)/$(PROGRAM) \
	  $(CARGO) bench --locked --bench simulation --bench admission --bench queries --bench scale --bench rollouts

.PHONY: crds
crds: ## Generate the CustomResourceDefinition again, and its copy in the chart
	mkdir -p $(dir $(CRD)) $(CHART)/files
	$(CARGO) run --locked --quiet --package error-budget-gatekeeper -- crds > $(CRD).new
	test -s $(CRD).new && mv $(CRD).new $(CRD)
	cp $(CRD) $(CHART)/files/

.PHONY: clean
clean: ## Remove what was built in this folder (the cached tools stay)
	$(CARGO) clean
	rm -rf $(TOOLS)
