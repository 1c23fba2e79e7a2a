# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask, mask_line, mask_text

LOGS = sorted((Path(__file__).parents[3] / "fixtures").rglob("*.log"))
#: A random word, which HUSH stands for in the texts below.
SECRET = "Zq7SECRETx9Lm2PwV4tR"
#: Forms in which log lines, command lines and environments contain secrets.
TEXTS = (
    "AKIAHUSH",
    "authorization: bearer HUSH",
    "Authorization: Bearer HUSH",
    "AUTHORIZATION: BEARER HUSH",
    "Authorization: Basic HUSH==",
    "authorization=Basic HUSH",
    "'authorization': 'Bearer HUSH'",
    '"Authorization":"Bearer HUSH"',
    "b'authorization', b'Bearer HUSH'",
    "Proxy-Authorization: Basic HUSH",
    "--api-key HUSH",
    "--api-key k1 HUSH",
    "--api-key k1 k2 HUSH --port 8000",
    "--api-key=HUSH",
    "--api_key HUSH",
    "--hf-token HUSH",
    "--hf-token=HUSH",
    "--ssl-keyfile-password HUSH",
    "--password HUSH",
    "api_key=['k1', 'HUSH']",
    "api_key: HUSH",
    "'api_key': ['HUSH']",
    '"api_key":["HUSH"]',
    "https://user:HUSH@host/x",
    "https://user:p/HUSH@host/x",
    "https://user:p@HUSH@host/x",
    "https://HUSH@host",
    "redis://:HUSH@host:6379",
    "postgres://u:HUSH@h/db?x=1",
    "http://u:p#HUSH@h",
    "http://u:p?HUSH@h",
    "eyJhbGciOiJIUzI1NiJ9.HUSH.HUSH",
    "ghp_HUSH",
    "gho_HUSH",
    "ghs_HUSH",
    "github_pat_HUSH",
    "glpat-HUSH",
    "nvapi-HUSH",
    "hf_HUSH",
    "sk-HUSH",
    "sk-proj-HUSH",
    "xoxb-HUSH",
    "npm_HUSH",
    "dckr_pat_HUSH",
    "pypi-HUSH",
    "AIzaHUSHHUSH",
    "ya29.HUSH",
    '"password":"HUSH"',
    '"password": "HUSH"',
    "password=HUSH",
    "password: HUSH",
    "PASSWORD=HUSH",
    "passwd=HUSH",
    "SECRET_KEY=HUSH",
    "PRIVATE_KEY=HUSH",
    "PGPASSWORD=HUSH",
    "DB_PASS=HUSH",
    "MYSQL_PWD=HUSH",
    "root_pass: HUSH",
    "root_pass=HUSH",
    "?sig=HUSH",
    "https://x.blob/a?sv=1&sig=HUSH&x=2",
    "X-Amz-Signature=HUSH&x",
    "?X-Amz-Signature=HUSH",
    "&X-Amz-Credential=HUSH",
    "Cookie: session=HUSH",
    "Set-Cookie: a=HUSH; Path=/",
    "cookie: a=1; b=HUSH",
    "AWS_SECRET_ACCESS_KEY=HUSH",
    "AWS_SESSION_TOKEN=HUSH",
    "MY_SECRET=HUSH",
    "MY_SECRET_THING=HUSH",
    "client_secret=HUSH",
    "client-secret: HUSH",
    "VLLM_API_KEY=HUSH",
    "OPENAI_API_KEY='HUSH'",
    "HF_TOKEN=HUSH",
    "HF_TOKENS=HUSH",
    "API_KEYS=HUSH",
    "HUGGING_FACE_HUB_TOKEN=HUSH",
    "WANDB_API_KEY=HUSH",
    "LINODE_TOKEN=HUSH",
    "token=HUSH",
    "token: HUSH",
    "auth_token=HUSH",
    "access_token=HUSH",
    'refresh_token": "HUSH"',
    "passphrase=HUSH",
    "credentials=HUSH",
    "x-api-key: HUSH",
    "X-API-Key: HUSH",
    "api-key: HUSH",
    "apikey=HUSH",
    "ApiKey: HUSH",
    "session_id=HUSH",
    "-----BEGIN RSA PRIVATE KEY-----\nHUSH\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----HUSH",
    "https://hooks.slack.com/services/T0/B0/HUSH",
    "env -u X FOO_PASSWORD=HUSH vllm serve",
    "--otlp-traces-endpoint http://u:HUSH@h:4317",
    "os.environ['HF_TOKEN'] = 'HUSH'",
    'export HF_TOKEN="HUSH"',
    "Namespace(api_key=['HUSH', 'b'], port=8000)",
    "aws_secret_access_key = HUSH",
    "dbpassword=HUSH",
    "userPassword=HUSH",
    "accessToken=HUSH",
    "clientSecret: HUSH",
)
#: Secrets that only the randomness of the word reveals.
RANDOM_WORDS = (
    "random word HUSH here",
    "key: HUSH",
    "hash 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b HUSH",
    "SecretStr('HUSH')",
    "machine h login u password HUSH",
)


@pytest.mark.parametrize("text", TEXTS)
def test_mask_text_removes_secrets(text: str) -> None:
    secret = SECRET.upper() if text.startswith("AKIA") else SECRET
    assert secret not in mask_text(text.replace("HUSH", secret))


@pytest.mark.parametrize("text", TEXTS + RANDOM_WORDS)
def test_mask_line_removes_secrets_and_random_words(text: str) -> None:
    assert SECRET not in mask_line(text.replace("HUSH", SECRET))


def test_mask_line_keeps_words_of_a_known_message() -> None:
    line = "error 2ffd85c7a6293d092737a9f6772b3fc75ced4e9f and 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
    assert mask_line(line, known="error 2ffd85c7a6293d092737a9f6772b3fc75ced4e9f") == line.rsplit(" ", 1)[0] + " ***"


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 5, prompt_tokens=7",
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 47.5 GiB",
        "GPU KV cache size: 715,072 tokens",
        "kn-31:2563:2748 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-aB3dEf",
        "http://127.0.0.1:8000/v1/models",
        "ERROR the token is invalid; eos_token is missing",
    ],
)
def test_mask_text_keeps_other_text(text: str) -> None:
    assert mask_text(text) == text


def test_mask_removes_secrets_by_name() -> None:
    values = {
        "api_key": ["hush"],
        "S3_SECRET_ACCESS_KEY": "hush",
        "ssl-keyfile-password": "hush",
        "config": {"token": "hush", "name": "llama"},
        "hf_overrides": '{"my_token": "hush", "api_key": ["hush"]}',
        "paths": ["s3://user:hush@store"],
    }
    assert "hush" not in str(mask(values))
    assert mask(values)["config"]["name"] == "llama"


def test_mask_keeps_other_values() -> None:
    values = {"tokenizer": "x", "max_num_batched_tokens": 8192, "api_key": None, "hf_token": True, "port": 8000}
    assert mask(values) == values


def test_logs_without_secrets_stay_readable() -> None:
    lines = [line for path in LOGS for line in path.read_text(errors="replace").splitlines()]
    assert len(lines) > 1000
    masked = [line for line in lines if mask_text(line) != line]
    hidden = {word for line in lines for word in set(line.split()) - set(mask_line(line).split())}
    assert masked == []
    # What is left are digests of containers and models.
    assert [word for word in hidden if not re.search("[0-9a-f]{24}", word)] == []
