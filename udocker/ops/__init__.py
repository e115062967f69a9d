"""One use case a file: joins the packages below."""
