"""The manual's texts for containers parse, fit together, and say what the exporter needs and does."""

import json
import re
import shlex
import signal
import tomllib
from typing import Any

import pytest
import yaml
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from exporter import errors
from exporter.contract import TOKEN_VARIABLE
from exporter.settings import RunSettings
from exporter.signals import heeded
from exporter.version import __version__
from tests.toolkit.manual import PAGES, ROOT, defaults_in, help_of, names_in

PAGE = PAGES["containers"]
(DOCKERFILE,) = PAGE.in_language("dockerfile")
CRONJOB, CLOUD_RUN = (yaml.safe_load(text) for text in PAGE.in_language("yaml"))
TASK, SCHEDULE = (json.loads(text) for text in PAGE.in_language("json"))
JOB = CRONJOB["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]
(TASK_CONTAINER,) = TASK["containerDefinitions"]
(CLOUD_CONTAINER,) = CLOUD_RUN["spec"]["template"]["spec"]["template"]["spec"]["containers"]
#: Those after which another attempt would end the same way.
FINAL = {errors.UsageError.exit_status, 3, errors.AccessError.exit_status, errors.DamagedPartError.exit_status}


def instructions() -> dict[str, list[str]]:
    """Returns what follows each instruction of the Dockerfile, which must have each on a line of its own."""
    found: dict[str, list[str]] = {}
    for line in DOCKERFILE.splitlines():
        word, _, rest = line.partition(" ")
        assert re.fullmatch("FROM|RUN|ENV|VOLUME|USER|STOPSIGNAL|ENTRYPOINT", word), line
        found.setdefault(word, []).append(rest)
    return found


def test_the_dockerfile() -> None:
    said = instructions()
    install, directory = (shlex.split(command) for command in said["RUN"])
    (requirement,) = [word for word in install if word.startswith("anyreach")]
    (extras,) = re.findall(rf"^anyreach-exporter\[([a-z,]+)\]=={re.escape(__version__)}$", requirement)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert said["ENV"] == [f"TMPDIR={said['VOLUME'][0]}"]
    assert directory == ["install", "-d", "-m", "1777", said["VOLUME"][0]]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", said["USER"][0])
    assert json.loads(said["ENTRYPOINT"][0]) == list(project["scripts"]) == ["exporter"]
    assert signal.Signals[said["STOPSIGNAL"][0]] in heeded()
    (image, version) = re.findall(r"exporter:([\d.]+)", PAGE.command_holding("docker build"))
    assert image == version == __version__


def test_the_cronjob() -> None:
    assert (CRONJOB["apiVersion"], CRONJOB["kind"], CRONJOB["spec"]["concurrencyPolicy"]) == (
        "batch/v1",
        "CronJob",
        "Forbid",
    )
    rules = JOB["podFailurePolicy"]["rules"]
    assert set(rules[0]["onExitCodes"]["values"]) == FINAL
    assert rules[0]["onExitCodes"]["containerName"] == CONTAINER["name"]
    # Without it, a policy for failures is refused.
    assert POD["restartPolicy"] == "Never"
    assert {volume["name"] for volume in POD["volumes"]} == {mount["name"] for mount in CONTAINER["volumeMounts"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    (secret,) = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    assert secret["defaultMode"] == 0o440
    arguments = CONTAINER["args"]
    assert arguments[arguments.index("--token-file") + 1] == f"{mounted['token']}/token"
    assert arguments[1].startswith(f"{mounted['calls']}/")
    assert mounted["scratch"] == instructions()["VOLUME"][0]
    user = POD["securityContext"]
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == instructions()["USER"][0]
    assert CONTAINER["resources"]["limits"]["memory"] == f"{RunSettings().memory_bytes * 4 // 3 >> 20}Mi"


def test_the_arguments_are_known() -> None:
    checked = ["status", "/srv/calls/export", "--max-age", "26h"]
    assert f"`args: [{', '.join(checked)}]`" in PAGE.text
    many = ["run", "--all", "--config", "/etc/exporter/exporter.toml"]
    assert f"`[{', '.join(many)}]`" in PAGE.text
    known = {
        command: {option for names in defaults_in(help_of(command)) for option in names}
        for command in ("sync", "status", "run")
    }
    for arguments in (many, CONTAINER["args"], TASK_CONTAINER["command"], CLOUD_CONTAINER["args"], checked):
        assert names_in(" ".join(arguments)) <= known[arguments[0]], arguments


@pytest.mark.parametrize(
    ("service", "operation", "request_"),
    [("ecs", "RegisterTaskDefinition", TASK), ("scheduler", "CreateSchedule", SCHEDULE)],
)
def test_amazon_knows_each_key(service: str, operation: str, request_: dict[str, Any]) -> None:
    model = ServiceModel(Loader(include_default_search_paths=True).load_service_model(service, "service-2"))
    report = ParamValidator().validate(request_, model.operation_model(operation).input_shape)
    assert report.generate_report() == ""


def test_the_clouds_give_the_token_and_the_directory_for_temporary_files() -> None:
    assert [secret["name"] for secret in TASK_CONTAINER["secrets"]] == [TOKEN_VARIABLE]
    assert [variable["name"] for variable in CLOUD_CONTAINER["env"]] == [TOKEN_VARIABLE]
    assert [mount["containerPath"] for mount in TASK_CONTAINER["mountPoints"]] == instructions()["VOLUME"]
    assert TASK_CONTAINER["user"] == instructions()["USER"][0]
    assert SCHEDULE["Target"]["EcsParameters"]["TaskDefinitionArn"].endswith(f"/{TASK['family']}")
