"""A stored run repeated from its record, and compared with what it gave: `python -m armed.reproduce`."""
