"""Parts become the files that readers take: one task for each, here or on the cluster."""
