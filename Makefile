# Commands for a machine with nothing but Debian, make, Node and npm: `make demo`, `make demo-real`, `make test`, `make check`. DEMO=--once lets a demo end.
# Each installs what it lacks and asks nothing; what it cannot install it names, in one line with the command to type.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# The pinned one, without npx, which takes most of a second to find it and warns of the older Node that it runs on itself.
NODE := node_modules/.bin/node
MAKEFLAGS += --no-builtin-rules --no-print-directory
.NOTPARALLEL:
.PHONY: demo demo-real test check node redis nginx chromium apiserver

# People, bindings, logins and accidents on simulated clusters, with a real Redis, real workers and the dashboard.
demo: node_modules/.package-lock.json redis
	@$(NODE) deploy/understudy.mjs dev $(DEMO)

# The same on real Kubernetes API servers.
demo-real: node_modules/.package-lock.json redis apiserver
	@$(NODE) deploy/embedded/demo-real.ts $(DEMO)

# Types, lint, format and sizes, then every test. Minutes more the first time, when the API server is built.
test: node_modules/.package-lock.json redis nginx chromium apiserver
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

# Debian's packages, where $(1) is missing. The lists of a fresh machine are empty or stale, so they are read first. A service that a package starts is not used.
define install
	@$(1) && exit 0; \
	if [ "$$(id -u)" = 0 ]; then root=; \
	elif sudo -n true 2>/dev/null; then root="sudo -n"; \
	else echo "$(2) is missing: as root, apt-get install -y $(2)" >&2; exit 1; fi; \
	command -v apt-get >/dev/null || { echo "$(2) is missing: $(3)" >&2; exit 1; }; \
	echo "apt-get install $(2)" >&2; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq update; \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(2) >&2
endef
redis:
	$(call install,command -v redis-server >/dev/null,redis-server,install Redis 7 or newer)

# The tests put it in front of an API server, with the Lua that deploy/examples/nginx.conf needs.
nginx:
	$(call install,test -x /usr/sbin/nginx -a -e /usr/lib/nginx/modules/ngx_http_lua_module.so,nginx libnginx-mod-http-lua,the tests know it from Debian)

# The tests look at the dashboard's pages with it.
chromium:
	$(call install,test -x /usr/bin/chromium,chromium,the tests know it from Debian)

# Ready binaries in KUBEBUILDER_ASSETS, else built with Go into a cache folder.
apiserver:
	@bash test/apiserver/build.sh >/dev/null
