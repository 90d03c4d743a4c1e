"""`python -m moovitamix`: the same command line as `moovitamix`."""

from moovitamix.cli import main

if __name__ == "__main__":
    main()
