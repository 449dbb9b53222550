"""Tokens: a JSON Web Token (RFC 7519) becomes an `Identity`, or an error that says why not.

```
settings ──► keys: one of HMAC secrets, a PEM file, a JWKS (jwks fetches it) ──► tokens: verify ──► claims: Identity
```

The algorithm is pinned by configuration and never taken from the token's header; one key, one family of algorithms, so
a public key can never be used as an HMAC secret. Only `tokens` imports jwt; only `key_source` does I/O. Time is an
argument.
"""

from shared.identity.claims import MAX_SUBJECT_LENGTH, Identity
from shared.identity.failures import AuthError, AuthFailure
from shared.identity.key_source import KeySource
from shared.identity.secrets import MIN_SECRET_LENGTH
from shared.identity.settings import AuthSettings
from shared.identity.tokens import LEEWAY_S, MAX_TOKEN_LENGTH, TokenVerifier, sign_development_token

__all__ = [
    "LEEWAY_S",
    "MAX_SUBJECT_LENGTH",
    "MAX_TOKEN_LENGTH",
    "MIN_SECRET_LENGTH",
    "AuthError",
    "AuthFailure",
    "AuthSettings",
    "Identity",
    "KeySource",
    "TokenVerifier",
    "sign_development_token",
]
