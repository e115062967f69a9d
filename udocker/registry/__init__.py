"""The registry client: API by requests, layer bytes by pycurl."""
