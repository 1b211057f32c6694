# Entry points for people and for CI. Everything real is one command away in cargo; this file knows the order.
#
# Needed: Rust (rustup reads rust-toolchain.toml), a C compiler for SQLite, and Go for the servers that the tests run against.

CARGO ?= cargo
RUN := $(CARGO) --locked

.DEFAULT_GOAL := help
.PHONY: help test test-cluster tools check fmt docs bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

# Most tests wait for real servers most of the time: two for each core. One build of everything: the binary that the suite
# runs is made with the rest, and with the features of the rest, which halves a cold build.
test: tools ## all tests, against real servers too (cold: under 30 minutes on two cores)
	@tests/left-out
	$(RUN) test --workspace --doc
	RUST_TEST_THREADS=$$((2 * $$(nproc))) $(RUN) test --workspace --lib --bins --tests --no-fail-fast

# With KUBECONFIG set its API server is used instead, by one test at a time and in namespaces of their own: see CONTRIBUTING.md.
# The packages and the features are those of `test`: nothing is compiled again. First the binaries that stand beside the
# tests, then the tests themselves (CLUSTER_TESTS: words of their names); two at a time, as each may have an API server of its own.
test-cluster: ## the operator on a real API server: that of KUBECONFIG, else etcd, kube-apiserver and controllers (cold: built in minutes)
	@if [ -z "$$KUBECONFIG" ]; then tests/tools/fetch etcd kubernetes; \
	else tests/left-out cluster; command -v kubectl >/dev/null || tests/tools/fetch kubernetes; fi
	$(RUN) test --workspace --no-run --test all --test cluster
	RUST_TEST_THREADS=2 $(RUN) test --workspace --test cluster --no-fail-fast -- $(CLUSTER_TESTS)

tools: ## get what the tests run against into a cache, once: MinIO, versitygw, rclone, Postgres, PgBouncer, Redis
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: install it with rustup (https://rustup.rs) and run this again." >&2; exit 1; }
	@tests/tools/fetch

# Each crate alone, too: in a workspace build one crate's features are lent to all others, and a missing one goes unseen.
check: ## formatting, lints, each crate alone, dependencies
	$(CARGO) fmt --all --check
	$(RUN) clippy --workspace --all-targets -- -D warnings
	@for crate in $$($(RUN) tree --workspace --depth 0 --prefix none | awk 'NF { print $$1 }' | sort -u); do \
		echo "$(RUN) check -p $$crate"; \
		$(RUN) check --quiet -p $$crate || exit 1; \
	done
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(RUN) deny check; \
	else echo "left out: cargo-deny is missing (cargo install --locked cargo-deny)"; fi
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run tests/left-out tests/tools/fetch; \
	else echo "left out: shellcheck is missing (apt-get install shellcheck)"; fi

fmt: ## format all code
	$(CARGO) fmt --all

docs: ## write anew what is made from code: docs/configuration.md, docs/syncmirror.md, and the files of crds and operator
	$(RUN) run --quiet -p gosync-api --example configuration > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
	GOSYNC_REGENERATE=1 $(RUN) test --quiet --workspace --test all

bench: tools ## measure against rclone on the same server, and the operator on an API server; results in bench/results
	$(RUN) build --release -p gosync
	$(RUN) run --release -p gosync-tests --bin bench
	$(RUN) run --release -p gosync-tests --bin bench line
	$(RUN) run --release -p gosync-tests --bin bench scale
	$(RUN) run --release -p gosync-tests --bin bench feed
	$(RUN) run --release -p gosync-tests --bin bench fleet
	tests/tools/fetch etcd kubernetes
	$(RUN) build --release -p gosync-operator
	$(RUN) run --release -p gosync-tests --bin bench operator

clean: ## remove what these targets made: target, results and the built tools
	$(CARGO) clean
	rm -rf bench/results
	tests/tools/fetch --clean
