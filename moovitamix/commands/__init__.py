"""Groups of commands that look after what is there, each in its own module; `cli.py` joins them."""
