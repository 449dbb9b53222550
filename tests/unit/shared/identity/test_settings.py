"""What cannot work with tokens."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.identity import AuthSettings, TokenVerifier
from tests.support.token_craft import LONG_SECRET, RSA, SECRET, public_key_file


def problem(**settings: Any) -> str:
    (said,) = AuthSettings(**settings).problems()
    with pytest.raises(ValueError, match=r"JWT_") as caught:
        TokenVerifier(AuthSettings(**settings))
    assert str(caught.value) == said
    return said


def test_settings_that_cannot_work_are_refused_by_name(tmp_path: Path):
    rsa_file = public_key_file(tmp_path, RSA)
    pem = Path(rsa_file).read_text()
    missing, garbage = str(tmp_path / "missing.pem"), tmp_path / "garbage.pem"
    garbage.write_text("not a key")
    assert "at least 32" in problem(jwt_secret="short")
    assert "at least 64" in problem(jwt_secret=SECRET, jwt_algorithms=("HS256", "HS512"))
    assert "PEM" in problem(jwt_secret=pem)
    assert "not both" in problem(jwt_secret=SECRET, jwt_public_key_file=rsa_file)
    assert "not both" in problem(jwt_public_key_file=rsa_file, jwt_jwks_url="https://id/jwks")
    assert missing in problem(jwt_public_key_file=missing)
    assert str(garbage) in problem(jwt_public_key_file=str(garbage))
    assert "Is a directory" in problem(jwt_public_key_file=str(tmp_path))
    assert "none cannot" in problem(jwt_secret=SECRET, jwt_algorithms=("none",))
    assert "RS256 cannot" in problem(jwt_secret=SECRET, jwt_algorithms=("HS256", "RS256"))
    assert "HS256 cannot" in problem(jwt_public_key_file=rsa_file, jwt_algorithms=("HS256",))
    assert "HS256 cannot" in problem(jwt_jwks_url="https://id/jwks", jwt_algorithms=("HS256", "ES256"))


def test_settings_that_work_have_no_problems(tmp_path: Path):
    rsa_file = public_key_file(tmp_path, RSA)
    for settings in (
        AuthSettings(),
        AuthSettings(jwt_secret=SECRET),
        AuthSettings(jwt_secret=LONG_SECRET, jwt_secret_previous=LONG_SECRET[::-1], jwt_algorithms=("HS512",)),
        AuthSettings(jwt_public_key_file=rsa_file, jwt_algorithms=("PS256", "RS256")),
        AuthSettings(jwt_jwks_url="https://id.example.com/.well-known/jwks.json?tenant=1"),
        AuthSettings(jwt_jwks_url="https://id", jwt_algorithms=("ES256", "EdDSA")),
    ):
        assert settings.problems() == []


def test_the_previous_secret_is_held_to_the_same_and_is_no_secret_by_itself():
    assert problem(jwt_secret=SECRET, jwt_secret_previous="short").startswith("JWT_SECRET_PREVIOUS: 5 bytes")
    assert "needs JWT_SECRET" in problem(jwt_secret_previous=SECRET)
    assert "the same" in problem(jwt_secret=SECRET, jwt_secret_previous=SECRET)


def test_everything_wrong_is_told_together(tmp_path: Path):
    settings = AuthSettings(
        jwt_secret="short", jwt_secret_previous="shorter", jwt_public_key_file=str(tmp_path / "no.pem")
    )
    assert [said.split(":")[0].split("=")[0] for said in settings.problems()] == [
        "JWT_SECRET",
        "JWT_SECRET",
        "JWT_SECRET_PREVIOUS",
        "JWT_PUBLIC_KEY_FILE",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/jwks",
        "http://10.0.0.1/jwks",
        "file:///etc/passwd",
        "ftp://id/jwks",
        "id.example.com/jwks",
        "https://",
        "https://[::1",
        "https://id:port/",
        "https://user:hunter2@id/jwks",
        "https://id/jwks#hunter2",
    ],
)
@pytest.mark.threat("T19")
def test_keys_come_over_https_from_an_address_without_a_password(url: str):
    assert "hunter2" not in problem(jwt_jwks_url=url)


@pytest.mark.parametrize("url", ["http://localhost:8000/jwks", "http://127.0.0.1/jwks", "http://[::1]:1/jwks"])
def test_on_this_machine_they_may_come_over_http(url: str):
    assert AuthSettings(jwt_jwks_url=url).problems() == []


def test_where_every_client_needs_a_token_a_key_an_issuer_and_an_audience_are_demanded():
    assert [said.split(":")[0] for said in AuthSettings().demands()] == [
        "JWT_SECRET, JWT_PUBLIC_KEY_FILE or JWT_JWKS_URL",
        "JWT_ISSUER",
        "JWT_AUDIENCE",
    ]
    assert AuthSettings(jwt_jwks_url="https://id", jwt_issuer="i", jwt_audience="a").demands() == []


def test_a_secret_is_not_told_by_what_is_wrong_with_it():
    assert "hunter2" not in problem(jwt_secret="hunter2")


def test_a_private_key_given_by_mistake_is_refused(tmp_path: Path):
    path = tmp_path / "private.pem"
    path.write_bytes(RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert str(path) in problem(jwt_public_key_file=str(path))
