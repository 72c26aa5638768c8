"""The command `hyseg`, and `python -m hyseg_cli`."""

from hyseg_cli.cli.group import cli
from hyseg_cli.startup import leaving_fast


def main() -> None:
    """Run the command line."""
    with leaving_fast():
        cli(prog_name="hyseg")


if __name__ == "__main__":
    main()
