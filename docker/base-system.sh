# shellcheck shell=bash
# The Debian system under the images that are made without a registry. milvus-offline/build.sh and imgvec-offline/build.sh
# source this file with $name set: it checks what both need, and leaves
#     $work    an empty folder, which is removed at the end
#     $cache   what is kept for the next build, in XDG_CACHE_HOME
#     $base    the system as a tar (about 120 MB): one for both, so that debootstrap runs once
# It reads DEBIAN_MIRROR, where bookworm comes from: by default what apt uses on this machine.
readonly suite=bookworm packages=ca-certificates,python3-venv,tini
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/imgvec-milvus-offline
readonly base=$cache/$suite-$packages.tar

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(uname -sm)" = "Linux x86_64" ] || die "the image is of Linux x86-64; this is $(uname -sm)"
[ "$(id -u)" = 0 ] || die "debootstrap needs root; run this with sudo"
for tool in docker debootstrap python3; do
    command -v "$tool" >/dev/null || die "$tool is missing; on Debian: apt-get install docker.io debootstrap python3-pip"
done
docker version >/dev/null 2>&1 || die "no Docker engine answers; start dockerd first"

umask 022
mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

apt_mirror() {
    command -v apt-get >/dev/null || return 0
    apt-get indextargets --format '$(REPO_URI)' "Release: $suite" "Created-By: Packages" 2>/dev/null | head -n 1
}

exec 9>"$cache/lock" # the other image may be built at the same time
flock 9
if [ ! -f "$base" ]; then
    mirror=${DEBIAN_MIRROR:-$(apt_mirror)}
    mirror=${mirror:-https://deb.debian.org/debian}
    say "making a $suite system with debootstrap (half a minute or so)"
    eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy 2>/dev/null || true)"
    export http_proxy https_proxy
    debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
    rm -rf "$work"/root/{dev,proc,run,sys,tmp}/* "$work"/root/var/{cache,log}/* "$work"/root/var/lib/apt/lists/* \
        "$work"/root/usr/share/{doc,info,locale,man}/*
    : >"$work/root/etc/apt/sources.list" # the mirror is this machine's business
    tar --numeric-owner -C "$work/root" -cf "$work/base.tar" .
    mv "$work/base.tar" "$base"
    rm -rf "$work/root"
fi
exec 9>&-

# import TAG PATHS [docker import's options]: the base system with these paths under $work/stage, as an image. Docker
# takes no path twice: a folder that the system has is not to be one of them. The image that had the tag goes.
import() {
    local into=$1 paths=$2 previous
    shift 2
    previous=$(docker image inspect --format '{{.Id}}' "$into" 2>/dev/null || true)
    cp "$base" "$work/image.tar"
    # shellcheck disable=SC2086  # several
    tar --numeric-owner --owner=0 --group=0 -C "$work/stage" --append -f "$work/image.tar" $paths
    docker import "$@" "$work/image.tar" "$into" >/dev/null
    rm "$work/image.tar"
    remove_unused "$previous"
}

# An image by its id, if that is not empty; one that is in use stays.
remove_unused() {
    if [ -n "$1" ]; then docker image rm "$1" >/dev/null 2>&1 || true; fi
}

size_of() { printf '%d MiB' $(($(docker image inspect --format '{{.Size}}' "$1") >> 20)); }
