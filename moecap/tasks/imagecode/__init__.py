"""ImageCoDe: of ten similar images, find the one that a description is of (Krojer et al., arXiv 2203.15867)."""
