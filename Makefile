# One word per task. `make` alone prints this list.
# Works on a bare machine with Python 3.11 or newer; nothing is installed outside .venv.

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup run dev test check fix journeys drills bench client docs lock release

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## environment in .venv; quick when nothing changed
	@sh tools/setup.sh

run: setup ## the demo campaign, replayed, and the server: the main job
	@$(BIN)/undersigned demo

dev: setup ## pages only, reloading as you edit (no signing: that has one writer)
	@$(BIN)/python manage.py runserver

test: setup ## fast suite, in parallel, on both databases; T=path runs one path
	@$(BIN)/python -m pytest $(if $(T),$(T),-n auto --ignore=tests/journeys)
ifndef T
	@# What reads or writes Django's tables or a ledger, again; the signing path (hot)
	@# goes through the same operations.
	@UNDERSIGNED_TEST_DATABASE=postgresql $(BIN)/python -m pytest -n auto \
		--ignore=tests/journeys --ignore=tests/hot
endif

check: setup ## format, lint, types, contracts, migrations, templates, words, docs
	@$(BIN)/python -m tools.check

fix: setup ## format, and repair what can be repaired safely
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/python -m tools.docs

journeys: setup ## people's journeys in a browser (T=path for one)
	@$(BIN)/python -m pytest $(if $(T),$(T),tests/journeys)

drills: setup ## attack the product: small sizes; FULL=1 for the sizes promised
	@$(BIN)/undersigned drill all $(if $(FULL),--full)

bench: setup ## measure against the machine's own ceiling; B=name for one
	@$(BIN)/python -m tools.bench $(B)

client: ## rebuild the browser client from its source (needs node)
	@sh tools/client.sh build

docs: setup ## refresh the generated tables, check every link
	@$(BIN)/python -m tools.docs

lock: ## resolve the dependencies again: hashes, no addresses
	@sh tools/lock.sh

release: check test ## build what is published, with its checksums, and tag it
	@$(BIN)/python -m tools.release
