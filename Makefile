# make demo    the whole thing on this machine, without keys or accounts; PORT=8080 is the shop's
# make test    everything that must hold, with Segment's real libraries and a real browser
# make quick   the unit tests and the fast files of tests
# make check   formatting and lints
# make soak    an hour with all troubles at once: SOAK=600 is ten minutes
# make large-spool  a start with five million events waiting; WAITING=300000 is what make test does
# make supply-chain  the dependencies, against deny.toml
# make deb     the Debian package; make try-deb installs, starts, upgrades and removes it in a folder
# make packages  looks the chart, the manifests, the Dockerfile and the workflow over
# make bench   how long the rewriting takes
# make compare CPU and latency beside nginx, HAProxy, Pingora and Node, into docs/performance.md
#
# What a machine lacks is installed where that is possible, else named: Debian's packages for root,
# the rest below .deps/ and tests/clients/node_modules/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test soak large-spool announce quick check instructions blockers bench compare clients cmake chromium nats-server pebble prometheus faketime web-servers blocker-lists supply-chain deb try-deb packages cargo-deb

ANALYTICS_JS := @segment/analytics-next@1.84.3
CLIENTS := tests/clients
# The demo's shop; make demo PORT=0 takes a free one.
PORT ?= 8080
# What site_files looks into: the newest version that is known, and the oldest.
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

# What the features leave out is looked at as well; the kinds of spool without Pingora, which would have to be
# looked at anew for each.
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
	  documentation 'RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps' \
	  instructions 'make --no-print-directory instructions' \
	  blockers '$(TRY_BLOCKERS)'

announce:
	@echo "What is missing of these will be installed. Debian's packages: cmake, valgrind, chromium, firefox-esr with uBlock"
	@echo "Origin, nats-server, pebble, prometheus, faketime, nginx, haproxy, caddy, curl, nghttp2-client. Below .deps/ and tests/clients/node_modules/:"
	@echo "the npm, Python and Rust packages of Segment's clients, cargo-deny, the blockers' lists."

# After each step: nothing here waits for a browser, a server or a disk.
quick: cmake
	cargo test --locked --workspace --lib --bins --test capture_cases --test docs --test plug_in --test recordings

# Above a million acknowledged events in an hour; the short form of it is a part of make test.
SOAK ?= 3600
soak: cmake
	HEDGEROW_SOAK_SECONDS=$(SOAK) cargo test --locked --test soak -- --nocapture

# What a start reads and how long it takes: 3 GB of disk below TMPDIR, and minutes to fill it.
WAITING ?= 5000000
large-spool: cmake
	HEDGEROW_SPOOL_EVENTS=$(WAITING) cargo test --locked -p hedgerow-spool --test large -- --nocapture

# Licences, sources, duplicates and advisories of what we depend on (deny.toml).
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

# What cannot be had is left out of the comparison, loudly.
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

# What the rewriting costs, to the instruction: no more than is written down.
instructions: cmake
	@scripts/need valgrind valgrind --version
	cargo bench --locked -p hedgerow-rewrite --bench instructions -- --check

# The C library for compression below Pingora is built with it.
cmake:
	@scripts/need cmake cmake --version

clients: chromium .deps/firefox.done .deps/node.done .deps/python.done .deps/rust-client.done

chromium:
	@scripts/need chromium "$${CHROMIUM:-chromium}" --version

# Debian keeps it where only root's path looks; the tests look there too.
nats-server:
	@PATH="$$PATH:/usr/sbin" scripts/need nats-server nats-server --version

# The authority that the tests of certificates order from.
pebble:
	@scripts/need pebble sh -c 'command -v pebble && command -v pebble-challtestsrv' \
	|| echo "*** pebble cannot be had; the test that orders certificates will be SKIPPED. ***"

# The rules are tested with promtool, and the alerts with the server itself.
prometheus:
	@scripts/need prometheus sh -c 'prometheus --version && promtool --version'

# A clock that is set while the binary runs.
faketime:
	@scripts/need faketime faketime --version

# In front of the real binary, as docs/behind has them, and clients of it.
web-servers:
	@PATH="$$PATH:/usr/sbin" scripts/need nginx nginx -v
	@PATH="$$PATH:/usr/sbin" scripts/need haproxy haproxy -v
	@scripts/need caddy caddy version
	@scripts/need curl curl --version
	@scripts/need nghttp2-client h2load --version

# Firefox, and uBlock Origin as Debian has it: the extension with its lists, for Firefox's tests and
# for those of the lists. Where they cannot be had, these tests are left out, loudly.
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

# The crate is no longer looked after. When it stops building, its tests are left out, loudly.
RUST_CLIENT := $(CLIENTS)/rust
.deps/rust-client.done: $(RUST_CLIENT)/Cargo.toml $(RUST_CLIENT)/Cargo.lock $(RUST_CLIENT)/src/main.rs
	mkdir -p .deps
	rm -f .deps/rust-client.unbuildable .deps/rust-client/debug/hedgerow-test-client
	cargo fetch --locked --manifest-path $(RUST_CLIENT)/Cargo.toml
	cargo build --locked --manifest-path $(RUST_CLIENT)/Cargo.toml --target-dir .deps/rust-client \
	|| { echo "*** The segment crate does not build; its tests will be SKIPPED. ***"; \
	     touch .deps/rust-client.unbuildable; }
	touch $@

# The addresses of a first-party installation against blockers' lists, which are under licences of
# their own and therefore fetched, never kept here.
BLOCKER_LISTS := .deps/blocker-lists
# cargo test has made the addresses before.
TRY_BLOCKERS = HEDGEROW_BLOCKER_LISTS=$(CURDIR)/$(BLOCKER_LISTS) \
	cargo test --locked --manifest-path tests/blockers/Cargo.toml --target-dir .deps/blockers -- --nocapture

blockers: clients blocker-lists
	HEDGEROW_CLIENTS=required cargo test --locked --test first_party -- both_libraries_work_on_the_pages_own_host
	HEDGEROW_BLOCKERS=required $(TRY_BLOCKERS)

# What cannot be fetched is missing below the folder, and the test says so.
blocker-lists: clients
	@scripts/fetch-blocker-lists .deps/ublock $(BLOCKER_LISTS) \
	|| echo "*** Not all of the blockers' lists can be had; the test with them will be SKIPPED. ***"
