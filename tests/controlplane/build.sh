#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kube-controller-manager from their published Go modules, once per version, into the
# user's cache. Prints the folder that holds them and nothing else. Needs Go; takes minutes the first time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# required FOLDER MODULE: the version that the go.mod there requires.
required() { awk -v module="$2" '{ sub(/^require /, "") } $1 == module { print $2; exit }' "$here/$1/go.mod"; }
kubernetes=$(required kubernetes k8s.io/kubernetes)
etcd=$(required etcd go.etcd.io/etcd/server/v3)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/oat-operator/controlplane"
target="$cache/$kubernetes-etcd-$etcd"
complete() { [ -x "$target/etcd" ] && [ -x "$target/kube-apiserver" ] && [ -x "$target/kube-controller-manager" ]; }

if ! complete; then
  command -v go >/dev/null || { echo "no go in PATH to build etcd and kube-apiserver with" >&2; exit 1; }
  mkdir -p "$cache"
  # One builds; whoever comes meanwhile waits and then has nothing left to do.
  if command -v flock >/dev/null; then exec 9>"$cache/.lock"; flock 9; fi
fi
if ! complete; then
  work=$(mktemp -d "$cache/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  minor=${kubernetes#v1.}
  version="k8s.io/component-base/version"
  flags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
  # build FOLDER PACKAGE PROGRAM FLAGS
  build() {
    (cd "$here/$1" && CGO_ENABLED=0 GOWORK=off nice -n 15 go build -p 2 -mod=readonly -buildvcs=false -trimpath \
      -ldflags "$4" -o "$work/$3" "$2") >&2
  }
  build etcd . etcd "-s -w"
  build kubernetes ./apiserver kube-apiserver "$flags"
  build kubernetes ./controller-manager kube-controller-manager "$flags"
  rm -rf "$target"
  mv "$work" "$target"
fi
echo "$target"
