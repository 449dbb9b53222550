"""Entry point of the `tickwire` command."""

from services.launcher.cli import app


def main() -> None:
    """Run the command that the arguments name."""
    app(prog_name="tickwire")


if __name__ == "__main__":
    main()
