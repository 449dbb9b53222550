"""Whether trying again helps: the verdict that every error and every ending carries."""

from enum import StrEnum


class Retry(StrEnum):
    """What a client, or who writes it, is to do."""

    CHANGED = "once it is changed"
    LATER = "later, as it is"
    BY_ITSELF = "the stock client does"
    NEVER = "no"
