"""Pure: what was asked, the image, the host and the settings become a RunSpec."""
