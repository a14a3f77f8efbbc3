#!/usr/bin/env bash
# Build the image of docker/Dockerfile without any image registry.
#
#     docker/imgvec-offline/build.sh [TAG]          (default imgvec-offline)
#
# For sites that reach a Debian mirror and a Python package index, but no registry. The Dockerfile is run as it is: its
# base is debootstrap's instead of python:3.11-slim, and pip installs what this machine's pip has downloaded, by its own
# configuration, served to the build on 127.0.0.1.
#
# Needs root (debootstrap makes a system), a Docker engine on this machine, debootstrap, python3 with pip. Reads
#     EXTRAS           imgvec's extras that go into the image; by default all, as in the Dockerfile
#     DEBIAN_MIRROR    where bookworm comes from; by default what apt uses on this machine
#     XDG_CACHE_HOME   the base system (about 120 MB) and the wheels (340 MB for EXTRAS=serve) are kept there
set -euo pipefail

readonly tag=${1:-imgvec-offline} extras=${EXTRAS:-all}
readonly name=imgvec-offline
# shellcheck source=docker/base-system.sh
. "$(dirname "$0")/../base-system.sh"
cd "$(dirname "$0")/../.."

# The wheels, for bookworm's Python whichever this machine's is. What nobody has used for a month goes.

key=$(cat constraints.txt pyproject.toml - <<<"$extras" | sha256sum | cut -c 1-16)
readonly wheels=$cache/wheels-$key
find "$cache" -maxdepth 1 -name 'wheels-*' -mtime +30 -exec rm -rf {} +
if [ ! -d "$wheels" ]; then
    say "downloading the wheels of imgvec[$extras]"
    platforms=()
    for glibc in $(seq 36 -1 17); do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    python3 -m pip download --quiet --dest "$work/wheels" --constraint constraints.txt --only-binary :all: \
        --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform any \
        "hatchling>=1.27" ".[$extras]" >"$work/pip.log" 2>&1 || { tail -n 20 "$work/pip.log" >&2; die "pip download failed"; }
    rm -f "$work"/wheels/imgvec-*
    mv --no-target-directory "$work/wheels" "$wheels" 2>/dev/null || [ -d "$wheels" ] # or another build was faster
fi
touch "$wheels"

python3 -u -m http.server --bind 127.0.0.1 --directory "$wheels" 0 >"$work/index.log" 2>&1 &
readonly index=$!
trap 'kill "$index" 2>/dev/null || true; rm -rf "$work"' EXIT
port=''
while [ -z "$port" ]; do
    kill -0 "$index" 2>/dev/null || { cat "$work/index.log" >&2; die "the wheels cannot be served"; }
    sleep 0.1
    port=$(sed -n 's/^Serving HTTP on .* port \([0-9]*\) .*/\1/p' "$work/index.log")
done

mkdir -p "$work/stage/etc"
cat >"$work/stage/etc/pip.conf" <<PIP
# Of the build without a registry: the wheels were served there meanwhile.
[global]
no-index = true
find-links = http://127.0.0.1:$port/
disable-pip-version-check = true
PIP
import "$tag-base" ./etc/pip.conf

say "running docker/Dockerfile"
previous=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true)
docker build --network host --force-rm --file docker/Dockerfile --build-arg BASE_IMAGE="$tag-base" \
    --build-arg EXTRAS="$extras" --tag "$tag" . >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log" >&2; die "docker build failed"; }
docker image rm "$tag-base" >/dev/null # its layer stays as long as the image
remove_unused "$previous"
say "built $tag ($(size_of "$tag"))"
