"""Tokens, their keys and their end. One part of `mutants.py`."""
# ruff: noqa: E501 - a line of source is quoted as it stands

from typing import Final

from tests.security.mutant import Mutant

CRAFTED: Final = "tests/security/test_tokens.py"
PUBLISHED: Final = "tests/security/test_jwks.py"
REVOKED: Final = "tests/security/test_revocation.py"
HELD: Final = "tests/unit/services/gateway/test_tokens.py"
IDENTITY: Final = "tests/unit/shared/identity"

TOKENS: Final = (
    Mutant("T15", "a secret has the algorithm of the configuration", "shared/identity/settings.py",
           "return chosen(tuple(HMAC_BYTES), self.jwt_algorithms)", "return tuple(HMAC_BYTES)",
           (f"{CRAFTED}::test_the_algorithm_is_the_keys_and_never_the_tokens[HS512]",)),
    Mutant("T15", "a key's own algorithm is one of its kind", "shared/identity/key_documents.py",
           "return (own,) if isinstance(own, str) and own in family and", "return (own,) if isinstance(own, str) and",
           (f"{IDENTITY}/test_key_documents.py::test_a_key_that_cannot_be_used_is_passed_over",)),
    Mutant("T16", "a secret is as long as its hash", "shared/identity/secrets.py",
           "if size < least:", "if False:", ("tests/security/test_wrong_settings.py::test_no_gateway_starts_with_a_weak_secret",)),
    Mutant("T16", "well-known secrets are refused", "shared/identity/secrets.py",
           "if secret in _KNOWN or secret.lower().startswith(_BEGINNINGS):", "if False:",
           (f"{IDENTITY}/test_secrets.py::test_a_weak_or_well_known_secret_is_refused_and_not_shown",)),
    Mutant("T16", "short RSA keys are refused", "shared/identity/keys.py",
           "if key.key_size in RSA_BITS", "if True", (f"{IDENTITY}/test_keys.py::test_a_short_rsa_key_is_refused",)),
    Mutant("T17", "extensions are refused", "shared/identity/tokens.py",
           "if any(name in header for name in _UNWANTED):", "if False:",
           (f"{CRAFTED}::test_a_header_that_changes_what_is_signed_is_refused",)),
    Mutant("T17", "huge tokens are refused unread", "shared/identity/tokens.py",
           "if len(token) > MAX_TOKEN_LENGTH:", "if False:", (f"{CRAFTED}::test_a_huge_token_costs_nothing",)),
    Mutant("T17", "signed JSON of another kind is no token", "shared/identity/tokens.py",
           "kind.lower() not in _TYPES", "False", (f"{CRAFTED}::test_signed_json_of_another_kind_is_no_token",)),
    Mutant("T18", "exp and sub are required", "shared/identity/tokens.py",
           '"require": ["exp", "sub"]', '"require": []', (f"{CRAFTED}::test_a_token_that_is_not_accepted_says_why",)),
    Mutant("T18", "the issuer is the configured one", "shared/identity/tokens.py",
           "issuer=settings.jwt_issuer or None", "issuer=None",
           (f"{CRAFTED}::test_a_token_of_another_issuer_or_for_another_audience_is_refused",)),
    Mutant("T18", "a token is over when it says so", "shared/identity/claims.py",
           "if expires + leeway <= now:", "if False:", (f"{CRAFTED}::test_a_token_that_is_not_accepted_says_why",)),
    Mutant("T19", "redirects are not followed", "shared/identity/key_source.py",
           "allow_redirects=False", "allow_redirects=True", (f"{PUBLISHED}::test_a_fetch_that_fails_says_why",)),
    Mutant("T19", "a set of keys is bounded in bytes", "shared/identity/key_source.py",
           "if len(body) > MAX_DOCUMENT_BYTES:", "if False:", (f"{PUBLISHED}::test_a_fetch_that_fails_says_why",)),
    Mutant("T19", "fetches have a pace", "shared/identity/key_source.py",
           "            await asyncio.sleep(self._pace.gap)\n", "            await asyncio.sleep(0)\n",
           (f"{PUBLISHED}::test_ten_thousand_unknown_keys_make_one_request_at_a_time_and_the_old_keys_serve_on",)),
    Mutant("T20", "an expired token ends its connection", "services/gateway/tokens.py",
           "            client.end(TOKEN_EXPIRED)\n", "",
           (f"{HELD}::test_a_token_is_announced_before_it_expires_and_then_the_client_is_made_to_come_back",)),
    Mutant("T20", "revocation is asked when a token comes", "services/gateway/tokens.py",
           "if self._is_revoked(identity):", "if False:",
           (f"{HELD}::test_a_refresh_that_is_refused_changes_nothing",
            f"{HELD}::test_a_revoked_user_is_told_and_put_out_everywhere_and_others_stay")),
    Mutant("T20", "a revoked client is put out", "services/gateway/tokens.py",
           "            client.kick(TOKEN_REVOKED)\n", "",
           (f"{HELD}::test_a_revoked_user_is_told_and_put_out_everywhere_and_others_stay",)),
    Mutant("T20", "the list is read again after it was lost", "shared/revocations.py",
           "            self._tell(on_revoked, await self._read_all())\n", "",
           (f"{REVOKED}::test_a_list_that_a_failover_made_shorter_is_read_again",)),
)  # fmt: skip
