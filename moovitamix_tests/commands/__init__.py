"""The groups of commands, as one types them."""
