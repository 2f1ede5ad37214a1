"""Docker's PostgreSQL: the service `db` of docker-compose.yml."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import docker
from docker.errors import DockerException
from sqlalchemy.engine import URL

from .home import COURSE
from .problem import Problem

SERVICE = "db"
LABEL = "flask-migrations-course=db"  # stands in docker-compose.yml, too
PATIENCE = 120  # seconds for a first start on a slow disk
RECOVERY = 10  # seconds until a server that was paused or overloaded is called healthy again


def engine_answers() -> bool:
    """Whether a Docker engine answers. Where there is none this takes milliseconds."""
    try:
        client = docker.from_env(timeout=5)
        client.ping()
        client.close()
    except Exception:  # requests' own errors come through where the engine accepts and then hangs
        return False
    return True


def start() -> tuple[str, URL]:
    """Start the service, or find it running; the container's id and the URL of its database.

    A running service of another clone is used as it is: each checkout has databases of its own there.
    """
    if not engine_answers():
        raise Problem(
            "Docker was asked for, but no engine answers.\n"
            "Start Docker and run this cell again, or unset LAB_DATABASE to use the embedded PostgreSQL."
        )
    client = docker.from_env()
    try:
        for _ in range(2):  # one that was killed a moment ago may be told to run, and end then
            container = _running(client)
            if container is None:
                _up(client)
                container = _running(client)
            if container is None:
                raise Problem(f"Docker's PostgreSQL ended right after it started.\n{_advice()}")
            if container.status == "paused":
                container.unpause()
            if _becomes_healthy(container):
                return container.id[:12], _url(container)
            if container.status == "running":
                break
        logs = container.logs(tail=3).decode("utf-8", "replace").strip()
        raise Problem(f"Docker's PostgreSQL did not come up. Its last words:\n{logs}\n{_advice()}")
    except DockerException as error:
        raise Problem(f"Docker answers, but not as expected: {error}.\nSee docs/troubleshooting.md.") from None
    finally:
        client.close()


def stop() -> bool:
    """Stop the service if this folder started it; its data stays. False if there was nothing to stop."""
    if not engine_answers():
        return False
    client = docker.from_env()
    try:
        container = _running(client)
        if container is None:
            return False
        folder = container.labels.get("com.docker.compose.project.working_dir", "")
        if folder and Path(folder).resolve() != COURSE:
            print(f"Docker's PostgreSQL was started in {folder}; stop it there.")
            return False
        container.stop(timeout=30)
        return True
    finally:
        client.close()


def _running(client):
    found = client.containers.list(filters={"label": LABEL})
    return found[0] if found else None


def _up(client) -> None:
    image = os.environ.get("COURSE_POSTGRES_IMAGE") or _image()
    try:
        client.images.get(image)
    except DockerException:
        print(f"Fetching the image {image}, which is not here yet; this can take minutes.", flush=True)
    result = subprocess.run(
        [*compose_command(), "up", "-d", SERVICE], cwd=COURSE, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode == 0:
        return
    # What could not start would stand in the way of another try.
    subprocess.run([*compose_command(), "rm", "--force", SERVICE], cwd=COURSE, capture_output=True)
    said = result.stderr.strip()
    last = said.splitlines()[-1] if said else f"exit code {result.returncode}"
    if "port is already allocated" in said or "address already in use" in said:
        raise Problem(
            "The port of Docker's PostgreSQL is taken by another program.\n"
            "Set COURSE_DB_PORT to a free port in the shell that starts JupyterLab."
        )
    if "pull" in said or "manifest" in said or "registry" in said or "lookup" in said:
        raise Problem(f"Docker cannot fetch the image {image}.\nConnect to the internet once, or load it from a file.")
    raise Problem(f"`docker compose up -d {SERVICE}` failed: {last}\n{_advice()}")


def compose_command() -> list[str]:
    """The command for compose: version 2 is a sub-command of docker, version 1 a program of its own."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], stdin=subprocess.DEVNULL, capture_output=True)
        if asked.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise Problem("Docker is here, but neither `docker compose` nor `docker-compose`.\nInstall Docker Compose.")


def _image() -> str:
    """The image that docker-compose.yml names, with its variables filled in."""
    shown = subprocess.run(
        [*compose_command(), "config"], cwd=COURSE, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    lines = [line.split(":", 1)[1].strip() for line in shown.stdout.splitlines() if line.strip().startswith("image:")]
    return lines[0] if lines else "of PostgreSQL"


def _becomes_healthy(container) -> bool:
    """Wait until the server in the container answers; False when it has ended, or there is no patience left."""
    started = time.monotonic()
    shown = False
    while True:
        container.reload()
        health = container.attrs["State"].get("Health", {}).get("Status", "healthy")
        waited = time.monotonic() - started
        if health == "healthy":
            break
        if container.status != "running" or waited > (RECOVERY if health == "unhealthy" else PATIENCE):
            return False
        if waited > 2:
            print(f"\rDocker's PostgreSQL is starting: {waited:.0f} s", end="", flush=True)
            shown = True
        time.sleep(0.2)
    if shown:
        print("\rDocker's PostgreSQL is ready.      ")
    return True


def _url(container) -> URL:
    settings = dict(line.split("=", 1) for line in container.attrs["Config"]["Env"] if "=" in line)
    published = container.attrs["NetworkSettings"]["Ports"]["5432/tcp"][0]
    return URL.create(
        "postgresql+psycopg2",
        username=settings["POSTGRES_USER"],
        password=settings["POSTGRES_PASSWORD"],
        host="127.0.0.1",
        port=int(published["HostPort"]),
        database=settings["POSTGRES_DB"],
    )


def _advice() -> str:
    return "`docker compose logs db` says more; `docker compose down -v` starts afresh and deletes its databases."
