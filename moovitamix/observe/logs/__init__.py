"""What processes say, as lines for people or machines, and as GELF 1.1 for a Graylog server.

What is worth saying is decided where it is said. What becomes of figures and alerts is told in the
modules beside this package.
"""
