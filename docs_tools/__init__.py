"""What makes the docs: pages that the code says (reference.py), the site (site.py), pictures."""
