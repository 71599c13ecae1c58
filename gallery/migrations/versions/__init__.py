"""The steps, one file each; add the next number at the end and alter none."""
