"""`python -m striate`."""

from striate.cli.main import entry

if __name__ == "__main__":
    entry()
