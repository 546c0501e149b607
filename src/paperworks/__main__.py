"""``python -m paperworks``."""

from paperworks.cli import main

if __name__ == "__main__":
    main()
