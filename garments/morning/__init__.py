"""The morning report: one page that tells a person how the night went."""
