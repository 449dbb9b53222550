"""What a command says when it cannot go on: what is wrong, and what to do about it."""


class LauncherError(Exception):
    """Ends a command with exit status 1 and no traceback.

    Args:
        message: what is wrong, with the facts.
        hint: what the user can do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
