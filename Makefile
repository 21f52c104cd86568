# Each target does its own set-up (scripts/setup.sh); a second run starts at once.
.PHONY: demo test test-postgres test-consumers test-executors test-clients bench fuzz deny setup schema check-container

CARGO ?= cargo
# Features of the program beside the default ones: `make test FEATURES=postgres`.
FEATURES ?=

demo: setup ui-if-node
	@$(CARGO) build --release --locked --quiet
	@mkdir -p out
	target/release/meshwright train examples/models/qwen3-30b-a3b.json \
	    --cluster examples/clusters/pod.yaml --global-batch 512 --sequence-length 4096 \
	    --for megatron -o out/train.json --force
	@echo
	target/release/meshwright place examples/models/llama3_8b.onnx \
	    --cluster examples/clusters/two-rtx3090.yaml --for accelerate -o out/place.json --force
	@echo
	target/release/meshwright infer examples/models/gpt2-xl.json \
	    --cluster examples/clusters/gaming-room.yaml --phase decode --batch 1 --cached 1000 \
	    --dtype f16 -o out/infer.json --force

test: setup
	@mkdir -p target && : > target/skipped
	MESHWRIGHT_SKIPPED=$(CURDIR)/target/skipped $(CARGO) test --release --locked --workspace $(FEATURES:%=--features %)
	@sort -u target/skipped
	@echo "$$(sort -u target/skipped | wc -l) tests were skipped for lack of data (docs/data.md), a PostgreSQL (make test-postgres) or AIConfigurator"

test-postgres:
	@scripts/setup.sh --postgres
	scripts/with_postgres.sh $(CARGO) test --release --locked -p web --features postgres laws::
	@$(CARGO) build --release --locked --quiet --features postgres
	scripts/with_postgres.sh python3 python/test_workers.py --meshwright target/release/meshwright

test-executors:
	@scripts/setup.sh --python
	@$(CARGO) build --release --locked --quiet
	.venv/bin/python python/test_package.py --meshwright target/release/meshwright
	.venv/bin/python python/test_service.py --meshwright target/release/meshwright
	.venv/bin/python python/test_executors.py --meshwright target/release/meshwright
	.venv/bin/python python/check_graphs.py --meshwright target/release/meshwright
	.venv/bin/python python/check_in_place.py --meshwright target/release/meshwright --programs 20
	.venv/bin/python python/check_joins.py --meshwright target/release/meshwright
	.venv/bin/python python/check_shardings.py --meshwright target/release/meshwright
	@$(CARGO) build --release --locked --quiet -p importers --example launch_settings \
	    --example graph_values
	.venv/bin/python python/consumers/jax_programs.py --reader target/release/examples/graph_values
	.venv/bin/python python/consumers/check_consumers.py --meshwright target/release/meshwright \
	    --reader target/release/examples/launch_settings --drawn 40
	.venv/bin/python python/consumers/flag_files.py target/release/examples/launch_settings
	@$(CARGO) build --release --locked --quiet -p importers --example onnx_values
	.venv/bin/python python/onnx_suite/check_shapes.py target/release/examples/onnx_values
	.venv/bin/python python/onnx_suite/check_runtime.py target/release/examples/onnx_values

# Consumers that install from a registry judge drawn plans of every kind of decision.
test-consumers:
	@scripts/setup.sh --python
	@$(CARGO) build --release --locked --quiet
	@$(CARGO) build --release --locked --quiet -p importers --example launch_settings
	.venv/bin/python python/consumers/check_consumers.py --meshwright target/release/meshwright \
	    --reader target/release/examples/launch_settings --plans 12 --drawn 16

# Needs a Java runtime, Go, node with npm and the Python package openapi-generator-cli.
test-clients:
	@$(CARGO) build --release --locked --quiet
	python3 python/service_clients/check.py --meshwright target/release/meshwright

bench: setup
	$(CARGO) bench --locked --bench scale
	$(CARGO) bench --locked --bench judge
	$(CARGO) bench --locked --bench schedules
	$(CARGO) bench --locked --bench peers
	$(CARGO) bench --locked --bench views
	$(CARGO) bench --locked --bench streams
	$(CARGO) bench --locked --bench gradients
	$(CARGO) bench --locked --bench averaging

fuzz: setup
	$(CARGO) run --release --locked -p importers --example fuzz -- 100000 1

# Containerfile and compose.yaml, without a container daemon; BUILD=pages or all builds in a clean folder too.
check-container: setup
	@$(CARGO) build --release --locked --quiet
	python3 scripts/check_container.py --meshwright target/release/meshwright $(BUILD:%=--build %)

deny:
	@command -v cargo-deny >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

schema: setup
	MESHWRIGHT_BLESS=1 $(CARGO) test --release --locked -p documents schema

setup:
	@scripts/setup.sh

# The pages that `serve` shows at `/` (docs/ui.md); the program is built without them where Node.js
# is missing, and says so there.
.PHONY: ui ui-if-node demo-ui test-ui screenshots bench-ui ui-program
UI := web/ui
ui: $(UI)/dist/index.html

ui-if-node:
	@if command -v npm >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory ui || echo "the pages were not built; \`serve\` goes without them"; fi

$(UI)/node_modules/.package-lock.json: $(UI)/package-lock.json
	@cd $(UI) && npm ci --no-audit --no-fund --silent

$(UI)/dist/index.html: $(UI)/node_modules/.package-lock.json $(UI)/index.html \
    $(wildcard $(UI)/*.ts $(UI)/src/* $(UI)/src/*/*)
	@cd $(UI) && npm run --silent build

demo-ui: setup ui
	@$(CARGO) build --release --locked --quiet
	@scripts/demo_ui.sh target/release/meshwright

# MESHWRIGHT names a program that was built elsewhere; with MESHWRIGHT_PAGES the pages of web/ui/dist
# stand in for its own.
ui-program: setup ui
	@scripts/setup.sh --browser
	@[ -n "$$MESHWRIGHT" ] || $(CARGO) build --release --locked --quiet
	@$(CARGO) build --release --locked --quiet -p importers --example large_graph

test-ui: ui-program
	cd $(UI) && npm test --silent

screenshots: ui-program
	cd $(UI) && node tests/screenshots.mjs

bench-ui: ui-program
	cd $(UI) && node tests/bench.mjs
