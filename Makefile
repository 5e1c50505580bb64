# The verbs of this repository; `make help` lists them. CI calls them by these names.
#
# Each sets up what it needs (scripts/setup.sh: nothing to do on a machine that has it all) and can be run alone.
# What is built, fetched and reported stays in _build/, target/ and priv/bin/.

MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
SECONDS ?= 60
PORT ?= 8080
EXAMPLE ?= chat

# Cowboy's place when it does not come from Hex; and for programs that run what is built, Outrider's too.
export ERL_LIBS := $(CURDIR)/_build/erl_libs
RUN := ERL_LIBS=$(CURDIR)/_build/default/lib:$(CURDIR)/_build/erl_libs
# One that fails runs again, but no more than two of a run: scripts/suites.sh says why.
PYTEST := PYTHONDONTWRITEBYTECODE=1 _build/venv/bin/pytest -q -p no:cacheprovider --timeout 300 --reruns 1 --max-suite-reruns 2 -rfER --rerun-show-tracebacks

.PHONY: help build demo test lint deny advisories package autobahn autobahn-quick autobahn-tls soak soak-quick fuzz fuzz-quick bench bench-quick clean
.PHONY: setup-demo setup-test setup-bench format clippy floors test-rust xref dialyzer test-units test-suites test-tls test-clients test-metrics test-taskboard test-dependency test-package test-elixir
.PHONY: test-ranch test-newest test-http2

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18

build: setup-demo ## the sidecar and the application
	@[ -x priv/bin/outrider ] || echo "building the sidecar; the first time takes some minutes"
	rebar3 compile

demo: build ## run the chat of examples/chat, or EXAMPLE=ticker, or trouble; PORT=8080
	@PORT=$(PORT) $(if $(filter trouble,$(EXAMPLE)),SECONDS=$(if $(filter file,$(origin SECONDS)),600,$(SECONDS))) scripts/demo.sh $(EXAMPLE)

test: ## every check and test, with a summary
	@scripts/test.sh

lint: format clippy floors xref dialyzer ## formatting, warnings, imports upwards, undefined calls, types

deny: setup-test ## licences, versions, sources and documented reasons of all dependencies
	scripts/deny.sh rules

advisories: setup-test ## known holes of the dependencies; needs github.com, and is no part of `test`
	scripts/deny.sh advisories

autobahn: build setup-test ## all 517 cases of Autobahn, through the VM and on the engine alone (about an hour)
	$(RUN) test/both/autobahn/run.py vm full
	$(RUN) test/both/autobahn/run.py engine full

autobahn-quick: build setup-test ## 306 cases of Autobahn through the VM
	$(RUN) test/both/autobahn/run.py vm quick

autobahn-tls: build setup-test ## the same over TLS
	$(RUN) test/both/autobahn/run.py tls quick

soak: build ## clients and faults at random for SECONDS=600; CLIENTS=2000, SEED as printed by an earlier run
	test/faults/soak/run $(if $(filter file,$(origin SECONDS)),600,$(SECONDS))

soak-quick: build ## the same for 20 seconds with 300 clients
	CLIENTS=300 test/faults/soak/run 20

package: setup-demo ## the sidecar for machines without Rust: a static binary, with its checksum, into _build/package
	scripts/package.sh

fuzz: setup-test ## every fuzz target; SECONDS=60 for each
	scripts/fuzz.sh $(SECONDS)

fuzz-quick: setup-test ## the same for 5 seconds each, with the same inputs each time
	SEED=1 scripts/fuzz.sh 5

bench: build setup-bench ## Outrider beside Cowboy, this machine's and the newest, into bench/results; more than an hour
	bench/run --both full

bench-quick: build setup-bench ## the main rows, roughly
	bench/run --both quick

clean: ## remove what was built, not what was fetched
	cargo clean --quiet
	rm -rf _build/default _build/test _build/autobahn/*-* _build/log _build/screenshots priv/bin examples/*/_build

# What `test` runs, each a promise of its own.

setup-demo:
	@scripts/setup.sh demo

setup-test:
	@scripts/setup.sh test

# Without it the rows that need it say so.
setup-bench:
	-@scripts/setup.sh bench

format:
	cargo fmt --check
	cargo fmt --check --manifest-path bench/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml

clippy: setup-demo
	cargo clippy --quiet --locked --all-targets -- -D warnings
	cargo clippy --quiet --locked --all-targets --manifest-path bench/Cargo.toml -- -D warnings

floors: setup-test
	test/own/test_floors.py
	scripts/floors.py

test-rust: setup-test
	cargo test --locked

xref: build
	rebar3 xref

dialyzer: build
	rebar3 dialyzer

test-units: build
	rebar3 eunit

test-suites: build
	scripts/suites.sh

# The suites that talk to a listener, with TLS between: what is in the clear elsewhere.
TLS_SUITES := both/listener both/listener_connections both/listener_options both/http_req both/http_body both/http_continue \
    both/http_forms both/http_reply both/http_connection both/ws_bad_input both/ws_callbacks both/ws_close \
    both/ws_commands both/ws_handshake both/ws_lazy both/ws_order own/outrider_backlog own/outrider_broadcast \
    own/outrider_broadcast_sidecars own/outrider_broadcast_topics own/outrider_connections \
    own/outrider_connections_options own/outrider_drain own/outrider_keepalive own/outrider_kick own/outrider_last_words \
    own/outrider_lazy own/outrider_lazy_wake own/outrider_memory own/outrider_refused own/outrider_sidecars \
    faults/outrider_failures faults/outrider_hostile faults/outrider_in_flight faults/outrider_isolation \
    faults/outrider_machine faults/outrider_network faults/outrider_waiting faults/outrider_watchdog

# Those of the same over HTTP/2, on both servers where both can do it.
HTTP2_SUITES := both/ws_bad_input both/ws_callbacks both/ws_close both/ws_commands both/ws_crashes both/ws_deflate \
    both/ws_deflate_negotiation both/ws_handshake both/ws_lazy both/ws_order both/ws_process both/ws_sys both/http_body \
    both/http_chain both/http_client_gone both/http_continue both/http_crashes both/http_forms both/http_handlers \
    both/http_process both/http_reply both/http_req both/http_stream own/outrider_lazy own/outrider_lazy_wake

comma := ,
empty :=
# As --suite takes them.
suites = $(subst $(empty) $(empty),$(comma),$(1:%=test/%_SUITE))

test-tls: build
	OUTRIDER_TEST_TLS=true scripts/suites.sh --suite $(call suites,$(TLS_SUITES))

test-http2: build
	OUTRIDER_TEST_HTTP2=true scripts/suites.sh --suite $(call suites,$(HTTP2_SUITES))

test-clients: build setup-test
	$(RUN) $(PYTEST) test/both/clients

test-metrics: build setup-test
	$(RUN) $(PYTEST) test/own/metrics

test-taskboard: build setup-test
	examples/taskboard/test.sh

test-dependency: build setup-test
	test/own/dependency.sh

test-package: build setup-test
	$(PYTEST) --timeout 1200 test/own/package

test-elixir: build setup-test
	scripts/test-elixir.sh

test-ranch: build setup-test
	test/own/ranch.sh

test-newest: build setup-test
	scripts/newest.sh
	scripts/newest.sh env OUTRIDER_TEST_HTTP2=true scripts/suites.sh --suite $(call suites,$(filter both/%,$(HTTP2_SUITES)))
