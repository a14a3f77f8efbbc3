"""What has to hold for the files under docker/, which most machines cannot run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from container_health import health

from imgvec.cli import main

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
WHOLE = ["compose.standalone.yaml", "compose.cluster.yaml"]
DEPLOYMENTS = {
    "standalone": ["compose.standalone.yaml"],
    "gpu": ["compose.standalone.yaml", "compose.gpu.yaml"],
    "cluster": ["compose.cluster.yaml"],
}
"""What can be started: the files that `docker compose` is given, each laid over the one before."""
LEAST = (2, 6, 24)
"""The first Milvus release that has the fixes which imgvec's users need."""
SECRETS = re.compile(r"PASSWORD|SECRET|TOKEN")
PASSWORDS = {"MINIO_ROOT_PASSWORD": "storage-of-a-test", "MILVUS_ROOT_PASSWORD": "root-of-a-test"}


def compose(name: str) -> dict[str, Any]:
    content = yaml.safe_load((DOCKER / name).read_text())
    assert isinstance(content, dict)
    return content


def services(name: str) -> dict[str, dict[str, Any]]:
    found = compose(name)["services"]
    assert found
    return dict(found)


def deployed(deployment: str) -> dict[str, dict[str, Any]]:
    """The services of a deployment, its files laid over each other as Compose does it."""
    found: dict[str, dict[str, Any]] = {}
    for name in DEPLOYMENTS[deployment]:
        for service, body in services(name).items():
            found[service] = laid_over(found.get(service, {}), body)
    return found


def laid_over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict):
            merged[key] = laid_over(under[key], over[key])
        elif isinstance(under[key], list) and key != "command":
            merged[key] = [*under[key], *over[key]]
    return merged


def is_milvus(body: dict[str, Any]) -> bool:
    return "milvusdb/" in str(body["image"])


def milvus_images(name: str) -> set[str]:
    return {service["image"] for service in services(name).values() if "milvusdb/" in service["image"]}


def test_one_milvus_version_everywhere() -> None:
    (image,) = milvus_images("compose.standalone.yaml")
    assert re.fullmatch(r"milvusdb/milvus:v2\.6\.\d+", image)
    assert milvus_images("compose.cluster.yaml") == {image}
    assert milvus_images("compose.gpu.yaml") == {f"{image}-gpu"}


def test_the_other_images_are_the_same_in_both() -> None:
    alone, cluster = (services(name) for name in WHOLE)
    for name in ("etcd", "minio"):
        assert alone[name] == cluster[name]


@pytest.mark.parametrize("name", WHOLE)
def test_every_service_is_pinned_watched_and_restarted(name: str) -> None:
    for service, body in services(name).items():
        _, _, tag = body["image"].rpartition(":")
        assert re.search(r"\d+[.-]\d+", tag), f"{service}: {body['image']} is not pinned"
        assert body["healthcheck"]["test"][0] == "CMD", service
        assert body["restart"] == "unless-stopped", service


@pytest.mark.parametrize("name", WHOLE)
def test_services_wait_until_what_they_need_is_healthy(name: str) -> None:
    every = services(name)
    for service, body in every.items():
        needs = body.get("depends_on", {})
        assert set(needs) == ({"etcd", "minio"} if "milvusdb/" in body["image"] else set()), service
        assert all(need == {"condition": "service_healthy"} for need in needs.values()), service


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_milvus_has_the_fixes(deployment: str) -> None:
    images = [body["image"] for body in deployed(deployment).values() if is_milvus(body)]
    assert images
    for image in images:
        found = re.fullmatch(r"milvusdb/milvus:v(\d+)\.(\d+)\.(\d+)(-gpu)?", image)
        assert found, image
        assert tuple(int(part) for part in found.groups()[:3]) >= LEAST, image
        assert (found[4] == "-gpu") == (deployment == "gpu"), image


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_nothing_but_milvus_s_own_port_is_published_and_only_on_this_machine(deployment: str) -> None:
    published = {service: body["ports"] for service, body in deployed(deployment).items() if "ports" in body}
    assert list(published.values()) == [["127.0.0.1:19530:19530"]]
    assert published.keys() <= {"milvus", "proxy"}
    for service, body in deployed(deployment).items():
        assert "network_mode" not in body, f"{service} would publish every port"


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_management_port_is_not_published(deployment: str) -> None:
    """Whoever reaches 9091 can stop Milvus: /management asks for no login."""
    for service, body in deployed(deployment).items():
        assert not [port for port in body.get("ports", []) if "9091" in port], service


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_etcd_and_minio_are_not_published(deployment: str) -> None:
    every = deployed(deployment)
    assert {"etcd", "minio"} <= every.keys()
    for service in ("etcd", "minio"):
        assert not every[service].keys() & {"ports", "network_mode"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_milvus_wants_a_login(deployment: str) -> None:
    for service, body in deployed(deployment).items():
        if is_milvus(body):
            assert body["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true", service


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_no_secret_has_a_default(deployment: str) -> None:
    """`${NAME:?why}` makes Compose refuse to start without it."""
    secrets = [
        (service, key, value)
        for service, body in deployed(deployment).items()
        for key, value in body["environment"].items()
        if SECRETS.search(key)
    ]
    assert {key for _, key, _ in secrets} == {
        "MINIO_ROOT_PASSWORD",
        "MINIO_SECRET_ACCESS_KEY",
        "COMMON_SECURITY_DEFAULTROOTPASSWORD",
    }
    for service, key, value in secrets:
        wanted = re.fullmatch(r"\$\{(\w+):\?[^}]+\}", value)
        assert wanted, f"{service}: {key} is {value}"
        assert wanted[1] in PASSWORDS, f"{service}: {key} is {value}"


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_compose_itself_reads_the_files_so(deployment: str) -> None:
    if problem := composed(["version"], {})[1]:
        pytest.skip(f"no docker compose: {problem}")
    files = [word for name in DEPLOYMENTS[deployment] for word in ("-f", str(DOCKER / name))]
    for missing in PASSWORDS:
        _, said = composed([*files, "config"], {n: word for n, word in PASSWORDS.items() if n != missing})
        assert missing in said
    text, said = composed([*files, "config", "--format", "json"], PASSWORDS)
    assert text, said
    for service, body in json.loads(text)["services"].items():
        ports = [(port["host_ip"], port["published"], port["target"]) for port in body.get("ports", [])]
        assert ports == ([("127.0.0.1", "19530", 19530)] if service in ("milvus", "proxy") else []), service
        if is_milvus(body):
            assert body["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true", service
            assert body["environment"]["COMMON_SECURITY_DEFAULTROOTPASSWORD"] == PASSWORDS["MILVUS_ROOT_PASSWORD"]


def composed(words: list[str], passwords: dict[str, str]) -> tuple[str, str]:
    """What `docker compose` prints, or else what is wrong."""
    environment = {name: value for name, value in os.environ.items() if name not in PASSWORDS}
    try:
        done = subprocess.run(
            ["docker", "compose", *words], env={**environment, **passwords}, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return "", str(exc)
    return (done.stdout, "") if done.returncode == 0 else ("", done.stderr or f"exit {done.returncode}")


@pytest.mark.parametrize("name", WHOLE)
def test_data_lies_in_named_volumes(name: str) -> None:
    mounts = [mount for body in services(name).values() for mount in body.get("volumes", [])]
    assert {mount.split(":")[0] for mount in mounts} == set(compose(name)["volumes"])


def test_the_cluster_has_every_role_of_milvus_once() -> None:
    roles = [body["command"][2] for body in services("compose.cluster.yaml").values() if "milvusdb/" in body["image"]]
    assert sorted(roles) == ["datanode", "mixcoord", "proxy", "querynode", "streamingnode"]


def test_the_app_serves_with_tokens_behind_loopback_and_writes_to_its_volume_alone() -> None:
    served = pytest.importorskip("imgvec.serving.served")
    under, (body,) = services("compose.standalone.yaml"), services("compose.app.yaml").values()
    serve = main.get_command(click.Context(main), "serve")
    assert serve is not None
    assert body["command"][0] == "serve"
    given = serve.make_context("serve", body["command"][1:]).params  # raises for what the command does not know
    assert (given["host"], given["token_file"]) == ("0.0.0.0", "/data/tokens")
    assert body["ports"] == [f"127.0.0.1:{given['port']}:{given['port']}"]
    assert (body["read_only"], body["cap_drop"]) == (True, ["ALL"])
    assert {mount.split(":")[-1] for mount in body["volumes"]} == {"/data", "ro"}
    assert set(body["depends_on"]) <= set(under)
    assert body["environment"]["IMGVEC_URI"] == "http://milvus:19530"
    assert re.fullmatch(r"\$\{IMGVEC_PICTURES:\?[^}]+\}:/pictures:ro", body["volumes"][1])
    assert body["environment"]["IMGVEC_TOKEN"].endswith(
        under["milvus"]["environment"]["COMMON_SECURITY_DEFAULTROOTPASSWORD"]
    )
    assert "healthcheck" not in body, "the image's own is for every way to run it"
    assert health.listens(["imgvec", *body["command"]]) == ("127.0.0.1", given["port"])
    assert int(body["stop_grace_period"].removesuffix("s")) > 2 * served.STOP_SECONDS  # of requests, and of the encoder
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert body["image"] == f"imgvec:{version}"


def test_gpu_reserves_a_device_for_the_standalone_service() -> None:
    (body,) = services("compose.gpu.yaml").values()
    assert set(services("compose.gpu.yaml")) <= set(services("compose.standalone.yaml"))
    (device,) = body["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]


def test_the_offline_image_holds_the_server_that_the_tests_install() -> None:
    script = (DOCKER / "milvus-offline" / "build.sh").read_text()
    versions = set(re.findall(r"(?:version=|milvus-offline:)(\d+\.\d+\.\d+)", script))
    tests = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    (pin,) = [requirement for requirement in tests if requirement.startswith("milvus==")]
    assert versions == {pin.removeprefix("milvus==").partition(";")[0].strip()}


@pytest.mark.parametrize("script", ["docker/milvus-offline/build.sh", "docker/imgvec-offline/build.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_the_offline_images_are_of_one_system() -> None:
    subprocess.run(["bash", "-n", DOCKER / "base-system.sh"], check=True)
    for script in sorted(DOCKER.glob("*-offline/build.sh")):
        assert '. "$(dirname "$0")/../base-system.sh"' in script.read_text().splitlines(), script


def test_the_app_image_runs_as_nobody_special_and_copies_only_what_exists() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    assert lines.index("USER imgvec") < lines.index('ENTRYPOINT ["imgvec"]')
    copied = {source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert [source for source in copied if not (ROOT / source).exists()] == []
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in == copied
    (check,) = (line for line in lines if line.startswith("HEALTHCHECK "))
    limit = re.search(r"--timeout=(\d+)s .*health\.py", check)
    assert limit is not None
    assert int(limit[1]) > health.PATIENCE
    assert "COPY docker/health.py /opt/imgvec/" in lines
