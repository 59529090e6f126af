STACK ?= dev
REGISTRY ?=
PYTEST ?=
ARGS ?=
QUICK = HUBSTACK_TOOLCHAIN=no toolchain/with

.PHONY: help up preview push rehearse down cluster-up cluster-down test test-kubernetes test-quick lint format lock clean

help: ## What each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

up: setup ## Deploy the stack (STACK=dev) and print its address and password
	@toolchain/with toolchain/stack up $(STACK) $(ARGS)

preview: setup ## Show what `up` would change, with the policy report
	@toolchain/with toolchain/stack preview $(STACK) $(ARGS)

push: ## Build the images of STACK, push them to REGISTRY and write their digests into the stack's file
	$(if $(REGISTRY),,$(error usage: make push STACK=<stack> REGISTRY=<registry>, such as <account>.dkr.ecr.<region>.amazonaws.com))
	@$(MAKE) --no-print-directory setup
	@$(QUICK) toolchain/push '$(STACK)' '$(REGISTRY)'

rehearse: ## Deploy STACK to a simulated AWS, look for changes, destroy it, and say what is left
	@HUBSTACK_PLUGINS=aws toolchain/with toolchain/rehearse $(STACK)

down: setup ## Destroy the stack; homes and the hub's database stay unless the stack says otherwise
	@toolchain/with toolchain/stack down $(STACK) $(ARGS)

cluster-up: ## Start a Kubernetes node for tests and development, print its kubeconfig (ARGS=--gateway: with a gateway)
	@$(QUICK) toolchain/cluster up $(ARGS)

cluster-down: ## End that node and remove everything it made
	@$(QUICK) toolchain/cluster down

test: ## Run every test
	@toolchain/test $(PYTEST)

test-kubernetes: ## Run the tests that need a Kubernetes cluster
	@toolchain/test --kubernetes

test-quick: ## Run the tests that need neither the CLI nor Docker
	@$(QUICK) python -m pytest tests/unit tests/policies tests/golden $(PYTEST)

lint: ## Check style, format and types
	@$(QUICK) ruff check .
	@$(QUICK) ruff format --check .
	@$(QUICK) pyright

format: ## Format the code
	@$(QUICK) ruff format .

lock: ## Lock the dependencies again, by hash
	@$(QUICK) sh -c 'lock="uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header"; \
	  $$lock --python-version 3.11 --group dev pyproject.toml -o requirements.lock; \
	  for i in images/hub images/notebook images/operator images/redirector images/tmpnb-node runtime/ec2_spawner; do $$lock --no-annotate --python-version 3.11.2 $$i/requirements.in -o $$i/requirements.lock; done; \
	  $$lock --no-annotate --python-version 3.11 toolchain/language_host/requirements.in -o toolchain/language_host/requirements.lock'

clean: ## Remove what was built in the checkout; state and the cache stay
	@rm -rf build .venv .pytest_cache .ruff_cache .hypothesis

.PHONY: setup
setup:
	@toolchain/packages mmdebstrap mmdebstrap ip iproute2
	@toolchain/engine start >/dev/null
