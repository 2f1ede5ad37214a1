"""Faults of Docker's PostgreSQL, each really done: `pytest tests/in_docker.py`, where an engine answers.

The service that the course starts is used, as for a learner; one that ran before is left alone, and the tests with it.
"""

import socket
import subprocess

import docker
import nbformat
import pytest
from homes import NOTEBOOKS, home_of_its_own
from kernel import Kernel
from lab.compose import LABEL, compose_command
from test_faults import BOOKS, OPEN, RESUME, told, when_asleep

COURSE = NOTEBOOKS.parent


@pytest.fixture(scope="module", autouse=True)
def home():
    client = docker.from_env()
    assert not client.containers.list(all=True, filters={"label": LABEL}), "somebody uses Docker's PostgreSQL"
    try:
        with home_of_its_own(LAB_DATABASE="docker") as home:
            yield home
    finally:
        subprocess.run([*compose_command(), "down", "--volumes"], cwd=COURSE, capture_output=True)
        client.close()


@pytest.fixture
def container():
    client = docker.from_env()
    yield client.containers.list(filters={"label": LABEL})[0]
    client.close()


@pytest.fixture
def kernel(home):
    kernel = Kernel()
    kernel.run(OPEN)
    kernel.run("open('mine', 'w').write('precious')")
    yield kernel
    kernel.close()


def test_a_lesson_starts_db_and_nothing_else(kernel):
    client = docker.from_env()
    services = [one.labels["com.docker.compose.service"] for one in client.containers.list()]
    client.close()
    assert services == ["db"]


def test_it_listens_on_the_loopback_only(kernel, container):
    published = container.attrs["NetworkSettings"]["Ports"]["5432/tcp"]
    assert {one["HostIp"] for one in published} == {"127.0.0.1"}


def test_psql_says_the_name_and_the_settings_that_the_learner_gave_it(kernel):
    question = "SELECT current_setting('application_name'), current_setting('lock_timeout')"
    said = kernel.run(f"""!PGAPPNAME=visitor PGOPTIONS='-c lock_timeout=2s' psql -At -c "{question}" """)
    assert "visitor|2s" in said


def test_lesson_13_deploys_in_containers(home):
    cells = nbformat.read(NOTEBOOKS / "13_deploying.ipynb", 4).cells
    kernel = Kernel()
    for cell in cells:
        if cell.cell_type == "code":
            kernel.run(cell.source)
            if cell.source.startswith("!sh deploy.sh"):
                break
    assert "ran in containers" in kernel.run("!tail -n 1 build.log"), "docker pull python:3.13-slim"
    kernel.close()


@pytest.mark.parametrize("fault", ["kill", "pause", "stop"])
def test_a_container_that_was_killed_paused_or_stopped_is_back_with_the_next_opening(kernel, container, fault):
    getattr(container, fault)()
    assert "The lesson's database does not answer." in told(kernel, BOOKS)
    assert "as you left" in kernel.run(RESUME)
    assert "40" in kernel.run(BOOKS)
    assert "precious" in kernel.run("print(open('mine').read())")


def test_a_container_killed_during_a_cell_is_back_with_the_next_opening(kernel, container, home):
    when_asleep(home, container.kill)
    assert "server closed the connection" in told(kernel, 'here.sql("SELECT pg_sleep(30)")')
    kernel.run(OPEN)
    assert "40" in kernel.run(BOOKS)


def test_a_container_that_was_removed_takes_the_databases_along_only_with_its_volume(kernel, container):
    container.remove(force=True)
    assert "as you left" in kernel.run(RESUME)
    assert "40" in kernel.run(BOOKS)
    subprocess.run([*compose_command(), "down", "--volumes"], cwd=COURSE, capture_output=True, check=True)
    assert "database is gone" in told(kernel, RESUME)
    assert "your earlier files are in" in kernel.run(OPEN)
    assert "40" in kernel.run(BOOKS)


def test_a_taken_port_is_told_with_the_variable_to_set(home, monkeypatch):
    subprocess.run([*compose_command(), "down"], cwd=COURSE, capture_output=True, check=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("COURSE_DB_PORT", str(taken.getsockname()[1]))
        kernel = Kernel()
        assert "Set COURSE_DB_PORT to a free port" in told(kernel, OPEN)
        kernel.close()
    monkeypatch.delenv("COURSE_DB_PORT")
    kernel = Kernel()
    kernel.run(OPEN)
    assert "40" in kernel.run(BOOKS)
    kernel.close()
