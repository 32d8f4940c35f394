"""Launch: brings a graph forward."""
