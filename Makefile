# make demo    the whole thing on this machine, without keys or accounts; PORT=8080 is the shop's
# make test    all tests, with Segment's real libraries and a real browser
# make quick   the unit tests and the fast test files
# make check   formatting and lints
# make soak    an hour with every kind of failure at once; SOAK=600 runs ten minutes
# make large-spool  a start with five million waiting events; make test uses WAITING=300000
# make supply-chain  checks the dependencies with deny.toml
# make deb     the Debian package; make try-deb installs, starts, upgrades and removes it in a folder
# make packages  checks the chart, the manifests, the Dockerfile and the workflow
# make bench   measures the time of the rewriting
# make compare measures CPU time and latency against nginx, HAProxy, Pingora and Node, for docs/performance.md
#
# make installs what the machine lacks: Debian packages if it runs as root (otherwise it names them), the rest
# below .deps/ and tests/clients/node_modules/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test soak large-spool announce quick check instructions blockers bench compare clients cmake chromium nats-server pebble prometheus faketime web-servers blocker-lists supply-chain deb try-deb packages cargo-deb

ANALYTICS_JS := @segment/analytics-next@1.84.3
CLIENTS := tests/clients
# The port of the demo's shop; make demo PORT=0 takes a free one.
PORT ?= 8080
# The versions of analytics.js that site_files checks: the newest known one and the oldest.
LIBRARIES := $(CURDIR)/$(CLIENTS)/node_modules/@segment/analytics-next/dist/umd:$(CURDIR)/$(CLIENTS)/node_modules/@segment/analytics-next-1.83.0/dist/umd
NPM_INSTALL := --no-audit --no-fund --loglevel=error

demo: cmake
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory .deps/demo.done; \
	else echo "npm is missing: the page will do without analytics.js."; fi
	@[ -e target/debug/hedgerow ] || echo "The first build compiles Hedgerow and all of its libraries: a few minutes on a fast machine, ten on two cores. Later ones take seconds."
	cargo run --locked -- demo --port $(PORT)

.deps/demo.done: Makefile
	mkdir -p .deps/demo
	npm install --prefix .deps/demo $(NPM_INSTALL) $(ANALYTICS_JS)
	touch $@

# Checks builds without features too. The kinds of spool are checked without Pingora, which would be compiled
# again for each.
check: cmake
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p hedgerow --no-default-features -- -D warnings
	cargo clippy --locked -p hedgerow --no-default-features --features server -- -D warnings
	cargo clippy --locked -p hedgerow-spool --no-default-features --features sqlite,zlib-rs -- -D warnings
	cargo clippy --locked -p hedgerow-spool --no-default-features --features nats,zlib-rs -- -D warnings

test: announce check supply-chain clients nats-server pebble prometheus faketime web-servers blocker-lists
	@scripts/parts \
	  tests 'HEDGEROW_CLIENTS=required HEDGEROW_ANALYTICS_JS=$(LIBRARIES) cargo test --locked --workspace --no-fail-fast' \
	  documentation 'RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --lib --examples' \
	  instructions 'make --no-print-directory instructions' \
	  blockers '$(TRY_BLOCKERS)'

announce:
	@echo "What is missing of these will be installed. Debian's packages: cmake, valgrind, chromium, firefox-esr with uBlock"
	@echo "Origin, nats-server, pebble, prometheus, faketime, nginx, haproxy, caddy, curl, nghttp2-client. Below .deps/ and tests/clients/node_modules/:"
	@echo "the npm, Python and Rust packages of Segment's clients, cargo-deny, the blockers' lists."

# For after each step: no browser, server or slow disk is needed.
quick: cmake
	cargo test --locked --workspace --lib --bins --test capture_cases --test docs --test plug_in --test recordings

# More than a million acknowledged events in an hour; make test contains a short run.
SOAK ?= 3600
soak: cmake
	HEDGEROW_SOAK_SECONDS=$(SOAK) cargo test --locked --test soak -- --nocapture

# Measures what a start reads and its time. Needs 3 GB of disk below TMPDIR, and minutes to fill it.
WAITING ?= 5000000
large-spool: cmake
	HEDGEROW_SPOOL_EVENTS=$(WAITING) cargo test --locked -p hedgerow-spool --test large -- --nocapture

# Licences, sources, duplicates and advisories of the dependencies (deny.toml).
supply-chain:
	@scripts/supply-chain

# docs/packages.md
deb: cmake cargo-deb
	packaging/build-deb

try-deb: cmake cargo-deb
	packaging/try-deb

packages: cmake
	packaging/try

cargo-deb:
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb

bench: cmake
	cargo bench --locked --bench rewrite
	cargo bench --locked -p hedgerow-rewrite --bench instructions

# The comparison leaves out what cannot be installed, with a message.
COMPARE_NODE := benches/compare/node
compare: cmake
	@export PATH="$$PATH:/usr/sbin"; \
	scripts/need nginx nginx -v || true; \
	scripts/need libnginx-mod-http-lua find /usr/lib/nginx/modules/ngx_http_lua_module.so || true; \
	scripts/need lua-cjson sh -c 'ls /usr/lib/*/lua/5.1/cjson.so' || true; \
	scripts/need haproxy haproxy -v || true; \
	scripts/need nodejs node --version || true; \
	scripts/need npm npm --version || true
	@npm ci --prefix $(COMPARE_NODE) $(NPM_INSTALL) || echo "*** undici cannot be had: Node sends with its own fetch. ***"
	cargo bench --locked --bench compare -- --write

# The instruction counts of the rewriting may not exceed those in the file.
instructions: cmake
	@scripts/need valgrind valgrind --version
	cargo bench --locked -p hedgerow-rewrite --bench instructions -- --check

# Builds the C library for compression that Pingora needs.
cmake:
	@scripts/need cmake cmake --version

clients: chromium .deps/firefox.done .deps/node.done .deps/python.done .deps/rust-client.done

chromium:
	@scripts/need chromium "$${CHROMIUM:-chromium}" --version

# Debian installs it in a folder that only root's path contains; the tests look there too.
nats-server:
	@PATH="$$PATH:/usr/sbin" scripts/need nats-server nats-server --version

# The certificate authority of the tests.
pebble:
	@scripts/need pebble sh -c 'command -v pebble && command -v pebble-challtestsrv' \
	|| echo "*** pebble cannot be had; the test that orders certificates will be SKIPPED. ***"

# promtool tests the rules, and the server itself the alerts.
prometheus:
	@scripts/need prometheus sh -c 'prometheus --version && promtool --version'

# Changes the clock while the binary runs.
faketime:
	@scripts/need faketime faketime --version

# The servers in front of the real binary, as in docs/behind, and clients.
web-servers:
	@PATH="$$PATH:/usr/sbin" scripts/need nginx nginx -v
	@PATH="$$PATH:/usr/sbin" scripts/need haproxy haproxy -v
	@scripts/need caddy caddy version
	@scripts/need curl curl --version
	@scripts/need nghttp2-client h2load --version

# Firefox and Debian's uBlock Origin (the extension with its lists), for the tests with Firefox and with the lists.
# If they cannot be installed, these tests are skipped with a message.
.deps/firefox.done: Makefile scripts/need scripts/fetch-ublock
	mkdir -p .deps
	rm -f .deps/firefox.missing
	{ scripts/need firefox-esr "$${FIREFOX:-firefox-esr}" --version && scripts/fetch-ublock .deps/ublock; } \
	|| { echo "*** Firefox or uBlock Origin cannot be had; the tests with them will be SKIPPED. ***"; \
	     touch .deps/firefox.missing; }
	[ -e .deps/firefox.missing ] || touch $@

.deps/node.done: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json
	@scripts/need nodejs node --version
	@scripts/need npm npm --version
	npm ci --prefix $(CLIENTS) $(NPM_INSTALL)
	mkdir -p .deps
	touch $@

.deps/python.done: $(CLIENTS)/requirements.txt
	@scripts/need python3 python3 --version
	@scripts/need python3-venv python3 -c 'import ensurepip, venv'
	python3 -m venv --clear .deps/python
	.deps/python/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The crate is not maintained any more. If it stops compiling, its tests are skipped with a message.
RUST_CLIENT := $(CLIENTS)/rust
.deps/rust-client.done: $(RUST_CLIENT)/Cargo.toml $(RUST_CLIENT)/Cargo.lock $(RUST_CLIENT)/src/main.rs
	mkdir -p .deps
	rm -f .deps/rust-client.unbuildable .deps/rust-client/debug/hedgerow-test-client
	cargo fetch --locked --manifest-path $(RUST_CLIENT)/Cargo.toml
	cargo build --locked --manifest-path $(RUST_CLIENT)/Cargo.toml --target-dir .deps/rust-client \
	|| { echo "*** The segment crate does not build; its tests will be SKIPPED. ***"; \
	     touch .deps/rust-client.unbuildable; }
	touch $@

# Checks the addresses of first-party installations with blockers' lists. The lists have their own licences, so
# make downloads them and the repository does not contain them.
BLOCKER_LISTS := .deps/blocker-lists
# cargo test has generated the addresses before.
TRY_BLOCKERS = HEDGEROW_BLOCKER_LISTS=$(CURDIR)/$(BLOCKER_LISTS) \
	cargo test --locked --manifest-path tests/blockers/Cargo.toml --target-dir .deps/blockers -- --nocapture

blockers: clients blocker-lists
	HEDGEROW_CLIENTS=required cargo test --locked --test first_party -- both_libraries_work_on_the_pages_own_host
	HEDGEROW_BLOCKERS=required $(TRY_BLOCKERS)

# The test reports lists that could not be downloaded.
blocker-lists: clients
	@scripts/fetch-blocker-lists .deps/ublock $(BLOCKER_LISTS) \
	|| echo "*** Not all of the blockers' lists can be had; the test with them will be SKIPPED. ***"
