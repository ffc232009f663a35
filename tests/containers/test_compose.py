"""The container files: valid against the Compose schema, without privileges, and their commands run without docker."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from functools import cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
import yaml

from app.core.settings import ROOT, Settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()


@cache
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


OURS = sorted(set(compose()["services"]) - {"postgres"})


def test_the_file_is_valid_compose() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(compose())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({"services": {"web": {"comand": "x"}}})


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_no_privileges(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    assert service["build"]["target"] in re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.MULTILINE)
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_images_run_as_a_user_and_only_one_holds_torch() -> None:
    stages = dict(re.findall(r"FROM \S+ AS (\w+)\n(.*?)(?=\nFROM |\Z)", DOCKERFILE, re.DOTALL))
    for name in ("web", "trainer"):
        assert "\nUSER palate\n" in stages[name]
        assert stages[name].index("USER palate") < stages[name].index("\nCMD ")
        assert "HEALTHCHECK" in stages[name]
    assert "['train']" not in stages["base"] + stages["web"]
    assert "COPY trainer" not in stages["web"]


def test_what_the_dockerfile_copies_exists() -> None:
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / source).exists() for source in sources), line


def test_every_service_waits_for_what_it_needs() -> None:
    services = compose()["services"]
    assert services["prepare"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in set(OURS) - {"prepare"}:
        assert services[name]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"
    assert services["policy-gpu"]["profiles"] == ["gpu"]


def _environment(settings: Settings, name: str) -> dict[str, str]:
    given = compose()["services"][name]["environment"]
    known = set(Settings.model_fields)
    assert all(key.removeprefix("PALATE_").lower() in known for key in given)
    assert settings.database_url is not None
    return {
        **os.environ,
        "PALATE_DATABASE_URL": settings.database_url.get_secret_value(),
        "PALATE_HOME": str(settings.home),
        "PYTHONPATH": str(ROOT),
    }


def _command(name: str) -> list[str]:
    program, *rest = compose()["services"][name]["command"]
    assert program == "python"
    return [sys.executable, *rest]


def test_the_commands_run_without_docker(settings: Settings, free_port: int) -> None:
    """prepare ends well and names the link, web becomes ready, background gives signs of life."""
    environment = {**_environment(settings, "prepare"), "PALATE_PORT": str(free_port)}
    done = subprocess.run(_command("prepare"), env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "/welcome/" in done.stdout
    running = [subprocess.Popen(_command(name), env=environment, cwd=ROOT) for name in ("web", "background")]
    try:
        _wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{free_port}/readyz", timeout=2).close())
        check = [sys.executable, *compose()["services"]["background"]["healthcheck"]["test"][2:]]
        _wait_for(lambda: subprocess.run(check, env=environment, cwd=ROOT, check=True))
    finally:
        for process in running:
            process.terminate()
        codes = [process.wait(20) for process in running]
    assert codes[1] == 0
    assert codes[0] in (0, -15)


@pytest.mark.parametrize("name", ["policy", "trainer"])
def test_the_trainer_knows_its_commands(settings: Settings, name: str) -> None:
    done = subprocess.run([*_command(name), "--help"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def _wait_for(attempt: Any, patience: float = 30) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
