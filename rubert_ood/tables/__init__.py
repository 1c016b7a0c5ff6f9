"""Iceberg and Delta tables over the published files, which follow the catalogue's pointer."""
