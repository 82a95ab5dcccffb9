# subclaw: what a person types. Every target but `help` and `clean` sets up first, which is quick once it was done.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-python demo support up test check bench lock clean

# Root is used as it is; anybody else goes through sudo, which keeps the settings that subclaw reads.
SETTINGS := $(filter SUBCLAW_% SHOP_% TELEGRAM_% WHATSAPP_% IMESSAGE_% BLUEBUBBLES_% SLACK_% DISCORD_% MATRIX_% EMAIL_%,$(.VARIABLES)) \
  DATABASE_URL OPENAI_API_KEY OPENAI_BASE_URL ANTHROPIC_API_KEY ANTHROPIC_BASE_URL GOOGLE_API_KEY GOOGLE_BASE_URL \
  TWILIO_ACCOUNT_SID TWILIO_AUTH_TOKEN TWILIO_NUMBER TWILIO_BASE_URL TWILIO_MEDIA_BASE_URL \
  PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_CERT http_proxy https_proxy no_proxy CI TERM COLUMNS
comma := ,
empty :=
space := $(empty) $(empty)
SUDO := $(shell test "$$(id -u)" = 0 || command -v sudo)
ifneq ($(SUDO),)
SUDO += --preserve-env=$(subst $(space),$(comma),$(strip $(SETTINGS)))
endif

BOOTSTRAP = $(SUDO) /usr/bin/python3 bootstrap.py
# The environment's true place: `.venv` may be a link to one that subclaw's system users can read.
BIN = $(shell readlink -f .venv)/bin
RUN = $(SUDO) $(BIN)
LOCK = $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

# Tests wait more than they compute: three processes share the files, in their order, each file as a whole.
SPREAD = --numprocesses=3 --dist=loadfile --no-loadscope-reorder

help: ## list what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## Debian packages, system users, the Python environment, the golden image
	@$(BOOTSTRAP)

setup-dev:
	@$(BOOTSTRAP) --dev

setup-python:
	@$(BOOTSTRAP) --dev --no-image

demo: setup ## a new user texts for a page, and it is live: the chat, its address and the page are printed
	@$(RUN)/subclaw demo

support: setup ## a shop and its support agent (examples/support), until Ctrl-C
	@$(RUN)/python -m examples.support

up: setup ## serve until Ctrl-C; prints the address of the web chat
	@$(RUN)/subclaw up

test: setup-dev ## every test, the real ones included (ARGS=… goes to pytest)
	@$(RUN)/python -m pytest $(SPREAD) $(ARGS)

check: setup-python ## linters, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup-dev ## one benchmark: make bench NAME=turns (ARGS=… goes to it)
	@test -n "$(NAME)" -a -f "bench/$(NAME).py" || { echo "which? make bench NAME=… is one of:" bench/*.py >&2; exit 1; }
	@$(RUN)/python -m bench.$(NAME) $(ARGS)

lock: setup-python ## pin what pyproject.toml asks for, with hashes (UPGRADE=1: the newest there is)
	@$(LOCK) pyproject.toml --extra build -o requirements.lock
	@$(LOCK) pyproject.toml --extra build --extra dev -c requirements.lock -o requirements-dev.lock
	@echo mitmproxy | $(LOCK) - -o tests/real/mitmdump.lock
	@echo matrix-synapse | $(LOCK) - -o tests/real/synapse.lock

clean: ## remove the Python environment and caches; data and images stay
	@$(BOOTSTRAP) --clean
	@$(SUDO) rm -rf build .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/subclaw.egg-info
	@find . -name __pycache__ -type d -prune -exec $(SUDO) rm -rf {} +
