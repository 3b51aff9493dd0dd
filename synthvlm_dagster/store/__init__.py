"""Tables and files on any fsspec URL: the only room that touches a file system to keep what was made."""
