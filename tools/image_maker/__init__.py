"""Makes the images of the end-to-end tests out of Debian's packages; ``tools/images`` runs it."""
