"""Which bundle becomes the champion: two bundles on the same ads, limits, and the pointer."""
