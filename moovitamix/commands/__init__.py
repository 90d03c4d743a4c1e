"""Groups of commands that look after what is wrong, each in its own module; `cli.py` joins them."""
