"""Shapes of secrets, as libraries and people write them: none is left in a text, and texts without one stay as they are."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.base import secrets
from millstream.base.errors import ConfigError, DefinitionError, NotFound, WorkFailed
from millstream.base.secrets import hide, keep, keep_address, keep_password
from millstream.base.settings import Layer, settle

SECRET = "S3cretT0kenValue"
SHAPES = [
    "kafka://alice:{}@broker:9093",
    "postgresql+psycopg://mill:{}@db.internal/state?sslmode=require",
    "redis://:{}@cache:6379/0",
    "cannot connect to 'airflow://admin:{}@127.0.0.1:8080?dags=/d': refused",
    "http://user:p/{}@host/path",
    "http://user:p@{}@host/path",
    "https://{}@sentry.example/42",
    "https://hooks.slack.com/services/T000/B000/{}",
    "Post https://discord.com/api/webhooks/123/{}: 404",
    "https://example.webhook.office.com/webhookb2/{}/IncomingWebhook/x",
    "https://api.telegram.org/bot12:{}/sendMessage",
    "https://prod-01.westeurope.logic.azure.com:443/workflows/{}/triggers",
    "http://mlflow:5000/api/2.0/runs?token={}&max=3",
    "https://bucket.s3.amazonaws.com/key?X-Amz-Credential=AK&X-Amz-Signature={}",
    "https://account.blob.core.windows.net/c?sv=2024&sig={}",
    "https://chat.googleapis.com/v1/spaces/A/messages?key=K&token={}",
    "https://api.example/v1?api_key={}",
    "host=db user=mill password={} dbname=state",
    "host=db password='{} with space' dbname=state",
    "AccountName=x;AccountKey={};EndpointSuffix=core.windows.net",
    'org.apache.kafka.common.security.scram.ScramLoginModule required username="a" password="{}";',
    "{{'sasl.password': '{}', 'sasl.username': 'a'}}",
    '{{"client_secret": "{}"}}',
    "sasl.password={}",
    "AWS_SECRET_ACCESS_KEY={}",
    "Authorization: Bearer {}",
    "authorization: Basic {}==",
    "the remote is https://x-access-token:{}@github.com/a/b",
]
TOKENS = ["ghp_abcdefghijklmnop1234", "glpat-abcdefghijklmnop12", "xoxb-1234567890-abcdef", "AKIAABCDEFGHIJKLMNOP", "hf_abcdefghijklmnopqrst",
          "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"]  # fmt: skip
HARMLESS = [
    "kafka://alice:env:KAFKA_PASSWORD@broker:9093",
    "log = sqlite:/p/.millstream/log.db",
    "http://127.0.0.1:8600/v1/predict/late",
    "hdfs://name:9000/lake/orders@v3",
    "kafka:b-1:9092,b-2:9092",
    'token = env:API_TOKEN: nothing is there',
    "send the header  Authorization: Bearer TOKEN",
    'stream "orders", partition 3, offset 17: key "password" is missing; write key="order_id"',
    "file data/hooks/1.csv, line 7: no column token",
    "features_by_key=3 sort_key=ts",
    "basic auc 0.71; bearer of news",
    "",
]  # fmt: skip


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {})


@pytest.mark.parametrize("shape", SHAPES)
def test_a_secret_of_a_known_shape_is_hidden(shape: str) -> None:
    found = hide(shape.format(SECRET))
    assert SECRET not in found and "(hidden)" in found
    assert hide(found) == found


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_says_what_it_is_is_hidden(token: str) -> None:
    assert token not in hide(f"refused: {token} is no good") and hide(f"x {token} y").endswith(" y")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide(text) == text


def test_an_address_keeps_what_helps_to_find_the_fault() -> None:
    assert hide("postgresql://mill:x1y2@db:5432/state?sslmode=require") == "postgresql://mill:(hidden)@db:5432/state?sslmode=require"


@pytest.mark.parametrize("spelt", ["S3cret/T0ken Value", "S3cret%2FT0ken%20Value", "S3cret/T0ken%20Value", repr("S3cret/T0ken Value")])
def test_a_kept_value_is_hidden_in_every_spelling(spelt: str) -> None:
    keep("S3cret/T0ken Value")
    assert "T0ken" not in hide(f"nonnumeric port: {spelt}@host.invalid")


def test_the_parts_of_a_kept_address_are_hidden_and_its_host_is_not() -> None:
    keep_address("https://chat.example/rooms/abcdef123456?who=zyxwvu987654")
    assert hide("'/rooms/abcdef123456?who=zyxwvu987654' at chat.example") == "'(hidden)' at chat.example"
    assert hide("/rooms/abcdef123456: no such room") == "/rooms/(hidden): no such room"
    assert "chat.example" in hide("https://chat.example/ refused") and "zyxwvu987654" not in hide("who=zyxwvu987654")


def test_a_password_that_is_a_plain_word_hides_no_sentence() -> None:
    keep_password("postgresql://mill:orders@db/state")
    assert hide('stream "x": 3 orders were late') == 'stream "x": 3 orders were late'
    assert hide("nonnumeric port: 'orders@db'") == "nonnumeric port: '(hidden)@db'"


def test_every_error_hides_as_a_text() -> None:
    url = f"kafka://a:{SECRET}@h:1"
    for error in (ConfigError(url), NotFound(url), WorkFailed(url), DefinitionError("bad", found=url, fix=f"token={SECRET}")):
        assert SECRET not in str(error)


def test_settings_tell_their_secrets(tmp_path: Path) -> None:
    values = {"serve.token": "env:A", "alerts.webhook": "env:B", "log": "kafka://u:env:C@h:1"}
    told = {"env:A": "tokenA99", "env:B": "https://chat.example/r/pathB9999", "env:C": "passC/77"}
    settings = settle(tmp_path, [Layer("base", values, lambda key: key)], profile="laptop", secret=told.get)
    assert settings.log == "kafka://u:passC%2F77@h:1"
    assert hide("tokenA99 | pathB9999 | passC/77 | passC%2F77") == "(hidden) | (hidden) | (hidden) | (hidden)"
    assert all("99" not in value and "77" not in value for _, value, _ in settings.rows())


def test_log_records_and_tracebacks_of_any_library_hide() -> None:
    code = f"""
import logging, threading
from millstream.app.voice import quiet_about_secrets
quiet_about_secrets(); quiet_about_secrets()
other = logging.getLogger("a.library"); other.addHandler(logging.StreamHandler()); other.propagate = False
url = "kafka://a:{SECRET}@h:1"
other.warning("no %s", url)
try:
    raise ValueError(url)
except ValueError:
    logging.getLogger("ours").exception("it failed")
thread = threading.Thread(target=lambda: 1 / 0 if not url else (_ for _ in ()).throw(KeyError(url)))
thread.start(); thread.join()
other.warning("%d", "no number")
raise RuntimeError(url)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and SECRET not in said.replace(code, "")
    assert said.count("a:(hidden)@h:1") >= 4 and "RuntimeError" in said and "KeyError" in said and "it failed" in said


def test_the_factory_keeps_a_record_that_cannot_be_written_out() -> None:
    from millstream.app.voice import _record

    made = _record("x", logging.INFO, "f", 1, "%d", ("no number",), None)
    assert made.msg == "%d" and made.args == ("no number",)


@pytest.mark.parametrize("url", ["http://alice:{}@127.0.0.1:8080/hooks/{}", "https://alerts.example.com/hooks/{}?key={}", "https://{}@alerts.example.com/{}"])
def test_the_host_of_a_secret_address_may_be_read(url: str) -> None:
    keep_address(url.format(SECRET, SECRET))
    for text in ("hive://127.0.0.1:1/lake does not answer", "alerts.example.com:443 does not answer"):
        assert hide(text) == text
    assert SECRET not in hide(f"POST {url.format(SECRET, SECRET)}: 404") and SECRET not in hide(f"{SECRET} is wrong")


@pytest.mark.parametrize("sign", "?#/@")
@pytest.mark.parametrize("url", ["redis://:S3cr{}etPassword@127.0.0.1:1/0", "postgresql://bob:S3cr{}etPassword@127.0.0.1:1/db"])
def test_a_password_that_ends_an_address_early_is_hidden_in_parts(url: str, sign: str) -> None:
    keep_password(url.format(sign))
    for left in ("redis://:S3cr", "PostgreSQL at bob:S3cr/ does not answer", "S3cr", f"S3cr{sign}etPassword"):
        assert "S3cr" not in hide(left)
