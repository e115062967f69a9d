"""One directory, content-addressed: blobs, images, trees, containers."""
