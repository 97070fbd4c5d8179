#!/usr/bin/env bash
# Builds the real API server once into a cache folder outside the checkout, and prints that folder. Ready binaries in
# KUBEBUILDER_ASSETS (the envtest convention, plus kube-controller-manager) are taken as they are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
names="etcd kube-apiserver kube-controller-manager kubectl"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for name in $names; do
    [ -x "$KUBEBUILDER_ASSETS/$name" ] || { echo "KUBEBUILDER_ASSETS has no $name: put it there, or unset the variable to build it with Go" >&2; exit 1; }
  done
  echo "$KUBEBUILDER_ASSETS"
  exit 0
fi

version=v1.36.3
key=$(cat "$here/go.mod" "$here/go.sum" "$here/build.sh" | sha256sum | cut -c1-12)
bin="${XDG_CACHE_HOME:-$HOME/.cache}/understudy/apiserver-$version-$key"
complete=yes
for name in $names; do [ -x "$bin/$name" ] || complete=no; done
if [ "$complete" = yes ]; then echo "$bin"; exit 0; fi

command -v go >/dev/null || { echo "the tests need a real kube-apiserver, which is built with Go: apt-get install golang-go (1.24 or newer fetches the rest), or set KUBEBUILDER_ASSETS" >&2; exit 1; }
mkdir -p "$bin"
# Two builds at once (two checkouts, make demo beside make test) wait for each other instead of compiling twice.
exec 9>"$bin/.lock"
flock 9
stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
cd "$here"
for name in $names; do
  [ -x "$bin/$name" ] && continue
  package=k8s.io/kubernetes/cmd/$name
  [ "$name" = etcd ] && package=go.etcd.io/etcd/server/v3
  echo "building $name $version (once: 6 to 9 minutes for all four on 2 cores) ..." >&2
  GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0 go build -ldflags "-s -w $stamp" -o "$bin/$name.new" "$package" >&2
  mv "$bin/$name.new" "$bin/$name"
done
echo "$bin"
