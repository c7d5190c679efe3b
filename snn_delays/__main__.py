"""``python -m snn_delays``: the command line."""

from snn_delays.cli import main

if __name__ == "__main__":
    main()
