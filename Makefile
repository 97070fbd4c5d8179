# Three commands for a machine with nothing but Debian, make, Node and npm: `make demo`, `make test`, `make check`.
# Each installs what it lacks and asks nothing; what it cannot install it names, in one line with the command to type.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:
.PHONY: demo test check node redis apiserver

# People, bindings and logins on real Kubernetes API servers, with the dashboard.
demo: node_modules/.package-lock.json redis apiserver
	@npx --no-install node deploy/embedded/demo-real.ts

# Types, lint, format and sizes, then every test. Minutes more the first time, when the API server is built.
test: node_modules/.package-lock.json redis apiserver
	@npm test

# The first half of `make test`: nothing is started.
check: node_modules/.package-lock.json
	@npm run check

# npm writes this file last, so it is as old as the last complete install.
node_modules/.package-lock.json: package-lock.json | node
	@echo "npm ci" >&2
	@npm ci --no-fund --no-audit
	@touch "$@"

# Any Node that npm runs on: the pinned one comes with `npm ci`.
node:
	@command -v node >/dev/null && command -v npm >/dev/null || \
	  { echo "Node and npm are missing: as root, apt-get install -y nodejs npm" >&2; exit 1; }

# The lists of a fresh machine are empty or stale, so they are read first. A service that the package starts is not used.
redis:
	@command -v redis-server >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ]; then root=; \
	elif sudo -n true 2>/dev/null; then root="sudo -n"; \
	else echo "redis-server is missing: as root, apt-get install -y redis-server" >&2; exit 1; fi; \
	command -v apt-get >/dev/null || { echo "redis-server is missing: install Redis 7 or newer" >&2; exit 1; }; \
	echo "apt-get install redis-server" >&2; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq update; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends redis-server >&2

# Ready binaries in KUBEBUILDER_ASSETS, else built with Go into a cache folder.
apiserver:
	@bash test/apiserver/build.sh >/dev/null
