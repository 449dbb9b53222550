"""Names of parametrised cases that are the same in every process."""

import re


def shown(value: object) -> str:
    """As `repr`, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
