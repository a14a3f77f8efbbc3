"""imgvec in a container, as docker/compose.app.yaml says, beside Milvus in another.

The encoder is a tiny random ViT that is mounted, since a container reaches neither the hub nor a package index here: it
shows that everything works together, and nothing about how good an answer is.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from pictures import picture
from served import Client

pytestmark = pytest.mark.container

COMPOSE = Path(__file__).parents[2] / "docker" / "compose.app.yaml"
PICTURES = 6
PATIENCE = 120.0
"""Seconds for anything that a container does."""
SECONDS = 10**9
"""In the nanoseconds that Docker's interface takes."""
DEFINITION = "{encoder: {model: /models/tiny}}"
PHOTOS = "/v1/collections/photos"
SILENT = """
import socket, time
with socket.create_server(("", 19530)):
    print("listens", flush=True)
    time.sleep(600)
"""
"""In Milvus's place: takes connections, and never answers."""


def service(pictures: Path) -> dict[str, Any]:
    """What the compose file says of imgvec, its variables filled in as a shell's would be."""
    known = {"IMGVEC_PICTURES": str(pictures), "MILVUS_ROOT_PASSWORD": "Milvus"}  # what a new Milvus starts with
    text = re.sub(r"\$\{(\w+):\?[^}]+\}", lambda found: known[found[1]], COMPOSE.read_text())
    (body,) = yaml.safe_load(text)["services"].values()
    return dict(body)


@dataclass(frozen=True)
class App:
    """The service of the compose file: its container options in Docker's own terms."""

    docker: Any
    image: str
    options: Mapping[str, Any]
    command: list[str]
    port: int
    grace: int
    """Seconds from SIGTERM to SIGKILL."""

    def start(self, *command: str, **options: Any) -> Any:
        return self.docker.containers.run(self.image, list(command), detach=True, **{**self.options, **options})

    def run(self, *command: str) -> str:
        """What a command prints, as by `docker compose run --rm imgvec`."""
        container = self.start(*command)
        try:
            status = container.wait(timeout=PATIENCE)["StatusCode"]
            assert status == 0, container.logs().decode()
            return str(container.logs(stderr=False).decode())
        finally:
            container.remove(force=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "pictures"
    folder.mkdir(mode=0o755)
    for number in range(PICTURES):
        picture(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def milvus(app_image: str, container_image: str) -> Iterator[Any]:
    """Milvus with a login, by its name in the compose file, in a network of its own with whatever joins it."""
    from testcontainers.community.milvus import MilvusContainer
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.network import Network

    testcontainers_config.ryuk_disabled = True  # one more image from a registry
    container = MilvusContainer(container_image).with_env("COMMON_SECURITY_AUTHORIZATIONENABLED", "true")
    with Network() as network, container.with_network(network).with_network_aliases("milvus"):
        yield container.get_wrapped_container(), network.name


@pytest.fixture(scope="module")
def app(app_image: str, milvus: tuple[Any, str], pictures: Path) -> Iterator[App]:
    import docker

    body = service(pictures)
    # whatever else it says, is to be read below; the last four are Compose's own business
    assert set(body) == {
        "command", "environment", "volumes", "ports", "read_only", "tmpfs", "cap_drop", "security_opt",
        "stop_grace_period", *("image", "build", "depends_on", "restart"),
    }  # fmt: skip
    models = pictures.parent / "models"
    _save_model(models)
    volume = f"imgvec-test-{uuid.uuid4().hex[:12]}"
    mounts = [each.replace("imgvec:", f"{volume}:", 1) for each in body["volumes"]]
    (published,) = body["ports"]
    address, _, port = published.split(":")
    client = docker.from_env()
    try:
        yield App(
            client, app_image,
            {
                "environment": body["environment"],
                "volumes": [*mounts, f"{models}:/models:ro"],
                "ports": {f"{port}/tcp": (address, None)},  # a free one of this machine
                "network": milvus[1],
                # as Compose gives them
                "read_only": body["read_only"],
                "tmpfs": dict.fromkeys(body["tmpfs"], ""),
                "cap_drop": body["cap_drop"],
                "security_opt": body["security_opt"],
                # the image's own check, more often than people want it
                "healthcheck": {"interval": 2 * SECONDS, "retries": 1},
            },
            body["command"], int(port), int(body["stop_grace_period"].removesuffix("s")),
        )  # fmt: skip
        with suppress(docker.errors.NotFound):
            client.volumes.get(volume).remove(force=True)
    finally:
        client.close()


def _save_model(folder: Path) -> None:
    import transformers
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(folder / "tiny")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "tiny")
    (folder / "definition.yaml").write_text(DEFINITION)
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)


@dataclass(frozen=True)
class Running:
    """The service, healthy."""

    container: Any
    client: Client
    token: str
    """It may read and write."""

    def shell(self, script: str) -> tuple[int, str]:
        done = self.container.exec_run(["sh", "-c", script])
        return done.exit_code, done.output.decode()


@pytest.fixture(scope="module")
def running(app: App) -> Iterator[Running]:
    """As the head of the compose file has it: pictures, then a token, then the server."""
    app.run("ingest", "/pictures", "-c", "photos", "--definition", "/models/definition.yaml")
    token = app.run("serve", "--new-token", "page", "--scope", "write", "--token-file", "/data/tokens").strip()
    container = app.start(*app.command)
    with ExitStack() as leaving:
        leaving.callback(container.remove, force=True, v=True)
        until_health(container, "healthy", "200 ")
        (bound,) = container.ports[f"{app.port}/tcp"]
        yield Running(container, Client(int(bound["HostPort"])), token)


def until_health(container: Any, wanted: str, said: str) -> None:
    """Wait until it is, and a check has `said` why: on a busy machine one may get no answer."""
    until = time.monotonic() + PATIENCE
    while True:
        container.reload()
        state = container.attrs["State"]
        assert state["Running"], container.logs().decode()
        answers = [each["Output"] for each in state["Health"]["Log"] if each["Output"].startswith(said)]
        if state["Health"]["Status"] == wanted and answers:
            return
        assert time.monotonic() < until, (state["Health"], container.logs().decode())
        time.sleep(0.2)


def until_logged(container: Any, wanted: str) -> None:
    until = time.monotonic() + PATIENCE
    while wanted not in container.logs().decode():
        assert time.monotonic() < until
        time.sleep(0.1)


def auth(running: Running) -> dict[str, str]:
    return {"Authorization": f"Bearer {running.token}"}


def test_it_runs_as_nobody_special(running: Running) -> None:
    status, said = running.shell("id -u; grep -E '^(Uid|CapPrm|CapBnd|NoNewPrivs):' /proc/1/status")
    assert (status, said.split()) == (0, [
        "10001", "Uid:", *["10001"] * 4, "CapPrm:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1",
    ])  # fmt: skip


def test_it_writes_to_its_volume_alone(running: Running) -> None:
    status, said = running.shell(
        "for at in / /home/imgvec /opt/imgvec /pictures; do touch $at/x && echo $at; done; true"
    )
    assert [line for line in said.splitlines() if not line.startswith("touch: ")] == [], said
    assert status == 0
    status, said = running.shell("touch /data/x && rm /data/x && find /data ! -uid 10001")
    assert (status, said) == (0, "")


def test_nobody_without_a_token_is_answered(running: Running) -> None:
    assert running.client.get(PHOTOS + "/count").status == 401
    assert running.client.get(PHOTOS + "/count", Authorization="Bearer imgvec_other").status == 401
    assert running.client.get("/readyz").json == {"ready": True, "checks": {"milvus": True, "encoders": True}}


def test_a_picture_finds_itself(running: Running) -> None:
    assert running.client.get(PHOTOS + "/count", **auth(running)).json["count"] == PICTURES
    sent = BytesIO()
    picture(3).save(sent, "png")
    got = running.client.upload(PHOTOS + "/search", [("image", "mine.png", sent.getvalue())], **auth(running))
    assert got.status == 200, got.body
    first = got.json["hits"][0]
    assert (first["uri"], first["score"]) == ("/pictures/3.png", pytest.approx(1, abs=1e-3))
    shown = running.client.get(f"{PHOTOS}/images/{first['id']}/original", **auth(running))
    assert (shown.status, shown.body == sent.getvalue()) == (200, True)


def test_a_job_takes_in_what_is_new_below_the_root(running: Running, pictures: Path) -> None:
    picture(PICTURES).save(pictures / f"{PICTURES}.png")
    try:
        job = running.client.post(PHOTOS + "/ingest", {"source": "/pictures"}, **auth(running))
        assert job.status == 202, job.body
        until = time.monotonic() + PATIENCE
        while (at := running.client.get(job.headers["location"], **auth(running)).json)["state"] != "succeeded":
            assert at["state"] in ("queued", "running"), at
            assert time.monotonic() < until, at
            time.sleep(0.1)
        assert (at["counts"]["written"], at["counts"]["unchanged"]) == (1, PICTURES), at
    finally:
        (pictures / f"{PICTURES}.png").unlink()
    assert running.shell("ls /data/state/imgvec")[1].startswith("jobs-")  # a next container goes on from there


def test_its_log_is_lines_of_json(running: Running) -> None:
    running.client.get(PHOTOS + "/count?where=secret", **auth(running))
    lines = running.container.logs().decode().splitlines()
    assert {"level", "logger", "message", "time"} <= set.intersection(*(set(json.loads(line)) for line in lines))
    assert not [line for line in lines if running.token in line or "secret" in line]


def test_a_start_that_waits_for_milvus_can_be_stopped(app: App) -> None:
    with ExitStack() as leaving:
        silent = app.start(entrypoint=["python3", "-c", SILENT])
        leaving.callback(silent.remove, force=True)
        until_logged(silent, "listens")
        starting = app.start(*app.command, environment={"IMGVEC_URI": f"http://{silent.short_id}:19530"})
        leaving.callback(starting.remove, force=True)
        _until_it_hears_sigterm(starting)
        _stop(app, starting)


def test_without_milvus_it_is_unhealthy_and_stops_in_order(app: App, milvus: tuple[Any, str], running: Running) -> None:
    milvus[0].stop()
    until_health(running.container, "unhealthy", '503 {"ready":false,"checks":{"milvus":false')
    got = running.client.get("/readyz")
    assert (got.status, got.json["checks"]) == (503, {"milvus": False, "encoders": True})
    _stop(app, running.container)
    last = [json.loads(line)["message"] for line in running.container.logs(tail=2).decode().splitlines()]
    assert last == ["Application shutdown complete.", "Finished server process [1]"]


def _stop(app: App, container: Any) -> None:
    """As `docker stop` does, which kills what does not go in time: that would be 137."""
    container.stop(timeout=app.grace)
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 143, container.logs().decode()


def _until_it_hears_sigterm(container: Any) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        said = container.exec_run(["grep", "SigCgt", "/proc/1/status"]).output.decode()
        if int(said.split()[1], 16) >> 14 & 1:  # SIGTERM is 15, and bits count from 1
            return
        container.reload()
        assert container.attrs["State"]["Running"], container.logs().decode()
        assert time.monotonic() < until
        time.sleep(0.1)
