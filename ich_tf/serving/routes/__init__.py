"""Routes of the server, a module for each resource."""
