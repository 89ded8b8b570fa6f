"""Secrets in text are found by their marks and beside telling names, and references are not taken for secrets."""

from __future__ import annotations

import pytest

from interlock.spec.literal import secret_in, secrets_in_text

# Put together here, so that this file does not hold what it looks for.
SECRETS = [
    "whsec" + "_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "sk" + "_live_4eC39HqLyjWDarjtT1",
    "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a",
    "xox" + "b-1234567890-abcdefghij",
    "AK" + "IAIOSFODNN7EXAMPLE",
    "Bearer" + " abcdef0123456789abcdef",
    "-----BEGIN RSA" + " PRIVATE KEY-----",
    "postgres://user" + ":hunter2@db.example/x",
    "ey" + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ",
]
REFERENCES = [
    "psp.webhook",
    "secret:psp.webhook",
    "env:PSP_SECRET",
    "file:/run/secrets/psp",
    "https://a.example:8443/x",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_an_issuers_mark_is_found_in_code_and_in_configuration(secret):
    assert secret_in(secret)
    assert [found.line for found in secrets_in_text("a.py", f"\nCALL = f(x={secret!r})\n")] == [2]
    assert [found.line for found in secrets_in_text("interlock.toml", f'[systems]\n\nx = "{secret}"\n')] == [3]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", ["secret", "token", "url"])
def test_a_reference_is_no_secret(reference, name):
    assert secret_in(reference, name=name) is None
    assert list(secrets_in_text("a.py", f"f({name}={reference!r})")) == []
    assert list(secrets_in_text("interlock.toml", f'{name} = "{reference}"')) == []


@pytest.mark.parametrize(
    "line",
    ["f(api_key={!r})", "API_KEY = {!r}", "self.token = {!r}", 'h = {{"authorization": {!r}}}', "password: str = {!r}"],
)
def test_random_text_beside_a_telling_name_is_a_secret(line):
    assert len(list(secrets_in_text("a.py", line.format("9f86d081884c7d659a2feaa0")))) == 1
    assert list(secrets_in_text("a.py", line.format("the name of the thing"))) == []


def test_random_text_beside_another_name_is_none():
    assert list(secrets_in_text("a.py", "DIGEST = '9f86d081884c7d659a2feaa0'")) == []


def test_what_is_found_is_not_shown():
    (found,) = secrets_in_text("a.py", f"x = {SECRETS[0]!r}")
    assert SECRETS[0][6:] not in str(found)


def test_code_that_cannot_be_read_is_looked_at_line_by_line():
    assert len(list(secrets_in_text("a.py", f"def (\nx = {SECRETS[1]!r}"))) == 1
